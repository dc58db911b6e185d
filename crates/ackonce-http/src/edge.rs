//! Where requests meet the runner: a delivery runs apart from the connection that brought it.
//!
//! An HTTP server drops a request's future when its client hangs up. What has been claimed must not be dropped
//! with it, so every delivery is a task of its own: tracked, bounded in number, and waited for at shutdown.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ackonce::{CancellationToken, Delivery, Handler, Job, Receipt, Runner, Unsettled, Why};
use futures_util::poll;
use http::StatusCode;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::problem::Problem;

/// How long what is left after [`Settings::drain`](ackonce::Settings::drain) has to say its last word, and
/// then to end.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Runs deliveries apart from the connections that brought them. Cloning is cheap; clones share everything.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Context, Delivery, Failure, Job, MemoryStore, Runner, Scope};
/// use ackonce_http::edge::Edge;
///
/// struct Event(&'static str);
/// impl Delivery for Event {
///     type Message = &'static str;
///     fn message(&self) -> &'static str { self.0 }
/// }
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let scope = Scope::new("webhooks/stripe")?;
/// let handler = |_: Context, event: &'static str| async move { Ok::<(), Failure>(println!("{event}")) };
/// let edge = Edge::new(Runner::new(Arc::new(MemoryStore::new()), &scope, handler)?, 1000);
/// // In the service's future, which is dropped when the client hangs up; the delivery is not.
/// match edge.process(Job::new(scope.key("evt_1")?, Event("evt_1"))).await {
///     Ok(receipt) => println!("answer 2xx: {:?}", receipt.how()),
///     Err(refused) => println!("answer {}", refused.problem()),
/// }
/// assert_eq!(edge.drain().await, 0, "after the server has ended");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Edge<D: Delivery, H> {
    runner: Runner<D, H>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    last_call: CancellationToken,
}

impl<D: Delivery, H> Clone for Edge<D, H> {
    fn clone(&self) -> Self {
        Self {
            runner: self.runner.clone(),
            room: self.room.clone(),
            tasks: self.tasks.clone(),
            last_call: self.last_call.clone(),
        }
    }
}

impl<D: Delivery, H> fmt::Debug for Edge<D, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("runner", &self.runner).field("tasks", &self.tasks.len()).finish()
    }
}

impl<D: Delivery, H: Handler<D::Message>> Edge<D, H> {
    /// An edge with at most `most` deliveries at once, running and waiting ones; more are refused. A runner for
    /// callers who wait has [`Settings`](ackonce::Settings) of its own: short `hold` and `patience`, `HandBack`
    /// on failure and mismatch, a `concurrency` not under `most`.
    #[must_use]
    pub fn new(runner: Runner<D, H>, most: usize) -> Self {
        Self {
            runner,
            room: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            last_call: CancellationToken::new(),
        }
    }

    /// Takes a delivery through its whole life ([`Runner::process`]), in a task of its own once it has to wait for anything.
    /// Dropping this future stops the waiting, not the work.
    ///
    /// A crash leaves a claim that lapses with its lease; the sender's next try then runs.
    ///
    /// # Errors
    /// [`Refused`]: not settled, so the sender must not be told that it was.
    pub async fn process(&self, job: Job<D>) -> Result<Receipt<D>, Refused<D>> {
        let Ok(room) = self.room.clone().try_acquire_owned() else { return Err(Refused::Full) };
        let (runner, token) = (self.runner.clone(), self.tasks.token());
        let mut work = Box::pin(async move {
            let settled = runner.process(job).await;
            drop((room, token));
            settled
        });
        // What ends at once needs no task: neither its store nor its handler waits for anything. There is no await
        // between this and the task, so nobody can drop it in between.
        if let Poll::Ready(settled) = poll!(&mut work) {
            return settled.map_err(Refused::Unsettled);
        }
        match tokio::spawn(work).await {
            Ok(settled) => settled.map_err(Refused::Unsettled),
            // A panic outside the handler (the runner catches those inside), or a runtime that ends.
            Err(_) => Err(Refused::Broken),
        }
    }

    /// Ends it in good order: nothing new starts, what waits is refused, what runs gets
    /// [`Settings::drain`](ackonce::Settings::drain) to finish. What is left then is cancelled, its claims left
    /// to their leases. Call it when the server has stopped accepting. Returns how many deliveries are still
    /// running two seconds after that: handlers that block their thread.
    pub async fn drain(&self) -> usize {
        self.runner.stop();
        self.tasks.close();
        let ended = |limit| async move { tokio::time::timeout(limit, self.tasks.wait()).await.is_ok() };
        if !ended(self.runner.settings().drain).await {
            tracing::warn!(target: "ackonce", left = self.tasks.len(), "Settings::drain is over: handlers are cancelled");
            self.last_call.cancel();
            ended(LAST_CALL).await;
            self.runner.abort();
            ended(LAST_CALL).await;
        }
        self.tasks.len()
    }

    /// Cancelled when [`drain`](Self::drain) gives up waiting, a second before it cancels the handlers: the
    /// last moment at which a handler's answer is still recorded.
    #[must_use]
    pub fn last_call(&self) -> &CancellationToken {
        &self.last_call
    }

    /// The runner, for its counts and settings.
    #[must_use]
    pub fn runner(&self) -> &Runner<D, H> {
        &self.runner
    }
}

/// Why a delivery has no receipt.
#[must_use = "a refused delivery is not settled; its sender must be told"]
pub enum Refused<D> {
    /// As many deliveries as there may be are running and waiting; this one was not looked at.
    Full,
    /// The runner handed it back.
    Unsettled(Unsettled<D>),
    /// Something panicked that was not the handler; the claim is left to its lease.
    Broken,
}

impl<D> Refused<D> {
    /// Why the runner handed it back, if it did.
    #[must_use]
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Unsettled(unsettled) => Some(unsettled.why()),
            Self::Full | Self::Broken => None,
        }
    }

    /// What to answer. Never a 2xx; nothing a store says is shown.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Full => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "As many requests as can be are in progress",
            )
            .with_retry_after(SOON),
            Self::Unsettled(unsettled) => problem(unsettled.why()),
            Self::Broken => {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something broke")
            }
        }
    }
}

impl<D> fmt::Debug for Refused<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("Full"),
            Self::Unsettled(unsettled) => unsettled.fmt(f),
            Self::Broken => f.write_str("Broken"),
        }
    }
}

/// When to come again where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// What to answer a caller whose delivery was handed back:
///
/// | why | status | name | `Retry-After` |
/// |---|---|---|---|
/// | `Busy` | 409 | `request_in_progress` | 1 s: a live holder ends long before its lease |
/// | `Mismatch` | 422 | `payload_mismatch` | |
/// | `Failed` | 500 | `handler_failed` | 1 s: the claim is released |
/// | `NotRecorded`, `Unavailable`, `Fatal` | 503 | `store_unavailable` | 1 s; `Fatal` 30 s: somebody must mend it |
/// | `Stopped`, `NotCurrent` | 503 | `shutting_down` | 1 s |
#[must_use]
pub fn problem(why: &Why) -> Problem {
    let unavailable = |wait| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "It cannot be told whether this was processed before",
        )
        .with_retry_after(wait)
    };
    match why {
        Why::Busy { .. } => Problem::new(
            StatusCode::CONFLICT,
            "request_in_progress",
            "An earlier delivery of the same request is in progress",
        )
        .with_retry_after(SOON),
        Why::Mismatch => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "payload_mismatch",
            "The same ID came before with another payload",
        ),
        Why::Failed { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "handler_failed", "Processing failed")
                .with_retry_after(SOON)
        }
        Why::NotRecorded(_) | Why::Unavailable(_) => unavailable(SOON),
        Why::Fatal(_) => unavailable(30 * SOON),
        Why::Stopped | Why::NotCurrent => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "This server is shutting down")
                .with_retry_after(SOON)
        }
    }
}
