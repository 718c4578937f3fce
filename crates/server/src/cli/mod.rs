//! The command line: Envoy's flags in Envoy's spelling, and a few of our own.
//!
//! [`parse`] gives [`Options`] or ends the process as Envoy does: 0 after `--help` and `--version`, 1 after
//! a mistake. A flag that is accepted and has no effect is named by [`Options::without_effect`], so that
//! the start can say so.

mod concurrency;
mod options;

pub use options::{Command, DrainStrategy, IpVersion, Mode, Options, Unsupported};

use clap::Parser;
use std::ffi::OsString;

#[cfg(test)]
mod tests;

/// The version of the hot-restart protocol that Envoy 1.40 names; printed for tools that compare it.
pub const HOT_RESTART_VERSION: &str = "11.104";

/// What stands in `--version`, `/server_info` and the node: Envoy's five parts. The first is the revision
/// the build was told of (`NUNCIO_REVISION`), the second the Envoy version whose behaviour this is.
pub fn version() -> String {
    let revision = option_env!("NUNCIO_REVISION").unwrap_or("0000000000000000000000000000000000000000");
    let kind = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    format!("{revision}/{ENVOY_VERSION}/Clean/{kind}/nuncio-{}", env!("CARGO_PKG_VERSION"))
}

/// The Envoy version whose configuration and behaviour are ours.
pub const ENVOY_VERSION: &str = "1.40.0";

/// Why the command line was not taken.
#[derive(Debug)]
pub struct Stop {
    /// What to print.
    pub text: String,
    /// True for an answer that was asked for (standard output, exit code 0); false for a mistake (standard
    /// error, exit code 1).
    pub asked: bool,
}

/// Reads the arguments, the program's name first.
pub fn parse<I, T>(args: I) -> Result<Options, Stop>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let options = Options::try_parse_from(args)
        .map_err(|e| Stop { text: in_envoys_words(&e), asked: !e.use_stderr() })?;
    if options.version {
        return Err(Stop { text: format!("\nnuncio  version: {}\n\n", version()), asked: true });
    }
    if options.hot_restart_version {
        let version = if options.disable_hot_restart { "disabled" } else { HOT_RESTART_VERSION };
        return Err(Stop { text: format!("{version}\n"), asked: true });
    }
    options.check().map_err(|text| Stop { text: format!("error: {text}\n"), asked: false })?;
    Ok(options)
}

/// What is wrong with an argument. Envoy says no more than `unknown mode 'x'` of a value that it does not know.
fn in_envoys_words(error: &clap::Error) -> String {
    match std::error::Error::source(error).map(ToString::to_string) {
        Some(source) if source.starts_with("unknown ") => format!("error: {source}\n"),
        _ => error.render().to_string(),
    }
}
