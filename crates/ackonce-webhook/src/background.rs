//! Answer first, act after: events handed over to tasks of this process.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::panic_text;
use ackonce::{Answer, Class, Context, Effect, Failure, Handler, Item};
use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::endpoint::background_failed;

/// Hands messages over to tasks of this process, so that the answer does not wait for the work.
///
/// **The promise covers the hand-over**, and the record is of the hand-over: once the sender has its 2xx, a crash
/// loses the work, and so does a failure, which is logged and counted and not repeated. A crash or a failing store between
/// the hand-over and its record makes the sender come again, and the work is done twice. Where that is too little, hand
/// over to something that lasts: a handler that writes to a queue or a table and answers once that has confirmed is
/// an ordinary handler, and its hand-over is repeated until it is recorded.
///
/// With all places taken, a message is refused (503), and its sender comes again.
///
/// ```
/// use ackonce::{Context, Failure};
/// use ackonce_webhook::{Background, Event};
/// let thumbnails = Background::new(32, |_: Context, event: Event| async move {
///     println!("rendering {:?}", event.id());
///     Ok::<(), Failure>(())
/// });
/// // webhook.handle(thumbnails.clone())?, and at shutdown, after the endpoint: thumbnails.drain(limit).await
/// ```
pub struct Background<F> {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    work: Arc<F>,
}

impl<F> Clone for Background<F> {
    fn clone(&self) -> Self {
        Self { tasks: self.tasks.clone(), room: self.room.clone(), work: self.work.clone() }
    }
}

impl<F> fmt::Debug for Background<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("running", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl<F> Background<F> {
    /// At most `most` tasks at once, each running `work`.
    pub fn new(most: usize, work: F) -> Self {
        let room = Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS));
        Self { tasks: TaskTracker::new(), room: Arc::new(room), work: Arc::new(work) }
    }

    /// Waits for the tasks that were handed over, for that long at most, and returns the number left. They end with the
    /// process, and their work is lost.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

#[async_trait]
impl<M, F, Fut> Handler<M> for Background<F>
where
    M: Send + 'static,
    F: Fn(Context, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    /// The class of the hand-over.
    fn class(&self) -> Class {
        Class::Leased
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        items.into_iter().map(|item| self.hand_over(item)).collect()
    }
}

impl<F> Background<F> {
    fn hand_over<M, Fut>(&self, Item { cx, message }: Item<M>) -> Answer
    where
        F: Fn(Context, M) -> Fut,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            return Err(Failure::infrastructure("all places in the background are taken"));
        };
        let key = cx.key().clone();
        // Accounts stand behind it, beside the scope: too many for a label.
        let scope = key.scope().base_name().to_owned();
        let work = AssertUnwindSafe((self.work)(cx, message)).catch_unwind();
        self.tasks.spawn(async move {
            let failed = match work.await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure.to_string()),
                Err(panic) => Some(format!("it panicked: {}", panic_text(panic.as_ref()))),
            };
            if let Some(error) = failed {
                background_failed(&scope);
                tracing::error!(target: "ackonce", decision = "lost", scope,
                    id = %key.id().escape_ascii(), error, "the work of a message that was handed over failed; it is not repeated");
            }
            drop(room);
        });
        Ok(Effect::from(()))
    }
}
