//! One channel's deliveries. A delivery carries its channel, so that a tag never crosses to another.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::adapter::{Delivery, Receipt, Stage, Unsettled, Waits, Why};
use ackonce::store::Attempt;
use ackonce::trace::{SpanOrigin, TraceContext};

use super::generation::Generation;
use super::hand::Hand;
use crate::AmqpMessage;

/// One delivery on one channel. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct ChannelDelivery {
    hand: Arc<Hand>,
    generation: Arc<Generation>,
}

impl Generation {
    /// Books a delivery. `None` if the channel is gone, or its tags do not grow.
    pub(crate) fn deliver(self: &Arc<Self>, delivery: lapin::message::Delivery) -> Option<ChannelDelivery> {
        let tag = delivery.delivery_tag;
        if !self.is_live() || !self.books().tracker.delivered(tag) {
            return None;
        }
        let hand = Arc::new(Hand::new(delivery));
        self.books().hands.insert(tag, Arc::downgrade(&hand));
        Some(ChannelDelivery { hand, generation: self.clone() })
    }
}

/// A delivery that the runner handed back.
pub(crate) struct HandedBack {
    pub(crate) delivery: ChannelDelivery,
    pub(crate) reason: String,
    /// The attempt that failed, if one did.
    pub(crate) attempt: Option<u32>,
}

impl Delivery for ChannelDelivery {
    type Message = AmqpMessage;

    fn message(&self) -> AmqpMessage {
        self.hand.message.clone()
    }

    /// False once its channel is gone, and when it has waited so long that the broker is about to close that.
    fn is_current(&self) -> bool {
        self.generation.is_live() && !self.hand.acker.poisoned() && !self.is_aged()
    }

    fn returns_in(&self, _: Attempt) -> Duration {
        self.generation.wait(self.message().hops())
    }

    fn place(&self) -> String {
        format!("queue {}, delivery tag {}", self.generation.queue, self.tag())
    }

    fn published(&self) -> Option<SystemTime> {
        self.message().published()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.message().trace_context()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        let mut origin = self.message().trace_origin(self.generation.queue.as_str());
        origin.delivery_tag = Some(self.tag());
        origin
    }

    fn note(&self, stage: Stage) {
        self.hand.note(stage.into());
        self.generation.progress.progressed();
    }
}

impl ChannelDelivery {
    pub(crate) fn message(&self) -> &AmqpMessage {
        &self.hand.message
    }

    pub(crate) fn tag(&self) -> u64 {
        self.hand.tag
    }

    /// True once it has waited so long that the broker is about to close its channel.
    pub(crate) fn is_aged(&self) -> bool {
        self.hand.since.elapsed() >= self.generation.max_age
    }

    /// Books that its message is settled, here or elsewhere.
    pub(crate) fn settled(&self) {
        self.generation.settled(std::iter::once(self.tag()));
    }

    pub(crate) fn delaying(&self) {
        self.hand.note(Waits::Delay);
        self.generation.progress.progressed();
    }

    /// Gives it back to the broker, if its channel is still there. A quorum queue counts that.
    pub(crate) fn give_back(&self, why: &str) {
        if !self.generation.returned(self.tag()) {
            return;
        }
        self.generation.metrics.given_back(1);
        if let Some(others) = self.generation.progress.say_given_back() {
            tracing::warn!(target: "ackonce", scope = self.generation.metrics.scope(), queue = %self.generation.queue, delivery_tag = self.tag(),
                message = ?self.message(), why, others, held_s = self.hand.since.elapsed().as_secs(),
                "given back to the broker, because its consumer time-out is near: a quorum queue counts that against its \
                delivery limit (AmqpConsumer::with_delays sends it to a delay queue instead)");
        }
    }

    /// True if its channel is there.
    pub(crate) fn is_live(&self) -> bool {
        self.generation.is_live()
    }
}

/// Books the ends of deliveries. Those that were handed back go to `delay`, which answers true if it takes them.
pub(crate) fn done(
    ended: Vec<Result<Receipt<ChannelDelivery>, Unsettled<ChannelDelivery>>>,
    delay: impl Fn(HandedBack) -> bool,
) {
    let mut settled = Vec::with_capacity(ended.len());
    for outcome in ended {
        match outcome {
            Ok(receipt) => settled.push(receipt.redeem()),
            Err(unsettled) => not_settled(&unsettled, &delay),
        }
    }
    for of_one in settled.chunk_by(|a, b| Arc::ptr_eq(&a.generation, &b.generation)) {
        of_one[0].generation.settled(of_one.iter().map(ChannelDelivery::tag));
    }
}

fn not_settled(unsettled: &Unsettled<ChannelDelivery>, delay: impl Fn(HandedBack) -> bool) {
    let delivery = unsettled.delivery();
    let (reason, attempt) = match unsettled.why() {
        // It goes back with its channel, which ends now.
        Why::Stopped | Why::Fatal(_) => return,
        // It has gone back already.
        _ if !delivery.is_live() => return,
        Why::Failed { reason, attempt, .. } => (reason.clone(), Some(*attempt)),
        _ => (unsettled.to_string(), None),
    };
    if !delay(HandedBack { delivery: delivery.clone(), reason: reason.clone(), attempt }) {
        delivery.give_back(&reason);
    }
}
