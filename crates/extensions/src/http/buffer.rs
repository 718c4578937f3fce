//! `envoy.filters.http.buffer`: requests go on when they are complete, with their length.

use super::frame::{Framed, Live, compiled, of_route, off};
use nuncio_codec::head::Known;
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, RouteSays};
use nuncio_proto::pb::envoy::extensions::filters::http::buffer::v3::{
    Buffer, BufferPerRoute, buffer_per_route,
};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

/// Compiles the filter's messages.
pub struct BufferFactory;

/// How large a request may be, in bytes.
struct Limit(usize);

impl Limit {
    fn compile(message: &Buffer) -> Self {
        let Buffer { max_request_bytes } = message;
        Self(max_request_bytes.unwrap_or_default() as usize)
    }
}

impl HttpFilterFactory for BufferFactory {
    type Config = Buffer;
    type PerRoute = BufferPerRoute;

    fn compile(&self, message: Buffer, _: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<BufferFilter>(Limit::compile(&message))
    }

    fn compile_route(
        &self,
        message: BufferPerRoute,
        _: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let BufferPerRoute { r#override } = message;
        match r#override? {
            buffer_per_route::Override::Disabled(_) => off::<Limit>(),
            buffer_per_route::Override::Buffer(buffer) => of_route(Limit::compile(&buffer)),
        }
    }
}

/// One stream's filter.
struct BufferFilter {
    limit: usize,
}

impl Framed for BufferFilter {
    type Settings = Limit;
    type Stats = ();

    fn stat_prefix(_: &Limit, hcm: &str) -> String {
        format!("{hcm}buffer.")
    }

    fn is_upstream_too(_: &Limit) -> bool {
        true
    }

    fn make(_: Rc<Live<Self>>, limit: Arc<Limit>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { limit: limit.0 })
    }
}

impl BufferFilter {
    /// The request is complete: a length takes the place of its chunks.
    fn complete(request: &mut Request<'_>, piece: &Piece) -> Flow {
        let headers = &mut request.head.headers;
        if !headers.contains(Known::ContentLength) {
            headers.remove(Known::TransferEncoding);
            headers.set_number(Known::ContentLength, piece.data.len() as u64);
        }
        Flow::Continue
    }
}

impl HttpFilter for BufferFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn sees_bodies(&self) -> bool {
        true
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        if end_stream {
            return Flow::Continue;
        }
        *request.limit = self.limit;
        Flow::Buffer
    }

    fn decode_data(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        if piece.end_stream { Self::complete(request, piece) } else { Flow::Buffer }
    }

    fn decode_trailers(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        Self::complete(request, piece)
    }
}
