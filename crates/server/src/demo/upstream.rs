//! An upstream of the demo: a thread that says who it is and what it was asked.

use crate::http::Site;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::address::Address;
use nuncio_core::stats::Registry;
use nuncio_downstream::hcm::answer::{Answer, Responder};
use nuncio_net::worker::{WorkerHandle, spawn_worker_thread};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Starts an upstream named `name`.
pub(super) fn start(name: &'static str, port: u16) -> io::Result<WorkerHandle> {
    let address = Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let site = Site::plain(name, address).ok_or_else(|| io::Error::other("the upstream is misconfigured"))?;
    let socket = site.bind().map_err(|e| io::Error::other(e.to_string()))?;
    spawn_worker_thread(&format!("demo:{name}"), 0, move |worker, stop| async move {
        let stats = Registry::new();
        tokio::select! {
            ended = site.serve(socket, worker, &stats, Rc::new(Upstream(name))) => {
                if let Err(error) = ended {
                    tracing::error!(target: "main", "demo upstream {name}: {error}");
                }
            }
            () = stop.wait() => {}
        }
    })
}

struct Upstream(&'static str);

impl Responder for Upstream {
    fn respond(&self, head: &RequestHead, body: &[u8]) -> Answer {
        let name = self.0;
        let mut answer = ResponseHead::new(200);
        answer.headers.append("content-type", b"text/plain");
        answer.headers.append("x-upstream", name.as_bytes());
        let method = String::from_utf8_lossy(head.method());
        let path = String::from_utf8_lossy(head.path());
        let mut text = format!("Hello from upstream {name}: {method} {path}\n").into_bytes();
        text.extend_from_slice(body);
        Answer { head: answer, body: Box::new(std::iter::once(text)), details: "demo" }
    }
}
