//! One timer per connection, armed lazily.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// A timer whose deadline moves often and is seldom reached (idle time-outs).
///
/// Moving the deadline later costs two comparisons: the timer stays armed for the earlier instant, and when
/// that comes it is armed anew for the true one. It belongs to one task, and must be polled by that task on
/// each of its turns for as long as a deadline matters.
#[derive(Default)]
pub struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl LazyTimer {
    /// A timer that holds no resources until its first deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ready once `now` has reached `deadline`; otherwise sees to it that the task is woken then. Without a
    /// deadline it never is. `now` is the clock's present time.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if now >= deadline {
            return Poll::Ready(());
        }
        match self.armed {
            // Still ahead and early enough: it will wake us.
            Some(armed) if armed > now && armed <= deadline => Poll::Pending,
            _ => self.arm(cx, deadline),
        }
    }

    /// As [`poll`](Self::poll) for a task that has just begun to poll a timer that another task armed.
    pub fn take_over(&mut self) {
        self.armed = None;
    }

    #[cold]
    fn arm(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.armed = Some(deadline);
        let at = tokio::time::Instant::from_std(deadline);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(at);
                sleep
            }
            None => self.sleep.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        sleep.as_mut().poll(cx)
    }
}

/// What `work` comes to within `limit`; `None` where the time is over before. Without a limit it may take for ever.
pub async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

#[cfg(test)]
mod tests;
