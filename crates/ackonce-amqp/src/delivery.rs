//! One channel's deliveries and their books. A delivery carries its channel, so that a tag never crosses to
//! another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Delivery, Receipt, Unsettled, Why};
use lapin::{Acker, Channel};
use tokio::sync::Notify;

use crate::tracker::{AckTracker, Frame, Reach};
use crate::{Message, Tally};

/// One channel with one consumer, from `basic.consume` to its end.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) channel: Channel,
    pub(crate) tally: Tally,
    /// How long a delivery may wait before it is given back; the broker's time-out is not far then.
    pub(crate) max_age: Duration,
    /// How many settled deliveries are worth a frame at once: so few that the broker has most of the prefetch to
    /// send on.
    pub(crate) enough: usize,
    /// Told whenever a delivery is closed, or the channel is to end.
    pub(crate) wake: Notify,
    /// Cancelled when the channel is of no use any more.
    pub(crate) dead: CancellationToken,
    live: AtomicBool,
    /// The consumer is cancelled: no more deliveries.
    ending: AtomicBool,
    tracker: Mutex<AckTracker>,
}

/// One delivery on one channel.
#[derive(Debug, Clone)]
pub(crate) struct AmqpDelivery {
    pub(crate) message: Message,
    tag: u64,
    acker: Acker,
    since: Instant,
    generation: Arc<Generation>,
}

impl Delivery for AmqpDelivery {
    type Message = Message;

    fn message(&self) -> Message {
        self.message.clone()
    }

    /// False once its channel is gone, and when it has waited so long that the broker is about to close that.
    fn is_current(&self) -> bool {
        self.generation.is_live() && !self.acker.poisoned() && self.since.elapsed() < self.generation.max_age
    }
}

impl AmqpDelivery {
    /// Books that its message is settled, here or elsewhere.
    pub(crate) fn settled(&self) {
        self.generation.settled(std::iter::once(self.tag));
    }

    /// Gives it back to the broker, if its channel is still there.
    pub(crate) fn give_back(&self) {
        self.generation.close(|tracker| tracker.returned(self.tag));
    }

    /// Whether its channel is there.
    pub(crate) fn is_live(&self) -> bool {
        self.generation.is_live()
    }
}

impl Generation {
    pub(crate) fn new(channel: Channel, tally: Tally, max_age: Duration, prefetch: u16) -> Self {
        Self {
            channel,
            tally,
            max_age,
            enough: usize::from(prefetch / 8).max(1),
            wake: Notify::new(),
            dead: CancellationToken::new(),
            live: AtomicBool::new(true),
            ending: AtomicBool::new(false),
            tracker: Mutex::new(AckTracker::new()),
        }
    }

    /// Books a delivery. `None` if the channel is gone, or its tags do not grow.
    pub(crate) fn deliver(self: &Arc<Self>, mut delivery: lapin::message::Delivery) -> Option<AmqpDelivery> {
        let tag = delivery.delivery_tag;
        if !self.is_live() || !self.books().delivered(tag) {
            return None;
        }
        let message = Message::take(&mut delivery);
        let (acker, since) = (delivery.acker, Instant::now());
        Some(AmqpDelivery { message, tag, acker, since, generation: self.clone() })
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// The channel is gone, and its tags mean nothing any more.
    pub(crate) fn kill(&self) {
        self.live.store(false, Ordering::Release);
        self.dead.cancel();
        self.wake.notify_one();
    }

    /// No more deliveries come; those in hand may still be closed.
    pub(crate) fn no_more(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether nothing is left to do on this channel.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_live() || self.ending.load(Ordering::Acquire) && self.books().open() == 0
    }

    /// What to tell the broker, how many messages that closes, and how many wait beyond a gap.
    pub(crate) fn take(&self, reach: Reach) -> (Vec<Frame>, usize, usize) {
        let mut tracker = self.books();
        let before = tracker.waiting();
        let frames = tracker.take(reach);
        (frames, before - tracker.waiting(), tracker.waiting())
    }

    /// Whether so many wait that the broker is to be told at once.
    pub(crate) fn enough(&self) -> Option<Reach> {
        (self.waiting() >= self.enough).then_some(Reach::Run)
    }

    /// How many are closed here, and the broker has not been told.
    pub(crate) fn waiting(&self) -> usize {
        self.books().waiting()
    }

    /// Books that the messages of these tags are settled: under one lock, and the broker is told of them together.
    fn settled(&self, tags: impl ExactSizeIterator<Item = u64>) {
        let count = tags.len();
        let mut closed = 0;
        self.close(|tracker| {
            closed = tags.filter(|tag| tracker.settled(*tag)).count();
            closed > 0
        });
        if closed < count {
            // The broker delivers them again, and their records are found.
            self.tally.redeliveries_expected(count - closed);
        }
    }

    fn close(&self, book: impl FnOnce(&mut AckTracker) -> bool) -> bool {
        let booked = self.is_live() && book(&mut self.books());
        if booked {
            self.wake.notify_one();
        }
        booked
    }

    /// Held for a few steps, never across an await.
    fn books(&self) -> MutexGuard<'_, AckTracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Books the ends of deliveries. Gives one to `failed` if its handler failed and somebody there can let it wait.
pub(crate) fn done(
    ended: Vec<Result<Receipt<AmqpDelivery>, Unsettled<AmqpDelivery>>>,
    failed: impl Fn(&AmqpDelivery, &str, u32) -> bool,
) {
    let mut settled = Vec::with_capacity(ended.len());
    for outcome in ended {
        match outcome {
            Ok(receipt) => settled.push(receipt.redeem()),
            Err(unsettled) => not_settled(&unsettled, &failed),
        }
    }
    for of_one in settled.chunk_by(|a, b| Arc::ptr_eq(&a.generation, &b.generation)) {
        of_one[0].generation.settled(of_one.iter().map(|delivery| delivery.tag));
    }
}

fn not_settled(unsettled: &Unsettled<AmqpDelivery>, failed: impl Fn(&AmqpDelivery, &str, u32) -> bool) {
    let delivery = unsettled.delivery();
    match unsettled.why() {
        // It goes back with its channel, which ends now.
        Why::Stopped | Why::Fatal(_) => {}
        Why::Failed { reason, attempt, .. } if failed(delivery, reason, *attempt) => {}
        // Unless it waited for too long, its channel is gone and it has gone back already.
        Why::NotCurrent if !delivery.is_live() => {}
        why => {
            tracing::info!(target: "ackonce", message = ?delivery.message, ?why, "given back to the broker");
            delivery.give_back();
        }
    }
}
