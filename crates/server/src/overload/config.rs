//! What `overload_manager` says, compiled.

use super::monitor::{CONNECTIONS, MonitorConfig};
use nuncio_core::config::{CompileContext, Place, duration};
use nuncio_core::overload::{ConnectionLimit, Minimum, Overload, ShedPoints, Timer};
use nuncio_core::runtime::Runtime;
use nuncio_proto::pb::envoy::config::overload::v3 as pb;
use nuncio_proto::pb::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use nuncio_proto::pb::envoy::r#type::v3::Percent;
use pb::scale_timers_overload_action_config::scale_timer::OverloadAdjust;
use pb::scale_timers_overload_action_config::{ScaleTimer, TimerType};
use pb::trigger::TriggerOneof;
use pb::{ScaleTimersOverloadActionConfig, ShrinkHeapConfig};
use prost::Name;
use prost_types::Any;
use std::time::Duration;

/// A compiled `OverloadManager`.
#[derive(Clone, Debug)]
pub struct OverloadConfig {
    /// `refresh_interval`: how often resources are measured; 1 s.
    pub refresh: Duration,
    /// Downstream connections that may be open at once (`global_downstream_max_connections`).
    pub connection_limit: Option<u64>,
    /// What is measured, by the names that triggers give.
    pub monitors: Vec<(Box<str>, MonitorConfig)>,
    /// `actions`
    pub actions: Vec<ActionConfig>,
    /// `loadshed_points`
    pub points: Vec<Triggered>,
}

/// Something that triggers ask for, by its name in stats.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// Its name.
    pub name: Box<str>,
    /// Where it stands.
    pub place: Option<Place>,
    pub(super) triggers: Box<[Trigger]>,
}

/// An action.
#[derive(Clone, Debug)]
pub struct ActionConfig {
    /// When it is asked for.
    pub of: Triggered,
    /// What it does.
    pub effect: Effect,
}

/// What an action does.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Whoever it is for reads its level.
    Level,
    /// `reduce_timeouts`
    Timers(Box<[(Timer, Minimum)]>),
    /// `shrink_heap`: saturated, what is free goes back to the system.
    ShrinkHeap {
        /// How often.
        every: Duration,
        /// Bytes that may stay.
        keep: u64,
    },
}

/// When a resource's pressure asks for something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trigger {
    /// The number of the monitor.
    pub(super) resource: usize,
    /// Up to here it does not.
    pub(super) low: f64,
    /// From here on it is saturated.
    pub(super) high: f64,
}

impl Trigger {
    fn level(self, pressure: f64) -> f64 {
        match pressure {
            p if p >= self.high => 1.0,
            p if p <= self.low => 0.0,
            p => (p - self.low) / (self.high - self.low),
        }
    }
}

impl Triggered {
    /// How far it is asked for: the highest of what its triggers say.
    pub fn level(&self, pressures: &[f64]) -> f64 {
        let of = |t: &Trigger| pressures.get(t.resource).map_or(0.0, |p| t.level(*p));
        self.triggers.iter().map(of).fold(0.0, f64::max)
    }
}

impl OverloadConfig {
    /// Compiles the message. `None`: refused, with the reasons in `cx`.
    pub fn compile(message: pb::OverloadManager, cx: &CompileContext<'_>, runtime: &Runtime) -> Option<Self> {
        let pb::OverloadManager { refresh_interval, resource_monitors, actions, loadshed_points } = message;
        let refresh = match &refresh_interval {
            None => Duration::from_secs(1),
            Some(value) => duration(value, &cx.field("refresh_interval"))?.max(Duration::from_millis(1)),
        };
        let mut config = Self {
            refresh,
            connection_limit: None,
            monitors: Vec::new(),
            actions: Vec::new(),
            points: Vec::new(),
        };
        for (i, monitor) in resource_monitors.into_iter().enumerate() {
            let cx = cx.item("resource_monitors", i);
            if !cx.told_of("typed_config") {
                config.monitor(monitor, &cx, runtime)?;
            }
        }
        for (i, action) in actions.into_iter().enumerate() {
            let action = config.action(action, &cx.item("actions", i))?;
            config.actions.push(action);
        }
        for (i, point) in loadshed_points.into_iter().enumerate() {
            let point = config.point(point, &cx.item("loadshed_points", i))?;
            config.points.push(point);
        }
        Some(config)
    }

    /// What everybody else reads; nothing is asked for yet.
    pub fn overload(&self) -> Overload {
        let mut overload = Overload::default();
        overload.connection_limit = self.connection_limit.map(ConnectionLimit::new);
        for action in &self.actions {
            if let Effect::Timers(timers) = &action.effect {
                for (timer, minimum) in timers {
                    overload.timers.add(*timer, *minimum);
                }
            }
        }
        overload
    }

    fn monitor(
        &mut self,
        message: pb::ResourceMonitor,
        cx: &CompileContext<'_>,
        runtime: &Runtime,
    ) -> Option<()> {
        let pb::ResourceMonitor { name, config_type } = message;
        let any = config_type.map(|pb::resource_monitor::ConfigType::TypedConfig(any)| any);
        let typed_cx = cx.field("typed_config");
        let duplicate = || {
            cx.error(format!("Duplicate resource monitor {name}"));
        };
        if name == CONNECTIONS {
            let Some(any) = any else { return unknown_monitor(&name, cx) };
            let DownstreamConnectionsConfig { max_active_downstream_connections } = typed_cx.unpack(&any)?;
            let most = u64::try_from(max_active_downstream_connections).unwrap_or(0);
            if self.connection_limit.replace(most).is_some() {
                duplicate();
                return None;
            }
            return Some(());
        }
        let Some(monitor) = any.map(|any| MonitorConfig::compile(&any, &typed_cx, runtime)) else {
            return unknown_monitor(&name, cx);
        };
        let monitor = monitor?;
        if self.monitors.iter().any(|(own, _)| **own == *name) {
            duplicate();
            return None;
        }
        self.monitors.push((name.into(), monitor));
        Some(())
    }

    fn action(&self, message: pb::OverloadAction, cx: &CompileContext<'_>) -> Option<ActionConfig> {
        let pb::OverloadAction { name, triggers, typed_config } = message;
        if self.actions.iter().any(|other| *other.of.name == *name) {
            cx.error(format!("Duplicate overload action {name}"));
            return None;
        }
        let effect = self.effect(&name, typed_config, cx)?;
        let triggers = self.triggers(triggers, cx, &format!("overload action {name}"))?;
        Some(ActionConfig { of: Triggered { name: name.into(), place: cx.place(), triggers }, effect })
    }

    fn effect(&self, name: &str, any: Option<Any>, cx: &CompileContext<'_>) -> Option<Effect> {
        let typed_cx = cx.field("typed_config");
        let scales = any.as_ref().is_some_and(|any| {
            nuncio_core::config::type_name(&any.type_url) == ScaleTimersOverloadActionConfig::full_name()
        });
        let known = name.strip_prefix(Overload::ACTIONS);
        match (known, &any) {
            (Some("reduce_timeouts"), None) => {
                cx.error(format!("Overload action \"{name}\" requires typed_config"));
                None
            }
            (Some("reduce_timeouts"), Some(any)) => self.timers(typed_cx.unpack(any)?, &typed_cx),
            (None, Some(any)) if scales => self.timers(typed_cx.unpack(any)?, &typed_cx),
            (Some("shrink_heap"), any) => shrinking(any.as_ref(), &typed_cx),
            (Some("reset_high_memory_stream" | "close_idle_http_connections"), _) => {
                cx.unsupported(format!("the action {name} is not built"));
                None
            }
            _ if Overload::default().level(name).is_none() => {
                cx.error(format!("Unknown Overload Manager Action {name}"));
                None
            }
            (_, Some(_)) => {
                cx.error(format!("Overload action name \"{name}\" conflicts with its typed config"));
                None
            }
            (_, None) => Some(Effect::Level),
        }
    }

    fn timers(&self, message: ScaleTimersOverloadActionConfig, cx: &CompileContext<'_>) -> Option<Effect> {
        let ScaleTimersOverloadActionConfig { timer_scale_factors } = message;
        let earlier = self.actions.iter().filter_map(|action| match &action.effect {
            Effect::Timers(timers) => Some(timers),
            _ => None,
        });
        let mut taken: Vec<Timer> = earlier.flatten().map(|(timer, _)| *timer).collect();
        let mut timers = Vec::with_capacity(timer_scale_factors.len());
        for (i, message) in timer_scale_factors.into_iter().enumerate() {
            let cx = cx.item("timer_scale_factors", i);
            let ScaleTimer { timer, overload_adjust } = message;
            let (kind, timer) = timer_of(timer)?;
            let minimum = match overload_adjust? {
                OverloadAdjust::MinTimeout(time) => Minimum::Time(duration(&time, &cx.field("min_timeout"))?),
                OverloadAdjust::MinScale(Percent { value }) => Minimum::Part(value / 100.0),
            };
            if taken.contains(&timer) {
                cx.error(format!("Found duplicate entry for timer type {}", kind.as_str_name()));
                return None;
            }
            taken.push(timer);
            timers.push((timer, minimum));
        }
        Some(Effect::Timers(timers.into()))
    }

    fn point(&self, message: pb::LoadShedPoint, cx: &CompileContext<'_>) -> Option<Triggered> {
        let pb::LoadShedPoint { name, triggers } = message;
        if self.points.iter().any(|other| *other.name == *name) {
            cx.error(format!("Duplicate loadshed point {name}"));
            return None;
        }
        if let Some("connection_pool_new_connection" | "tcp_proxy_on_data" | "tcp_proxy_upstream_connect") =
            name.strip_prefix(ShedPoints::PREFIX)
        {
            cx.field("name").unsupported(format!("the load shed point {name} is not built"));
            return None;
        }
        let triggers = self.triggers(triggers, cx, &format!("loadshed point {name}"))?;
        Some(Triggered { name: name.into(), place: cx.place(), triggers })
    }

    fn triggers(
        &self,
        messages: Vec<pb::Trigger>,
        cx: &CompileContext<'_>,
        of: &str,
    ) -> Option<Box<[Trigger]>> {
        let mut triggers: Vec<Trigger> = Vec::with_capacity(messages.len());
        for (i, pb::Trigger { name, trigger_oneof }) in messages.into_iter().enumerate() {
            let cx = cx.item("triggers", i);
            let Some(resource) = self.monitors.iter().position(|(own, _)| **own == *name) else {
                cx.field("name").error(format!("Unknown trigger resource {name} for {of}"));
                return None;
            };
            if triggers.iter().any(|t| t.resource == resource) {
                cx.field("name").error(format!("Duplicate trigger resource for {of}"));
                return None;
            }
            let (low, high) = match trigger_oneof? {
                TriggerOneof::Threshold(pb::ThresholdTrigger { value }) => (value, value),
                TriggerOneof::Scaled(pb::ScaledTrigger { scaling_threshold, saturation_threshold }) => {
                    if scaling_threshold >= saturation_threshold {
                        cx.field("scaled").error("scaling_threshold must be less than saturation_threshold");
                        return None;
                    }
                    (scaling_threshold, saturation_threshold)
                }
            };
            triggers.push(Trigger { resource, low, high });
        }
        Some(triggers.into())
    }
}

fn unknown_monitor(name: &str, cx: &CompileContext<'_>) -> Option<()> {
    cx.error(format!("Didn't find a registered implementation for '{name}'"));
    None
}

fn shrinking(any: Option<&Any>, cx: &CompileContext<'_>) -> Option<Effect> {
    let ShrinkHeapConfig { timer_interval, max_unfreed_memory_bytes } = match any {
        None => ShrinkHeapConfig::default(),
        Some(any) => cx.unpack(any)?,
    };
    let every = match &timer_interval {
        None => Duration::from_secs(10),
        Some(value) => duration(value, &cx.field("timer_interval"))?,
    };
    Some(Effect::ShrinkHeap { every, keep: max_unfreed_memory_bytes.unwrap_or(100 << 20) })
}

/// `None` for a number that the constraints refuse.
fn timer_of(number: i32) -> Option<(TimerType, Timer)> {
    let kind = TimerType::try_from(number).ok()?;
    let timer = match kind {
        TimerType::Unspecified => return None,
        TimerType::HttpDownstreamConnectionIdle => Timer::ConnectionIdle,
        TimerType::HttpDownstreamStreamIdle => Timer::StreamIdle,
        TimerType::TransportSocketConnect => Timer::TransportSocketConnect,
        TimerType::HttpDownstreamConnectionMax => Timer::ConnectionMax,
        TimerType::HttpDownstreamStreamFlush => Timer::StreamFlush,
    };
    Some((kind, timer))
}

#[cfg(test)]
mod tests;
