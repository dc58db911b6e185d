//! One delivered record under one assignment, and the end of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ackonce::adapter::{Delivery, Receipt, SettledAs, Stage, Unsettled, Why};
use ackonce::store::Attempt;
use ackonce::trace::{SpanOrigin, TraceContext};

use super::assignment::Assignment;
use crate::KafkaMessage;
use crate::tracker::Status;

const QUEUED: u8 = 0;
const CLAIMING: u8 = 1;
const RUNNING: u8 = 2;
const WAITING: u8 = 3;

impl Assignment {
    /// Books delivered records in order. Stops where the broker has gone back: the rest needs a renewed assignment.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        records: &mut VecDeque<KafkaMessage>,
        now: Instant,
    ) -> Vec<PartitionDelivery> {
        let mut tracker = self.tracker();
        let mut booked = Vec::with_capacity(records.len());
        while let Some(message) = records.pop_front() {
            if !tracker.delivered(message.offset(), now) {
                records.push_front(message);
                break;
            }
            let bytes = message.size();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            let (stage, assignment) = (AtomicU8::new(QUEUED), self.clone());
            booked.push(PartitionDelivery { message, bytes, stage, assignment });
        }
        self.publish(&tracker);
        booked
    }
}

/// One delivered record under one assignment.
#[derive(Debug)]
pub(crate) struct PartitionDelivery {
    pub(crate) message: KafkaMessage,
    pub(crate) assignment: Arc<Assignment>,
    bytes: usize,
    stage: AtomicU8,
}

impl PartitionDelivery {
    fn change(&self, to: u8) -> u8 {
        let from = self.stage.swap(to, Ordering::AcqRel);
        let of = |stage| match stage {
            CLAIMING => Some(&self.assignment.claiming),
            RUNNING => Some(&self.assignment.running),
            _ => None,
        };
        if from != to {
            // Up before down: a delivery on its way from a claim to its handler is in one of the two counts.
            if let Some(count) = of(to) {
                count.fetch_add(1, Ordering::AcqRel);
            }
            if let Some(count) = of(from) {
                count.fetch_sub(1, Ordering::AcqRel);
            }
        }
        from
    }
}

impl Drop for PartitionDelivery {
    fn drop(&mut self) {
        self.change(QUEUED);
        self.assignment.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Delivery for PartitionDelivery {
    type Message = KafkaMessage;

    fn message(&self) -> KafkaMessage {
        self.message.clone()
    }

    fn is_current(&self) -> bool {
        self.assignment.is_live()
    }

    fn returns_in(&self, attempt: Attempt) -> Duration {
        self.assignment.delays.of(&self.message, attempt)
    }

    fn place(&self) -> String {
        format!("{:?}", self.message)
    }

    fn published(&self) -> Option<SystemTime> {
        self.message.published()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.message.trace_context()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        let mut origin = self.message.trace_origin();
        origin.group = Some(self.assignment.delays.group().into());
        origin
    }

    fn note(&self, stage: Stage) {
        let (to, status) = match stage {
            Stage::Claiming => (CLAIMING, Status::InFlight),
            Stage::Running => (RUNNING, Status::InFlight),
            Stage::Busy => (WAITING, Status::Busy),
            Stage::Retrying => (WAITING, Status::Retrying),
            Stage::Burying => (WAITING, Status::Burying),
        };
        // The tracker has it in flight from the start: only a change from or to a wait needs its lock.
        if self.change(to) == WAITING || to == WAITING {
            self.assignment.mark(self.message.offset(), status);
        }
    }
}

/// A failed message on its way to a retry topic.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) message: KafkaMessage,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) reason: String,
    pub(crate) attempt: u32,
    /// A dependency of the handler is away, which uses up no attempt.
    pub(crate) infrastructure: bool,
}

/// Books the ends of deliveries. A failed one goes to `failed`, if that takes it; any other unsettled one is
/// abandoned, and the poll thread seeks back to it.
pub(crate) fn done(
    ended: Vec<Result<Receipt<PartitionDelivery>, Unsettled<PartitionDelivery>>>,
    failed: impl Fn(Failed) -> bool,
) {
    let marks: Vec<_> = ended
        .iter()
        .map(|outcome| {
            let (delivery, status) = match outcome {
                Ok(receipt) => (receipt.delivery(), settled(receipt.how())),
                Err(unsettled) => (unsettled.delivery(), not_settled(unsettled, &failed)),
            };
            (delivery.assignment.clone(), delivery.message.offset(), status)
        })
        .collect();
    for of_one in marks.chunk_by(|(a, ..), (b, ..)| Arc::ptr_eq(a, b)) {
        // First: nothing that comes after a message handed back may start before it.
        if of_one.iter().any(|(.., status)| *status == Status::Abandoned) {
            of_one[0].0.end();
        }
        of_one[0].0.mark_all(of_one.iter().map(|(_, offset, status)| (*offset, *status)));
    }
    // The deliveries go first: a revocation counts those whose handlers run.
    drop(ended);
    for of_one in marks.chunk_by(|(a, ..), (b, ..)| Arc::ptr_eq(a, b)) {
        of_one[0].0.ended();
    }
}

fn settled(how: SettledAs) -> Status {
    match how {
        SettledAs::Run | SettledAs::Stale => Status::Settled,
        SettledAs::Duplicate { .. } => Status::Duplicate,
        SettledAs::Buried => Status::Buried,
    }
}

fn not_settled(unsettled: &Unsettled<PartitionDelivery>, failed: &impl Fn(Failed) -> bool) -> Status {
    let delivery = unsettled.delivery();
    if let Why::Failed { reason, attempt, infrastructure } = unsettled.why()
        && delivery.is_current()
    {
        let failed_one = Failed {
            message: delivery.message.clone(),
            assignment: delivery.assignment.clone(),
            reason: reason.clone(),
            attempt: *attempt,
            infrastructure: *infrastructure,
        };
        if failed(failed_one) {
            return Status::Moving;
        }
    }
    Status::Abandoned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;
    use crate::delays::Delays;

    fn record(offset: i64) -> KafkaMessage {
        let at = Timestamp::NotAvailable;
        KafkaMessage::new(OwnedMessage::new(Some(vec![0; 1000]), None, "t".into(), at, 0, offset, None))
    }

    #[test]
    fn deliveries_are_weighed_while_they_are_held_and_counted_while_they_run() {
        let assignment = Assignment::new(("t".into(), 0), Arc::default(), Delays::default());
        let now = Instant::now();
        let mut records = VecDeque::from([record(5), record(6), record(6)]);
        let booked = assignment.deliver(&mut records, now);
        assert_eq!((booked.len(), records.len()), (2, 1), "the broker has gone back");
        let [first, second] = <[PartitionDelivery; 2]>::try_from(booked).unwrap();
        let load = assignment.load();
        assert_eq!((load.messages, load.ahead), (2, 2));
        assert!((2000..4000).contains(&load.bytes), "{} bytes for two records of 1000", load.bytes);
        first.note(Stage::Claiming);
        first.note(Stage::Running);
        second.note(Stage::Claiming);
        assert_eq!((assignment.claiming(), assignment.running()), (1, 1));
        first.note(Stage::Retrying);
        assert_eq!(assignment.tracker().oldest().map(|(o, s, _)| (o, s)), Some((5, Status::Retrying)));
        first.note(Stage::Claiming);
        first.note(Stage::Running);
        assert_eq!(assignment.tracker().oldest().map(|(o, s, _)| (o, s)), Some((5, Status::InFlight)));
        drop((first, second));
        assert_eq!((assignment.claiming(), assignment.running(), assignment.load().bytes), (0, 0, 0));
    }

    #[test]
    fn what_was_delivered_before_a_seek_changes_nothing_after_it() {
        let old = Assignment::new(("t".into(), 0), Arc::default(), Delays::default());
        let delivery = old.deliver(&mut [record(5)].into(), Instant::now()).remove(0);
        old.mark(5, Status::Abandoned);
        assert!(old.take_handed_back() && !old.take_handed_back());
        let new = old.restarted();
        assert!(!delivery.is_current() && new.is_live());
        let _again = new.deliver(&mut [record(5)].into(), Instant::now());
        old.mark(5, Status::Settled);
        assert_eq!((new.load().messages, new.tracker().to_store()), (1, None));
    }
}
