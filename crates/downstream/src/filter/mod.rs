//! HTTP filters: what stands between the connection manager and the router.
//!
//! A filter is a factory (one file in `extensions`, one line in its list) that compiles a message into a
//! shared configuration, which makes an instance for each stream. Heads go down by call and answers come
//! back by return: a filter that need not wait allocates nothing.

mod chain;
mod factory;

pub use chain::{Chain, ChainConfig, ChainEntry, LiveChain};
pub use factory::{AnyHttpFilterFactory, Compiled, HttpFilterFactory};

use crate::hcm::local_reply::LocalReply;
use crate::world::World;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::stream_info::StreamInfo;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// What a filter wants done with a head.
pub enum Flow {
    /// On to the next filter.
    Continue,
    /// Answer with this; the filters after this one do not see the request.
    Reply(LocalReply),
    /// The same, but only when the whole request has come; its body is thrown away. In the answer's direction it is
    /// as [`Reply`](Self::Reply).
    ReplyAtEnd(LocalReply),
}

/// A filter's answer: at once, or when a future says so.
pub enum Step<'a> {
    /// The answer.
    Now(Flow),
    /// The answer comes later; only this case allocates.
    Later(Pin<Box<dyn Future<Output = Flow> + 'a>>),
}

/// One stream's instance of a filter. Every function's default passes on.
pub trait HttpFilter {
    /// The request's head, on its way to the router. `end_stream`: the request has no body.
    fn decode_headers<'a>(
        &'a mut self,
        head: &'a mut RequestHead,
        end_stream: bool,
        info: &'a mut StreamInfo,
    ) -> Step<'a> {
        let _ = (head, end_stream, info);
        Step::Now(Flow::Continue)
    }

    /// The response's head, on its way to the client, local replies included.
    fn encode_headers<'a>(
        &'a mut self,
        head: &'a mut ResponseHead,
        end_stream: bool,
        info: &'a mut StreamInfo,
    ) -> Step<'a> {
        let _ = (head, end_stream, info);
        Step::Now(Flow::Continue)
    }
}

/// A filter's compiled configuration, shared by all workers.
pub trait HttpFilterConfig: Send + Sync {
    /// One worker's live form. `stat_prefix` is the connection manager's, `http.PREFIX.`.
    fn start(self: Arc<Self>, world: &Rc<World>, stat_prefix: &str) -> Rc<dyn LiveHttpFilter>;
}

/// One worker's live filter: what its streams' instances share.
pub trait LiveHttpFilter {
    /// An instance for one stream.
    fn make(self: Rc<Self>, route: RouteSays<'_>) -> Box<dyn HttpFilter>;
}

/// What the route taken says to a filter.
#[derive(Clone, Copy, Default)]
pub struct RouteSays<'a> {
    /// Its configurations of the filter, most specific first, of the type that the factory's `compile_route` made.
    pub configs: &'a [Arc<dyn Any + Send + Sync>],
    /// It leads to a cluster; it neither answers itself nor redirects.
    pub forwards: bool,
}

impl RouteSays<'_> {
    /// The configurations as what they are.
    pub fn all<T: Any + Send + Sync>(self) -> impl Iterator<Item = Arc<T>> {
        self.configs.iter().filter_map(|config| Arc::clone(config).downcast().ok())
    }
}
