//! The boundary between requests and the runner: a delivery outlives the connection that brought it.
//!
//! An HTTP server drops a request's future when its client hangs up. A delivery that has been claimed must not be
//! dropped with it, so it becomes a task of its own then. Every delivery is counted: there is a limit to them, and all are waited
//! for at shutdown.

mod error;
mod outlive;
mod requests;
mod trace;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Receipt};
use ackonce::{CancellationToken, Handler, Runner};
use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

pub use self::error::{EdgeError, problem};
use self::outlive::Outlive;
pub use self::requests::{RequestUnderWay, Requests};
pub use self::trace::{put_trace_context, trace_context_of};

/// The time for the deliveries that are left after [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout) to answer their clients,
/// and then to end.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Runs deliveries apart from the connections that brought them. Cloning is cheap; clones share everything.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Context, Failure, MemoryStore, Runner, Scope};
/// use ackonce::adapter::{Delivery, Job};
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
pub struct Edge<D: Delivery, H>(Arc<Inner<D, H>>);

struct Inner<D: Delivery, H> {
    runner: Runner<D, H>,
    most: usize,
    under_way: TaskTracker,
    last_call: CancellationToken,
}

impl<D: Delivery, H> Clone for Edge<D, H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Delivery, H> fmt::Debug for Edge<D, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { runner, under_way, .. } = &*self.0;
        f.debug_struct("Edge").field("runner", runner).field("under_way", &under_way.len()).finish()
    }
}

impl<D: Delivery, H: Handler<D::Message>> Edge<D, H> {
    /// An edge with at most `most` deliveries at once, running and waiting ones; more are refused. A runner for
    /// callers who wait has [`Settings`](ackonce::Settings) of its own: short `busy_timeout` and `store_timeout`, `HandBack`
    /// on failure and mismatch, a `concurrency` not under `most`.
    #[must_use]
    pub fn new(runner: Runner<D, H>, most: usize) -> Self {
        let (under_way, last_call) = (TaskTracker::new(), CancellationToken::new());
        Self(Arc::new(Inner { runner, most: most.max(1), under_way, last_call }))
    }

    /// Takes a delivery through its whole life ([`Runner::process`]). Dropping this future stops the waiting, not the
    /// work: a delivery that has begun goes on in a task of its own.
    ///
    /// A crash leaves a claim that lapses with its lease; the sender's next try then runs.
    ///
    /// # Errors
    /// [`EdgeError`]: not settled, so the sender must not be told that it was.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn process(
        &self,
        job: Job<D>,
    ) -> impl Future<Output = Result<Receipt<D>, EdgeError<D>>> + Send + use<D, H> {
        let token = self.0.under_way.token();
        // Itself included. Of two that come at once for the last place none may get it, but never both.
        let has_room = self.0.under_way.len() <= self.0.most;
        let work = has_room.then(|| {
            let inner = self.0.clone();
            let work = async move {
                let settled = inner.runner.process(job).await;
                drop(token);
                settled
            };
            // The runner catches the handler's panics; this is for a panic beside it.
            Outlive::new(AssertUnwindSafe(work).catch_unwind())
        });
        async move {
            match work.ok_or(EdgeError::Full)?.await {
                Ok(settled) => settled.map_err(EdgeError::Unsettled),
                Err(_) => Err(EdgeError::Broken),
            }
        }
    }

    /// Ends it in good order: nothing new starts, waiting deliveries are refused, running ones get
    /// [`Settings::shutdown_timeout`](ackonce::Settings::shutdown_timeout) to finish. The rest is cancelled, its claims left
    /// to their leases. Call it when the server has stopped accepting. Returns how many deliveries are still
    /// running two seconds after that: handlers that block their thread.
    pub async fn drain(&self) -> usize {
        self.0.runner.stop();
        self.0.under_way.close();
        let ended = |limit| async move { tokio::time::timeout(limit, self.0.under_way.wait()).await.is_ok() };
        if !ended(self.0.runner.settings().shutdown_timeout).await {
            tracing::warn!(target: "ackonce", scope = self.0.runner.scope().name(), left = self.0.under_way.len(), "Settings::shutdown_timeout is over: handlers are cancelled");
            self.0.last_call.cancel();
            ended(LAST_CALL).await;
            self.0.runner.abort();
            ended(LAST_CALL).await;
        }
        self.0.under_way.len()
    }

    /// Cancelled when [`shutdown_timeout`](Self::drain) gives up waiting, a second before it cancels the handlers: the
    /// last moment at which a handler's answer is still recorded.
    #[must_use]
    pub fn last_call(&self) -> &CancellationToken {
        &self.0.last_call
    }

    /// The most deliveries at once. Of one request with more of them, so many are [processed](Self::process) at a time: the
    /// call takes the place, not the first poll.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// The runner, for its counts and settings.
    #[must_use]
    pub fn runner(&self) -> &Runner<D, H> {
        &self.0.runner
    }
}
