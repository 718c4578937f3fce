//! A connection's timer: idle time, its longest life, the drain sequence, keepalive, and its streams' deadlines.

use super::{Driver, Over, mark};
use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

impl Driver {
    /// Looks at what is due; whether something was.
    pub(super) fn timers(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.hcm.world.worker.now();
        if self.drain.as_mut().is_some_and(|drain| drain.poll(cx).is_ready()) {
            self.drain = None;
            if self.hcm.draining() && self.link.state.borrow_mut().begin_drain(now) {
                self.hcm.stats.downstream_cx_drain_close.inc();
                return true;
            }
        }
        self.follow_pressure();
        let t = &self.hcm.config.timeouts;
        let idle_at =
            self.hcm.idle_timeout().filter(|_| self.active == 0).and_then(|d| self.idle_since.checked_add(d));
        let max_at =
            self.hcm.max_duration_of(&self.connection).and_then(|d| self.connection.accepted.checked_add(d));
        let (streams, codec, draining) = {
            let state = self.link.state.borrow();
            (state.next_deadline, state.codec.deadline(), state.draining)
        };
        let drained_at = draining.and_then(|since| t.drained_at(since, &self.connection));
        let drained_at = drained_at.filter(|_| !self.shut);
        let own = if draining.is_some() { drained_at } else { [idle_at, max_at].into_iter().flatten().min() };
        let deadline = [own, streams, codec].into_iter().flatten().min();
        if self.timer.poll(cx, now, deadline).is_pending() {
            return false;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(streams) {
            self.wake_due(now);
        }
        if due(codec) {
            let chance = self.hcm.world.worker.rng().next();
            let ticked = self.link.state.borrow_mut().codec.tick(now, chance);
            if let Err(error) = ticked {
                self.failed(error);
            }
        }
        if draining.is_some() {
            if due(drained_at) {
                self.shut_down();
            }
        } else if due(own) {
            if max_at == own {
                self.hcm.stats.downstream_cx_max_duration_reached.inc();
            } else {
                self.hcm.stats.downstream_cx_idle_timeout.inc();
            }
            if self.served == 0 {
                self.over = Some(Over::Idle);
            } else {
                self.link.state.borrow_mut().begin_drain(now);
            }
        }
        true
    }

    /// Where timers became shorter or longer, every stream looks at its own.
    fn follow_pressure(&mut self) {
        let Some(overload) = &self.hcm.overload else { return };
        let generation = overload.generation();
        if std::mem::replace(&mut self.pressure_seen, generation) != generation {
            for slot in 0..self.places.len() {
                mark(&mut self.places, &mut self.ready, slot);
            }
            self.poll_streams();
        }
    }

    /// Polls the streams whose deadlines have come.
    fn wake_due(&mut self, now: Instant) {
        let link = Rc::clone(&self.link);
        let state = &mut *link.state.borrow_mut();
        let mut next: Option<Instant> = None;
        for (slot, inbox) in state.inboxes.iter_mut().enumerate() {
            match inbox.deadline {
                Some(at) if at <= now => {
                    inbox.deadline = None;
                    mark(&mut self.places, &mut self.ready, slot);
                }
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        state.next_deadline = next;
    }
}
