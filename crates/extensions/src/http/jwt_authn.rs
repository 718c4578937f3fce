//! `envoy.filters.http.jwt_authn`: requests have to carry tokens (RFC 7519) that somebody known has signed.

mod cache;
mod compile;
mod failure;
mod json;
mod keys;
mod places;
mod remote;
mod token;
mod verify;
mod writing;

use cache::Cache;
use compile::{Keys, Requirement, Settings};
use failure::Failure;
use keys::KeySet;
use nuncio_codec::head::{Known, RequestHead};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterConfig, HttpFilterFactory, LiveHttpFilter, Piece, Request,
    RouteSays, Seat,
};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_downstream::world::World;
use nuncio_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use nuncio_upstream::call::Caller;
use remote::{Fetching, RemoteKeys};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use token::Token;
use verify::{Case, Verification};

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.jwt_authn.`.
    pub(super) struct JwtStats {
        counter allowed,
        counter cors_preflight_bypassed,
        counter denied,
        counter jwks_fetch_failed,
        counter jwks_fetch_success,
        counter jwt_cache_hit,
        counter jwt_cache_miss,
    }
}

/// Compiles the filter's messages. This machine's address is what services that give keys are told of us.
pub struct JwtAuthnFactory(pub Caller);

impl HttpFilterFactory for JwtAuthnFactory {
    type Config = pb::JwtAuthentication;
    type PerRoute = pb::PerRouteConfig;

    fn compile(&self, message: pb::JwtAuthentication, cx: &CompileContext<'_>) -> Option<Compiled> {
        let settings = Arc::new(Settings::compile(message, &self.0, cx)?);
        Some(Compiled::Filter(Arc::new(Config(settings))))
    }

    fn compile_route(
        &self,
        message: pb::PerRouteConfig,
        _: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let pb::PerRouteConfig { requirement_specifier } = message;
        Some(Arc::new(match requirement_specifier? {
            pb::per_route_config::RequirementSpecifier::Disabled(_) => OfRoute::Disabled,
            pb::per_route_config::RequirementSpecifier::RequirementName(name) => OfRoute::Named(name.into()),
        }))
    }
}

/// What a route says instead of the rules.
enum OfRoute {
    /// Nothing is required.
    Disabled,
    /// What `requirement_map` has by this name.
    Named(Box<str>),
}

struct Config(Arc<Settings>);

impl HttpFilterConfig for Config {
    fn start(self: Arc<Self>, world: &Rc<World>, hcm: &str) -> Rc<dyn LiveHttpFilter> {
        let settings = Arc::clone(&self.0);
        let stats = Rc::new(world.stats.scope(&format!("{hcm}jwt_authn.{}", settings.stat_infix)));
        let providers = settings.providers.iter().map(|provider| LiveProvider {
            cache: provider.cache.map(|config| RefCell::new(Cache::new(config))),
            remote: match &provider.keys {
                Keys::Local(_) => None,
                Keys::Remote(remote) => Some(RemoteKeys::new(Arc::clone(remote), world, &stats)),
            },
        });
        let providers = providers.collect();
        Rc::new(Live { settings, world: Rc::clone(world), stats, providers })
    }
}

/// One worker's filter.
struct Live {
    settings: Arc<Settings>,
    world: Rc<World>,
    stats: Rc<Scope<JwtStats>>,
    /// As the settings have them.
    providers: Box<[LiveProvider]>,
}

/// What a worker keeps of a provider.
struct LiveProvider {
    cache: Option<RefCell<Cache>>,
    remote: Option<Rc<RemoteKeys>>,
}

/// A provider's keys at a moment.
enum KeysNow {
    Here(Arc<KeySet>),
    /// The service is being asked.
    Asked(Fetching),
    Nowhere,
}

impl Live {
    /// A token that is known to be signed by the provider. It is counted whether it is.
    fn cached(&self, provider: usize, text: &str, now: u64) -> Option<Rc<Token>> {
        let cache = self.providers.get(provider).and_then(|live| live.cache.as_ref());
        let skew = self.settings.providers.get(provider).map_or(0, |provider| provider.clock_skew);
        let found = cache.and_then(|cache| cache.borrow_mut().find(text, now, skew));
        if found.is_some() {
            self.stats.jwt_cache_hit.inc();
        } else {
            self.stats.jwt_cache_miss.inc();
        }
        found
    }

    /// A token that the provider has signed.
    fn keep(&self, provider: usize, text: &str, token: Rc<Token>) {
        if let Some(cache) = self.providers.get(provider).and_then(|live| live.cache.as_ref()) {
            cache.borrow_mut().keep(text, token);
        }
    }

    fn keys(&self, provider: usize) -> KeysNow {
        let local = self.settings.providers.get(provider).map(|provider| &provider.keys);
        let remote = self.providers.get(provider).and_then(|live| live.remote.as_ref());
        match (local, remote) {
            (Some(Keys::Local(Some(keys))), _) => KeysNow::Here(Arc::clone(keys)),
            (_, Some(remote)) => match remote.at_hand() {
                Some(keys) => KeysNow::Here(keys),
                None => KeysNow::Asked(Box::pin(Rc::clone(remote).get())),
            },
            _ => KeysNow::Nowhere,
        }
    }
}

impl LiveHttpFilter for Live {
    fn make(self: Rc<Self>, says: &RouteSays<'_>, seat: &mut Seat) -> bool {
        seat.fill(JwtFilter { live: self, of_route: says.own(), verifies: None });
        true
    }
}

/// One stream's filter.
struct JwtFilter {
    live: Rc<Live>,
    of_route: Option<Arc<OfRoute>>,
    verifies: Option<Box<Verifies>>,
}

/// A request whose tokens are looked at.
struct Verifies {
    requirement: Arc<Requirement>,
    verification: Verification,
    /// What it asked for, before tokens were taken out of it.
    uri: Vec<u8>,
}

/// As much of a path as a challenge tells, in bytes.
const MOST_PATH: usize = 256;

/// What a request asked for.
fn original_uri(head: &RequestHead) -> Vec<u8> {
    let path = head.headers.get(Known::XEnvoyOriginalPath).unwrap_or(head.path());
    let path = path.get(..MOST_PATH).unwrap_or(path);
    [head.scheme(), b"://", head.authority(), path].concat()
}

fn is_preflight(head: &RequestHead) -> bool {
    let says = |name| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method() == b"OPTIONS" && says(Known::Origin) && says(Known::AccessControlRequestMethod)
}

/// Details of a refusal.
fn details(why: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", why.replace(' ', "_"))
}

impl JwtFilter {
    /// What the request has to bring; an error where the route names what is not there.
    fn required(&self, request: &Request<'_>) -> Result<Option<Arc<Requirement>>, String> {
        let settings = &self.live.settings;
        match self.of_route.as_deref() {
            Some(OfRoute::Disabled) => return Ok(None),
            Some(OfRoute::Named(name)) => {
                return settings.by_name.get(name).cloned().ok_or_else(|| settings.unknown_name(name));
            }
            None => {}
        }
        if let Some((_, requirement)) = settings.rules.iter().find(|(rule, _)| rule.matches(request.head)) {
            return Ok(requirement.clone());
        }
        let by_state = settings.by_state.as_ref().and_then(|by_state| {
            let value = request.info.filter_state(&by_state.key)?.serialize()?;
            by_state.requirements.get(&*value)
        });
        Ok(by_state.cloned().flatten())
    }

    fn allow(&self) -> Flow {
        self.live.stats.allowed.inc();
        Flow::Continue
    }

    /// The answer to a request that may not go on.
    fn refuse(&self, failure: Failure, uri: &[u8]) -> Flow {
        self.live.stats.denied.inc();
        let status = if failure == Failure::Audience { 403 } else { 401 };
        let reply = LocalReply::new(status, details(failure.text()));
        if self.live.settings.strips_failures {
            return Flow::Reply(reply);
        }
        let error: &[u8] = if failure == Failure::Missing { b"" } else { b", error=\"invalid_token\"" };
        let challenge = [b"Bearer realm=\"", uri, b"\"", error].concat();
        let reply = reply.with_header(Known::WwwAuthenticate.as_str(), challenge);
        Flow::Reply(reply.with_body(ReplyBody::Static(failure.text())))
    }

    /// Goes on with the tokens.
    fn poll(&mut self, request: &mut Request<'_>, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(mut verifies) = self.verifies.take() else { return Poll::Pending };
        let Verifies { requirement, verification, uri } = &mut *verifies;
        let mut case = Case { live: &self.live, request };
        let Poll::Ready(verdict) = verification.poll(requirement, &mut case, cx) else {
            self.verifies = Some(verifies);
            return Poll::Pending;
        };
        Poll::Ready(match (verdict, &verification.invalid_header) {
            (Err(failure), _) => self.refuse(failure, uri),
            (Ok(()), None) => self.allow(),
            (Ok(()), Some(name)) => {
                self.live.stats.allowed.inc();
                Flow::Reply(LocalReply::invalid_header(name))
            }
        })
    }
}

impl HttpFilter for JwtFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _end_stream: bool) -> Flow {
        for provider in &self.live.settings.providers {
            writing::clean(provider, request.head);
        }
        if self.live.settings.bypasses_preflights && is_preflight(request.head) {
            self.live.stats.cors_preflight_bypassed.inc();
            return self.allow();
        }
        let requirement = match self.required(request) {
            Ok(Some(requirement)) => requirement,
            Ok(None) => return self.allow(),
            Err(why) => {
                self.live.stats.denied.inc();
                let body = format!("Failed JWT authentication: {why}").into_bytes();
                return Flow::Reply(LocalReply::new(403, details(&why)).with_body(ReplyBody::Owned(body)));
            }
        };
        let (verification, uri) = (Verification::default(), original_uri(request.head));
        self.verifies = Some(Box::new(Verifies { requirement, verification, uri }));
        // Whoever has to wait is asked again with a waker.
        match self.poll(request, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(flow) => flow,
            Poll::Pending => Flow::Wait,
        }
    }

    fn poll_decode(&mut self, request: &mut Request<'_>, _: &mut Piece, cx: &mut Context<'_>) -> Poll<Flow> {
        self.poll(request, cx)
    }
}
