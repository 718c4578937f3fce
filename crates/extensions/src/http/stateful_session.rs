//! `envoy.filters.http.stateful_session`: a client comes back to the host that it was with, as a cookie or a header
//! says.

mod state;

use super::frame::{Framed, Live, compiled, of_route, off};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
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
    /// The status of the answer then; 0: that which it has.
    strict_status: u16,
    /// Where it counts; empty: nowhere.
    stat_prefix: Box<str>,
}

nuncio_core::stats_block! {
    /// What a filter with a `stat_prefix` counts, below `http.PREFIX.stateful_session.OWN.`; a route's own settings
    /// count below `stateful_session.OWN.`, as in Envoy.
    struct SessionStats {
        counter failed_closed,
        counter failed_open,
        counter no_session,
        counter routed,
    }
}

impl Settings {
    fn compile(message: pb::StatefulSession, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::StatefulSession {
            session_state,
            strict,
            stat_prefix,
            status_on_strict_destination_not_found,
        } = message;
        let keeper = match session_state {
            None => None,
            Some(state) => Some(Keeper::compile(state, &cx.field("session_state"))?),
        };
        let strict_status = u16::try_from(status_on_strict_destination_not_found).unwrap_or_default();
        Some(Self { keeper, strict, strict_status, stat_prefix: stat_prefix.into() })
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
    type Stats = ();

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}stateful_session.")
    }

    fn start(live: &Live<Self>) {
        Self::stats(live, &live.settings);
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Self> {
        settings.keeper.as_ref()?;
        Some(Self { live, settings, known: None, kept: false })
    }
}

impl SessionFilter {
    /// Where these settings count.
    fn stats(live: &Live<Self>, settings: &Arc<Settings>) -> Option<Rc<Scope<SessionStats>>> {
        let own = &settings.stat_prefix;
        if own.is_empty() {
            return None;
        }
        let below = if Arc::ptr_eq(settings, &live.settings) { live.prefix() } else { "stateful_session." };
        Some(live.cluster_scope(&format!("{below}{own}.")))
    }

    fn count(&self, count: impl Fn(&SessionStats)) {
        if let Some(stats) = Self::stats(&self.live, &self.settings) {
            count(&stats);
        }
    }

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
            self.count(|stats| stats.no_session.inc());
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
            if self.settings.strict && self.known.is_some() {
                self.count(|stats| stats.failed_closed.inc());
                if self.settings.strict_status != 0 {
                    response.head.status = self.settings.strict_status;
                }
            }
            return Flow::Continue;
        };
        let same = self.known.as_ref() == Some(&host);
        match (same, self.settings.strict) {
            (true, _) => self.count(|stats| stats.routed.inc()),
            (false, false) => self.count(|stats| stats.failed_open.inc()),
            (false, true) => {}
        }
        if !same {
            keeper.tell(response.head, &host, self.now());
        }
        Flow::Continue
    }
}
