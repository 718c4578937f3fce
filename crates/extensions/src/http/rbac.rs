//! `envoy.filters.http.rbac`: policies say who may do what.

use super::frame::{Counts, Framed, Live, below, compiled, of_route, off};
use crate::rbac::{Engine, Judgement, Outcome, Subject};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::{NamespaceFields, StreamInfo};
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use prost_types::{Struct, Value, value::Kind};
use std::any::Any;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

/// The namespace of its dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.rbac";

/// The namespace in which access logs are told what to log.
const LOG_NAMESPACE: &str = "envoy.common";

nuncio_core::stats_block! {
    /// What the rules count, below `http.PREFIX.rbac.`.
    struct RuleStats {
        counter allowed,
        counter denied,
    }
}

nuncio_core::stats_block! {
    /// What the shadow rules count.
    struct ShadowStats {
        counter shadow_allowed,
        counter shadow_denied,
    }
}

/// Compiles the filter's messages.
pub struct RbacFactory;

impl HttpFilterFactory for RbacFactory {
    type Config = Rbac;
    type PerRoute = RbacPerRoute;

    fn compile(&self, message: Rbac, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<RbacFilter>(Settings::compile(message, cx)?)
    }

    fn compile_route(
        &self,
        message: RbacPerRoute,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let RbacPerRoute { rbac } = message;
        match rbac {
            None => off::<Settings>(),
            Some(rbac) => of_route(Settings::compile(rbac, &cx.field("rbac"))?),
        }
    }
}

/// A compiled `RBAC`.
struct Settings {
    rules: Half,
    shadow: Half,
    /// `track_per_rule_stats`: policies have counters of their own.
    counts_policies: bool,
}

/// Rules, or those whose word is only noted.
struct Half {
    engine: Option<Engine>,
    /// `shadow` or `enforced`, in the keys of metadata.
    kind: &'static str,
    /// `PREFIX.`, or nothing, in the names of stats.
    infix: Box<str>,
    /// What the keys of its metadata begin with.
    prefix: Box<str>,
    /// What metadata says of each of the engine's outcomes.
    told: Box<[Arc<NamespaceFields>]>,
}

impl Half {
    fn new(engine: Option<Engine>, kind: &'static str, prefix: String) -> Self {
        let infix = match prefix.trim_end_matches('.') {
            "" => "".into(),
            prefix => format!("{prefix}.").into(),
        };
        let outcomes = engine.as_ref().map_or(&[][..], Engine::outcomes);
        let told = outcomes.iter().map(|outcome| told(&prefix, kind, outcome)).collect();
        Self { engine, kind, infix, prefix: prefix.into(), told }
    }

    /// Says in the stream's metadata what was decided. Keys begin with the prefix of `own`, the filter's, where the route
    /// has none.
    fn tell(&self, info: &mut StreamInfo, own: &Self, judgement: &Judgement<'_>) {
        if self.prefix.is_empty() && !own.prefix.is_empty() {
            info.note_dynamic_metadata(&told(&own.prefix, self.kind, judgement.outcome));
        } else if let Some(told) = self.told.get(judgement.number) {
            info.note_dynamic_metadata(told);
        }
    }
}

/// What metadata says of an outcome.
fn told(prefix: &str, kind: &str, outcome: &Outcome) -> Arc<NamespaceFields> {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let result = text(if outcome.allowed { "allowed" } else { "denied" });
    let policy = outcome.policy.as_deref().map(text);
    let policy = policy.map(|policy| (format!("{prefix}{kind}_effective_policy_id"), policy));
    let fields = [(format!("{prefix}{kind}_engine_result"), result)].into_iter().chain(policy).collect();
    Arc::new(NamespaceFields { namespace: NAMESPACE.into(), fields: Struct { fields } })
}

/// What logs are told, by whether they shall have the request.
static HINTS: LazyLock<[Arc<NamespaceFields>; 2]> = LazyLock::new(|| {
    [false, true].map(|hint| {
        let hint = Value { kind: Some(Kind::BoolValue(hint)) };
        let fields = [("access_log_hint".to_owned(), hint)].into_iter().collect();
        Arc::new(NamespaceFields { namespace: LOG_NAMESPACE.into(), fields: Struct { fields } })
    })
});

impl Settings {
    fn compile(message: Rbac, cx: &CompileContext<'_>) -> Option<Self> {
        let Rbac {
            rules,
            shadow_rules,
            shadow_rules_stat_prefix,
            rules_stat_prefix,
            matcher,
            shadow_matcher,
            track_per_rule_stats,
        } = message;
        let enforced = Engine::compile(rules.as_ref(), matcher, ["rules", "matcher"], true, cx);
        let fields = ["shadow_rules", "shadow_matcher"];
        let shadow = Engine::compile(shadow_rules.as_ref(), shadow_matcher, fields, true, cx);
        Some(Self {
            rules: Half::new(enforced?, "enforced", rules_stat_prefix),
            shadow: Half::new(shadow?, "shadow", shadow_rules_stat_prefix),
            counts_policies: track_per_rule_stats,
        })
    }
}

/// What it counts in: a route's own rules count where the filter's do.
struct RbacStats {
    rules: Scope<RuleStats>,
    shadow: Scope<ShadowStats>,
}

impl Counts<Settings> for RbacStats {
    fn begin(settings: &Settings, stats: &Registry, prefix: &str) -> Self {
        Self {
            rules: stats.scope(&format!("{prefix}{}", settings.rules.infix)),
            shadow: stats.scope(&format!("{prefix}{}", settings.shadow.infix)),
        }
    }
}

/// One stream's filter.
struct RbacFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
}

impl Framed for RbacFilter {
    type Settings = Settings;
    type Stats = RbacStats;

    fn is_upstream_too(_: &Settings) -> bool {
        true
    }

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        below(hcm, "rbac.")
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, route: RouteSays<'_>) -> Option<Self> {
        let judges = settings.rules.engine.is_some() || settings.shadow.engine.is_some();
        // As in Envoy, copies have no connection that could be judged.
        (judges && !route.is_of_copy()).then_some(Self { live, settings })
    }
}

impl RbacFilter {
    /// Counts for a policy, where each has counters of its own.
    fn count_policy(&self, own: &Half, outcome: &Outcome, what: &str) {
        if let Some(policy) = outcome.policy.as_ref().filter(|_| self.settings.counts_policies) {
            self.live.count(&format!("{}{}policy.{policy}.{what}", self.live.prefix(), own.infix));
        }
    }

    /// What the shadow rules would have said.
    fn judge_in_shadow(&self, request: &mut Request<'_>) {
        let (shadow, own) = (&self.settings.shadow, &self.live.settings.shadow);
        let Some(engine) = &shadow.engine else { return };
        let judgement = engine.judge(&Subject::request(request.head, request.info));
        let (outcome, stats) = (judgement.outcome, &self.live.stats.shadow);
        if outcome.allowed {
            stats.shadow_allowed.inc();
        } else {
            stats.shadow_denied.inc();
        }
        self.count_policy(own, outcome, if outcome.allowed { "shadow_allowed" } else { "shadow_denied" });
        shadow.tell(request.info, own, &judgement);
    }
}

impl HttpFilter for RbacFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        self.judge_in_shadow(request);
        let (rules, own) = (&self.settings.rules, &self.live.settings.rules);
        let Some(engine) = &rules.engine else { return Flow::Continue };
        let judgement = engine.judge(&Subject::request(request.head, request.info));
        let Judgement { outcome, hint, .. } = judgement;
        if let Some(hint) = hint {
            let [no, yes] = &*HINTS;
            request.info.note_dynamic_metadata(if hint { yes } else { no });
        }
        rules.tell(request.info, own, &judgement);
        self.count_policy(own, outcome, if outcome.allowed { "allowed" } else { "denied" });
        let stats = &self.live.stats.rules;
        if outcome.allowed {
            stats.allowed.inc();
            return Flow::Continue;
        }
        stats.denied.inc();
        let policy = outcome.policy.as_deref().unwrap_or("none").replace(char::is_whitespace, "_");
        let reply = LocalReply::new(403, format!("rbac_access_denied_matched_policy[{policy}]"));
        Flow::Reply(reply.with_body(ReplyBody::Static("RBAC: access denied")))
    }
}
