//! The poll thread: the one place that talks to the consumer, so that rebalance callbacks, commits and
//! fetches never meet.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Fingerprint, Job, Laned, MessageIds, Scope};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::books::{Books, KafkaDelivery};
use crate::rebalance::{Groupie, commit};
use crate::{Message, OnMissing, Order};

/// How long a poll waits for a first record, and so how late a stop or a due commit may be noticed.
const POLL: Duration = Duration::from_millis(50);
/// How long intake waits for room before it pauses the partitions; pausing throws prefetched records away.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the poll thread needs to know.
pub(crate) struct Intake {
    pub(crate) scope: Scope,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: OnMissing,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
    pub(crate) chunk: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) max_bytes: usize,
    pub(crate) commit_interval: Duration,
}

pub(crate) struct Poller {
    pub(crate) consumer: BaseConsumer<Groupie>,
    pub(crate) books: Arc<Books>,
    pub(crate) intake: Intake,
    pub(crate) chunks: Option<mpsc::Sender<Vec<Laned<KafkaDelivery>>>>,
    /// Set when nothing is in work any more.
    pub(crate) finished: Arc<AtomicBool>,
}

impl Poller {
    /// Polls until `finished`; takes in records until `stopped` says so or the broker refuses for good.
    pub(crate) fn run(mut self, stopped: impl Fn() -> bool) -> Result<BaseConsumer<Groupie>, Error> {
        let mut pending = Vec::new();
        let mut paused = false;
        let mut held_since = None;
        let mut last_commit = Instant::now();
        let mut fatal = None;
        while !self.finished.load(Ordering::Acquire) {
            if (stopped() || fatal.is_some()) && self.chunks.take().is_some() {
                self.drop_pending(&mut pending);
            }
            // First, for a commit takes milliseconds, which what has just arrived need not wait.
            self.offer(&mut pending);
            if last_commit.elapsed() >= self.intake.commit_interval {
                commit(&self.consumer, &self.books);
                last_commit = Instant::now();
            }
            let hold = self.chunks.is_none()
                || !self.has_room(pending.len(), self.books.bytes())
                || self.books.open() >= self.intake.max_in_flight;
            if hold {
                let since = *held_since.get_or_insert_with(Instant::now);
                if since.elapsed() < PATIENCE && self.chunks.is_some() {
                    self.books.wait(Duration::from_millis(1));
                    continue;
                }
                // Keep polling, or the group gives the partitions to somebody else.
                self.pause();
                paused = true;
            } else {
                held_since = None;
                if std::mem::take(&mut paused) {
                    self.resume();
                }
            }
            if let Err(error) = self.take_in(&mut pending) {
                fatal.get_or_insert(error);
            }
        }
        self.drop_pending(&mut pending);
        commit(&self.consumer, &self.books);
        fatal.map_or(Ok(self.consumer), Err)
    }

    /// Hands the chunk on if there is room, and keeps it otherwise.
    fn offer(&mut self, pending: &mut Vec<Laned<KafkaDelivery>>) {
        let Some(chunks) = &self.chunks else { return self.drop_pending(pending) };
        if pending.is_empty() {
            return;
        }
        match chunks.try_send(std::mem::take(pending)) {
            Ok(()) => {}
            Err(TrySendError::Full(back)) => *pending = back,
            Err(TrySendError::Closed(mut back)) => {
                self.chunks = None;
                self.drop_pending(&mut back);
            }
        }
    }

    fn drop_pending(&self, pending: &mut Vec<Laned<KafkaDelivery>>) {
        pending.drain(..).for_each(|laned| self.books.abandon(laned.job.delivery()));
    }

    /// Takes what has arrived, up to a chunk; waits only for the first record, and only if none is at hand.
    fn take_in(&self, pending: &mut Vec<Laned<KafkaDelivery>>) -> Result<(), Error> {
        let mut wait = if pending.is_empty() { POLL } else { Duration::ZERO };
        let (mut records, mut bytes) = (Vec::new(), self.books.bytes());
        let mut trouble = Ok(());
        while self.chunks.is_none() || self.has_room(pending.len() + records.len(), bytes) {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(record)) => {
                    wait = Duration::ZERO;
                    // After a stop, what surfaces late stays unread: its offset does not move.
                    if self.chunks.is_some() {
                        let message = Message::new(record.detach());
                        bytes += message.size();
                        records.push(message);
                    }
                }
                Some(Err(error)) => {
                    trouble = judge(error);
                    break;
                }
            }
        }
        for delivery in self.books.deliver(records) {
            pending.push(self.intake.admit(delivery)?);
        }
        trouble
    }

    fn has_room(&self, pending: usize, bytes: usize) -> bool {
        pending < self.intake.chunk && bytes < self.intake.max_bytes
    }

    fn pause(&self) {
        if let Ok(assignment) = self.consumer.assignment()
            && let Err(error) = self.consumer.pause(&assignment)
        {
            tracing::warn!(target: "ackonce", %error, "partitions not paused");
        }
    }

    fn resume(&self) {
        if let Ok(assignment) = self.consumer.assignment()
            && let Err(error) = self.consumer.resume(&assignment)
        {
            tracing::warn!(target: "ackonce", %error, "partitions not resumed");
        }
    }
}

impl Intake {
    /// Identity, lane and fingerprint of a record.
    fn admit(&self, delivery: KafkaDelivery) -> Result<Laned<KafkaDelivery>, Error> {
        let message = delivery.message.clone();
        let key = self.ids.find(&message).map_err(|e| e.to_string());
        let key = key.and_then(|id| self.scope.key(id).map_err(|e| e.to_string()));
        let job = match (key, self.on_missing) {
            (Ok(key), _) => Job::new(key, delivery),
            (Err(why), OnMissing::Stop) => {
                return Err(Error::new(ErrorKind::Invalid, format!("{message:?}: {why} (OnMissing::Stop)")));
            }
            (Err(why), OnMissing::Bury) => self.unidentified(&message, delivery)?.condemned(why),
        };
        let job = match self.fingerprints {
            true => job.with_fingerprint(Fingerprint::of(message.payload())),
            false => job,
        };
        Ok(Laned { lane: self.lane(&message), job })
    }

    /// A record of its own, beside the scope's IDs, so that a message without one is buried once.
    fn unidentified(&self, message: &Message, delivery: KafkaDelivery) -> Result<Job<KafkaDelivery>, Error> {
        let id = ackonce::Identify::coordinates(message).unwrap_or_default();
        let scope = self.scope.beside("unidentified").with_max_id_len(id.len());
        let key = scope.key(id).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        Ok(Job::new(key, delivery))
    }

    fn lane(&self, message: &Message) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (message.topic(), message.partition()).hash(&mut hasher);
        match (self.order, message.key()) {
            (Order::Partition, _) => {}
            (Order::Key, Some(key)) => key.hash(&mut hasher),
            (Order::Key, None) | (Order::Unordered, _) => return None,
        }
        Some(hasher.finish())
    }
}

/// Most errors are librdkafka telling of troubles that it is already mending.
fn judge(error: KafkaError) -> Result<(), Error> {
    let fatal = |kind, text: &str| Err(Error::new(kind, text).with_source(error.clone()));
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset) => fatal(
            ErrorKind::Config,
            "the group has no valid offset and auto.offset.reset=error; set it to earliest to read from the start",
        ),
        Some(RDKafkaErrorCode::Fatal) => fatal(ErrorKind::Unavailable, "the Kafka client cannot go on"),
        Some(RDKafkaErrorCode::PollExceeded) => {
            tracing::error!(target: "ackonce", "max.poll.interval.ms was exceeded; the group gave the partitions away");
            Ok(())
        }
        _ => {
            tracing::warn!(target: "ackonce", %error, "Kafka");
            Ok(())
        }
    }
}
