//! Log levels, and their names and places in the order.

use std::fmt;

/// How much a component says; later ones say less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Everything.
    Trace,
    /// What an engineer asks for.
    Debug,
    /// The course of things; the default.
    Info,
    /// What may be wrong.
    Warning,
    /// What went wrong.
    Error,
    /// What ends the process.
    Critical,
    /// Nothing.
    Off,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical, Self::Off];

    /// By name as the command line takes it: `warn` is also a name of `warning`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "warn" { Some(Self::Warning) } else { Self::parse_exact(text) }
    }

    /// By name as `/logging` takes it.
    pub fn parse_exact(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == text)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }

    pub(super) fn from_u8(n: u8) -> Self {
        Self::ALL.get(usize::from(n)).copied().unwrap_or(Self::Off)
    }

    /// The level of a `tracing` event.
    pub(super) fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::ERROR => Self::Error,
        }
    }

    pub(super) fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Off => LevelFilter::OFF,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
