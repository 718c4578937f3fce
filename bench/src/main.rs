//! The bench's own programs: a fixed upstream, a load generator, and a byte relay as the floor of what a
//! proxy can cost.
//!
//! `nuncio-bench upstream PORT [BODY_BYTES]` · `nuncio-bench grpc PORT` · `nuncio-bench relay PORT UPSTREAM_PORT` · `nuncio-bench load …`
//! · `nuncio-bench idle …`; `bench/run` drives them.

use std::process::ExitCode;

mod grpc;
mod idle;
mod load;
mod relay;
mod response;
mod serve;
mod upstream;

/// What can go wrong in a bench program: a wrong argument, or the sockets.
#[derive(Debug)]
enum Error {
    Usage(&'static str),
    Io(std::io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Usage(usage) => write!(f, "usage: {usage}"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error)
    }
}

/// The value of `--name` among `name value` pairs, or its default.
fn option<T: std::str::FromStr>(args: &[String], name: &str, default: T) -> T {
    args.iter()
        .position(|a| a == name)
        .and_then(|i| args.get(i + 1))
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

fn run(args: &[String]) -> Result<(), Error> {
    let number = |i: usize| args.get(i).and_then(|v| v.parse::<u16>().ok());
    match (args.first().map(String::as_str), number(1)) {
        (Some("upstream"), Some(port)) => {
            let body = args.get(2).and_then(|v| v.parse().ok()).unwrap_or(13);
            upstream::serve(port, body).map_err(Error::from)
        }
        (Some("grpc"), Some(port)) => grpc::serve(port).map_err(Error::from),
        (Some("relay"), Some(port)) => {
            let to = number(2).ok_or(Error::Usage("relay PORT UPSTREAM_PORT"))?;
            relay::serve(port, to).map_err(Error::from)
        }
        (Some("load"), Some(port)) => load::run(&load::Plan::from_args(port, args)).map_err(Error::from),
        (Some("idle"), Some(port)) => {
            idle::hold(port, option(args, "--connections", 10_000), option(args, "--sources", 10))
                .map_err(Error::from)
        }
        _ => Err(Error::Usage(
            "upstream PORT [BODY] | grpc PORT | relay PORT UPSTREAM | load PORT … | idle PORT …",
        )),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuncio-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
