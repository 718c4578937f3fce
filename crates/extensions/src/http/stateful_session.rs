//! `envoy.filters.http.stateful_session`: a client comes back to the host that it was with, as a cookie or a header
//! says.

mod state;

use super::frame::{Framed, Live, NoStats, compiled, of_route, off};
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_downstream::router::{OVERRIDE_HOST, OverrideHost};
use nuncio_proto::pb::envoy::extensions::filters::http::stateful_session::v3 as pb;
use state::Keeper;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Compiles the filter's messages.
pub struct StatefulSessionFactory;

impl HttpFilterFactory for StatefulSessionFactory {
    type Config = pb::StatefulSession;
    type PerRoute = pb::StatefulSessionPerRoute;

    fn compile(&self, message: pb::StatefulSession, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<SessionFilter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: pb::StatefulSessionPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let pb::StatefulSessionPerRoute { r#override } = message;
        match r#override? {
            pb::stateful_session_per_route::Override::Disabled(_) => off::<Settings>(),
            pb::stateful_session_per_route::Override::StatefulSession(session) => {
                of_route(Settings::compile(session, &cx.field("stateful_session"))?)
            }
        }
    }
}

/// A compiled `StatefulSession`.
struct Settings {
    /// `None`: nothing is kept.
    keeper: Option<Keeper>,
    /// Where the host is gone nobody else serves.
    strict: bool,
}

impl Settings {
    fn compile(message: pb::StatefulSession, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::StatefulSession { session_state, strict } = message;
        let keeper = match session_state {
            None => None,
            Some(state) => Some(Keeper::compile(state, &cx.field("session_state"))?),
        };
        Some(Self { keeper, strict })
    }
}

/// One stream's filter.
struct SessionFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
    /// The host that the client was with.
    known: Option<String>,
    /// The request is one whose session is kept.
    kept: bool,
}

impl Framed for SessionFilter {
    type Settings = Settings;
    type Stats = NoStats;

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}stateful_session.")
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Box<dyn HttpFilter>> {
        settings.keeper.as_ref()?;
        Some(Box::new(Self { live, settings, known: None, kept: false }))
    }
}

impl SessionFilter {
    /// Seconds since 1970.
    fn now(&self) -> i64 {
        let wall = self.live.world.worker.wall();
        wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
    }
}

impl HttpFilter for SessionFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let Some(keeper) = &self.settings.keeper else { return Flow::Continue };
        self.kept = keeper.keeps(request.head);
        if !self.kept {
            return Flow::Continue;
        }
        self.known = keeper.host(request.head, self.now());
        if let Some(host) = &self.known {
            let host = OverrideHost { address: host.as_str().into(), strict: self.settings.strict };
            request.info.set_filter_state(OVERRIDE_HOST, Rc::new(host));
        }
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        let Some(keeper) = self.settings.keeper.as_ref().filter(|_| self.kept) else { return Flow::Continue };
        let Some(host) = response.info.upstream.host.as_ref().map(|host| host.address.to_string()) else {
            return Flow::Continue;
        };
        if self.known.as_ref() != Some(&host) {
            keeper.tell(response.head, &host, self.now());
        }
        Flow::Continue
    }
}
