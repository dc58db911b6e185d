//! Members come and go, topics grow: nothing is lost, nothing is doubled.

use std::collections::HashSet;
use std::sync::Arc;

use ackonce::MemoryStore;
use ackonce_kafka::KafkaConsumer;
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Plan;
use futures_util::future::join_all;

use crate::inside::{Running, Topic, settings};

/// The protocol of a group, in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Eager,
    Cooperative,
    /// Eager, and each worker is a member that the broker knows by name.
    Static,
    /// KIP-848.
    Consumer,
}

/// All under one store, some killed, some stopped. What a live worker finished does not run again.
async fn rebalances(group: Group, rounds: usize) {
    let Some(kafka) = Kafka::real() else { return };
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka.name("rebalance");
    kafka.create(&topic, 6).await;
    let assignor = match group {
        Group::Eager | Group::Static => "range",
        Group::Cooperative => "cooperative-sticky",
        Group::Consumer => "",
    };
    let plan = Plan { assignor, order: "partition", ..Plan::new(&kafka, &topic, dir.path()) };
    let worker = |n: usize| {
        let instance = (group == Group::Static).then(|| format!("worker-{n}"));
        Plan { instance, ..plan.clone() }.start()
    };
    let all: Vec<_> = (0..rounds * 500).map(|n| format!("m{n}")).collect();
    let mut workers = vec![worker(0)];
    for (round, batch) in all.chunks(500).enumerate() {
        kafka.publish(&topic, batch.iter().zip(0..).map(|(id, n)| (n % 6, "k", Some(id.as_str()), "ok")));
        workers.push(worker(round + 1));
        until("half of the round is done", || plan.effects().len() >= round * 500 + 250).await;
        let mut gone = workers.remove(0);
        assert!(gone.terminate(), "a graceful leave");
    }
    let ran = || plan.ids().into_iter().collect::<HashSet<_>>().len();
    until("all ran", || ran() == all.len()).await;
    let committed = || (0..6).filter_map(|p| kafka.committed(&plan.group, &topic, p)).sum::<i64>();
    until("all is committed", || committed() == i64::try_from(all.len()).unwrap()).await;
    assert_eq!(plan.effects().len(), all.len(), "nobody died: nothing is doubled");
    assert!(workers.pop().unwrap().terminate());
}

#[tokio::test]
async fn eager_rebalances_lose_and_double_nothing() {
    rebalances(Group::Eager, 6).await;
}

#[tokio::test]
async fn cooperative_rebalances_lose_and_double_nothing() {
    rebalances(Group::Cooperative, 6).await;
}

#[tokio::test]
async fn rebalances_of_static_members_lose_and_double_nothing() {
    rebalances(Group::Static, 4).await;
}

/// Its members learn of each other at the broker's heartbeats, every 5 s.
#[tokio::test]
async fn rebalances_under_kip_848_lose_and_double_nothing() {
    rebalances(Group::Consumer, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read() {
    join_all(["range", "cooperative-sticky"].map(partitions_added)).await;
}

async fn partitions_added(strategy: &str) {
    let Some(topic) = Topic::new("growing", 1).await else { return };
    topic.fill(0, 0..50);
    let mut config = topic.config();
    config.set("partition.assignment.strategy", strategy);
    let (running, log) = Running::logging(topic.consumer_of(config, Arc::new(MemoryStore::new())));
    topic.until_committed(0).await;
    topic.kafka.add_partitions(&topic.name, 3).await;
    (0..3).for_each(|partition| topic.fill(partition, 50..100));
    for partition in 0..3 {
        topic.until_committed(partition).await;
    }
    assert_eq!(log.len(), 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_reads_topics_that_begin_to_match() {
    let Some(topic) = Topic::unmade("pattern", 1) else { return };
    let pattern = format!("^{}-[ab]$", topic.name);
    let store = Arc::new(MemoryStore::new());
    let consumer = KafkaConsumer::new(topic.config(), &[&pattern], &topic.scope(), store);
    let (running, log) = Running::logging(consumer.with_settings(settings()));
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        let name = format!("{}-{name}", topic.name);
        topic.kafka.create(&name, 1).await;
        topic.kafka.publish(&name, [(0, "k", Some(name.as_str()), "ok")]);
        until("it is read", || log.len() == n + 1).await;
        until("it is committed", || topic.kafka.committed(&topic.group, &name, 0) == Some(1)).await;
    }
    running.stop().await;
}
