//! Discovery responses in files.

use crate::cli::Options;
use crate::config::Surroundings;
use nuncio_core::clock::Clock;
use nuncio_core::config::{CompileContext, RegexLimits, Sink, Unsupported};
use nuncio_core::source::{Feed, FileSource, Rejected, Sources, Subscription, Update};
use nuncio_core::xx_hash::xx_hash64;
use nuncio_net::watch::MoveWatch;
use nuncio_proto::load::{self, Source};
use nuncio_proto::pb::envoy::service::discovery::v3::DiscoveryResponse;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::UNIX_EPOCH;
use tokio::task::spawn_local;

/// What a dynamic resource may hold.
#[derive(Clone, Copy, Debug)]
pub struct Permissions {
    /// What becomes of what is not built.
    pub unsupported: Unsupported,
    /// `--reject-unknown-dynamic-fields`
    pub reject_unknown: bool,
    /// `--ignore-unknown-dynamic-fields`: they are not even counted.
    pub ignore_unknown: bool,
}

/// Told how many fields of a text nobody knows.
pub type Unknown = dyn Fn(u64);

/// Files that feed subscriptions. Each is read when it is subscribed to, and anew whenever something is moved into its
/// place.
#[derive(Clone)]
pub struct Files {
    /// What files may hold.
    pub permissions: Permissions,
    /// How large regular expressions may be.
    pub regex_limits: RegexLimits,
    /// The machine's time.
    pub clock: Clock,
    /// Told how many fields nobody knows.
    pub unknown: Rc<Unknown>,
}

impl Files {
    /// Files of a server with these options; `unknown` is told how many fields of a file nobody knows.
    pub fn new(
        surroundings: &Surroundings,
        options: &Options,
        clock: &Clock,
        unknown: impl Fn(u64) + 'static,
    ) -> Self {
        let permissions = Permissions {
            unsupported: surroundings.unsupported(),
            reject_unknown: options.reject_unknown_dynamic_fields,
            ignore_unknown: options.ignore_unknown_dynamic_fields,
        };
        let (regex_limits, clock) = (surroundings.regex_limits(), clock.clone());
        Self { permissions, regex_limits, clock, unknown: Rc::new(unknown) }
    }
}

impl Sources for Files {
    fn subscribe(&self, source: &FileSource, feed: Feed) -> io::Result<Subscription> {
        let watch = MoveWatch::of(source)?;
        let file = FileFeed { path: source.path.clone(), feed, files: self.clone() };
        file.refresh();
        let task = spawn_local(file.follow(watch)).abort_handle();
        Ok(Subscription::new(move || task.abort()))
    }
}

/// A subscription that a file feeds.
struct FileFeed {
    /// The file.
    path: PathBuf,
    /// Who subscribes.
    feed: Feed,
    /// What files may hold.
    files: Files,
}

/// Why nothing came of an attempt.
enum Failure {
    /// There is no response: the file is not there, or no discovery response.
    NoUpdate(String),
    /// There is one, and it was refused.
    Rejected(String),
}

impl FileFeed {
    /// Reads the file anew whenever something is moved into its place, for ever.
    async fn follow(self, watch: MoveWatch) {
        loop {
            if let Err(error) = watch.moved().await {
                tracing::error!(target: "config", "{} is no longer watched: {error}", self.path.display());
                return;
            }
            self.refresh();
        }
    }

    /// Reads the file and hands it on. What cannot be read or is refused leaves everything as it was.
    fn refresh(&self) {
        let (stats, clock) = (&self.feed.stats, &self.files.clock);
        let began = clock.now();
        stats.update_attempt.inc();
        let outcome = self.attempt();
        stats.update_duration.record(clock.now().duration_since(began).as_millis() as u64);
        match outcome {
            Ok(version) => {
                let since = clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
                stats.update_time.set(since.as_millis() as u64);
                stats.version.set(xx_hash64(version.as_bytes(), 0));
                stats.version_text.set(&version);
                stats.update_success.inc();
            }
            Err(Failure::NoUpdate(why)) => {
                stats.update_failure.inc();
                tracing::warn!(target: "config", "Filesystem config update failure: {why}");
            }
            Err(Failure::Rejected(why)) => {
                stats.update_rejected.inc();
                tracing::warn!(target: "config", "Filesystem config update rejected: {why}");
            }
        }
    }

    /// The version that was taken.
    fn attempt(&self) -> Result<String, Failure> {
        let name = self.path.to_string_lossy();
        let bytes =
            std::fs::read(&self.path).map_err(|e| Failure::NoUpdate(format!("Invalid path: {name}: {e}")))?;
        let Files { permissions, regex_limits, unknown, .. } = &self.files;
        let sink = Sink::new(permissions.unsupported);
        sink.set_regex_limits(*regex_limits);
        let read = load::discovery(&Source::file(&name, &bytes), !permissions.reject_unknown, &sink);
        let Some(read) = read else {
            return Err(Failure::NoUpdate(told(None, sink)));
        };
        if read.unknown_fields > 0 && !permissions.ignore_unknown {
            (unknown)(read.unknown_fields);
        }
        let cx = read.response.context(&sink);
        let response: Option<DiscoveryResponse> = cx.decode(read.response.bytes());
        let Some(DiscoveryResponse { version_info, resources }) = response else {
            return Err(Failure::NoUpdate(told(None, sink)));
        };
        if read.misread {
            return Err(Failure::NoUpdate(told(None, sink)));
        }
        let outcome = self.hand_on(&version_info, &resources, &cx);
        if outcome.is_err() || sink.has_errors() {
            return Err(Failure::Rejected(told(outcome.err(), sink)));
        }
        let (_, warnings) = sink.finish();
        if !permissions.ignore_unknown {
            warnings.iter().for_each(|w| tracing::warn!(target: "config", "{w}"));
        }
        Ok(version_info)
    }

    fn hand_on(
        &self,
        version: &str,
        resources: &[prost_types::Any],
        cx: &CompileContext<'_>,
    ) -> Result<(), Rejected> {
        self.feed.subscriber.update(&Update { version, resources, cx })
    }
}

/// Everything that is wrong, in one line.
fn told(rejected: Option<Rejected>, sink: Sink) -> String {
    let (errors, _) = sink.finish();
    rejected.unwrap_or(Rejected { resource: None, why: None }).detail(&errors)
}
