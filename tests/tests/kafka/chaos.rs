//! Everything at once: members that join, stop and vanish, messages that fail and are handed back, a store with faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::{Context, Failure, MemoryStore, OnFailure};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order};
use ackonce_testkit::{FaultyStore, Rates};
use ackonce_tests::until;

use crate::inside::{Running, Topic, settings};

/// How often each message succeeded, and whether order held: the last number of each partition.
#[derive(Debug, Default)]
struct Seen {
    succeeded: BTreeMap<String, u32>,
    last: BTreeMap<i32, i64>,
    disorder: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Failures are retried where they are.
    InPlace,
    /// Failures are handed back and sought.
    HandBack,
    /// Failures move to retry topics.
    Hops,
}

/// One in so many messages fails twice.
fn handler(seen: &Arc<Mutex<Seen>>, one_in: i64) -> impl ackonce::Handler<KafkaMessage> + use<> {
    let seen = seen.clone();
    move |cx: Context, message: KafkaMessage| {
        let id = String::from_utf8_lossy(cx.key().id()).into_owned();
        let (_, partition, offset) = message.origin();
        let seen = seen.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(u64::from(cx.attempt()) * 2)).await;
            if offset % one_in == 1 && cx.attempt() < 3 {
                return Err(Failure::from("once more"));
            }
            let mut seen = seen.lock().unwrap();
            *seen.succeeded.entry(id.clone()).or_default() += 1;
            let last = seen.last.insert(partition, offset);
            if last.is_some_and(|last| last > offset) {
                seen.disorder.push(format!("{id} after offset {last:?}"));
            }
            Ok::<(), Failure>(())
        }
    }
}

async fn chaos(order: Order, path: Path, assignor: &str) {
    const EACH: u32 = 400;
    let Some(topic) = Topic::new("chaos", 4).await else { return };
    let retry = topic.beside("retry").await;
    let mut config = topic.config();
    config.set("partition.assignment.strategy", assignor);
    let rates = Rates { refused: 20, ..Rates::default() };
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), 7, rates));
    let seen = Arc::<Mutex<Seen>>::default();
    let member = || {
        let consumer: KafkaConsumer =
            topic.consumer_of(config.clone(), store.clone()).with_order(order.clone());
        let settings = settings().with_lease(Duration::from_millis(1500)).with_attempts(10);
        let consumer = match path {
            Path::InPlace => consumer.with_settings(settings),
            Path::HandBack => consumer.with_settings(
                settings.with_on_failure(OnFailure::HandBack).with_store_timeout(Duration::from_millis(1)),
            ),
            Path::Hops => consumer
                .with_settings(settings)
                .with_retry_topics([(retry.clone(), Duration::from_millis(300))]),
        };
        // Each seek waits for the fetch that is under way.
        let one_in = if path == Path::HandBack { 20 } else { 6 };
        Running::start(consumer, handler(&seen, one_in))
    };
    let succeeded = || seen.lock().unwrap().succeeded.len();
    let mut members = vec![member()];
    for round in 0..4_u32 {
        (0..4).for_each(|partition| topic.fill(partition, round * EACH / 4..(round + 1) * EACH / 4));
        members.push(member());
        let goal = usize::try_from(round * EACH + EACH / 2).unwrap();
        until("half of the round is done", || succeeded() >= goal).await;
        let gone = members.remove(0);
        match round % 2 {
            // It gives back what runs.
            0 => drop(gone.stop().await),
            // Its claims lapse with their leases.
            _ => gone.task.abort(),
        }
    }
    topic.until_all_committed().await;
    if path == Path::Hops {
        let committed = || topic.kafka.committed(&topic.group, &retry, 0).unwrap_or(0);
        until("the retry topic is through", || committed() == topic.kafka.end(&retry, 0)).await;
    }
    for member in members {
        member.stop().await;
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.succeeded.len(), usize::try_from(4 * EACH).unwrap(), "nothing is lost");
    // A member that was aborted may have been between its effect and its record; so may one that lost its patience.
    let doubled = seen.succeeded.values().filter(|count| **count > 1).count();
    assert!(path == Path::HandBack || doubled <= 2 * 64, "{doubled}");
    if order == Order::Source && path != Path::Hops {
        assert_eq!(seen.disorder, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_place_and_in_order() {
    chaos(Order::Source, Path::InPlace, "range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_that_is_handed_back_in_order() {
    chaos(Order::Source, Path::HandBack, "cooperative-sticky").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_that_is_handed_back_without_order() {
    chaos(Order::Unordered, Path::HandBack, "range").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_that_moves_to_a_retry_topic() {
    chaos(Order::Key, Path::Hops, "cooperative-sticky").await;
}
