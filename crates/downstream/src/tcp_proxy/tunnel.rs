//! A tunnel to a host through a proxy (`tunneling_config`): CONNECT or POST, whose body is the client's bytes and whose
//! response's body are the host's.

use crate::hcm::policy::messages::request_id_extension;
use crate::hcm::request_id::{RequestIds, uuid};
use nuncio_codec::head::{HeaderMap, Known, Name, RequestHead, ResponseHead, Version};
use nuncio_core::address::Address;
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, Format, FormatContext, write_json_string};
use nuncio_core::header::{HeaderMutations, HeaderName, MutationFields};
use nuncio_core::rng::Rng;
use nuncio_core::stream_info::{ByteCounts, FilterState, StreamInfo, UpstreamConnectionInfo};
use nuncio_net::stream::{ByteStream, ReadBuf};
use nuncio_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::TunnelingConfig;
use nuncio_upstream::error::ResetReason;
use nuncio_upstream::pool::{Exchange, UpstreamEvent};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// With this many bytes on their way to the host, the client is no longer read.
const WAITING_AT_MOST: usize = 64 * 1024;

/// Bytes of a RST_STREAM frame, which Envoy's count of wire bytes has.
const RESET_FRAME: u64 = 13;

/// A compiled `TunnelingConfig`.
pub struct TunnelConfig {
    hostname: Format,
    /// The path of POST; `None`: CONNECT is used.
    post_path: Option<Box<str>>,
    headers: HeaderMutations,
    id: Option<TunnelId>,
    propagate_headers: bool,
    propagate_trailers: bool,
}

/// Where an identifier of the request for a tunnel goes.
struct TunnelId {
    /// `request_id_header`
    header: HeaderName,
    /// `request_id_metadata_key`
    key: String,
}

impl TunnelId {
    fn new(header: String, key: String) -> Self {
        let or = |text: String, usual: &str| if text.is_empty() { usual.to_owned() } else { text };
        Self { header: HeaderName::new(&or(header, "x-request-id")), key: or(key, "tunnel_request_id") }
    }
}

/// The namespace of metadata in which identifiers are left.
const METADATA: &str = "envoy.filters.network.tcp_proxy";

impl TunnelConfig {
    /// `None`: refused, and the reason is recorded.
    pub(super) fn compile(message: TunnelingConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let TunnelingConfig {
            hostname,
            use_post,
            headers_to_add,
            propagate_response_headers,
            post_path,
            propagate_response_trailers,
            request_id_extension: extension,
            request_id_header,
            request_id_metadata_key,
            formatters,
        } = message;
        let commands = Commands::compile(&formatters, cx)?;
        let format = Format::with(&hostname, &Commands::default(), false);
        let hostname = format.map_err(|e| cx.field("hostname").error(e.to_string())).ok();
        if !use_post && !post_path.is_empty() {
            cx.field("post_path")
                .error("Can't set a post path when POST method isn't used to establish tunneling connection");
            return None;
        }
        let fields = MutationFields { add: "headers_to_add", remove: "" };
        let post_path = if post_path.is_empty() { "/".to_owned() } else { post_path };
        Some(Self {
            headers: HeaderMutations::compile_with(&headers_to_add, &[], cx, fields, &commands)?,
            hostname: hostname?,
            post_path: use_post.then(|| post_path.into()),
            id: match extension.as_ref().and_then(|e| e.typed_config.as_ref()) {
                // As in Envoy, an extension without its configuration is none.
                None => None,
                Some(_) => {
                    request_id_extension(
                        RequestIds::default(),
                        extension.as_ref(),
                        &cx.field("request_id_extension"),
                    )?;
                    Some(TunnelId::new(request_id_header, request_id_metadata_key))
                }
            },
            propagate_headers: propagate_response_headers,
            propagate_trailers: propagate_response_trailers,
        })
    }

    /// An identifier for the next request, left in the connection's metadata, where one is wanted.
    pub(super) fn new_id(&self, info: &mut StreamInfo, rng: &Rng) -> Option<Box<str>> {
        let TunnelId { key, header: _ } = self.id.as_ref()?;
        let id = String::from_utf8_lossy(&uuid(rng.next(), rng.next())).into_owned();
        let value = Value { kind: Some(Kind::StringValue(id.clone())) };
        info.set_dynamic_metadata(METADATA, Struct { fields: [(key.clone(), value)].into() });
        Some(id.into())
    }

    /// The request that asks for a tunnel on a connection.
    pub(super) fn request(
        &self,
        cx: &FormatContext<'_>,
        on: &UpstreamConnectionInfo,
        id: Option<&str>,
    ) -> RequestHead {
        let mut head = RequestHead::new();
        let mut hostname = Vec::new();
        self.hostname.render(cx, &mut hostname);
        let method: &[u8] = if self.post_path.is_some() { b"POST" } else { b"CONNECT" };
        head.headers.append(Known::Method, method);
        head.headers.append(Known::Authority, &hostname);
        if let Some(path) = &self.post_path {
            head.headers.append(Known::Path, path.as_bytes());
            if on.protocol == Some(Version::Http2) {
                let scheme: &[u8] = if on.tls.is_some() { b"https" } else { b"http" };
                head.headers.append(Known::Scheme, scheme);
            }
        }
        if let (Some(id), Some(TunnelId { header, key: _ })) = (id, &self.id) {
            head.headers.append(header.as_name(), id.as_bytes());
        }
        self.headers.apply_request(&mut head, cx);
        head
    }
}

/// A tunnel that was granted, as a stream of bytes.
pub(super) struct Tunnel {
    inner: RefCell<Inner>,
    local: Address,
    peer: Address,
}

struct Inner {
    exchange: Exchange,
    head: ResponseHead,
    trailers: HeaderMap,
    /// What of the last piece was read.
    at: usize,
    reading: Reading,
    /// The client's end was passed on.
    sent_end: bool,
    http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing is there.
    Waiting,
    /// A piece is; with it the response is complete where this is true.
    Piece {
        last: bool,
    },
    /// The host said all; with trailers where this is true.
    Ended {
        trailers: bool,
    },
    Failed(ResetReason),
}

/// Why there is no tunnel.
pub(super) struct Refused {
    /// The status that was answered.
    pub(super) status: Option<u16>,
    pub(super) bytes: ByteCounts,
}

impl Tunnel {
    /// Asks for a tunnel and waits for the answer. The response's headers are left in the filter state where the
    /// configuration says so.
    pub(super) async fn ask(
        config: &TunnelConfig,
        mut exchange: Exchange,
        request: &RequestHead,
        peer: Address,
        info: &mut StreamInfo,
    ) -> Result<Self, Refused> {
        let local = exchange.connection().local.clone();
        let http2 = exchange.connection().protocol == Some(Version::Http2);
        let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::default());
        let refused = |exchange: Exchange, status: Option<u16>| {
            let mut bytes = exchange.bytes();
            if http2 && status.is_some() {
                bytes.wire_sent += RESET_FRAME;
            }
            Refused { status, bytes }
        };
        if exchange.encode_head(request, false).is_err() {
            return Err(refused(exchange, None));
        }
        let end_stream = loop {
            let event = poll_fn(|cx| {
                let _ = exchange.poll_flush(cx);
                exchange.poll_event(cx, &mut head, &mut trailers)
            });
            match event.await {
                Ok(UpstreamEvent::Head { end_stream }) => break end_stream,
                Ok(UpstreamEvent::Informational) => head.clear(),
                Ok(UpstreamEvent::Metadata) => {}
                Ok(_) | Err(_) => return Err(refused(exchange, None)),
            }
        };
        let good = if http2 { head.status == 200 && !end_stream } else { head.status / 100 == 2 };
        if !good {
            return Err(refused(exchange, Some(head.status)));
        }
        if config.propagate_headers {
            let state = TunnelHeaders::new(Some(head.status), &head.headers);
            info.set_filter_state("envoy.tcp_proxy.propagate_response_headers", Rc::new(state));
        }
        let reading = if end_stream { Reading::Ended { trailers: false } } else { Reading::Waiting };
        let inner = Inner { exchange, head, trailers, at: 0, reading, sent_end: false, http2 };
        Ok(Self { inner: RefCell::new(inner), local, peer })
    }

    /// Why it broke, where it did.
    pub(super) fn failure(&self) -> Option<ResetReason> {
        match self.inner.borrow().reading {
            Reading::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// What went over the wire, framing included. `ending` says that the tunnel is closed now.
    pub(super) fn bytes(&self, ending: bool) -> ByteCounts {
        let inner = self.inner.borrow();
        let mut bytes = inner.exchange.bytes();
        let complete = inner.sent_end && matches!(inner.reading, Reading::Ended { .. });
        if ending && inner.http2 && !complete && !matches!(inner.reading, Reading::Failed(_)) {
            bytes.wire_sent += RESET_FRAME;
        }
        bytes
    }

    /// Leaves the response's trailers in the filter state, where there are any and the configuration says so.
    pub(super) fn propagate_trailers(&self, config: &TunnelConfig, info: &mut StreamInfo) {
        let inner = self.inner.borrow();
        if config.propagate_trailers && inner.reading == (Reading::Ended { trailers: true }) {
            let state = TunnelHeaders::new(None, &inner.trailers);
            info.set_filter_state("envoy.tcp_proxy.propagate_response_trailers", Rc::new(state));
        }
    }
}

impl Inner {
    /// Sends what waits, and looks for more; ready when a read would find something.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = self.exchange.poll_flush(cx);
        while self.reading == Reading::Waiting {
            let event = ready!(self.exchange.poll_event(cx, &mut self.head, &mut self.trailers));
            self.at = 0;
            self.reading = match event {
                Ok(UpstreamEvent::Data { end_stream }) => Reading::Piece { last: end_stream },
                Ok(UpstreamEvent::End) => Reading::Ended { trailers: false },
                Ok(UpstreamEvent::Trailers) => Reading::Ended { trailers: true },
                Ok(UpstreamEvent::Head { .. } | UpstreamEvent::Informational | UpstreamEvent::Metadata) => {
                    Reading::Waiting
                }
                Err(error) => Reading::Failed(error.reason),
            };
        }
        Poll::Ready(())
    }
}

impl ByteStream for Tunnel {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            ready!(inner.poll_piece(cx));
            match inner.reading {
                Reading::Piece { last } => {
                    let rest = inner.exchange.data().get(inner.at..).unwrap_or_default();
                    let n = rest.len().min(buf.remaining());
                    buf.put_slice(rest.get(..n).unwrap_or_default());
                    inner.at += n;
                    if n == rest.len() {
                        inner.reading =
                            if last { Reading::Ended { trailers: false } } else { Reading::Waiting };
                    }
                    if n > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Reading::Ended { .. } => return Poll::Ready(Ok(())),
                Reading::Failed(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Reading::Waiting => {}
            }
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.borrow_mut().poll_piece(cx).map(Ok)
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.exchange.buffered() > WAITING_AT_MOST {
            let _ = inner.exchange.poll_flush(cx);
            if inner.exchange.buffered() > WAITING_AT_MOST {
                return Poll::Pending;
            }
        }
        inner.exchange.encode_data(data, false);
        let _ = inner.exchange.poll_flush(cx);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_write_vectored(&self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match data.iter().find(|piece| !piece.is_empty()) {
            Some(piece) => self.poll_write(cx, piece),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// HTTP/1 has no half-closed tunnels: it ends both ways.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.inner.borrow_mut();
        if !inner.sent_end {
            inner.sent_end = true;
            inner.exchange.encode_data(b"", true);
        }
        ready!(inner.exchange.poll_flush(cx));
        if !inner.http2 && !matches!(inner.reading, Reading::Failed(_)) {
            inner.reading = Reading::Ended { trailers: false };
        }
        Poll::Ready(Ok(()))
    }

    fn local_address(&self) -> &Address {
        &self.local
    }

    fn peer_address(&self) -> &Address {
        &self.peer
    }

    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_drop(&self) {
        // A tunnel that is dropped before its end is reset.
    }
}

/// The headers or trailers of a tunnel's answer, for logs (`propagate_response_headers`).
#[derive(Debug)]
struct TunnelHeaders(String);

impl TunnelHeaders {
    fn new(status: Option<u16>, headers: &HeaderMap) -> Self {
        let status = status.map(|s| s.to_string());
        let status = status.as_ref().map(|s| (Name::other(b":status"), s.as_bytes()));
        let mut json = b"{\"headers\":[".to_vec();
        for (i, (name, value)) in status.into_iter().chain(headers.iter()).enumerate() {
            if i > 0 {
                json.push(b',');
            }
            json.extend_from_slice(b"{\"key\":");
            write_json_string(name.as_bytes(), &mut json);
            json.extend_from_slice(b",\"value\":");
            write_json_string(value, &mut json);
            json.push(b'}');
        }
        json.extend_from_slice(b"]}");
        Self(String::from_utf8_lossy(&json).into_owned())
    }
}

impl FilterState for TunnelHeaders {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }

    fn json(&self) -> Option<String> {
        Some(self.0.clone())
    }
}
