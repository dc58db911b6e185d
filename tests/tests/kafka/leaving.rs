//! A consumer that has ended is no member of its group any more, whatever the group was doing; a static member stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::MemoryStore;
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use ackonce_kafka::rdkafka::error::RDKafkaErrorCode;
use ackonce_kafka::rdkafka::{Offset, TopicPartitionList};
use ackonce_kafka::{ClientConfig, KafkaConsumer};
use ackonce_tests::until;
use futures_util::future::join_all;

use crate::inside::{Log, Running, Topic, settings};

/// Far below the time after which the broker takes a silent member out of its group: a minute, or 45 s under KIP-848.
const SOON: Duration = Duration::from_secs(25);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Eager,
    Cooperative,
    Kip848,
}

const ALL: [Protocol; 3] = [Protocol::Eager, Protocol::Cooperative, Protocol::Kip848];

struct Group {
    topic: Topic,
    protocol: Protocol,
    store: Arc<MemoryStore>,
    /// Knows the group, and does not join it.
    outsider: BaseConsumer,
}

impl Group {
    async fn new(stem: &str, protocol: Protocol, partitions: i32) -> Option<Self> {
        let topic = Topic::new(stem, partitions).await?;
        let outsider = topic.kafka.group(&topic.group).create().unwrap();
        Some(Self { topic, protocol, store: Arc::default(), outsider })
    }

    fn config(&self) -> ClientConfig {
        let mut config = self.topic.kafka.config();
        config.set("group.id", &self.topic.group);
        match self.protocol {
            Protocol::Eager => config.set("session.timeout.ms", "60000"),
            Protocol::Cooperative => config
                .set("session.timeout.ms", "60000")
                .set("partition.assignment.strategy", "cooperative-sticky"),
            Protocol::Kip848 => config.set("group.protocol", "consumer"),
        };
        config
    }

    fn member_of(&self, config: ClientConfig) -> (Running, Log) {
        let consumer =
            KafkaConsumer::new(config, &[&self.topic.name], &self.topic.scope(), self.store.clone());
        Running::logging(consumer.with_settings(settings()))
    }

    fn member(&self) -> (Running, Log) {
        self.member_of(self.config())
    }

    /// True if it has no members: only then does the broker take an outsider's commit.
    fn is_empty(&self) -> bool {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic.name, 0, Offset::Offset(0)).unwrap();
        match self.outsider.commit(&list, CommitMode::Sync) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownMemberId), "{error}");
                false
            }
        }
    }

    async fn until_empty(&self) {
        let end = Instant::now() + SOON;
        while !self.is_empty() {
            assert!(Instant::now() < end, "{:?}: the group still has a member", self.protocol);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_ended_has_left_its_group() {
    join_all(ALL.map(|protocol| async move {
        let Some(group) = Group::new("left", protocol, 2).await else { return };
        group.topic.fill_all(100);
        let (running, log) = group.member();
        // The last commits are still to be made.
        until("all ran", || log.len() == 200).await;
        assert!(!group.is_empty());
        running.stop().await;
        group.until_empty().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_partitions_leaves_its_group_at_its_end() {
    join_all(ALL.map(|protocol| async move {
        let Some(group) = Group::new("idle", protocol, 1).await else { return };
        let (first, _) = group.member();
        first.until_assigned(1).await;
        let (second, _) = group.member();
        let assigned = |running: &Running| running.health.report().partitions.len();
        if protocol == Protocol::Kip848 {
            // A member that gets nothing is told nothing.
            tokio::time::sleep(Duration::from_secs(2)).await;
        } else {
            until("the second is in the group", || {
                second.health.report().rebalances > 0 && assigned(&first) + assigned(&second) == 1
            })
            .await;
        }
        // The partition may have moved to the second, and would move back.
        let (idle, busy) = if assigned(&first) == 0 { (first, second) } else { (second, first) };
        idle.stop().await;
        busy.stop().await;
        group.until_empty().await;
    }))
    .await;
}

/// Its partitions wait for its next process, and nobody rebalances.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_stays_in_its_group_at_its_end() {
    join_all(ALL.map(|protocol| async move {
        let Some(group) = Group::new("static", protocol, 1).await else { return };
        group.topic.fill(0, 0..10);
        let mut config = group.config();
        config.set("group.instance.id", "the-only-one");
        let (running, log) = group.member_of(config.clone());
        until("all ran", || log.len() == 10).await;
        running.stop().await;
        assert!(!group.is_empty(), "{protocol:?}: it has left");
        group.topic.fill(0, 10..20);
        let (running, log) = group.member_of(config);
        until("the next process goes on", || log.len() == 10).await;
        running.stop().await;
    }))
    .await;
}
