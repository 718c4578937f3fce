//! The server: command line, its own log, signals, admin, and the threads that proxy.

pub mod admin;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod demo;
pub mod dynamic;
pub mod explain;
pub mod http;
pub mod log;
pub mod memory;
pub mod node_extensions;
pub mod overload;
pub mod own_address;
pub mod run;
pub mod runtime_keys;
pub mod signal;
pub mod sinks;
pub mod stats;
pub mod worker;

use cli::{Command, Mode, Options};
use config::{Refused, Source};
use std::path::PathBuf;
use std::process::ExitCode;

/// Does what the command line says.
pub fn main(options: Options) -> ExitCode {
    let settings = log::Settings {
        level: match &options.command {
            // Its own lines are what the demo shows.
            Some(Command::Demo { .. }) => log::Level::Warning,
            // What is refused of files that the configuration names.
            Some(Command::Explain { .. }) => log::Level::Warning,
            _ => log::Level::parse(&options.log_level).unwrap_or(log::Level::Info),
        },
        components: options.component_log_levels().unwrap_or_default(),
        pattern: log::Pattern::compile(options.log_format()),
        escaped: options.log_format_escaped,
        // A file is checked without touching another, as in Envoy.
        path: (options.mode != Mode::Validate && !options.log_path.is_empty())
            .then(|| options.log_path.clone().into()),
    };
    if let Err(e) = log::install(settings) {
        eprintln!("error: cannot log to '{}': {e}", options.log_path);
        return ExitCode::FAILURE;
    }
    for (flag, why) in options.without_effect() {
        tracing::warn!(target: "main", "{flag} has no effect: {why}");
    }
    if options.list_extensions {
        return list_extensions(&options);
    }
    match &options.command {
        Some(Command::Demo { once }) => demo::main(*once),
        Some(Command::Validate { files, unsupported, allow_unknown_static_fields }) => {
            let mut each = options.clone();
            each.unsupported = *unsupported;
            each.allow_unknown_static_fields = *allow_unknown_static_fields;
            validate_all(each, files)
        }
        Some(Command::Explain {
            config_path,
            listener,
            json,
            unsupported,
            allow_unknown_static_fields,
            request,
        }) => {
            let mut own = options.clone();
            own.config_path.clone_from(config_path);
            own.unsupported = *unsupported;
            own.allow_unknown_static_fields = *allow_unknown_static_fields;
            explain::main(&own, request, listener.as_deref(), *json)
        }
        None if options.mode == Mode::Validate => validate(&options),
        None => match Source::of(&options) {
            Ok(sources) => run::serve(&options, sources, |_| {}),
            Err(refused) => failed(&refused),
        },
    }
}

fn failed(refused: &Refused) -> ExitCode {
    refused.log();
    ExitCode::FAILURE
}

/// Checks what the options name as a server would, short of listening.
fn validate(options: &Options) -> ExitCode {
    let clock = nuncio_core::clock::Clock::system();
    match Source::of(options).and_then(|sources| {
        config::load(options, sources, &nuncio_core::stats::Registry::new(), clock.wall())
    }) {
        Ok(_) => {
            println!("configuration '{}' OK", options.config_path);
            ExitCode::SUCCESS
        }
        Err(refused) => failed(&refused),
    }
}

/// Checks each file; fails when one of them fails.
fn validate_all(mut options: Options, files: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        options.config_path = file.to_string_lossy().into_owned();
        if validate(&options) != ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Prints the extensions that are built, by the full names of their configuration messages.
fn list_extensions(options: &Options) -> ExitCode {
    match config::Extensions::new(&nuncio_core::stats::Registry::new(), options, 0) {
        Ok(extensions) => {
            extensions.names().for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
