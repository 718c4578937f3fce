//! Lines over a connection to a cluster.

use nuncio_net::stream::{poll_read_vec, poll_write_all};
use nuncio_net::worker::Worker;
use nuncio_upstream::cluster::{Cluster, PickContext, RequestPriority};
use nuncio_upstream::manager::ClusterManager;
use nuncio_upstream::pool::TcpConnection;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What is told at flushes, on its way to one connection. What a flush gathers while an earlier one is still being
/// written is lost.
pub(super) struct Stream {
    gathered: Vec<u8>,
    flushes: Sender<Vec<u8>>,
}

impl Stream {
    /// Starts the task that keeps the connection; it is made at the first flush, and again when it was closed.
    pub(super) fn start(cluster: String, clusters: &Rc<ClusterManager>, worker: &Rc<Worker>) -> Self {
        let (flushes, told) = channel(1);
        worker.spawn(carry(cluster, Rc::clone(clusters), told));
        Self { gathered: Vec::new(), flushes }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.gathered.extend_from_slice(line.as_bytes());
        self.gathered.push(b'\n');
    }

    pub(super) fn flush(&mut self) {
        // Full: the receiver is slow. Gone: the process ends.
        let _ = self.flushes.try_send(std::mem::take(&mut self.gathered));
    }
}

async fn carry(name: String, clusters: Rc<ClusterManager>, mut told: Receiver<Vec<u8>>) {
    let mut kept: Option<TcpConnection> = None;
    while let Some(bytes) = told.recv().await {
        let open = match kept.take() {
            Some(connection) if is_open(&connection).await => Some(connection),
            _ => connect(&name, &clusters).await,
        };
        let Some(connection) = open else { continue };
        let mut written = 0;
        let sent = poll_fn(|cx| poll_write_all(connection.stream(), cx, &bytes, &mut written)).await;
        connection.sent(written);
        kept = sent.is_ok().then_some(connection);
    }
}

async fn connect(name: &str, clusters: &ClusterManager) -> Option<TcpConnection> {
    let cluster: Rc<Cluster> = clusters.get(name)?;
    let host = cluster.pick(&PickContext::default())?;
    let permit = cluster.try_connection(RequestPriority::Default)?;
    cluster.connect_tcp(&host, RequestPriority::Default, permit, None).await.ok()
}

/// Whether the peer has not closed it; what it says is not listened to.
async fn is_open(connection: &TcpConnection) -> bool {
    let mut said = Vec::with_capacity(256);
    poll_fn(|cx| {
        loop {
            match poll_read_vec(connection.stream(), cx, &mut said) {
                Poll::Pending => return Poll::Ready(true),
                Poll::Ready(Ok(n)) if n > 0 => said.clear(),
                Poll::Ready(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}
