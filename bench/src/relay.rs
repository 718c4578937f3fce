//! The floor: copies bytes between a client and its own upstream connection and knows no HTTP.
//!
//! One thread, one task per connection, one 16 KiB buffer per direction: what any proxy that reads and writes
//! each message once has to pay.

use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Serves for ever on 127.0.0.1:`port`, one upstream connection to 127.0.0.1:`to` for each client.
pub(crate) fn serve(port: u16, to: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tasks = Rc::new(tokio::task::LocalSet::new());
    runtime.block_on(tasks.run_until(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tasks.spawn_local(relay(client, to));
        }
    }))
}

async fn relay(mut client: TcpStream, to: u16) -> io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", to)).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_read, client_write) = client.split();
    let (upstream_read, upstream_write) = upstream.split();
    tokio::try_join!(copy(client_read, upstream_write), copy(upstream_read, client_write))?;
    Ok(())
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..n).unwrap_or_default()).await?;
    }
}
