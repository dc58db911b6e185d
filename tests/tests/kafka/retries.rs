//! Retry topics: a failed message waits elsewhere, and stays the message that it is.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::{Context, ErrorKind, Failure, MemoryStore};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, headers};
use ackonce_tests::until;
use ackonce_tests::worker::Plan;

use crate::burials::header;
use crate::inside::{Log, Running, Topic, settings};

/// A topic with retry topics of one second and of two.
async fn ladder(stem: &str) -> Option<(Topic, [String; 2])> {
    let topic = Topic::new(stem, 2).await?;
    let retries = [topic.beside("retry-1").await, topic.beside("retry-2").await];
    Some((topic, retries))
}

fn climbing(consumer: KafkaConsumer, retries: &[String; 2]) -> KafkaConsumer {
    let delays = [Duration::from_secs(1), Duration::from_secs(2)];
    consumer.with_retry_topics(retries.iter().cloned().zip(delays))
}

/// `p0-5` fails until the given attempt; `never` fails always. Also the ends of failed runs.
fn failing(consumer: KafkaConsumer, succeeds_at: u32) -> (Running, Log, Arc<Mutex<Vec<Instant>>>) {
    let (log, failed) = (Log::default(), Arc::<Mutex<Vec<Instant>>>::default());
    let (ran, ends) = (log.clone(), failed.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = ran.add(&cx, &message);
        let fails = id == "p0-5" && cx.attempt() < succeeds_at;
        if fails {
            ends.lock().unwrap().push(Instant::now());
        }
        async move { if fails { Err(Failure::from("not yet")) } else { Ok(()) } }
    };
    (Running::start(consumer, handler), log, failed)
}

async fn all_committed(topic: &Topic, retries: &[String]) {
    topic.until_all_committed().await;
    for retry in retries {
        let end = topic.kafka.end(retry, 0);
        let committed = || topic.kafka.committed(&topic.group, retry, 0).unwrap_or(0);
        until(&format!("{retry} is committed to {end}"), || committed() == end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_moves_on_and_nothing_waits_behind_it() {
    let Some((topic, retries)) = ladder("retried").await else { return };
    topic.fill_all(100);
    let (running, log, failed) = failing(climbing(topic.consumer(), &retries), 3);
    until("it has run three times", || log.of("p0-5").len() == 3).await;
    all_committed(&topic, &retries).await;
    let runs = log.of("p0-5");
    let topics: Vec<_> = runs.iter().map(|ran| ran.topic.clone()).collect();
    assert_eq!(topics, [&topic.name, &retries[0], &retries[1]].map(Clone::clone));
    assert_eq!(runs.iter().map(|ran| ran.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(runs.iter().all(|ran| ran.key == runs[0].key), "one idempotency key");
    assert!(runs.iter().all(|ran| ran.origin == (topic.name.clone(), 0, 5)), "{runs:?}");
    let failed = failed.lock().unwrap().clone();
    // A due time is in whole milliseconds.
    let early = Duration::from_millis(2);
    assert!(runs[1].at - failed[0] + early >= Duration::from_secs(1), "not before it is due");
    assert!(runs[2].at - failed[1] + early >= Duration::from_secs(2), "not before it is due");
    let others: Vec<_> = log.all().into_iter().filter(|ran| ran.id != "p0-5").collect();
    assert_eq!(others.len(), 199);
    assert!(others.iter().filter(|ran| ran.at < runs[1].at).count() > 150, "the others ran meanwhile");
    assert_eq!(running.health.report().moved, 2);
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.buried), (202, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_buried_after_its_attempts_and_its_letter_names_its_origin() {
    let Some((topic, retries)) = ladder("exhausted").await else { return };
    let dead = topic.beside("dead").await;
    topic.fill_all(10);
    let consumer = climbing(topic.consumer(), &retries).with_dead_letters(&dead);
    let (running, log, _) = failing(consumer.with_settings(settings().with_attempts(4)), 100);
    until("its letter is there", || topic.kafka.end(&dead, 0) == 1).await;
    all_committed(&topic, &retries).await;
    assert_eq!(log.of("p0-5").iter().map(|ran| ran.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(running.stop().await.buried, 1);
    let letter = &topic.kafka.read(&dead)[0];
    assert_eq!(header(letter, headers::TOPIC), Some(topic.name.clone()));
    assert_eq!(header(letter, headers::PARTITION).as_deref(), Some("0"));
    assert_eq!(header(letter, headers::OFFSET).as_deref(), Some("5"));
    assert_eq!(header(letter, headers::ATTEMPTS).as_deref(), Some("4"));
    assert_eq!((header(letter, headers::DUE), header(letter, headers::HOP)), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_will_never_succeed_is_buried_without_a_detour() {
    let Some((topic, retries)) = ladder("permanent").await else { return };
    let dead = topic.beside("dead").await;
    topic.fill_all(5);
    let consumer = climbing(topic.consumer(), &retries).with_dead_letters(&dead);
    let running = Running::start(consumer, |_: Context, _: KafkaMessage| async {
        Err::<(), _>(Failure::permanent("poison"))
    });
    topic.until_all_committed().await;
    assert_eq!(running.health.report().moved, 0);
    assert_eq!(running.stop().await.buried, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_topic_that_is_missing_is_refused_at_start() {
    let Some((topic, mut retries)) = ladder("no-retry").await else { return };
    retries[1] = format!("{}-missing", topic.name);
    let error = Running::logging(climbing(topic.consumer(), &retries)).0.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("with_retry_topics") && text.contains(&retries[1]), "{text}");
}

/// The message is in the retry topic, and the commit of its offset is lost with its worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_move_and_the_commit_doubles_nothing() {
    let Some((topic, retries)) = ladder("killed-move").await else { return };
    let dir = tempfile::tempdir().unwrap();
    topic.kafka.publish(
        &topic.name,
        [(0, "a", Some("m0"), "ok"), (0, "b", Some("m1"), "fail-until:3"), (0, "c", Some("m2"), "ok")],
    );
    let plan = Plan {
        retry_topics: vec![(retries[0].clone(), 1000), (retries[1].clone(), 1000)],
        commit_interval_ms: 3_600_000,
        ..Plan::new(&topic.kafka, &topic.name, dir.path())
    };
    let mut first = plan.start();
    until("it has moved", || topic.kafka.end(&retries[0], 0) == 1).await;
    first.kill();
    assert_eq!(topic.committed(0), 0, "nothing was committed");
    let plan = Plan { commit_interval_ms: 100, ..plan };
    let mut second = plan.start();
    until("it took effect", || plan.ids().contains(&"m1".to_owned())).await;
    topic.until_committed(0).await;
    let ends = || retries.iter().map(|retry| topic.kafka.end(retry, 0)).sum::<i64>();
    let committed =
        || retries.iter().filter_map(|retry| topic.kafka.committed(&plan.group, retry, 0)).sum::<i64>();
    until("all copies are settled", || committed() == ends()).await;
    assert!(second.terminate());
    let mut ids = plan.ids();
    ids.sort();
    assert_eq!(ids, ["m0", "m1", "m2"], "each took effect once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_retry_topic_takes_is_retried_where_it_is() {
    let Some(topic) = Topic::new("no-hop", 2).await else { return };
    let (retry, dead) = (format!("{}-retry", topic.name), topic.beside("dead").await);
    topic.kafka.create_with(&retry, 1, &[("max.message.bytes", "100")]).await;
    topic.fill_all(50);
    let consumer = topic.consumer().with_retry_topics([(retry, Duration::from_secs(1))]);
    let (running, log, _) = failing(consumer.with_dead_letters(&dead), 100);
    topic.until_all_committed().await;
    assert_eq!(log.of("p0-5").len(), 5, "its attempts");
    assert_eq!(topic.kafka.end(&dead, 0), 1);
    assert_eq!(log.len(), 99 + 5, "nothing else ran again");
    running.stop().await;
}

/// A partition of a retry topic whose head waits is given up and taken over like any other.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_messages_survive_a_restart_and_keep_their_due_times() {
    let Some(topic) = Topic::new("waiting", 2).await else { return };
    let retry = topic.beside("retry").await;
    let delay = Duration::from_secs(4);
    topic.fill_all(10);
    let store = Arc::new(MemoryStore::new());
    let member = || {
        let consumer = topic.consumer_with(store.clone());
        failing(consumer.with_retry_topics([(retry.clone(), delay)]), 2)
    };
    let (first, log, failed) = member();
    until("it has moved", || first.health.report().moved == 1).await;
    topic.until_all_committed().await;
    first.stop().await;
    let (second, log_of_second, _) = member();
    all_committed(&topic, &[retry]).await;
    // The first ran it again only if its stop took longer than the message had to wait.
    let runs: Vec<_> = log.all().into_iter().chain(log_of_second.all()).collect();
    let of_it: Vec<_> = runs.iter().filter(|ran| ran.id == "p0-5").collect();
    assert_eq!(of_it.iter().map(|ran| ran.attempt).collect::<Vec<_>>(), [1, 2]);
    let failed = failed.lock().unwrap()[0];
    assert!(of_it[1].at - failed + Duration::from_millis(2) >= delay);
    assert_eq!(runs.len(), 21, "nothing else ran again");
    second.stop().await;
}
