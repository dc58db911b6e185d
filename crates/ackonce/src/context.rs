//! The context of a handler's run.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::claim::{ClaimRequest, Claimed, Lease, Previous};
use crate::class::Class;
use crate::failure::Failure;
use crate::heartbeat::{Grant, Hold};
use crate::journal::Journal;
use crate::key::Key;
use crate::observe::trace::TraceContext;
use crate::settle::{Settled, Settlement};

/// The context of a handler's run. Cloning is cheap.
///
/// ```
/// use ackonce::{Context, Failure, Previous, Scope};
/// use ackonce::store::{Lease, Token};
///
/// async fn ship(cx: Context, order: &str) -> Result<String, Failure> {
///     if cx.previous() == Previous::Vanished {
///         // The worker before died somewhere in here: ask the carrier before sending a second parcel.
///     }
///     Ok(format!("{order} with key {}", cx.idempotency_key("ship")))
/// }
///
/// // A test of the handler makes the context by hand.
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let key = Scope::new("shipping")?.key("order-1")?;
/// let lease = Lease { key, token: Token::random(), fence: 1, attempt: 1, previous: Previous::None, progress: None };
/// let cx = Context::new(lease, Default::default());
/// assert!(ship(cx, "order-1").await.unwrap().starts_with("order-1"));
/// # Ok::<(), ackonce::KeyError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Context {
    grant: Arc<Grant>,
    window: Option<Duration>,
    trace: Option<Arc<TraceContext>>,
    /// None in a context made by hand.
    trips: Option<Weak<dyn Trips>>,
    /// The claim of the message's entity, under `Newest`.
    entity: Option<Arc<Along>>,
}

/// A claim beside the message's own: its progress is to be saved together with the effect.
#[derive(Debug)]
pub(crate) struct Along {
    pub(crate) fence: u64,
    pub(crate) save: Settlement,
    taken: AtomicBool,
}

impl Along {
    pub(crate) fn new(fence: u64, save: Settlement) -> Self {
        Self { fence, save, taken: AtomicBool::new(false) }
    }

    /// True if an inbox has taken it into its transaction.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }
}

/// The runner's trips to the store, on behalf of a handler that runs: repeated, counted and shared as its own.
#[async_trait]
pub(crate) trait Trips: Send + Sync {
    /// The handler's class.
    fn class(&self) -> Class;

    /// The length of a lease.
    fn lease(&self) -> Duration;

    /// Claims one key.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Failure>;

    /// Settles in one trip; one answer each, in order.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure>;

    /// Keeps a lease whose claim was sent at that moment.
    fn hold(&self, grant: Arc<Grant>, claimed: tokio::time::Instant) -> Hold;

    /// Counts a step that was run, or found as recorded.
    fn note_step(&self, lease: &Lease, step: &str, was_recorded: bool);

    /// Says that a version is not run, for this highest one took effect.
    fn note_stale(&self, lease: &Lease, version: &str, highest: &str, is_equal: bool);
}

impl Context {
    /// The context of one run. The runner makes them; a test of a handler may too.
    #[must_use]
    pub fn new(lease: Lease, cancelled: CancellationToken) -> Self {
        Self::of(Arc::new(Grant::new(lease, cancelled.into())))
    }

    pub(crate) fn of(grant: Arc<Grant>) -> Self {
        Self { grant, window: None, trace: None, trips: None, entity: None }
    }

    /// The same, with the runner's trips.
    pub(crate) fn with_trips(mut self, trips: Weak<dyn Trips>) -> Self {
        self.trips = Some(trips);
        self
    }

    /// The runner's trips; `None` in a context made by hand.
    ///
    /// # Errors
    /// The runner is gone.
    pub(crate) fn trips(&self) -> Result<Option<Arc<dyn Trips>>, Failure> {
        let Some(trips) = &self.trips else { return Ok(None) };
        trips
            .upgrade()
            .map(Some)
            .ok_or_else(|| Failure::infrastructure("the runner of this handler has ended"))
    }

    /// The steps of this run.
    pub(crate) fn journal(&self) -> &Journal {
        self.grant.journal()
    }

    /// Settles in one trip, by the runner; a context made by hand answers that all is well.
    pub(crate) async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, Failure> {
        match self.trips()? {
            Some(trips) => trips.settle(settlements).await,
            None => Ok(vec![Settled::Yes; settlements.len()]),
        }
    }

    /// The same, under the claim of the message's entity.
    pub(crate) fn with_entity(mut self, entity: Arc<Along>) -> Self {
        self.entity = Some(entity);
        self
    }

    pub(crate) fn entity(&self) -> Option<&Along> {
        self.entity.as_deref()
    }

    /// The message is settled as stale.
    pub(crate) fn mark_stale(&self) {
        self.grant.mark_stale();
    }

    /// For authors of inboxes: a settlement that commits with the effect, in the handler's own transaction, before the
    /// message's completion; if it is [`Lost`](Settled::Lost), the transaction is rolled back as
    /// [`Failure::Fenced`]. [`Newest`](crate::Newest) has one; an inbox that does not ask for it leaves it to a trip after
    /// its commit, and a crash in between lets an older version run.
    #[must_use]
    pub fn take_along(&self) -> Option<Settlement> {
        let along = self.entity.as_ref()?;
        along.taken.store(true, Ordering::SeqCst);
        Some(along.save.clone())
    }

    /// Counts a step that was run, or found as recorded.
    pub(crate) fn note_step(&self, step: &str, was_recorded: bool) {
        if let Ok(Some(trips)) = self.trips() {
            trips.note_step(&self.grant, step, was_recorded);
        }
    }

    /// The same, with the runner's [`Settings::window`](crate::Settings::window).
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// The window of this message's record, where a runner made this context; for handlers
    /// who settle inside their own transaction.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// The same, in this place of a trace.
    pub(crate) fn in_trace(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// The place of this run in its trace, to pass on to the services that it calls; see [`trace`](crate::trace). `None` if
    /// the run is not traced.
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    /// Scope and message ID.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.grant.key
    }

    /// Which attempt this is, from 1, counted by the store when the claim was granted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.grant.attempt
    }

    /// A number that grows with every claim of this key. Give it to the target of the effect: one that
    /// accepts a write only if the fence is not below the highest it has seen refuses a stalled worker.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.grant.fence
    }

    /// The end of the attempt before this one. After [`Previous::Vanished`] its effect may have happened.
    #[must_use]
    pub fn previous(&self) -> Previous {
        self.grant.previous
    }

    /// The lease itself, for those who settle inside their own transaction.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.grant
    }

    /// The idempotency key of one step of this handler: the same for every delivery, attempt and restart,
    /// different for every other step, message and scope.
    ///
    /// A version 8 UUID (RFC 9562) over 122 bits of SHA-256, because 36 characters in that form are the kind of key that
    /// payment APIs accept everywhere. Pass it on as their idempotency key, and the effect is not
    /// repeated while they remember it (Stripe: at least 24 hours).
    ///
    /// ```
    /// # use ackonce::{Context, Previous, Scope};
    /// # use ackonce::store::{Lease, Token};
    /// # let lease = Lease { key: Scope::new("s").unwrap().key("id").unwrap(), token: Token::random(),
    /// #     fence: 1, attempt: 1, previous: Previous::None, progress: None };
    /// # let cx = Context::new(lease, Default::default());
    /// assert_ne!(cx.idempotency_key("charge"), cx.idempotency_key("receipt"));
    /// assert_eq!(cx.idempotency_key("charge").len(), 36);
    /// ```
    #[must_use]
    pub fn idempotency_key(&self, step: &str) -> String {
        idempotency_key(&self.grant.key, step)
    }

    /// Ready once the lease went unrenewed for two thirds of its length, the run's time is over or the
    /// consumer gives up waiting at shutdown. Unless the lease is renewed after all, the handler is dropped
    /// soon after; requests that it has sent are not undone.
    pub async fn cancelled(&self) {
        self.grant.cancelled.on().await;
    }

    /// True if [`cancelled`](Self::cancelled) is ready; for handlers that cannot wait on it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.grant.cancelled.is_on()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("lease", self.lease())
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

fn idempotency_key(key: &Key, step: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"ackonce effect\0");
    hasher.update(key.digest());
    hasher.update(step.as_bytes());
    let mut bytes: [u8; 32] = hasher.finalize().into();
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes[..16].iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key::Scope;

    #[test]
    fn the_idempotency_key_is_a_promise_to_the_target() {
        // Changing it would repeat every effect whose message is redelivered across an upgrade.
        let key = Scope::new("billing").unwrap().key("evt_1").unwrap();
        assert_eq!(idempotency_key(&key, "charge"), "de568214-0dee-8626-86b2-e1f1af325a21");
        assert_ne!(idempotency_key(&key, "charge"), idempotency_key(&key, "receipt"));
    }
}
