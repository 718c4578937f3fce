//! The loop of the bench's servers: one thread, one `epoll`, connections that know what to do when theirs is ready.

use std::collections::HashMap;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);

/// One connection of a server.
pub(crate) trait Connection {
    /// Reads and writes what can be; false when the connection has ended. `buffer` is scratch space.
    fn ready(&mut self, buffer: &mut [u8]) -> bool;
}

/// Serves for ever on 127.0.0.1:`port` with connections that `make` makes.
pub(crate) fn serve<C: Connection>(port: u16, make: impl Fn(TcpStream) -> C) -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: HashMap<Token, C> = HashMap::new();
    let mut next = 1;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(next), interest)?;
                    connections.insert(Token(next), make(stream));
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&event.token())
                && !connection.ready(&mut buffer)
            {
                connections.remove(&event.token());
            }
        }
    }
}
