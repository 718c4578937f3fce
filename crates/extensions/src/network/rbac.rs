//! `envoy.filters.network.rbac`: who may speak, decided when the first bytes come.

mod stream;

use crate::rbac::{Engine, Outcome, Subject};
use nuncio_core::config::{self, CompileContext};
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::ConnectionInfo;
use nuncio_downstream::network::{
    CompiledFilter, ListenerFacts, NetworkFilterFactory, NetworkGate, NetworkGateConfig, Passed,
};
use nuncio_downstream::world::{CompileEnv, World};
use nuncio_net::stream::ByteStream;
use nuncio_proto::pb::envoy::extensions::filters::network::rbac::v3::{
    Rbac as Message, rbac::EnforcementType,
};
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use stream::Watched;

/// Compiles the filter's message.
pub struct RbacFactory;

/// A compiled `network.rbac.v3.RBAC`.
struct RbacConfig {
    prefix: String,
    shadow_prefix: String,
    rules: Option<Engine>,
    shadow_rules: Option<Engine>,
    /// Asked again whenever bytes come.
    continuous: bool,
    /// How long a connection that is refused waits before it is closed.
    delay_deny: Option<Duration>,
}

nuncio_core::stats_block! {
    /// `PREFIX.rbac.`: what the rules said.
    struct RbacStats {
        counter allowed,
        counter denied,
    }
}

nuncio_core::stats_block! {
    /// `PREFIX.rbac.SHADOW_PREFIX.`: what the shadow rules would have said.
    struct ShadowStats {
        counter shadow_allowed,
        counter shadow_denied,
    }
}

struct Rbac {
    config: Arc<RbacConfig>,
    stats: Scope<RbacStats>,
    shadow_stats: Scope<ShadowStats>,
    world: Rc<World>,
}

impl NetworkFilterFactory for RbacFactory {
    type Config = Message;

    fn compile(
        &self,
        config: Message,
        cx: &CompileContext<'_>,
        _: &CompileEnv<'_>,
        _: ListenerFacts<'_>,
    ) -> Option<CompiledFilter> {
        let Message {
            rules,
            shadow_rules,
            stat_prefix,
            enforcement_type,
            shadow_rules_stat_prefix,
            delay_deny,
            matcher,
            shadow_matcher,
        } = config;
        let enforced = Engine::compile(rules.as_ref(), matcher, ["rules", "matcher"], false, cx);
        let fields = ["shadow_rules", "shadow_matcher"];
        let shadow = Engine::compile(shadow_rules.as_ref(), shadow_matcher, fields, false, cx);
        let joined = |prefix: &str| if prefix.is_empty() || prefix.ends_with('.') { "" } else { "." };
        let prefix = format!("{stat_prefix}{}rbac.", joined(&stat_prefix));
        let shadow_prefix =
            format!("{prefix}{shadow_rules_stat_prefix}{}", joined(&shadow_rules_stat_prefix));
        Some(CompiledFilter::Gate(Arc::new(RbacConfig {
            prefix,
            shadow_prefix,
            rules: enforced?,
            shadow_rules: shadow?,
            continuous: EnforcementType::try_from(enforcement_type) == Ok(EnforcementType::Continuous),
            delay_deny: config::timeout(delay_deny.as_ref(), None, &cx.field("delay_deny")),
        })))
    }
}

impl NetworkGateConfig for RbacConfig {
    fn start(self: Arc<Self>, world: &Rc<World>) -> Rc<dyn NetworkGate> {
        let (stats, shadow_stats) = (world.stats.scope(&self.prefix), world.stats.scope(&self.shadow_prefix));
        Rc::new(Rbac { config: self, stats, shadow_stats, world: Rc::clone(world) })
    }
}

impl NetworkGate for Rbac {
    fn pass(
        self: Rc<Self>,
        io: Box<dyn ByteStream>,
        connection: Rc<ConnectionInfo>,
    ) -> Pin<Box<dyn Future<Output = Option<Passed>>>> {
        let io = Box::new(Watched::new(io, self, connection));
        Box::pin(ready(Some(Passed { io, hold: None })))
    }
}

impl Rbac {
    /// Whether the connection may go on; counted, and noted for its log where it may not.
    fn allows(&self, connection: &ConnectionInfo) -> bool {
        let subject = Subject::connection(connection);
        if let Some(shadow) = &self.config.shadow_rules {
            match shadow.judge(&subject).outcome.allowed {
                true => self.shadow_stats.shadow_allowed.inc(),
                false => self.shadow_stats.shadow_denied.inc(),
            }
        }
        match self.config.rules.as_ref().map(|rules| rules.judge(&subject).outcome) {
            None => true,
            Some(Outcome { allowed: true, .. }) => {
                self.stats.allowed.inc();
                true
            }
            Some(Outcome { policy, .. }) => {
                self.stats.denied.inc();
                let policy = policy.as_deref().unwrap_or("none");
                let details = format!("rbac_access_denied_matched_policy[{policy}]");
                let _ = connection.state.termination.set(details.into());
                connection.state.local_close.set(Some("rbac_deny_close"));
                false
            }
        }
    }
}
