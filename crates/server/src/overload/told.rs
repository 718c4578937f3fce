//! What the overload manager has to do with a request, for explanations.

use super::config::{Effect, OverloadConfig, Trigger, Triggered};
use nuncio_core::overload::{Level, Overload};
use nuncio_downstream::explain::Fact;

impl OverloadConfig {
    /// What is asked for at present, as `live` says, with counters of its own: to rehearse requests under.
    pub fn rehearsed(&self, live: &Overload) -> Overload {
        let own = self.overload();
        let same = |to: Option<&Level>, from: Option<&Level>| {
            to.zip(from).into_iter().for_each(|(to, from)| to.set(from.value()));
        };
        for action in &self.actions {
            match &action.effect {
                Effect::Level => same(own.level(&action.of.name), live.level(&action.of.name)),
                Effect::Timers(timers) => timers.iter().for_each(|(timer, _)| {
                    let level = |of: &'_ Overload| of.timers.get(*timer).map(|timer| timer.level.value());
                    let to = own.timers.get(*timer).map(|timer| &timer.level);
                    to.zip(level(live)).into_iter().for_each(|(to, level)| to.set(level));
                }),
                Effect::ShrinkHeap { .. } => {}
            }
        }
        for point in &self.points {
            same(level_of(&own, point), level_of(live, point));
        }
        own
    }

    /// Each action and load shed point, and how far it is asked for: as `live` says, or not at all where nothing is
    /// measured.
    pub fn told(&self, live: Option<&Overload>) -> Vec<Fact> {
        let actions = self.actions.iter().map(|action| {
            let level = live.and_then(|live| match &action.effect {
                Effect::Level => live.level(&action.of.name).map(Level::value),
                Effect::Timers(timers) => {
                    let (timer, _) = timers.first()?;
                    live.timers.get(*timer).map(|timer| timer.level.value())
                }
                Effect::ShrinkHeap { .. } => None,
            });
            self.fact("action", &action.of, level)
        });
        let points = self.points.iter().map(|point| {
            let level = live.and_then(|live| level_of(live, point)).map(Level::value);
            self.fact("load shed point", point, level)
        });
        actions.chain(points).collect()
    }

    fn fact(&self, kind: &'static str, of: &Triggered, level: Option<f64>) -> Fact {
        let now = match level {
            Some(level) => format!("at {}%", super::percent(level)),
            None => "not measured here".into(),
        };
        let when: Vec<String> = of.triggers.iter().map(|trigger| self.trigger(trigger)).collect();
        let name = last_part(&of.name);
        Fact { name: kind, value: format!("{name}: {now} ({})", when.join(", or ")), place: of.place }
    }

    /// When it asks, in words.
    fn trigger(&self, trigger: &Trigger) -> String {
        let Trigger { resource, low, high } = *trigger;
        let resource = self.monitors.get(resource).map_or("", |(name, _)| last_part(name));
        match low < high {
            true => format!("rises from {low} to {high} of {resource}"),
            false => format!("from {high} of {resource} on"),
        }
    }
}

fn level_of<'a>(overload: &'a Overload, point: &Triggered) -> Option<&'a Level> {
    overload.points.named(&point.name).map(|point| &point.level)
}

/// A name without where Envoy's names of its kind begin.
fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

#[cfg(test)]
mod tests;
