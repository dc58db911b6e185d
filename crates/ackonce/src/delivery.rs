//! A delivery, as the runner sees it.

use std::time::{Duration, SystemTime};

use crate::observe::trace::{SpanOrigin, TraceContext};
use crate::settle::Attempt;

/// A broker's delivery, as the runner sees it.
pub trait Delivery: Send + Sync + 'static {
    /// The handler's argument; cheap to clone, for it may run more than once.
    type Message: Send + 'static;

    /// The message.
    fn message(&self) -> Self::Message;

    /// True if acknowledging it still means anything: false once its partition was revoked or its channel
    /// closed. A delivery that is not current is not started.
    fn is_current(&self) -> bool {
        true
    }

    /// Told whenever it begins to wait for something else or to run, for adapters that keep the books. Cheap: every
    /// message is told twice.
    fn note(&self, _stage: Stage) {}

    /// The time that its sender holds it back after a failure under [`OnFailure::HandBack`](crate::OnFailure::HandBack), before
    /// it is delivered again; until then no other copy of the message runs. Zero by default: the sender decides.
    fn returns_in(&self, _attempt: Attempt) -> Duration {
        Duration::ZERO
    }

    /// When it was published, by its publisher's clock, for the metric of end-to-end times. `None`, the default, where
    /// nobody says: then its time begins with its arrival.
    fn published(&self) -> Option<SystemTime> {
        None
    }

    /// The trace context in its headers; see [`crate::trace`]. `None` by default.
    fn trace_context(&self) -> Option<TraceContext> {
        None
    }

    /// Its origin, for the attributes of its span.
    fn origin(&self) -> SpanOrigin<'_> {
        SpanOrigin::default()
    }

    /// Its place, for log lines: topic, partition and offset, or queue and delivery tag. Empty by default.
    fn place(&self) -> String {
        String::new()
    }
}

/// The step of an unsettled delivery. Before the first of these it waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its claim is under way: it waits for the store.
    Claiming,
    /// Its handler runs, or its result is being recorded.
    Running,
    /// Somebody else holds its message; the claim is repeated after a back-off.
    Busy,
    /// Its handler failed, or its worker vanished; it runs again after a back-off, or after others like it.
    Retrying,
    /// It goes to the dead-letter place, or waits for that.
    Burying,
}
