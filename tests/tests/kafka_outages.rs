//! The consumer on a real Kafka that is killed, frozen and started again; alone on it, one test after another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

#[path = "kafka/inside.rs"]
#[allow(dead_code, reason = "shared with the tests that need no outage")]
mod inside;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::{Context, Failure, MemoryStore, OnFailure};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;

use inside::{Gate, Log, Running, Topic, settings};

/// There is one broker to take down.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Lines of WARN and above.
static LINES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

impl Write for Counting {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(1, Ordering::SeqCst);
        if std::env::var_os("ACKONCE_SHOW_LINES").is_some() {
            std::io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn count_lines() {
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(|| Counting)
        .with_env_filter("warn")
        .try_init();
}

/// An outage, ended at the latest with its test.
struct Outage<'a>(&'a Kafka, &'static str);

impl<'a> Outage<'a> {
    /// `pause`, `stop` or `kill`.
    fn begin(kafka: &'a Kafka, what: &str) -> Self {
        kafka.control(what);
        Self(kafka, if what == "pause" { "resume" } else { "start" })
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        self.0.control(self.1);
    }
}

/// With all that talks to the broker: dead letters and retry topics.
async fn equipped(topic: &Topic) -> KafkaConsumer {
    let (dead, retry) = (topic.beside("dead").await, topic.beside("retry").await);
    topic
        .consumer()
        .with_dead_letters(dead)
        .with_retry_topics([(retry, Duration::from_secs(1))])
        .with_settings(settings().with_shutdown_timeout(Duration::from_secs(1)))
}

/// Every fifth message fails once, every seventh for good.
fn mixed(
    log: &Log,
) -> impl Fn(Context, KafkaMessage) -> std::future::Ready<Result<(), Failure>> + Send + Sync + use<> {
    let log = log.clone();
    move |cx, message| {
        let id = log.add(&cx, &message);
        let number: u32 = id.split_once('-').unwrap().1.parse().unwrap();
        std::future::ready(match () {
            () if number % 7 == 3 => Err(Failure::permanent("poison")),
            () if number % 5 == 2 && cx.attempt() == 1 => Err(Failure::from("once more")),
            () => Ok(()),
        })
    }
}

/// The broker goes; messages in every stage are about; the shutdown is bounded all the same.
async fn shutdown_while(what: &str) {
    let _alone = ALONE.lock().await;
    let Some(topic) = Topic::new("shutdown", 4).await else { return };
    topic.fill_all(2000);
    let log = Log::default();
    let running = Running::start(equipped(&topic).await, mixed(&log));
    until("some ran", || log.len() > 500).await;
    let outage = Outage::begin(&topic.kafka, what);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    running.stop().await;
    let took = began.elapsed();
    drop(outage);
    // The drain of 1 s, and 5 s; the rest is the machine's.
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_a_frozen_broker_is_bounded() {
    shutdown_while("pause").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_a_killed_broker_is_bounded() {
    shutdown_while("kill").await;
}

/// Away for longer than the session lasts, in the middle of everything.
async fn outlives(what: &str) {
    let _alone = ALONE.lock().await;
    let Some(topic) = Topic::new("outlived", 4).await else { return };
    topic.fill_all(500);
    let log = Log::default();
    let running = Running::start(equipped(&topic).await, mixed(&log));
    until("some ran", || log.len() > 200).await;
    let outage = Outage::begin(&topic.kafka, what);
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(outage);
    topic.fill(0, 500..600);
    topic.until_all_committed().await;
    let retry = format!("{}-retry", topic.name);
    let end = topic.kafka.end(&retry, 0);
    let moved = || topic.kafka.committed(&topic.group, &retry, 0) == Some(end);
    until("what was moved has ended", || moved() && topic.kafka.end(&retry, 0) == end).await;
    let mut ids = log.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2100, "nothing is lost");
    // The driver says by its statistics, every five seconds, whether a broker is there.
    until("it is connected, with all partitions", || {
        let report = running.health.report();
        report.connected && report.partitions.len() == 5
    })
    .await;
    assert!(running.health.is_live() && running.health.is_ready());
    let counts = running.stop().await;
    assert_eq!(counts.buried, 299, "each once: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_outlived() {
    outlives("pause").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_is_outlived() {
    outlives("kill").await;
}

/// A partition whose first message is handed back while the broker is away.
async fn handed_back(order: Order) -> Option<(Topic, Running, Log, Gate)> {
    let topic = Topic::new("back-away", 1).await?;
    // More than a chunk, so that the driver holds some that were not read.
    topic.fill(0, 0..2000);
    let (gate, log) = (Gate::shut(), Log::default());
    let (passed, ran) = (gate.clone(), log.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = ran.add(&cx, &message);
        let gate = passed.clone();
        async move {
            if id == "p0-0" && cx.attempt() < 3 {
                gate.passed().await;
                return Err(Failure::from("once more"));
            }
            Ok(())
        }
    };
    let settings = settings().with_on_failure(OnFailure::HandBack);
    // The partition stays its own meanwhile.
    let mut config = topic.config();
    config.set("session.timeout.ms", "60000");
    let consumer = topic.consumer_of(config, Arc::new(MemoryStore::new()));
    let running = Running::start(consumer.with_order(order).with_settings(settings), handler);
    until("it runs", || log.len() > 0).await;
    Some((topic, running, log, gate))
}

/// The driver throws away what it has prefetched once it has a broker again: nothing of that runs before the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_handed_back_while_the_broker_is_away_is_never_committed_past() {
    let _alone = ALONE.lock().await;
    let Some((topic, in_order, log_in_order, gate_in_order)) = handed_back(Order::Source).await else {
        return;
    };
    let Some((other, unordered, log, gate)) = handed_back(Order::Unordered).await else { return };
    until("as much is read as may be", || log.len() >= 1000).await;
    let outage = Outage::begin(&topic.kafka, "kill");
    gate_in_order.open();
    gate.open();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(log_in_order.len(), 1, "nothing behind it begins");
    for running in [&in_order, &unordered] {
        let next = running
            .health
            .report()
            .partitions
            .into_iter()
            .map(|p| (p.ahead, p.in_flight))
            .collect::<Vec<_>>();
        assert_eq!(next, [(0, 0)], "nothing is taken before it is read again");
    }
    drop(outage);
    for (topic, running, log) in [(&topic, in_order, log_in_order), (&other, unordered, log)] {
        topic.until_committed(0).await;
        let mut ids = log.ids();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), log.of("p0-0").len()), (2000, 3));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_at_the_start_is_waited_for_and_said_once() {
    let _alone = ALONE.lock().await;
    let Some(topic) = Topic::new("away", 2).await else { return };
    topic.fill_all(100);
    let consumer = equipped(&topic).await;
    let outage = Outage::begin(&topic.kafka, "stop");
    count_lines();
    let before = LINES.load(Ordering::SeqCst);
    let log = Log::default();
    let running = Running::start(consumer, mixed(&log));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let lines = LINES.load(Ordering::SeqCst) - before;
    assert!(running.health.is_live() && !running.health.is_ready());
    drop(outage);
    topic.until_all_committed().await;
    running.stop().await;
    assert!((1..30).contains(&lines), "{lines} lines in 6 s");
}
