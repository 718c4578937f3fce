//! Discovery responses in files.

use super::Unknown;
use nuncio_core::clock::Clock;
use nuncio_core::config::{CompileContext, RegexLimits, Sink, Unsupported};
use nuncio_core::source::{Feed, Rejected, Update};
use nuncio_core::xx_hash::xx_hash64;
use nuncio_proto::load::{self, Source};
use nuncio_proto::pb::envoy::service::discovery::v3::DiscoveryResponse;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

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

/// A subscription that a file feeds.
pub struct FileFeed {
    /// The file.
    pub path: PathBuf,
    /// Who subscribes.
    pub feed: Feed,
    /// What the file may hold.
    pub permissions: Permissions,
    /// How large regular expressions may be.
    pub regex_limits: RegexLimits,
    /// The machine's time.
    pub clock: Clock,
    /// Told how many fields nobody knows.
    pub unknown: Rc<Unknown>,
}

/// Why nothing came of an attempt.
enum Failure {
    /// There is no response: the file is not there, or no discovery response.
    NoUpdate(String),
    /// There is one, and it was refused.
    Rejected(String),
}

impl FileFeed {
    /// Reads the file and hands it on. What cannot be read or is refused leaves everything as it was.
    pub fn refresh(&self) {
        let stats = &self.feed.stats;
        let began = self.clock.now();
        stats.update_attempt.inc();
        let outcome = self.attempt();
        stats.update_duration.record(self.clock.now().duration_since(began).as_millis() as u64);
        match outcome {
            Ok(version) => {
                let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
                stats.update_time.set(since.as_millis() as u64);
                stats.version.set(xx_hash64(version.as_bytes(), 0));
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
        let sink = Sink::new(self.permissions.unsupported);
        sink.set_regex_limits(self.regex_limits);
        let read = load::discovery(&Source::file(&name, &bytes), !self.permissions.reject_unknown, &sink);
        let Some(read) = read else {
            return Err(Failure::NoUpdate(told(None, sink)));
        };
        if read.unknown_fields > 0 && !self.permissions.ignore_unknown {
            (self.unknown)(read.unknown_fields);
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
        if !self.permissions.ignore_unknown {
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
