//! The server: command line, its own log, signals, admin, and the threads that proxy.

pub mod admin;
pub mod cli;
pub mod http;
pub mod log;
pub mod memory;
pub mod signal;
pub mod stats;
pub mod time;

use cli::Options;
use std::process::ExitCode;

/// Does what the command line says.
pub fn main(options: Options) -> ExitCode {
    let settings = log::Settings {
        level: log::Level::parse(&options.log_level).unwrap_or(log::Level::Info),
        components: options.component_log_levels().unwrap_or_default(),
        pattern: log::Pattern::compile(&options.log_format),
        escaped: options.log_format_escaped,
        path: (!options.log_path.is_empty()).then(|| options.log_path.clone().into()),
    };
    if let Err(e) = log::install(settings) {
        eprintln!("error: cannot log to '{}': {e}", options.log_path);
        return ExitCode::FAILURE;
    }
    for (flag, why) in options.without_effect() {
        tracing::warn!(target: "main", "{flag} has no effect: {why}");
    }
    ExitCode::SUCCESS
}
