//! What is known of a proxied connection, written to its access logs when it is over.

use super::TcpProxy;
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::stream_info::{ConnectionInfo, ResponseFlag, StreamInfo};
use std::rc::Rc;
use std::time::Instant;

/// A connection's facts. Dropping it writes the log, whatever ended the connection.
pub(super) struct SessionLog {
    proxy: Rc<TcpProxy>,
    /// The facts.
    pub(super) info: StreamInfo,
}

impl SessionLog {
    /// A connection that begins now.
    pub(super) fn begin(proxy: &Rc<TcpProxy>, connection: Rc<ConnectionInfo>) -> Self {
        let worker = &proxy.world.worker;
        let random = worker.rng().next();
        let mut info = StreamInfo::new(connection.accepted, worker.wall(), connection, random);
        // It is the connection itself that is told of.
        info.be_connection();
        Self { proxy: Rc::clone(proxy), info }
    }

    /// The worker's time.
    pub(super) fn now(&self) -> Instant {
        self.proxy.world.worker.now()
    }

    /// Sets a flag, of the connection too.
    pub(super) fn flag(&mut self, flag: ResponseFlag) {
        self.info.flags.set(flag);
        self.info.connection.state.flags.set(self.info.flags);
    }

    /// Names why this side closes the connection.
    pub(super) fn closes(&self, reason: &'static str) {
        self.info.connection.state.local_close.set(Some(reason));
    }

    /// So many bytes came from the client.
    pub(super) fn received(&mut self, bytes: usize) {
        self.info.bytes_received += bytes as u64;
        self.info.bytes.wire_received += bytes as u64;
        self.proxy.stats.downstream_cx_rx_bytes_total.add(bytes as u64);
    }

    /// So many bytes went to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.info.bytes_sent += bytes as u64;
        self.info.bytes.wire_sent += bytes as u64;
        self.proxy.stats.downstream_cx_tx_bytes_total.add(bytes as u64);
    }
}

impl SessionLog {
    /// Writes an entry.
    pub(super) fn write(&self, log_type: LogType) {
        let TcpProxy { config, world, .. } = &*self.proxy;
        if config.access_logs.is_empty() {
            return;
        }
        let context = self.format_context(log_type);
        for log in &config.access_logs {
            log.log(&context, world.worker.id() as usize);
        }
    }

    /// What formats read of the connection as it stands.
    pub(super) fn format_context(&self, log_type: LogType) -> FormatContext<'_> {
        let worker = &self.proxy.world.worker;
        FormatContext {
            info: &self.info,
            request: None,
            response: None,
            trailers: None,
            local_reply_body: b"",
            log_type,
            now: worker.now(),
            wall: worker.wall(),
            rng: worker.rng(),
        }
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        self.write(LogType::TcpConnectionEnd);
    }
}
