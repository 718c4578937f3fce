//! `nuncio demo`: two upstreams and a proxy in front of them in one process, to see it work.
//!
//! The proxy is the whole server on an embedded configuration (`examples/demo.yaml`); the upstreams are
//! threads of this process. The ports are those of the file, or free ones where they are taken.

mod checks;
mod client;
mod upstream;

use crate::cli::{self, Options};
use crate::config::Source;
use crate::run;
use nuncio_net::worker::WorkerHandle;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::thread::JoinHandle;

const CONFIG: &str = include_str!("../../../../examples/demo.yaml");

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    proxy: u16,
    admin: u16,
    upstreams: [u16; 2],
}

/// The ports of the embedded file.
const PORTS: Ports = Ports { proxy: 10_000, admin: 9_901, upstreams: [10_001, 10_002] };

impl Ports {
    /// Those of the file, each replaced by a free one where it is taken.
    fn choose() -> io::Result<Self> {
        // Held until all are chosen, so that no two are the same.
        let mut held = Vec::new();
        let mut one = |wanted: u16| -> io::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let [first, second] = PORTS.upstreams;
        Ok(Self {
            proxy: one(PORTS.proxy)?,
            admin: one(PORTS.admin)?,
            upstreams: [one(first)?, one(second)?],
        })
    }

    /// The embedded file with these ports.
    fn config(self) -> String {
        let [first, second] = PORTS.upstreams;
        let [first_now, second_now] = self.upstreams;
        [(PORTS.proxy, self.proxy), (PORTS.admin, self.admin), (first, first_now), (second, second_now)]
            .iter()
            .fold(CONFIG.to_owned(), |text, (was, now)| {
                text.replace(&format!("port_value: {was}}}"), &format!("port_value: {now}}}"))
            })
    }
}

/// Runs the demo until it is ended, or once.
pub fn main(once: bool) -> ExitCode {
    match start(once) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(once: bool) -> io::Result<ExitCode> {
    let ports = Ports::choose()?;
    let [first, second] = ports.upstreams;
    let upstreams = [upstream::start("one", first)?, upstream::start("two", second)?];
    let options = options()?;
    let source = Source::text("examples/demo.yaml", ports.config());
    let mut visitor: Option<JoinHandle<bool>> = None;
    let code = run::serve(&options, vec![source], |_| {
        if once {
            let visit = move || checks::visit(ports.proxy, ports.admin);
            visitor = std::thread::Builder::new().name("demo".into()).spawn(visit).ok();
        } else {
            print!("{}", invitation(ports));
        }
    });
    upstreams.into_iter().for_each(|u: WorkerHandle| {
        u.join();
    });
    Ok(match visitor {
        Some(visitor) if once => match visitor.join() {
            Ok(true) => code,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        // The proxy did not start, or nobody could be sent to visit it.
        None if once => ExitCode::FAILURE,
        _ => code,
    })
}

fn options() -> io::Result<Options> {
    cli::parse(["nuncio", "--concurrency", "2"]).map_err(|stop| io::Error::other(stop.text))
}

/// What to try.
fn invitation(ports: Ports) -> String {
    let Ports { proxy, admin, upstreams: [first, second] } = ports;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "nuncio is up.\n\
         \n  proxy      http://127.0.0.1:{proxy}/\
         \n  admin      http://127.0.0.1:{admin}/\
         \n  upstreams  http://127.0.0.1:{first}/ (one) and http://127.0.0.1:{second}/ (two)\n\
         \nTry, in another terminal:\n\
         \n  curl -i http://127.0.0.1:{proxy}/              # one and two in turn\
         \n  curl -i http://127.0.0.1:{proxy}/hello         # answered by the proxy itself\
         \n  curl -i http://127.0.0.1:{proxy}/old/page      # redirected\
         \n  curl -i -d 'some data' http://127.0.0.1:{proxy}/echo\
         \n  curl 'http://127.0.0.1:{admin}/stats?filter=upstream_rq'\
         \n  curl http://127.0.0.1:{admin}/clusters\
         \n  curl http://127.0.0.1:{admin}/config_dump\n\
         \nEach request is logged below. Ctrl-C ends the demo.\n\n"
    );
    out
}
