//! The poll thread: the one place that talks to the consumer, so that rebalances, commits and fetches never meet.
//!
//! It never waits for a handler, a commit or a broker. Each turn serves the group's events, reads from every partition
//! that has records and room, hands one chunk on, and stores the offsets that have moved.

mod close;
mod commit;
mod rebalance;
mod recreated;
#[cfg(test)]
mod simulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ackonce::adapter::{Intake, Ordered};
use ackonce::{Backoff, CancellationToken, Error, ErrorKind};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

pub(crate) use self::close::Membership;
use self::close::close;
use self::rebalance::Revocation;
use crate::delays::Ladder;
use crate::driver::{Group, Meaning, Waker, meaning, meaning_before_reading, meaning_for_partition};
use crate::health::KafkaHealth;
use crate::intake::admit;
use crate::log::Quiet;
use crate::partition::{Budget, Lane, Limits, PartitionDelivery};
use crate::recreated::Recreated;
use crate::tracker::PartitionId;

/// The longest sleep: a wake-up that the driver forgot is made good after it, and a stop is noticed.
const TICK: Duration = Duration::from_millis(50);
/// The first sleep while the runner has no room; it doubles up to [`TICK`].
const SHORT: Duration = Duration::from_millis(1);

/// The settings of the poll thread.
#[derive(Debug)]
pub(crate) struct PollSettings {
    pub(crate) intake: Arc<Intake>,
    /// The consumer group, for traces.
    pub(crate) group: Arc<str>,
    pub(crate) limits: Limits,
    /// The most records in a chunk.
    pub(crate) chunk: usize,
    pub(crate) commit_interval: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Waits before a partition is read again from a message that was handed back.
    pub(crate) backoff: Backoff,
    /// Topics that hold messages until they are due.
    pub(crate) retry_topics: Ladder,
    /// A broker that refuses a right before anything was read ends the consumer.
    pub(crate) ends_if_refused: bool,
    pub(crate) membership: Membership,
}

/// The signals between the poll thread and the task that runs the consumer.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) wake: Arc<Waker>,
    /// No more records are wanted.
    stopped: AtomicBool,
    /// Nothing is in work any more: leave the group.
    finished: AtomicBool,
    /// The poll thread takes in nothing more.
    pub(crate) closed: CancellationToken,
}

impl Control {
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.wake();
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.stop();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

pub(crate) struct Poller {
    pub(crate) consumer: Arc<BaseConsumer<Group>>,
    pub(crate) settings: PollSettings,
    pub(crate) control: Arc<Control>,
    /// True if the runner has stopped, which it also does by itself.
    stopped: Box<dyn Fn() -> bool + Send>,
    pub(crate) chunks: Option<mpsc::Sender<Vec<Ordered<PartitionDelivery>>>>,
    pub(crate) health: KafkaHealth,
    pub(crate) lanes: Vec<Lane>,
    /// The lane after the last that was read: turns begin here.
    pub(crate) cursor: usize,
    pub(crate) revocation: Option<Revocation>,
    pub(crate) quiet: Quiet,
    pub(crate) recreated: Recreated,
    /// Ends the consumer once the messages in hand have ended.
    pub(crate) trouble: Option<Error>,
    /// A record was handed on: the broker has granted all that is needed.
    has_read: bool,
    pub(crate) last_store: Instant,
    pub(crate) last_position: Instant,
}

impl Poller {
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Group>>,
        settings: PollSettings,
        control: Arc<Control>,
        stopped: Box<dyn Fn() -> bool + Send>,
        chunks: mpsc::Sender<Vec<Ordered<PartitionDelivery>>>,
        health: KafkaHealth,
        recreated: Recreated,
    ) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            settings,
            control,
            stopped,
            chunks: Some(chunks),
            health,
            lanes: Vec::new(),
            cursor: 0,
            revocation: None,
            quiet: Quiet::default(),
            recreated,
            trouble: None,
            has_read: false,
            last_store: now,
            last_position: now,
        }
    }

    /// Polls until the consumer has finished, then leaves the group.
    ///
    /// # Errors
    /// The error that ended the intake before it was stopped.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut sleep = SHORT;
        while !self.control.is_finished() {
            if self.control.is_stopped() || (self.stopped)() {
                self.close_intake();
            }
            self.serve();
            self.revoke_if_drained();
            self.look_for_recreated();
            let taken = self.take_turn();
            self.store_offsets();
            self.health.turn(&mut self.lanes, self.consumer.context());
            sleep = match taken {
                Taken::Some => SHORT,
                Taken::NoRoom => (sleep * 2).min(TICK),
                Taken::Nothing => TICK,
            };
            if taken != Taken::Some {
                self.control.wake.wait(sleep);
            }
        }
        self.close_intake();
        let trouble = self.trouble.take();
        close(self);
        trouble.map_or(Ok(()), Err)
    }

    /// Serves rebalances, answers to commits and errors, even if every queue is full.
    fn serve(&mut self) {
        loop {
            let before = self.consumer.context().served();
            match self.consumer.poll(Duration::ZERO) {
                // A record here would be one of a partition that is not split: that cannot be, and it is read again.
                Some(Ok(record)) => {
                    tracing::error!(target: "ackonce", scope = self.scope(), topic = rdkafka::Message::topic(&record),
                    "a record came outside of its partition's queue")
                }
                Some(Err(error)) => self.heard(&error, None),
                None if self.consumer.context().served() == before => break,
                None => {}
            }
            self.act_on_events();
        }
        if let Some((code, text)) = self.consumer.client().fatal_error() {
            // Its partitions belong to others, or will: nothing more of them is started here. The error itself may
            // have come out of `poll` before.
            self.lanes.iter().for_each(|lane| lane.assignment.end());
            if self.trouble.is_none() {
                let error = KafkaError::MessageConsumptionFatal(code);
                let why = format!("the Kafka client cannot go on: {text}");
                self.end(Error::new(ErrorKind::Unavailable, why).with_source(error));
            }
        }
    }

    /// For log lines.
    pub(crate) fn scope(&self) -> &str {
        self.health.scope()
    }

    /// Stops the intake; messages in hand go on.
    pub(crate) fn end(&mut self, error: Error) {
        tracing::error!(target: "ackonce", scope = self.scope(), error = %ackonce::chain(&error), "no more messages are taken in; the consumer ends");
        self.health.failed(&error);
        self.trouble.get_or_insert(error);
        self.close_intake();
    }

    fn close_intake(&mut self) {
        if self.chunks.take().is_some() {
            self.control.closed.cancel();
        }
    }

    /// Acts on an error of the driver: most are troubles that it is already mending.
    fn heard(&mut self, error: &KafkaError, partition: Option<&PartitionId>) {
        let place = partition.map(|(topic, number)| format!("{topic}/{number}")).unwrap_or_default();
        match self.means(error, partition.is_some()) {
            Meaning::Nothing => {}
            Meaning::End(kind, text) => {
                let reason = self.consumer.context().reason();
                let text = format!("{text}{}{place}: {reason}", if place.is_empty() { "" } else { " at " });
                self.end(Error::new(kind, text).with_source(error.clone()));
            }
            Meaning::Trouble => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.health.heard(code);
                if code == RDKafkaErrorCode::UnknownTopicOrPartition {
                    self.recreated.suspected();
                }
                if let Some(unsaid) = self.quiet.ask(&format!("{code:?}{place}")) {
                    let reason = self.consumer.context().reason();
                    tracing::warn!(target: "ackonce", scope = self.scope(), %error, reason, partition = place, unsaid,
                        "the Kafka client reports an error");
                }
            }
        }
    }

    fn means(&self, error: &KafkaError, of_partition: bool) -> Meaning {
        let means = if of_partition { meaning_for_partition(error) } else { meaning(error) };
        match self.settings.ends_if_refused && !self.has_read {
            true => meaning_before_reading(error, means),
            false => means,
        }
    }

    /// Reads from every partition that has records and room, a fair share each, and hands on one chunk.
    fn take_turn(&mut self) -> Taken {
        let Some(chunks) = self.chunks.clone() else { return Taken::Nothing };
        let permit = match chunks.try_reserve() {
            Ok(permit) => permit,
            Err(TrySendError::Full(())) => return Taken::NoRoom,
            Err(TrySendError::Closed(())) => {
                self.close_intake();
                return Taken::Nothing;
            }
        };
        let now = Instant::now();
        self.return_handed_back(now);
        self.seek(now);
        self.read(now);
        if self.lanes.iter().any(|lane| !lane.taken.is_empty()) {
            // The driver tells of a topic's other ID before it fetches from it: its records do not run before those at its
            // beginning.
            self.serve();
        }
        let mut chunk = Vec::new();
        let mut refused = None;
        for lane in &mut self.lanes {
            for delivery in lane.book(now, self.health.scope()) {
                match admit(&self.settings.intake, delivery) {
                    Ok(job) => chunk.push(job),
                    // Earlier messages of any partition still run.
                    Err(error) => {
                        refused.get_or_insert(error);
                        break;
                    }
                }
            }
        }
        let taken = if chunk.is_empty() { Taken::Nothing } else { Taken::Some };
        if taken == Taken::Some {
            self.has_read = true;
            permit.send(chunk);
        }
        if let Some(error) = refused {
            self.end(error);
        }
        taken
    }

    /// Fills the lanes' `taken`, in rounds, so that no partition waits for another's backlog.
    fn read(&mut self, now: Instant) {
        let mut loads = self.lanes.iter().map(|lane| lane.assignment.load()).collect::<Vec<_>>();
        let mut budget = Budget::new(self.settings.limits, loads.iter().copied());
        let count = self.lanes.len();
        let mut ready: Vec<usize> = (0..count).map(|n| (self.cursor + n) % count).collect();
        ready.retain(|&at| self.lanes[at].is_ready(now));
        self.cursor = (self.cursor + 1) % count.max(1);
        let mut left = self.settings.chunk;
        while left > 0 && !ready.is_empty() {
            let quantum = (left / ready.len()).max(1);
            let mut heard = Vec::new();
            ready.retain(|&at| {
                let (lane, load) = (&mut self.lanes[at], &mut loads[at]);
                for _ in 0..quantum.min(left) {
                    if let Err(limit) = budget.room(*load) {
                        lane.reached(limit, load.messages, now);
                        return false;
                    }
                    match lane.next(now) {
                        Ok(Some(message)) => {
                            budget.take(*load, message.size());
                            load.messages += 1;
                            load.ahead += 1;
                            load.bytes += message.size();
                            lane.taken.push_back(message);
                            left -= 1;
                        }
                        Ok(None) => return false,
                        Err(error) => {
                            heard.push((error, lane.assignment.id.clone()));
                            return false;
                        }
                    }
                }
                left > 0
            });
            heard.into_iter().for_each(|(error, id)| self.heard(&error, Some(&id)));
        }
    }
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Some,
    Nothing,
    /// The runner has as much as it can start.
    NoRoom,
}
