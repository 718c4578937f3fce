//! An upstream of the demo: a thread that says who it is and what it was asked.

use crate::http::{self, Asked, Reply};
use nuncio_core::address::Address;
use nuncio_net::listen::{ListenSpec, Listener, bind};
use nuncio_net::worker::{WorkerHandle, spawn_worker_thread};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Starts an upstream named `name`.
pub(super) fn start(name: &'static str, port: u16) -> io::Result<WorkerHandle> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut spec = ListenSpec::new(Address::Ip(address));
    spec.reuse_port = false;
    let socket = bind(&spec, 1)
        .map_err(|e| io::Error::other(e.to_string()))?
        .pop()
        .ok_or_else(|| io::Error::other("no socket"))?;
    spawn_worker_thread(&format!("demo:{name}"), 0, move |worker, stop| async move {
        match Listener::new(socket) {
            Ok(listener) => {
                let answer = Rc::new(move |asked: &Asked| answer(name, asked));
                tokio::select! {
                    () = http::serve(listener, worker, answer) => {}
                    () = stop.wait() => {}
                }
            }
            Err(error) => tracing::error!(target: "main", "demo upstream {name}: {error}"),
        }
    })
}

fn answer(name: &str, asked: &Asked) -> Reply {
    let mut reply = Reply::new(200).with("content-type", "text/plain").with("x-upstream", name);
    let method = String::from_utf8_lossy(asked.head.method()).into_owned();
    let path = String::from_utf8_lossy(asked.head.path()).into_owned();
    reply.body = format!("Hello from upstream {name}: {method} {path}\n").into_bytes();
    reply.body.extend_from_slice(&asked.body);
    reply
}
