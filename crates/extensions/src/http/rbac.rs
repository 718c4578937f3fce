//! `envoy.filters.http.rbac`: policies say who may do what.

use super::frame::{Framed, Live, NoStats, compiled, of_route, off};
use crate::rbac::{Action, Engine, Subject};
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
    rules: Option<Engine>,
    shadow: Option<Engine>,
    /// `PREFIX.`, or nothing, in the names of stats.
    rules_infix: Box<str>,
    shadow_infix: Box<str>,
    /// What the keys of its metadata begin with.
    rules_prefix: Box<str>,
    shadow_prefix: Box<str>,
}

impl Settings {
    fn compile(message: Rbac, cx: &CompileContext<'_>) -> Option<Self> {
        let Rbac { rules, shadow_rules, shadow_rules_stat_prefix, rules_stat_prefix } = message;
        let engine = |rules: Option<_>, field| match &rules {
            None => Some(None),
            Some(rules) => Engine::compile(rules, &cx.field(field)).map(Some),
        };
        let infix = |prefix: &str| -> Box<str> {
            match prefix.trim_end_matches('.') {
                "" => "".into(),
                prefix => format!("{prefix}.").into(),
            }
        };
        Some(Self {
            rules: engine(rules, "rules")?,
            shadow: engine(shadow_rules, "shadow_rules")?,
            rules_infix: infix(&rules_stat_prefix),
            shadow_infix: infix(&shadow_rules_stat_prefix),
            rules_prefix: rules_stat_prefix.into(),
            shadow_prefix: shadow_rules_stat_prefix.into(),
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

    fn stat_prefix(_: &Settings, hcm: &str) -> String {
        format!("{hcm}rbac.")
    }

    fn start(live: &Live<Self>) {
        // They stand at 0 before anything is judged.
        live.below::<RuleStats>(&live.settings.rules_infix);
        live.below::<ShadowStats>(&live.settings.shadow_infix);
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

impl HttpFilter for RbacFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        let Settings { rules, shadow, rules_prefix, shadow_prefix, .. } = &*self.settings;
        let own = &self.live.settings;
        if let Some(engine) = shadow {
            let (allowed, policy) = engine.judge(&Subject::request(request.head, request.info));
            let stats = self.live.below::<ShadowStats>(&own.shadow_infix);
            if allowed {
                stats.shadow_allowed.inc()
            } else {
                stats.shadow_denied.inc()
            }
            tell(request, shadow_prefix, "shadow", allowed, policy);
        }
        let Some(engine) = rules else { return Flow::Continue };
        let (allowed, policy) = engine.judge(&Subject::request(request.head, request.info));
        if engine.action == Action::Log {
            let hint = Value { kind: Some(Kind::BoolValue(policy.is_some())) };
            let fields = [("access_log_hint".to_owned(), hint)].into_iter().collect();
            request.info.set_dynamic_metadata(LOG_NAMESPACE, Struct { fields });
        }
        tell(request, rules_prefix, "enforced", allowed, policy);
        let stats = self.live.below::<RuleStats>(&own.rules_infix);
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
