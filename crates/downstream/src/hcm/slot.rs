//! Where a stream's future lives: allocated once, used for one stream after another.
//!
//! A stream's life is an `async fn` of a few kilobytes of state. Boxing each would cost an allocation per
//! request; keeping one inside each connection would cost every idle connection its memory. So a worker
//! keeps a few slots and lends one to a connection while a stream is active.

use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A place for one future at a time, made by the same function from different arguments.
pub trait Slot<A, T> {
    /// Starts a future; what ran before is dropped.
    fn start(self: Pin<&mut Self>, args: A);
    /// Drives the future; `None` where none was started or it has ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>>;
}

pin_project! {
    struct Place<M, F> {
        make: M,
        #[pin]
        future: Option<F>,
    }
}

impl<A, T, F: Future<Output = T>, M: Fn(A) -> F> Slot<A, T> for Place<M, F> {
    fn start(self: Pin<&mut Self>, args: A) {
        let mut this = self.project();
        let future = (this.make)(args);
        this.future.set(Some(future));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Poll::Ready(out) = future.poll(cx) else { return Poll::Pending };
        this.future.set(None);
        Poll::Ready(Some(out))
    }
}

/// An owned slot.
pub type BoxSlot<A, T> = Pin<Box<dyn Slot<A, T>>>;

/// A slot for the futures of `make`.
pub fn slot<A: 'static, T: 'static, F: Future<Output = T> + 'static>(
    make: impl Fn(A) -> F + 'static,
) -> BoxSlot<A, T> {
    Box::pin(Place { make, future: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_serves_one_future_after_another() {
        let mut slot = slot(|n: u32| async move { n + 1 });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for n in [1, 7] {
            slot.as_mut().start(n);
            assert_eq!(slot.as_mut().poll(&mut cx), Poll::Ready(Some(n + 1)));
            assert_eq!(slot.as_mut().poll(&mut cx), Poll::Ready(None));
        }
    }
}
