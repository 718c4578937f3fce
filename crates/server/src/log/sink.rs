//! Where lines go: the subscriber that shapes them and the file or standard error that takes them.

use super::pattern::{self, Line, Pattern};
use super::{Level, component};
use nuncio_core::civil::Civil;
use nuncio_core::clock::Clock;
use std::cell::OnceCell;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::UNIX_EPOCH;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, span};

/// How to log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The level of every component.
    pub level: Level,
    /// Components that differ.
    pub components: Vec<(&'static str, Level)>,
    /// The shape of a line.
    pub pattern: Pattern,
    /// Whether control characters in lines are escaped.
    pub escaped: bool,
    /// The file to append to; standard error without one.
    pub path: Option<PathBuf>,
}

/// The log of the process. Levels may be changed by any thread at any time.
#[derive(Debug)]
pub struct Log {
    levels: Vec<AtomicU8>,
    pattern: Pattern,
    /// The pattern of the bootstrap, which comes when some lines are written already.
    configured: OnceLock<Pattern>,
    escaped: bool,
    path: Option<PathBuf>,
    out: Mutex<Option<File>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Makes the process log as `settings` say. Fails where the file cannot be opened, or where a log is
/// installed already.
pub fn install(settings: Settings) -> io::Result<&'static Log> {
    let log = Log::new(settings)?;
    LOG.set(log).map_err(|_| io::Error::other("a log is installed already"))?;
    let log = LOG.get().ok_or_else(|| io::Error::other("no log"))?;
    tracing::subscriber::set_global_default(Subscriber(log)).map_err(io::Error::other)?;
    Ok(log)
}

/// The log, once [`install`]ed.
pub fn installed() -> Option<&'static Log> {
    LOG.get()
}

impl Log {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        let out = settings.path.as_ref().map(open).transpose()?;
        let log = Self {
            levels: component::components().iter().map(|_| AtomicU8::new(settings.level as u8)).collect(),
            pattern: settings.pattern,
            configured: OnceLock::new(),
            escaped: settings.escaped,
            path: settings.path,
            out: Mutex::new(out),
        };
        for (name, level) in settings.components {
            log.store(name, level);
        }
        Ok(log)
    }

    /// The level of each component, in the order of `/logging`.
    pub fn levels(&self) -> impl Iterator<Item = (&'static str, Level)> + '_ {
        component::components().iter().zip(&self.levels).map(|(n, l)| (*n, Level::from_u8(l.load(Relaxed))))
    }

    /// Sets the level of one component.
    pub fn set(&self, component: &str, level: Level) {
        self.store(component, level);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Sets the level of every component.
    pub fn set_all(&self, level: Level) {
        for l in &self.levels {
            l.store(level as u8, Relaxed);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    fn store(&self, component: &str, level: Level) {
        if let Some(l) = self.levels.get(component::index(component)) {
            l.store(level as u8, Relaxed);
        }
    }

    /// Lines have this shape from now on (`application_log_config`). The first call decides.
    pub fn reshape(&self, pattern: Pattern) {
        let _ = self.configured.set(pattern);
    }

    /// Opens the file of `--log-path` anew, so that it may be rotated; keeps the old one where that fails.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = open(path)?;
            *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        }
        Ok(())
    }

    fn level_of(&self, component: usize) -> Level {
        self.levels.get(component).map_or(Level::Off, |l| Level::from_u8(l.load(Relaxed)))
    }

    /// Whether anything of the callsite can pass; a `critical` line is decided when it comes.
    pub(super) fn passes(&self, metadata: &Metadata<'_>) -> bool {
        let least = self.level_of(component::index(metadata.target()));
        let at_most = match Level::of(*metadata.level()) {
            Level::Error if metadata.fields().field("critical").is_some() => Level::Critical,
            level => level,
        };
        at_most >= least
    }

    pub(super) fn shape(&self, event: &Event<'_>) -> String {
        let metadata = event.metadata();
        let mut visitor = Text::default();
        event.record(&mut visitor);
        let component = component::index(metadata.target());
        let wall = Clock::system().wall();
        let mut out = String::with_capacity(visitor.text.len() + 96);
        self.configured.get().unwrap_or(&self.pattern).write(
            &Line {
                at: Civil::of(wall),
                unix_seconds: wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
                level: if visitor.critical { Level::Critical } else { Level::of(*metadata.level()) },
                component: component::components().get(component).copied().unwrap_or("misc"),
                thread: thread_id(),
                file: metadata.file().unwrap_or_default(),
                line: metadata.line().unwrap_or_default(),
                text: &visitor.text,
            },
            &mut out,
        );
        if self.escaped {
            out = pattern::escape(&out);
        }
        out.push('\n');
        out
    }

    fn emit(&self, line: &str) {
        // A log that cannot be written has nowhere to say so.
        let _ = match &mut *self.out.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().lock().write_all(line.as_bytes()),
        };
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The kernel's number of this thread, as Envoy prints it; the process's where it cannot be learnt.
fn thread_id() -> u64 {
    thread_local! {
        static ID: OnceCell<u64> = const { OnceCell::new() };
    }
    ID.with(|id| {
        *id.get_or_init(|| {
            std::fs::read_link("/proc/thread-self")
                .ok()
                .and_then(|path| path.file_name()?.to_str()?.parse().ok())
                .unwrap_or_else(|| std::process::id().into())
        })
    })
}

/// The message of an event, other fields behind it as ` name=value`.
#[derive(Default)]
struct Text {
    text: String,
    critical: bool,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.text, " {name}={value:?}"),
        };
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "critical" {
            self.critical = value;
        } else {
            self.record_debug(field, &value);
        }
    }
}

struct Subscriber(&'static Log);

impl tracing::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.0.passes(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        self.0.levels().map(|(_, level)| level.filter()).max()
    }

    fn event(&self, event: &Event<'_>) {
        self.0.emit(&self.0.shape(event));
    }

    // Spans are not logged.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
