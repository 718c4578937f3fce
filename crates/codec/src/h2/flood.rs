//! Budgets for what costs us more than it costs the peer.
//!
//! Envoy compares what was ever received with what was ever opened, so that a long-lived connection saves a budget
//! up. Here budgets are tokens with a ceiling that follows from the streams that are open, so that only present
//! work pays for present frames.

use super::error::ConnectionError;
use super::options::FloodLimits;
use std::time::Instant;

/// DATA frames whose credit may be saved up.
const SAVED_DATA_FRAMES: u64 = 1000;
/// What every connection, and every stream of it, may send of WINDOW_UPDATE without having been sent anything.
const FREE_WINDOW_UPDATES: u64 = 5;
const FREE_WINDOW_UPDATES_PER_STREAM: u64 = 2;

/// What is left of each budget of a connection.
#[derive(Debug)]
pub(super) struct Budgets {
    limits: FloodLimits,
    empty_frames: u32,
    priority: u64,
    window_updates: u64,
    resets: u64,
    resets_at: Option<Instant>,
    /// Frames that were written and not sent.
    pub(super) outbound: u32,
    /// Of these, control frames.
    pub(super) outbound_control: u32,
}

impl Budgets {
    pub(super) fn new(limits: FloodLimits) -> Self {
        Self {
            limits,
            empty_frames: 0,
            priority: u64::from(limits.priority_frames_per_stream),
            window_updates: FREE_WINDOW_UPDATES,
            resets: u64::from(limits.reset_burst),
            resets_at: None,
            outbound: 0,
            outbound_control: 0,
        }
    }

    /// A stream was opened; `active` with it.
    #[inline]
    pub(super) fn opened(&mut self, active: usize) {
        let active = active as u64;
        let each = u64::from(self.limits.priority_frames_per_stream);
        self.priority = (self.priority + each).min(each.saturating_mul(1 + active));
        self.window_updates =
            (self.window_updates + FREE_WINDOW_UPDATES_PER_STREAM).min(self.most_updates(active));
    }

    fn most_updates(&self, active: u64) -> u64 {
        let saved = SAVED_DATA_FRAMES * u64::from(self.limits.window_updates_per_data_frame) * 2;
        FREE_WINDOW_UPDATES + FREE_WINDOW_UPDATES_PER_STREAM * active + saved
    }

    /// A DATA frame was written.
    #[inline]
    pub(super) fn data_sent(&mut self, active: usize) {
        let credit = FREE_WINDOW_UPDATES_PER_STREAM * u64::from(self.limits.window_updates_per_data_frame);
        self.window_updates = (self.window_updates + credit).min(self.most_updates(active as u64));
    }

    /// A frame came that may be empty.
    #[inline]
    pub(super) fn payload(&mut self, stream: u32, empty: bool) -> Result<(), ConnectionError> {
        if !empty {
            self.empty_frames = 0;
            return Ok(());
        }
        self.empty_frames += 1;
        if self.empty_frames > self.limits.empty_frames {
            return Err(ConnectionError::EmptyFramesFlood { stream });
        }
        Ok(())
    }

    /// A PRIORITY frame came.
    pub(super) fn priority(&mut self) -> Result<(), ConnectionError> {
        self.priority = self.priority.checked_sub(1).ok_or(ConnectionError::PriorityFlood)?;
        Ok(())
    }

    /// A WINDOW_UPDATE frame came.
    #[inline]
    pub(super) fn window_update(&mut self) -> Result<(), ConnectionError> {
        self.window_updates = self.window_updates.checked_sub(1).ok_or(ConnectionError::WindowUpdateFlood)?;
        Ok(())
    }

    /// The peer reset a stream.
    pub(super) fn reset(&mut self, now: Instant) -> Result<(), ConnectionError> {
        let since = self.resets_at.map_or(0, |at| now.saturating_duration_since(at).as_secs());
        if since > 0 || self.resets_at.is_none() {
            let earned = since.saturating_mul(u64::from(self.limits.reset_rate));
            self.resets = (self.resets + earned).min(u64::from(self.limits.reset_burst));
            self.resets_at = Some(now);
        }
        self.resets = self.resets.checked_sub(1).ok_or(ConnectionError::ResetFlood)?;
        Ok(())
    }

    /// A frame was written.
    #[inline]
    pub(super) fn wrote(&mut self, control: bool) {
        self.outbound += 1;
        self.outbound_control += u32::from(control);
    }

    /// Whether more waits to be sent than may.
    #[inline]
    pub(super) fn outbound(&self) -> Result<(), ConnectionError> {
        if self.outbound > self.limits.outbound_frames {
            return Err(ConnectionError::OutboundFlood);
        }
        if self.outbound_control > self.limits.outbound_control_frames {
            return Err(ConnectionError::OutboundControlFlood);
        }
        Ok(())
    }
}
