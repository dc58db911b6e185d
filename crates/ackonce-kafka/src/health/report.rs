//! The consumer's state as plain values.

use std::fmt;
use std::time::{Duration, Instant};

use ackonce::adapter::{Phase, Waits};

use crate::partition::{Lane, Limit};
use crate::tracker::Status;

/// The state of a consumer at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaReport {
    /// The phase of its life.
    pub phase: Phase,
    /// The error by which it ended, or ends.
    pub trouble: Option<String>,
    /// A broker answers, as far as the driver knows.
    pub connected: bool,
    /// The partitions that it has now.
    pub partitions: Vec<PartitionReport>,
    /// Assignments and revocations; `ackonce_kafka_rebalances_total`.
    pub rebalances: u64,
    /// Commits that the broker confirmed for all of their partitions; `ackonce_kafka_commits_total`.
    pub commits: u64,
    /// Commits that failed for at least one; `ackonce_kafka_commits_failed_total`.
    pub commits_failed: u64,
    /// Topics found deleted or created again, each at most once a minute;
    /// `ackonce_kafka_topics_recreated_total`.
    pub topics_recreated: u64,
    /// Failed messages moved to a retry topic; `ackonce_kafka_moved_to_retry_total`.
    pub moved: u64,
    /// The driver's last error.
    pub last_error: Option<String>,
}

/// The state of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionReport {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset that the broker would give after a restart, as far as it was confirmed.
    pub committed: Option<i64>,
    /// Records from the first unsettled one to the end of the log, by the driver's statistics of every five seconds;
    /// `ackonce_kafka_lag`.
    pub lag: Option<i64>,
    /// Records delivered from the first unsettled one on, which a restart reads again; `ackonce_kafka_ahead`.
    pub ahead: usize,
    /// Messages delivered and not settled; `ackonce_kafka_in_flight`.
    pub in_flight: usize,
    /// Of those, the handlers that run.
    pub running: usize,
    /// The first unsettled message; `ackonce_kafka_oldest_seconds`.
    pub oldest: Option<OldestOffset>,
    /// Why the partition is not read now, if it is not; `ackonce_kafka_held` is 1 then.
    pub held: Option<&'static str>,
}

/// The first unsettled message of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldestOffset {
    /// Its offset.
    pub offset: i64,
    /// The time since it became the first.
    pub since: Duration,
    /// The step that it waits for.
    pub waits: Waits,
}

impl PartitionReport {
    pub(crate) fn of(lane: &Lane, end: Option<i64>, now: Instant) -> Self {
        let assignment = &lane.assignment;
        let (load, running, claiming) = (assignment.load(), assignment.running(), assignment.claiming());
        let tracker = assignment.tracker();
        let oldest = tracker.oldest().map(|(offset, status, since)| OldestOffset {
            offset,
            since: now.saturating_duration_since(since),
            waits: waits(status, running, claiming),
        });
        let next = oldest.as_ref().map(|oldest| oldest.offset).or(tracker.resume());
        Self {
            topic: assignment.id.0.to_string(),
            partition: assignment.id.1,
            committed: tracker.last_committed(),
            lag: end.zip(next).map(|(end, next)| (end - next).max(0)),
            ahead: load.ahead,
            in_flight: load.messages,
            running,
            oldest,
            held: held(lane, now),
        }
    }

    /// True if nothing of it goes on and nothing is waited for.
    pub(crate) fn stands(&self) -> bool {
        self.in_flight == 0 && self.held.is_none()
    }
}

fn held(lane: &Lane, now: Instant) -> Option<&'static str> {
    if lane.revoked {
        return Some("being revoked");
    }
    if lane.due().is_some_and(|due| due > now) {
        return Some(if lane.returns > 0 {
            "a message was handed back"
        } else {
            "its first message is not due"
        });
    }
    match lane.limit {
        Some(Limit::Ahead) => Some("too far ahead"),
        Some(Limit::InFlight) => Some("enough in flight"),
        None => None,
    }
}

fn waits(status: Status, running: usize, claiming: usize) -> Waits {
    match status {
        Status::InFlight if running > 0 => Waits::Handler,
        Status::InFlight if claiming > 0 => Waits::Store,
        Status::InFlight => Waits::Turn,
        Status::Busy => Waits::Busy,
        Status::Retrying => Waits::Retry,
        Status::Burying => Waits::Burial,
        Status::Moving => Waits::Delay,
        // A settled offset is never the first unsettled one.
        Status::Settled | Status::Duplicate | Status::Buried | Status::Moved | Status::Abandoned => {
            Waits::Redelivery
        }
    }
}

/// A line for the consumer, and a line for each partition.
impl fmt::Display for KafkaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = if self.connected { "connected" } else { "not connected" };
        write!(f, "{}", self.phase)?;
        if let Some(trouble) = &self.trouble {
            write!(f, ": {trouble}")?;
        }
        write!(f, ", {connected}, {} partitions", self.partitions.len())?;
        if let Some(error) = &self.last_error {
            write!(f, ", last error: {error}")?;
        }
        for partition in &self.partitions {
            let PartitionReport { topic, partition: number, in_flight, running, ahead, .. } = partition;
            write!(
                f,
                "\n{topic}/{number}: {in_flight} in flight, {running} running, {ahead} ahead of the commit"
            )?;
            if let Some(lag) = partition.lag {
                write!(f, ", lag {lag}")?;
            }
            if let Some(OldestOffset { offset, since, waits }) = &partition.oldest {
                write!(f, "; offset {offset}: {waits}, the oldest for {:.1} s", since.as_secs_f64())?;
            }
            if let Some(held) = partition.held {
                write!(f, "; not read: {held}")?;
            }
        }
        Ok(())
    }
}
