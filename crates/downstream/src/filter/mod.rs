//! HTTP filters: what stands between the connection manager and the router.
//!
//! A filter is a factory (one file in `extensions`, one line in its list) that compiles a message into a
//! shared configuration, which makes an instance for each stream. Heads go down by call and answers come
//! back by return: a filter that need not wait allocates nothing. Bodies go through the same filters, but only in a
//! chain of which one says that it sees them ([`HttpFilter::sees_bodies`]); all other streams' bytes go from
//! codec to codec.

mod chain;
mod factory;
mod lane;
mod levels;
mod seat;

pub use chain::{Chain, ChainConfig, ChainEntry, LiveChain};
pub(crate) use chain::{Parts, Standing};
pub use factory::{AnyHttpFilterFactory, Compiled, HttpFilterFactory};
pub use lane::Instead;
pub(crate) use lane::{Encode, Lane, LaneEvent, Verdict};
pub use levels::Levels;
pub use seat::Seat;

use crate::hcm::local_reply::LocalReply;
use crate::route::{Action, Route, RouteConfigs, RouteTable};
use crate::tracing::Tracer;
use crate::world::World;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead};
use nuncio_core::stream_info::StreamInfo;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a filter wants done with what it was shown.
#[derive(Debug)]
pub enum Flow {
    /// On to the next filter.
    Continue,
    /// The head stays here, and no more of the body is read: the filter's `poll_` function says how it goes on.
    Wait,
    /// The head stays here while the body is read and kept, up to the chain's limit: the filter is asked again with
    /// each piece. Only for filters that see bodies.
    Buffer,
    /// Answer with this; the filters after this one do not see the request.
    Reply(LocalReply),
    /// The same, but only when the whole request has come; its body is thrown away. In the answer's direction it is
    /// as [`Reply`](Self::Reply).
    ReplyAtEnd(LocalReply),
    /// In the answer's direction: the stream begins anew with the request's head as it now is. Only for requests that
    /// are complete.
    Again,
}

/// Body bytes on their way through the filters.
#[derive(Debug, Default)]
pub struct Piece {
    /// The bytes. A filter changes them in place; what it takes out it gives back in another piece.
    pub data: Vec<u8>,
    /// The message ends with them. A filter that holds back data clears it, and sets it with the last piece that its
    /// `poll_` function gives.
    pub end_stream: bool,
}

/// A request as a filter sees it.
pub struct Request<'a> {
    /// Its head. Once it has gone on, changes show in the log alone.
    pub head: &'a mut RequestHead,
    /// Its trailers, once they have come.
    pub trailers: &'a mut HeaderMap,
    /// Its stream.
    pub info: &'a mut StreamInfo,
    /// How much of a body may be kept for a filter that buffers, in bytes; more is answered 413.
    pub limit: &'a mut usize,
    /// Set where the route has to be looked up anew when the filters are through.
    pub reroute: &'a mut bool,
    /// Who takes the spans of what filters ask on its behalf.
    pub tracer: Option<&'a Rc<dyn Tracer>>,
}

/// A response as a filter sees it.
pub struct Response<'a> {
    /// Its head.
    pub head: &'a mut ResponseHead,
    /// Its trailers, once they have come.
    pub trailers: &'a mut HeaderMap,
    /// The request that it answers. Changes show in the log, and in the request that [`Flow::Again`] makes of it.
    pub request: &'a mut RequestHead,
    /// Its stream.
    pub info: &'a mut StreamInfo,
    /// How much of a body may be kept for a filter that buffers, in bytes; more is answered 500.
    pub limit: &'a mut usize,
}

/// One stream's instance of a filter. Every function's default passes on.
///
/// A response may pass a filter that has not seen the request: what a filter before it answered, or the
/// connection manager.
pub trait HttpFilter {
    /// Whether it wants bodies and trailers, or keeps a response waiting. Asked when it is seated, and, where one of the
    /// chain's does, again when the request's head and the response's have passed all filters: it may have found that it
    /// has no part in them, but not that it has one.
    fn sees_bodies(&self) -> bool {
        false
    }

    /// Whether it looks at responses at all. One that does not is passed over, bodies and trailers included.
    fn sees_responses(&self) -> bool {
        true
    }

    /// The request's head, on its way to the router. `end_stream`: the request has no body.
    fn decode_headers(&mut self, request: &mut Request<'_>, end_stream: bool) -> Flow {
        let _ = (request, end_stream);
        Flow::Continue
    }

    /// Body of the request. While this filter holds the head, `piece` is all that has come; later, what is new.
    fn decode_data(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        let _ = (request, piece);
        Flow::Continue
    }

    /// The request's trailers, which end it. `piece` goes before them; with its `end_stream` they do not go on.
    fn decode_trailers(&mut self, request: &mut Request<'_>, piece: &mut Piece) -> Flow {
        let _ = (request, piece);
        Flow::Continue
    }

    /// Asked whenever the stream's task runs. Ready with what becomes of a head that waits here, or with a `piece`
    /// that was held back.
    fn poll_decode(
        &mut self,
        request: &mut Request<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        let _ = (request, piece, cx);
        Poll::Pending
    }

    /// The response's head, on its way to the client, local replies included.
    fn encode_headers(&mut self, response: &mut Response<'_>, end_stream: bool) -> Flow {
        let _ = (response, end_stream);
        Flow::Continue
    }

    /// Body of the response, as [`decode_data`](Self::decode_data).
    fn encode_data(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        let _ = (response, piece);
        Flow::Continue
    }

    /// The response's trailers, as [`decode_trailers`](Self::decode_trailers). [`Flow::Wait`] keeps them here until
    /// a piece that was held back says `end_stream`.
    fn encode_trailers(&mut self, response: &mut Response<'_>, piece: &mut Piece) -> Flow {
        let _ = (response, piece);
        Flow::Continue
    }

    /// As [`poll_decode`](Self::poll_decode).
    fn poll_encode(
        &mut self,
        response: &mut Response<'_>,
        piece: &mut Piece,
        cx: &mut Context<'_>,
    ) -> Poll<Flow> {
        let _ = (response, piece, cx);
        Poll::Pending
    }

    /// Bytes of the response that it holds back: above the buffer limit the upstream is no longer read.
    fn held_back(&self) -> usize {
        0
    }
}

/// A filter's compiled configuration, shared by all workers.
pub trait HttpFilterConfig: Send + Sync {
    /// One worker's live form. `stat_prefix` is the connection manager's, `http.PREFIX.`.
    fn start(self: Arc<Self>, world: &Rc<World>, stat_prefix: &str) -> Rc<dyn LiveHttpFilter>;

    /// Whether it may stand on the upstream's side, where each attempt has instances of its own. There a filter may
    /// gather the request, but not wait for anything else, and keeps no response.
    fn is_upstream_too(&self) -> bool {
        false
    }
}

/// One worker's live filter: what its streams' instances share.
pub trait LiveHttpFilter {
    /// Seats an instance for one stream; `false` where it has no part in it.
    fn make(self: Rc<Self>, route: &RouteSays<'_>, seat: &mut Seat) -> bool;

    /// Whether it has no part in streams whose route says nothing of it. Asked once, when the worker begins.
    fn waits_for_routes(&self) -> bool {
        false
    }

    /// Whether an instance may see a request that is only explained. One that would take from what streams share
    /// (tokens, say) may not.
    fn rehearses(&self) -> bool {
        true
    }
}

/// What the route taken says to a filter.
#[derive(Clone, Copy, Default)]
pub struct RouteSays<'a> {
    /// The name by which routes refer to the filter.
    pub name: &'a str,
    /// Its configurations of the filter, most specific first, of the type that the factory's `compile_route` made.
    pub configs: Option<&'a RouteConfigs>,
    /// The route itself; none where none was found.
    pub route: Option<&'a Arc<Route>>,
    /// The routes that hold for the stream; none on the upstream's side.
    pub table: Option<&'a Arc<RouteTable>>,
}

impl<'a> RouteSays<'a> {
    /// All configurations as what they are, for as long as the stream lives.
    #[inline]
    pub fn levels<T: Any + Send + Sync>(self) -> Levels<T> {
        Levels::new(self.configs.cloned())
    }

    /// The most specific configuration.
    #[inline]
    pub fn said<T: Any + Send + Sync>(self) -> Option<&'a T> {
        self.configs?.first()?.downcast_ref()
    }

    /// The same, for as long as the stream lives.
    #[inline]
    pub fn own<T: Any + Send + Sync>(self) -> Option<Arc<T>> {
        Arc::clone(self.configs?.first()?).downcast().ok()
    }

    /// Whether the stream is a copy of another one's request, on the upstream's side: it has no route.
    pub fn is_of_copy(self) -> bool {
        self.route.is_none() && self.table.is_none()
    }

    /// Whether the route leads to a cluster: it neither answers itself nor redirects.
    pub fn forwards(self) -> bool {
        self.route.is_some_and(|r| matches!(r.action, Action::Cluster(_)))
    }
}
