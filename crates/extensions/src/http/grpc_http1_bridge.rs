//! `envoy.filters.http.grpc_http1_bridge`: HTTP/1 clients, who see no trailers, see a call's status in its head.

use super::frame::{Framed, Live, compiled};
use nuncio_codec::head::{Known, Version};
use nuncio_core::config::CompileContext;
use nuncio_core::format::is_grpc_request;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Piece, Request, Response, RouteSays,
};
use nuncio_proto::pb::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a message's prefix: a flag and its length.
const PREFIX: usize = 5;

/// Compiles the filter's message.
pub struct GrpcHttp1BridgeFactory;

impl HttpFilterFactory for GrpcHttp1BridgeFactory {
    type Config = Config;
    type PerRoute = Config;

    fn compile(&self, message: Config, _: &CompileContext<'_>) -> Option<Compiled> {
        let Config { upgrade_protobuf_to_grpc, ignore_query_parameters } = message;
        compiled::<BridgeFilter>(Settings {
            upgrades: upgrade_protobuf_to_grpc,
            drops_query: ignore_query_parameters,
        })
    }
}

struct Settings {
    /// A request of plain protobuf becomes a call.
    upgrades: bool,
    /// Its query does not go on.
    drops_query: bool,
}

/// What the filter does with a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing,
    /// Status and message go from trailers to the head.
    Bridges,
    /// That, and messages get and lose their prefix.
    Frames,
}

/// One stream's filter.
struct BridgeFilter {
    settings: Arc<Settings>,
    does: Does,
}

impl Framed for BridgeFilter {
    type Settings = Settings;
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}grpc_http1_bridge.")
    }

    fn make(_: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { settings, does: Does::Nothing })
    }
}

impl BridgeFilter {
    /// A whole message gets its prefix.
    fn frame(piece: &mut Piece) -> Flow {
        if !piece.end_stream {
            return Flow::Buffer;
        }
        let length = u32::try_from(piece.data.len()).unwrap_or(u32::MAX).to_be_bytes();
        piece.data.splice(0..0, [0].into_iter().chain(length));
        Flow::Continue
    }

    /// The answer is whole: it gets its length, and a message loses its prefix.
    fn finish(&self, response: &mut Response<'_>, piece: &mut Piece) {
        if self.does == Does::Frames {
            piece.data.drain(..piece.data.len().min(PREFIX));
        }
        response.head.headers.set_number(Known::ContentLength, piece.data.len() as u64);
    }
}

impl HttpFilter for BridgeFilter {
    fn sees_bodies(&self) -> bool {
        true
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let head = &mut *request.head;
        let http1 = matches!(request.info.protocol, Some(Version::Http10 | Version::Http11));
        let protobuf = head.headers.get(Known::ContentType) == Some(b"application/x-protobuf");
        if http1 && is_grpc_request(&head.headers) {
            self.does = Does::Bridges;
        } else if http1 && self.settings.upgrades && protobuf {
            self.does = Does::Frames;
            head.headers.remove(Known::ContentLength);
            head.headers.set(Known::ContentType, b"application/grpc");
        }
        if self.does != Does::Nothing && self.settings.drops_query {
            let path = head.path_without_query().to_vec();
            head.headers.set(Known::Path, &path);
        }
        if self.does == Does::Frames && !end_stream { Flow::Buffer } else { Flow::Continue }
    }

    fn decode_data(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        if self.does == Does::Frames { Self::frame(piece) } else { Flow::Continue }
    }

    fn encode_headers(&mut self, _: &mut Response<'_>, end_stream: bool) -> Flow {
        if self.does == Does::Nothing || end_stream { Flow::Continue } else { Flow::Buffer }
    }

    fn encode_data(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        if self.does == Does::Nothing {
            return Flow::Continue;
        }
        if !piece.end_stream {
            return Flow::Buffer;
        }
        if self.does == Does::Frames {
            self.finish(response, piece);
        }
        Flow::Continue
    }

    fn encode_trailers(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        if self.does == Does::Nothing {
            return Flow::Continue;
        }
        for name in [Known::GrpcStatus, Known::GrpcMessage] {
            if let Some(value) = response.trailers.get(name) {
                response.head.headers.set(name, value);
            }
        }
        if response.trailers.get(Known::GrpcStatus).is_some_and(|status| status != b"0") {
            response.head.status = 503;
        }
        self.finish(response, piece);
        Flow::Continue
    }
}
