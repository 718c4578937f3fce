//! Many idle keep-alive connections: each makes one request, then stays open until stdin ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType};

use crate::response::response_end;

/// Opens `connections` to 127.0.0.1:`port` from `sources` addresses (127.0.1.1, 127.0.1.2, …), one request on
/// each, prints `ready N` and holds them until stdin is closed.
pub(crate) fn hold(port: u16, connections: usize, sources: usize) -> io::Result<()> {
    let mut held = Vec::with_capacity(connections);
    for i in 0..connections {
        let source = u8::try_from(i % sources.clamp(1, 250)).unwrap_or(0) + 1;
        let mut stream = connect_from(SocketAddr::from(([127, 0, 1, source], 0)), port)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n")?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while response_end(&bytes).is_none() {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
        }
        held.push(stream);
    }
    println!("ready {}", held.len());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A blocking connection from a given local address.
fn connect_from(source: SocketAddr, port: u16) -> io::Result<TcpStream> {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&fd, &source)?;
    rustix::net::connect(&fd, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    Ok(TcpStream::from(fd))
}
