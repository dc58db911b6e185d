//! A partition's own queue: read while the partition has room, left alone while it has not.
//!
//! A queue that is not read is the pause: the driver stops fetching for it at its own limit, and keeps the records it has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::Offset;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;

use super::assignment::Assignment;
use super::budget::Limit;
use super::delivery::PartitionDelivery;
use super::digest::Digests;
use super::origin::Origin;
use super::watch::Watch;
use crate::driver::{Group, Waker};
use crate::{KafkaMessage, headers};

/// A queue that gave nothing is looked at again this soon, although no call-back came: the driver's call-backs come at
/// the change from empty only.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A limit is looked at again this soon: others may have left room.
const LIMIT_AGAIN: Duration = Duration::from_millis(50);
/// The longest wait of a head on the clock's word: a message due in a year waits, but its clock is looked at again.
const HEAD: Duration = Duration::from_secs(60);

/// The number of repeats of a seek that was not seen to take effect. After that, the records between its target and the
/// last one read are taken to be gone.
const SEEKS: u32 = 3;

/// A seek that was not yet seen to take effect. The driver's thread for the broker throws away the prefetched records, and
/// not while it has no connection: such records may come first.
#[derive(Debug)]
struct Sought {
    to: Offset,
    /// The last offset read before it. A record past that was prefetched before the seek.
    read: i64,
    tries: u32,
}

/// One assigned partition.
pub(crate) struct Lane {
    pub(crate) assignment: Arc<Assignment>,
    queue: PartitionQueue<Group>,
    /// Set by the driver when records arrive.
    arrived: Arc<AtomicBool>,
    looked: Instant,
    /// The last poll gave nothing.
    pub(crate) empty: bool,
    /// The limit that the partition has reached, when, and with how many open messages it is read again.
    pub(crate) limit: Option<Limit>,
    limit_since: Instant,
    refill_at: usize,
    /// Not read before this moment: a seek back, or a head that is not due.
    pub(crate) wait_until: Option<Instant>,
    /// The offset to read from. Nothing is read before the driver has confirmed it: records after it would be taken for
    /// the first ones, and the commit would pass those before.
    pub(crate) seek_to: Option<Offset>,
    /// The head of a retry topic's partition that is not due, and since when it has been the head.
    head: Option<(KafkaMessage, Instant)>,
    /// Its records come from a retry topic of this consumer, in which a message waits for this long at most.
    hop: Option<Duration>,
    /// Seeks back without progress between them.
    pub(crate) returns: u32,
    pub(crate) returned_from: Option<i64>,
    /// The last offset that came out of the queue.
    read: Option<i64>,
    sought: Option<Sought>,
    /// Taken from the partition and not yet booked.
    pub(crate) taken: VecDeque<KafkaMessage>,
    /// It was revoked: nothing more is read.
    pub(crate) revoked: bool,
    /// Its offsets went back, and the driver commits none below the last: they are committed by hand.
    pub(crate) by_hand: bool,
    /// Another one once the partition's records are others.
    pub(crate) incarnation: Arc<()>,
    /// The driver's stored offset is one of the old records.
    pub(crate) unstore: bool,
    /// The newest record, until the next store makes its digest.
    pub(crate) newest: Option<KafkaMessage>,
    pub(crate) digests: Digests,
    /// The broker has, or had, a commit of these records.
    pub(crate) confirmed: bool,
    /// The commit that it was assigned with.
    pub(crate) origin: Origin,
    /// The ID of the topic that its records are of, where the driver has told it.
    pub(crate) topic_id: Option<Arc<str>>,
    pub(crate) watch: Watch,
}

impl Lane {
    pub(crate) fn new(
        assignment: Arc<Assignment>,
        mut queue: PartitionQueue<Group>,
        wake: Arc<Waker>,
        hop: Option<Duration>,
    ) -> Self {
        let arrived = Arc::new(AtomicBool::new(true));
        let flag = arrived.clone();
        queue.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
            wake.wake();
        });
        Self {
            assignment,
            queue,
            arrived,
            looked: Instant::now(),
            empty: false,
            limit: None,
            limit_since: Instant::now(),
            refill_at: 0,
            wait_until: None,
            seek_to: None,
            head: None,
            hop,
            returns: 0,
            returned_from: None,
            read: None,
            sought: None,
            taken: VecDeque::new(),
            revoked: false,
            by_hand: false,
            incarnation: Arc::new(()),
            unstore: false,
            newest: None,
            digests: Digests::default(),
            confirmed: false,
            origin: Origin::known(),
            topic_id: None,
            watch: Watch::default(),
        }
    }

    /// True if there may be something to read.
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        if self.revoked || self.seek_to.is_some() || self.wait_until.is_some_and(|until| until > now) {
            return false;
        }
        if self.origin.holds(now) {
            return false;
        }
        self.wait_until = None;
        if self.limit.is_some() {
            let refill = self.assignment.load().messages <= self.refill_at;
            if !refill && now.duration_since(self.limit_since) < LIMIT_AGAIN {
                return false;
            }
            self.limit = None;
        }
        self.head.is_some()
            || !self.empty
            || self.arrived.load(Ordering::Acquire)
            || now.duration_since(self.looked) >= LOOK_AGAIN
    }

    /// Leaves the partition alone until a part of its messages has ended: refilled one by one, each would be claimed in
    /// a trip of its own.
    pub(crate) fn reached(&mut self, limit: Limit, open: usize, now: Instant) {
        self.limit = Some(limit);
        self.limit_since = now;
        self.refill_at = if open < 32 { open.saturating_sub(1) } else { open - open / 4 };
        self.assignment.wake_at(self.refill_at);
    }

    /// The next record, if there is one and it is due.
    pub(crate) fn next(&mut self, now: Instant) -> Result<Option<KafkaMessage>, KafkaError> {
        let (message, since) = match self.head.take() {
            Some(head) => head,
            None => match self.poll(now)? {
                Some(message) => (message, now),
                None => return Ok(None),
            },
        };
        let left = self.hop.map(|most| most.saturating_sub(now.saturating_duration_since(since)));
        match left.and_then(|left| wait(&message, left)) {
            Some(wait) => {
                self.wait_until = Some(now + wait.min(HEAD));
                self.head = Some((message, since));
                Ok(None)
            }
            None => Ok(Some(message)),
        }
    }

    fn poll(&mut self, now: Instant) -> Result<Option<KafkaMessage>, KafkaError> {
        // Before the poll: a record that arrives after it sets the flag again.
        self.arrived.store(false, Ordering::Release);
        self.looked = now;
        let polled = self.queue.poll(Duration::ZERO);
        self.empty = polled.is_none();
        match polled {
            None => Ok(None),
            Some(Ok(record)) => {
                let record = record.detach();
                if self.is_stale(rdkafka::Message::offset(&record), now) {
                    return Ok(None);
                }
                Ok(Some(if self.hop.is_some() {
                    KafkaMessage::of_hop(record)
                } else {
                    KafkaMessage::new(record)
                }))
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// True if the record was prefetched before the last seek. Running it could move the commit past the record that was
    /// sought: the queue is emptied and the seek made again.
    fn is_stale(&mut self, offset: i64, now: Instant) -> bool {
        if let Some(sought) = &mut self.sought
            && offset > sought.read
            && sought.tries < SEEKS
        {
            sought.tries += 1;
            self.seek_to = Some(sought.to);
            self.wait_until = Some(now + LOOK_AGAIN);
            self.drain_queue();
            return true;
        }
        (self.sought, self.read) = (None, Some(offset));
        false
    }

    /// Has the partition read again from `to`, once the driver was told.
    pub(crate) fn read_from(&mut self, to: Offset) {
        self.forget();
        self.seek_to = Some(to);
        let read = self.read.unwrap_or(i64::MAX);
        self.sought = Some(Sought { to, read, tries: 0 });
    }

    /// The driver reads from `next` on, and may have fetched records from there before any came out of the queue.
    pub(crate) fn began(&mut self, next: i64) {
        self.read = self.read.or(Some(next - 1));
    }

    /// True if no record has come since a seek: until then the driver's position says nothing.
    pub(crate) fn is_sought(&self) -> bool {
        self.sought.is_some()
    }

    /// Books the records taken since the last time.
    pub(crate) fn book(&mut self, now: Instant, scope: &str) -> Vec<PartitionDelivery> {
        let mut booked = self.assignment.deliver(&mut self.taken, now);
        while let Some(first) = self.taken.front() {
            tracing::warn!(target: "ackonce", scope, message = ?first, "the broker went back to an earlier offset (a reset, or \
                a topic created again); records that took effect are found in the store");
            self.renew();
            booked.extend(self.assignment.deliver(&mut self.taken, now));
        }
        if let Some(newest) = booked.last() {
            self.newest = Some(newest.message.clone());
        }
        booked
    }

    /// A new assignment that reads from `offset` again: the old one's deliveries are not current any more.
    pub(crate) fn restart(&mut self, offset: i64) {
        self.assignment = self.assignment.restarted();
        self.read_from(Offset::Offset(offset));
    }

    /// A new assignment of a partition whose records are others now.
    pub(crate) fn renew(&mut self) {
        self.by_hand = true;
        self.incarnation = Arc::new(());
        self.unstore = true;
        self.newest = None;
        self.digests = Digests::default();
        self.confirmed = false;
        self.origin = Origin::known();
        self.assignment = self.assignment.renewed();
    }

    /// Records that were read ahead are read again.
    pub(crate) fn forget(&mut self) {
        self.head = None;
        self.wait_until = None;
        self.taken.clear();
    }

    /// Reads the rest of a revoked partition's queue, whose records would stay in memory.
    pub(crate) fn drain(&mut self) {
        self.forget();
        self.drain_queue();
    }

    fn drain_queue(&mut self) {
        // Bounded by the driver's own limit on prefetched records, and some.
        let mut left = 200_000;
        while left > 0 && self.queue.poll(Duration::ZERO).is_some() {
            left -= 1;
        }
    }

    /// The moment until which the partition's head, or the partition, waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.wait_until
    }
}

/// The time that a record of a retry topic has to wait, by its own header and this host's clock, and `left` at most: a clock
/// that is ahead, or a producer that made the moment up, would hold the partition for as long as it says.
fn wait(message: &KafkaMessage, left: Duration) -> Option<Duration> {
    let due: u64 = message.hop_header(headers::DUE)?.parse().ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wait = Duration::from_millis(due).checked_sub(now)?.min(left);
    (!wait.is_zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{OwnedHeaders, OwnedMessage};

    use super::*;
    use crate::message::text;

    #[test]
    fn a_due_time_beyond_the_topics_delay_holds_its_partition_no_longer_than_that() {
        let due = |ms: u64| {
            let all = text(OwnedHeaders::new(), headers::DUE, &ms.to_string());
            let at = Timestamp::NotAvailable;
            KafkaMessage::of_hop(OwnedMessage::new(None, None, "later".into(), at, 0, 5, Some(all)))
        };
        let minute = Duration::from_secs(60);
        assert_eq!(wait(&due(u64::MAX), minute), Some(minute));
        assert_eq!(wait(&due(u64::MAX), Duration::ZERO), None, "it has waited for the topic's delay");
        assert_eq!(wait(&due(0), minute), None);
    }
}
