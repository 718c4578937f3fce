//! `envoy.filters.http.rbac`: policies say who may do what.

use super::frame::{Framed, Live, NoStats, compiled, of_route, off};
use crate::rbac::{Engine, Judgement, Subject};
use nuncio_core::config::CompileContext;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_downstream::hcm::local_reply::{LocalReply, ReplyBody};
use nuncio_proto::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use prost_types::{Struct, Value, value::Kind};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

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
    /// `PREFIX.`, or nothing, in the names of stats.
    infix: Box<str>,
    /// What the keys of its metadata begin with.
    prefix: Box<str>,
}

impl Half {
    fn new(engine: Option<Engine>, prefix: String) -> Self {
        let infix = match prefix.trim_end_matches('.') {
            "" => "".into(),
            prefix => format!("{prefix}.").into(),
        };
        Self { engine, infix, prefix: prefix.into() }
    }
}

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
            rules: Half::new(enforced?, rules_stat_prefix),
            shadow: Half::new(shadow?, shadow_rules_stat_prefix),
            counts_policies: track_per_rule_stats,
        })
    }
}

/// One stream's filter.
struct RbacFilter {
    live: Rc<Live<Self>>,
    settings: Arc<Settings>,
}

impl Framed for RbacFilter {
    type Settings = Settings;
    type Stats = NoStats;

    fn sees_heads_alone(_: &Settings) -> bool {
        true
    }

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}rbac.")
    }

    fn start(live: &Live<Self>) {
        // They stand at 0 before anything is judged.
        live.below::<RuleStats>(&live.settings.rules.infix);
        live.below::<ShadowStats>(&live.settings.shadow.infix);
    }

    fn make(live: Rc<Live<Self>>, settings: Arc<Settings>, _: RouteSays<'_>) -> Option<Box<dyn HttpFilter>> {
        Some(Box::new(Self { live, settings }))
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// Says in the stream's metadata what was decided.
fn tell(request: &mut Request<'_>, prefix: &str, kind: &str, allowed: bool, policy: Option<&str>) {
    let result = if allowed { "allowed" } else { "denied" };
    let mut fields = vec![(format!("{prefix}{kind}_engine_result"), text(result))];
    fields.extend(policy.map(|policy| (format!("{prefix}{kind}_effective_policy_id"), text(policy))));
    request.info.set_dynamic_metadata(NAMESPACE, Struct { fields: fields.into_iter().collect() });
}

impl RbacFilter {
    /// What the keys of metadata begin with: the route's prefix, or else the filter's own.
    fn prefix<'a>(of_route: &'a Half, own: &'a Half) -> &'a str {
        if of_route.prefix.is_empty() { &own.prefix } else { &of_route.prefix }
    }

    /// Counts for a policy, where each has counters of its own.
    fn count_policy(&self, own: &Half, policy: Option<&str>, what: &str) {
        if let Some(policy) = policy.filter(|_| self.settings.counts_policies) {
            self.live.count(&format!("{}{}policy.{policy}.{what}", self.live.prefix(), own.infix));
        }
    }

    /// What the shadow rules would have said.
    fn judge_in_shadow(&self, request: &mut Request<'_>) {
        let (shadow, own) = (&self.settings.shadow, &self.live.settings.shadow);
        let Some(engine) = &shadow.engine else { return };
        let Judgement { allowed, policy, .. } = engine.judge(&Subject::request(request.head, request.info));
        let stats = self.live.below::<ShadowStats>(&own.infix);
        if allowed {
            stats.shadow_allowed.inc();
        } else {
            stats.shadow_denied.inc();
        }
        self.count_policy(own, policy, if allowed { "shadow_allowed" } else { "shadow_denied" });
        tell(request, Self::prefix(shadow, own), "shadow", allowed, policy);
    }
}

impl HttpFilter for RbacFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        self.judge_in_shadow(request);
        let (rules, own) = (&self.settings.rules, &self.live.settings.rules);
        let Some(engine) = &rules.engine else { return Flow::Continue };
        let Judgement { allowed, policy, hint } = engine.judge(&Subject::request(request.head, request.info));
        if let Some(hint) = hint {
            let hint = Value { kind: Some(Kind::BoolValue(hint)) };
            let fields = [("access_log_hint".to_owned(), hint)].into_iter().collect();
            request.info.set_dynamic_metadata(LOG_NAMESPACE, Struct { fields });
        }
        tell(request, Self::prefix(rules, own), "enforced", allowed, policy);
        self.count_policy(own, policy, if allowed { "allowed" } else { "denied" });
        let stats = self.live.below::<RuleStats>(&own.infix);
        if allowed {
            stats.allowed.inc();
            return Flow::Continue;
        }
        stats.denied.inc();
        let policy = policy.unwrap_or("none").replace(char::is_whitespace, "_");
        let reply = LocalReply::new(403, format!("rbac_access_denied_matched_policy[{policy}]"));
        Flow::Reply(reply.with_body(ReplyBody::Static("RBAC: access denied")))
    }
}
