//! The report of a consumer on itself.

use std::fmt;
use std::time::Duration;

use ackonce::adapter::{Phase, Waits};

use crate::AmqpCounts;
use crate::channel::Hand;

/// The report of a consumer on itself. [`Display`](fmt::Display) writes it as short lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AmqpReport {
    /// The queue.
    pub queue: String,
    /// The phase of its life.
    pub phase: Phase,
    /// The time since it entered that phase.
    pub since: Duration,
    /// The reason why it is not consuming, or the error by which it ended.
    pub trouble: Option<String>,
    /// Messages delivered and not settled.
    pub in_flight: usize,
    /// The oldest of them.
    pub oldest: Option<OldestDelivery>,
    /// True while the broker, short of memory or disk, takes no dead letters and delayed messages.
    pub blocked: bool,
    /// Messages ready in the queue, those in flight not among them, as the broker said within the last five seconds; `None`
    /// while it has not, or is away.
    pub backlog: Option<u32>,
    /// As [`AmqpHealth::is_ready`](crate::AmqpHealth::is_ready).
    pub is_ready: bool,
    /// The reason why it is not [live](crate::AmqpHealth::is_live); `None` if it is.
    pub stuck: Option<String>,
    /// Counts so far: reconnects, messages given back and delayed, reduced burials.
    pub counts: AmqpCounts,
}

/// The delivery that has been in hand for longest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldestDelivery {
    /// Its delivery tag, on its channel.
    pub delivery_tag: u64,
    /// Its property `message_id`, with everything but printable ASCII escaped.
    pub message_id: Option<String>,
    /// The time since it was delivered.
    pub age: Duration,
    /// The step that it waits for.
    pub waits: Waits,
    /// The time since it began to wait for that.
    pub waiting: Duration,
}

impl OldestDelivery {
    pub(crate) fn of(hand: &Hand) -> Self {
        let (waits, waiting) = hand.waits();
        Self {
            delivery_tag: hand.tag,
            message_id: hand.message.message_id().map(|id| id.escape_default().to_string()),
            age: hand.since.elapsed(),
            waits,
            waiting,
        }
    }
}

impl fmt::Display for AmqpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |yes| if yes { "yes" } else { "no" };
        writeln!(f, "queue {}: {} for {} s", self.queue, self.phase, self.since.as_secs())?;
        writeln!(f, "live: {}, ready: {}", yes(self.stuck.is_none()), yes(self.is_ready))?;
        if let Some(stuck) = &self.stuck {
            writeln!(f, "not live: {stuck}")?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "trouble: {trouble}")?;
        }
        write!(f, "in flight: {}", self.in_flight)?;
        if let Some(backlog) = self.backlog {
            write!(f, ", ready in the queue: {backlog}")?;
        }
        writeln!(f)?;
        if let Some(oldest) = &self.oldest {
            writeln!(f, "oldest: {oldest}")?;
        }
        if self.blocked {
            writeln!(f, "the broker is short of memory or disk: dead letters and delayed messages wait")?;
        }
        let AmqpCounts { acked, reconnects, returned, delayed, .. } = self.counts;
        writeln!(f, "acked {acked}, reconnects {reconnects}, returned {returned}, delayed {delayed}")?;
        let AmqpCounts { buried_reduced, buried_without_letter, refused, .. } = self.counts;
        write!(f, "reduced letters {buried_reduced}, burials without a letter {buried_without_letter}, ")?;
        writeln!(f, "refused connections {refused}")
    }
}

impl fmt::Display for OldestDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivery tag {}", self.delivery_tag)?;
        if let Some(id) = &self.message_id {
            write!(f, ", message ID {id}")?;
        }
        let (age, waiting) = (self.age.as_secs(), self.waiting.as_secs());
        write!(f, ", in hand for {age} s; {} for {waiting} s", self.waits)
    }
}
