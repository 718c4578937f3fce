//! The filter chain: compiled once per connection manager, made once per stream.

use super::{Flow, HttpFilter, HttpFilterConfig, LiveHttpFilter, RouteSays, Step};
use crate::route::{Action, Route};
use crate::router::RouterConfig;
use crate::world::World;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::stream_info::StreamInfo;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// A connection manager's filters in their order, and the router at the end.
pub struct ChainConfig {
    /// Which of its connection manager's chains it is.
    pub id: usize,
    /// The filters before the router.
    pub filters: Vec<ChainEntry>,
    /// The router's configuration; `None` where the list is empty, which answers every request 404.
    pub router: Option<Arc<RouterConfig>>,
}

/// One filter of the chain.
pub struct ChainEntry {
    /// The name by which routes refer to it.
    pub name: Arc<str>,
    /// Its configuration.
    pub config: Arc<dyn HttpFilterConfig>,
    /// Off unless a route turns it on.
    pub disabled: bool,
}

/// One worker's live chain.
pub struct LiveChain(Box<[LiveEntry]>);

struct LiveEntry {
    name: Arc<str>,
    filter: Rc<dyn LiveHttpFilter>,
    disabled: bool,
}

/// One stream's filters.
#[derive(Default)]
pub struct Chain {
    filters: SmallVec<[Box<dyn HttpFilter>; 4]>,
    /// How many have seen the request: those see the response.
    entered: usize,
}

impl ChainConfig {
    /// A worker's live form; `stat_prefix` as in [`HttpFilterConfig::start`].
    pub fn start(&self, world: &Rc<World>, stat_prefix: &str) -> LiveChain {
        let live = |entry: &ChainEntry| LiveEntry {
            name: Arc::clone(&entry.name),
            filter: Arc::clone(&entry.config).start(world, stat_prefix),
            disabled: entry.disabled,
        };
        LiveChain(self.filters.iter().map(live).collect())
    }
}

impl LiveChain {
    /// The filters of a stream: those that the route does not switch off, with their per-route
    /// configuration. Without filters before the router, nothing is allocated.
    pub fn make(&self, route: Option<&Route>) -> Chain {
        let mut filters = SmallVec::new();
        for entry in &self.0 {
            let of_route = route.and_then(|r| r.filters.get(&entry.name));
            let disabled =
                of_route.and_then(|o| o.disabled()).unwrap_or(entry.disabled && of_route.is_none());
            if !disabled {
                let says = RouteSays {
                    configs: of_route.map(|o| o.configs()).unwrap_or_default(),
                    forwards: route.is_some_and(|r| matches!(r.action, Action::Cluster(_))),
                };
                filters.push(Rc::clone(&entry.filter).make(says));
            }
        }
        Chain { filters, entered: 0 }
    }
}

impl Chain {
    /// Leads the request's head down the list, until a filter answers.
    pub async fn decode(&mut self, head: &mut RequestHead, end_stream: bool, info: &mut StreamInfo) -> Flow {
        for filter in &mut self.filters {
            self.entered += 1;
            let flow = match filter.decode_headers(head, end_stream, info) {
                Step::Now(flow) => flow,
                Step::Later(answer) => answer.await,
            };
            if !matches!(flow, Flow::Continue) {
                return flow;
            }
        }
        Flow::Continue
    }

    /// Leads the response's head back up. A filter may put a local reply in its place once; the filters
    /// that have seen the first head then see the second.
    pub async fn encode(&mut self, head: &mut ResponseHead, end_stream: bool, info: &mut StreamInfo) -> Flow {
        for filter in self.filters.iter_mut().take(self.entered).rev() {
            let flow = match filter.encode_headers(head, end_stream, info) {
                Step::Now(flow) => flow,
                Step::Later(answer) => answer.await,
            };
            if !matches!(flow, Flow::Continue) {
                return flow;
            }
        }
        Flow::Continue
    }

    /// Whether there is no filter at all.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }
}
