//! A member that is busy stays, one that is fenced ends, one that is dropped leaves, one that joins waits for running
//! handlers only.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{Context, ErrorKind, Failure, MemoryStore};
use ackonce_kafka::{KafkaMessage, Phase};
use ackonce_tests::until;

use crate::inside::{Gate, Log, Running, Topic, settings};

/// A handler that notes a message and takes its time.
fn slow(log: &Log, time: Duration) -> impl Fn(Context, KafkaMessage) -> Slow + Send + Sync + 'static + use<> {
    let log = log.clone();
    move |cx, message| {
        log.add(&cx, &message);
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }
}

type Slow = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A handler takes longer than `max.poll.interval.ms`, and the lag is larger than all that is prefetched.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_under_lag_does_not_cost_the_membership() {
    let Some(topic) = Topic::new("lagging", 1).await else { return };
    topic.fill(0, 0..3000);
    let mut config = topic.config();
    config.set("max.poll.interval.ms", "6000").set("session.timeout.ms", "6000");
    let log = Log::default();
    let consumer = topic.consumer_of(config, Arc::new(MemoryStore::new()));
    let consumer = consumer.with_settings(settings().with_shutdown_timeout(Duration::from_millis(100)));
    let running = Running::start(consumer, slow(&log, Duration::from_secs(8)));
    until("the second message has ended", || log.len() == 3).await;
    let report = running.health.report();
    assert_eq!((report.rebalances, report.commits_failed), (1, 0), "{report}");
    until("both are committed", || topic.committed(0) == 2).await;
    assert!(running.health.is_live());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_member_ends_with_the_error_and_starts_nothing_more() {
    let Some(topic) = Topic::new("fenced", 1).await else { return };
    topic.fill(0, 0..200);
    let store = Arc::new(MemoryStore::new());
    let mut config = topic.config();
    config.set("group.instance.id", "the-only-one");
    let (gate, log) = (Gate::shut(), Log::default());
    let (passed, ran) = (gate.clone(), log.clone());
    let first = Running::start(
        topic.consumer_of(config.clone(), store.clone()),
        move |cx: Context, message: KafkaMessage| {
            ran.add(&cx, &message);
            let gate = passed.clone();
            async move {
                gate.passed().await;
                Ok::<(), Failure>(())
            }
        },
    );
    until("the first runs one", || log.len() == 1).await;
    let (second, log_of_second) = Running::logging(topic.consumer_of(config, store));
    until("the first is fenced", || matches!(first.health.report().phase, Phase::Failed)).await;
    gate.open();
    let error = first.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(ackonce::chain(&error).to_string().contains("cannot go on"), "{error}");
    assert_eq!(log.len(), 1, "what was queued was not run");
    topic.until_all_committed().await;
    assert_eq!(log_of_second.len(), 199);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_consumer_leaves_its_group() {
    let Some(topic) = Topic::new("dropped", 4).await else { return };
    topic.fill_all(100);
    let store = Arc::new(MemoryStore::new());
    let log = Log::default();
    let first = Running::start(topic.consumer_with(store.clone()), slow(&log, Duration::from_millis(20)));
    until("the first runs some", || log.len() >= 20).await;
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    let ran = log.len();
    let (second, log_of_second) = Running::logging(topic.consumer_with(store));
    second.until_assigned(4).await;
    topic.until_all_committed().await;
    assert_eq!(log.len(), ran, "its handlers were cancelled with it");
    let ids: HashSet<_> = log.ids().into_iter().chain(log_of_second.ids()).collect();
    assert_eq!(ids.len(), 400);
    second.stop().await;
}

/// The drain is two minutes, the lag one of minutes, a handler one second.
async fn hand_over_takes_a_handler(assignor: &str) {
    let Some(topic) = Topic::new("joined", 2).await else { return };
    topic.fill_all(200);
    let mut config = topic.config();
    config.set("partition.assignment.strategy", assignor);
    let store = Arc::new(MemoryStore::new());
    let member = || {
        let consumer = topic.consumer_of(config.clone(), store.clone());
        let log = Log::default();
        let consumer = consumer.with_rebalance_timeout(Duration::from_secs(120));
        (Running::start(consumer, slow(&log, Duration::from_secs(1))), log)
    };
    let (first, log) = member();
    until("both partitions run", || log.of_partition(0) > 0 && log.of_partition(1) > 0).await;
    let began = Instant::now();
    let (second, log_of_second) = member();
    until("the second runs", || log_of_second.len() > 0).await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    first.stop().await;
    second.stop().await;
    let ids: Vec<_> = log.ids().into_iter().chain(log_of_second.ids()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "nothing ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eager_revocation_waits_for_running_handlers_only() {
    hand_over_takes_a_handler("range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_revocation_waits_for_running_handlers_only() {
    hand_over_takes_a_handler("cooperative-sticky").await;
}
