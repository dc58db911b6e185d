//! The driver's callbacks. They run on the poll thread, inside `poll`, and only note down events: the poll thread acts
//! on them when `poll` has returned, so that no callback ever waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::log::Quiet;
use crate::tracker::PartitionId;

/// News of the group or the broker.
#[derive(Debug)]
pub(crate) enum Event {
    /// Partitions are ours once [`assign`] is called.
    Assign(TopicPartitionList),
    /// Partitions are ours until [`unassign`] is called.
    Revoke(TopicPartitionList),
    /// The answer to a commit, for each partition that was in it.
    Committed(Vec<(PartitionId, i64, KafkaResult<()>)>),
    /// The ID of a topic, and whether it has replaced another one: then the topic was deleted and created again.
    TopicId { topic: String, id: String, replaces: bool },
}

/// The consumer's context.
#[derive(Debug, Default)]
pub(crate) struct Group {
    events: Mutex<VecDeque<Event>>,
    /// Counts callbacks, so that the poll thread knows whether there may be more.
    served: AtomicU64,
    /// Nobody acts on events any more: rebalances are applied at once.
    closing: AtomicBool,
    /// The user asked for the driver's debug lines.
    debug: bool,
    /// For log lines.
    scope: Arc<str>,
    quiet: Mutex<Quiet>,
    /// The text of the driver's last error, which its code does not carry.
    reason: Mutex<String>,
    /// The end of each partition's log, by the last statistics.
    ends: Mutex<HashMap<PartitionId, i64>>,
    /// True if a broker was connected and had answered lately, by the last statistics.
    connected: Mutex<Option<bool>>,
    /// The time that a connected broker may say nothing.
    silence: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    pub(crate) fn new(config: &ClientConfig, scope: Arc<str>) -> Self {
        let debug = config.get("debug").is_some();
        Self { debug, scope, silence: silence(config.get("heartbeat.interval.ms")), ..Self::default() }
    }

    pub(crate) fn take_events(&self) -> VecDeque<Event> {
        std::mem::take(&mut lock(&self.events))
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn reason(&self) -> String {
        lock(&self.reason).clone()
    }

    pub(crate) fn end_of(&self, id: &PartitionId) -> Option<i64> {
        lock(&self.ends).get(id).copied()
    }

    pub(crate) fn connected(&self) -> Option<bool> {
        *lock(&self.connected)
    }

    /// A frozen broker keeps its connections for the driver's socket.timeout.ms of a minute: its silence tells before.
    fn is_heard(&self, idle_us: i64) -> bool {
        u64::try_from(idle_us).is_ok_and(|us| Duration::from_micros(us) < self.silence)
    }

    fn note(&self, event: Event) {
        lock(&self.events).push_back(event);
    }

    fn serve(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}

/// The least silence that is one: a member's heartbeats are answered every 3 s by default, and every 15 s at most under
/// `group.protocol=consumer`.
const SILENCE: Duration = Duration::from_secs(20);

/// Longer than three heartbeats of the user's own interval.
fn silence(heartbeat_ms: Option<&str>) -> Duration {
    let heartbeat = heartbeat_ms.and_then(|ms| ms.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    SILENCE.max(heartbeat * 3)
}

/// True if a broker answers: `up` if one is connected, `heard` if it has said something lately. Only a `steady` member
/// has heartbeats to be answered. One that joins may wait in silence for the other members, and one whose session ended
/// in silence joins again: until the next answer, both are taken to be as they were.
fn answers(up: bool, heard: bool, steady: bool, before: Option<bool>) -> bool {
    heard || (up && !steady && before.unwrap_or(true))
}

/// Takes over partitions, by the group's protocol.
pub(crate) fn assign(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

/// Gives up partitions, by the group's protocol. The driver commits the offsets that were stored for them.
pub(crate) fn unassign(consumer: &BaseConsumer<Group>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

/// The topic, its ID, and whether that has replaced another one, from the driver's line about the change of an ID; the first
/// ID replaces zero.
fn topic_id(line: &str) -> Option<Event> {
    let (_, line) = line.split_once("Topic ")?;
    let (topic, ids) = line.split_once(" changed id from ")?;
    let (old, id) = ids.split_once(" to ")?;
    let is_none = |id: &str| id.bytes().all(|byte| byte == b'A' || byte == b'=');
    let (topic, id, replaces) = (topic.to_owned(), id.trim().to_owned(), !is_none(old));
    (!is_none(&id)).then_some(Event::TopicId { topic, id, replaces })
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        self.serve();
        if let Some(event) = topic_id(line) {
            self.note(event);
        }
        let scope = &*self.scope;
        match level {
            RDKafkaLogLevel::Debug if self.debug => {
                tracing::debug!(target: "librdkafka", scope, fac, "{line}")
            }
            RDKafkaLogLevel::Debug => {}
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", scope, fac, "{line}");
            }
            _ => match lock(&self.quiet).ask(fac) {
                Some(unsaid) => tracing::warn!(target: "librdkafka", scope, fac, unsaid, "{line}"),
                None => tracing::debug!(target: "librdkafka", scope, fac, "{line}"),
            },
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.serve();
        let up: Vec<_> = statistics.brokers.values().filter(|broker| broker.state == "UP").collect();
        let heard = up.iter().any(|broker| self.is_heard(broker.rxidle));
        let steady = statistics.cgrp.as_ref().is_some_and(|group| group.join_state == "steady");
        let mut connected = lock(&self.connected);
        *connected = Some(answers(!up.is_empty(), heard, steady, *connected));
        drop(connected);
        let mut ends = lock(&self.ends);
        ends.clear();
        for (name, topic) in statistics.topics {
            let name: Arc<str> = name.into();
            for (number, partition) in topic.partitions {
                // The last stable offset is the end for those who read committed records only.
                let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                if number >= 0 && end >= 0 {
                    ends.insert((name.clone(), number), end);
                }
            }
        }
    }

    /// The same error comes out of `poll`, without this text.
    fn error(&self, _: KafkaError, reason: &str) {
        self.serve();
        reason.clone_into(&mut lock(&self.reason));
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.serve();
        let closing = self.closing.load(Ordering::Acquire);
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let answer = match (closing, assigned) {
            (false, true) => return self.note(Event::Assign(list.clone())),
            (false, false) => return self.note(Event::Revoke(list.clone())),
            (true, true) => assign(consumer, list),
            (true, false) => unassign(consumer, list),
        };
        if let Err(error) = answer {
            tracing::debug!(target: "ackonce", scope = &*self.scope, %error, "a rebalance at the end");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        self.serve();
        let answers = list.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => {
                let id = (element.topic().into(), element.partition());
                Some((id, next, element.error().and(result.clone())))
            }
            _ => None,
        });
        self.note(Event::Committed(answers.collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connected_broker_that_says_nothing_is_away() {
        let group = Group::new(&ClientConfig::new(), "s".into());
        assert!(group.is_heard(3_000_000) && !group.is_heard(25_000_000));
        assert!(!group.is_heard(-1), "it has never answered");
        assert_eq!(silence(Some("60000")), Duration::from_secs(180));
        assert!(answers(true, true, true, Some(false)), "it has said something");
        assert!(!answers(true, false, true, Some(true)), "a heartbeat is not answered");
        assert!(answers(true, false, false, Some(true)), "it waits for the other members");
        assert!(!answers(true, false, false, Some(false)), "its session ended in silence");
        assert!(!answers(false, false, false, Some(true)), "no connection");
    }

    #[test]
    fn the_drivers_line_about_a_topics_id_names_both() {
        let parsed = |line| match topic_id(line)? {
            Event::TopicId { topic, id, replaces } => Some((topic, id, replaces)),
            _ => None,
        };
        let found = |replaces| Some(("orders".to_owned(), "4ZbTn8C2Q3mhVYcB0eIr1A".to_owned(), replaces));
        let line =
            "[thrd:main]: Topic orders changed id from Wk3yxVqbQv6xQ0yPjJ0D3w to 4ZbTn8C2Q3mhVYcB0eIr1A";
        assert_eq!(parsed(line), found(true));
        let first =
            "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to 4ZbTn8C2Q3mhVYcB0eIr1A";
        assert_eq!(parsed(first), found(false), "the first ID of a topic replaces none");
        let none =
            "[thrd:main]: Topic orders changed id from 4ZbTn8C2Q3mhVYcB0eIr1A to AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(parsed(none), None);
        assert_eq!(parsed("Topic orders partition count changed from 1 to 2"), None);
    }
}
