//! Futures of the user's that may be dropped midway. Their drops run code of the user's as their polls do: a panic there
//! ends the future and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::observe::panic_text;

/// Polls the future in its place.
pub(crate) fn poll_in<F: Future>(mut place: Pin<&mut Option<F>>) -> impl Future<Output = F::Output> {
    std::future::poll_fn(move |cx| match place.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Pending,
    })
}

/// Drops the future in its place. A handler that owns a runtime panics there, for instance.
pub(crate) fn drop_in<F>(mut place: Pin<&mut Option<F>>, whose: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| place.set(None))) {
        let text = panic_text(panic.as_ref());
        tracing::error!(target: "ackonce", "{whose} panicked while it was dropped: {text}");
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as a runtime that is dropped within another"));
        }
    }

    #[tokio::test]
    async fn a_panic_of_a_drop_goes_no_further() {
        let panics = Panics;
        let mut place = pin!(Some(async move {
            std::future::pending::<()>().await;
            drop(panics);
        }));
        let polled = futures_util::FutureExt::now_or_never(poll_in(place.as_mut()));
        assert!(polled.is_none());
        drop_in(place.as_mut(), "the handler");
        assert!(place.is_none());
    }
}
