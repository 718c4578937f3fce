//! The binary `nuncio`.

use nuncio_server::cli;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(options) => nuncio_server::main(options),
        Err(stop) if stop.asked => {
            // Whoever closed the pipe has read enough.
            let _ = std::io::stdout().write_all(stop.text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(stop) => {
            let _ = std::io::stderr().write_all(stop.text.as_bytes());
            ExitCode::FAILURE
        }
    }
}
