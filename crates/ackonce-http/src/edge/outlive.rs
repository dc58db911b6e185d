//! Work that its caller may leave.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Runs in place while somebody waits for it, which costs no task and no wake-up across threads. Dropped before its
/// end, it goes on as a task.
pub(crate) struct Outlive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    work: Option<Pin<Box<F>>>,
    /// The place to go on; known once the work has begun. A drop may happen anywhere.
    runtime: Option<Handle>,
}

impl<F> Outlive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(crate) fn new(work: F) -> Self {
        Self { work: Some(Box::pin(work)), runtime: None }
    }
}

impl<F> Future for Outlive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Polled again after it was ready, which nobody may, it waits.
        let Some(work) = &mut self.work else { return Poll::Pending };
        match work.as_mut().poll(cx) {
            Poll::Ready(output) => {
                self.work = None;
                Poll::Ready(output)
            }
            Poll::Pending => {
                self.runtime.get_or_insert_with(Handle::current);
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Outlive<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        // Work that was never polled has not begun. A runtime that shuts down drops it, as it drops all else.
        if let (Some(work), Some(runtime)) = (self.work.take(), &self.runtime) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::poll;
    use tokio::sync::Semaphore;

    use super::*;

    /// Adds a permit to `done` once it got one of `go`.
    fn work(go: &Arc<Semaphore>, done: &Arc<Semaphore>) -> Outlive<impl Future<Output = ()> + Send + use<>> {
        let (go, done) = (go.clone(), done.clone());
        Outlive::new(async move {
            go.acquire().await.unwrap().forget();
            done.add_permits(1);
        })
    }

    fn gates() -> (Arc<Semaphore>, Arc<Semaphore>) {
        (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)))
    }

    #[tokio::test]
    async fn what_has_begun_goes_on_without_its_caller() {
        let (go, done) = gates();
        let mut begun = work(&go, &done);
        assert!(poll!(&mut begun).is_pending());
        drop(begun);
        go.add_permits(1);
        done.acquire().await.unwrap().forget();
    }

    #[tokio::test]
    async fn what_was_never_polled_does_not_begin() {
        let (go, done) = gates();
        go.add_permits(1);
        drop(work(&go, &done));
        tokio::task::yield_now().await;
        assert_eq!((go.available_permits(), done.available_permits()), (1, 0));
    }

    #[tokio::test]
    async fn it_may_be_dropped_outside_of_a_runtime() {
        let (go, done) = gates();
        let mut begun = work(&go, &done);
        assert!(poll!(&mut begun).is_pending());
        std::thread::spawn(move || drop(begun)).join().unwrap();
        go.add_permits(1);
        done.acquire().await.unwrap().forget();
    }

    #[test]
    fn it_may_be_dropped_after_its_runtime() {
        let (go, done) = gates();
        let mut begun = work(&go, &done);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { assert!(poll!(&mut begun).is_pending()) });
        drop(runtime);
        drop(begun);
        assert_eq!(Arc::strong_count(&done), 1, "the work is dropped with its runtime");
    }
}
