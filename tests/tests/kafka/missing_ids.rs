//! Messages without a usable ID.

use std::time::{Duration, Instant};

use ackonce::{Context, ErrorKind, Failure};
use ackonce_kafka::KafkaMessage;
use ackonce_tests::until;

use crate::inside::{Running, Topic, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_is_buried_and_not_lost() {
    let Some(topic) = Topic::new("anonymous", 1).await else { return };
    let dead = topic.beside("dead").await;
    let long = "x".repeat(1025);
    topic.kafka.publish(
        &topic.name,
        [
            (0, "a", None, "no id"),
            (0, "b", Some(""), "empty"),
            (0, "c", Some(&*long), "long"),
            (0, "d", Some("m"), "good"),
        ],
    );
    let running =
        Running::start(topic.consumer().with_dead_letters(&dead), |_: Context, m: KafkaMessage| async move {
            if m.payload() == b"good" { Ok(()) } else { Err(Failure::from("must not run")) }
        });
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.buried), (1, 3));
    assert_eq!(topic.kafka.read(&dead).len(), 3);
}

/// The default without a dead-letter topic. The other partition's backlog is in the same polls.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_ends_the_consumer_after_those_before_it() {
    let Some(topic) = Topic::new("stop", 2).await else { return };
    topic.fill(0, 0..40);
    topic.kafka.publish(&topic.name, [(0, "k", None, "no ID")]);
    topic.fill(0, 41..80);
    topic.fill(1, 0..40);
    let consumer = topic.consumer().with_settings(settings().with_shutdown_timeout(Duration::from_secs(60)));
    let (running, log) = Running::logging(consumer);
    let began = Instant::now();
    let health = running.health.clone();
    let error = running.ended().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "it waits for no drain");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    let place = format!("topic {}, partition 0, offset 40", topic.name);
    assert!(text.contains(&place), "{text}");
    assert!(!health.is_live());
    let of_first: Vec<_> = log.ids().into_iter().filter(|id| id.starts_with("p0")).collect();
    assert_eq!(of_first, (0..40).map(|n| format!("p0-{n}")).collect::<Vec<_>>());
    assert_eq!(topic.committed(0), 40, "what ran is committed, and nothing past it");
    let (ran, committed) = (log.of_partition(1), topic.committed(1));
    assert_eq!(i64::try_from(ran).unwrap(), committed);
}

/// A stuck message gets the drain, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_ends_the_consumer_beside_a_stuck_one() {
    let Some(topic) = Topic::new("stop-stuck", 2).await else { return };
    topic.fill(1, 0..1);
    let consumer = topic.consumer().with_settings(settings().with_shutdown_timeout(Duration::from_secs(1)));
    let running = Running::start(consumer, |_: Context, _: KafkaMessage| async {
        Err::<(), _>(Failure::infrastructure("down"))
    });
    until("the other one is stuck", || running.health.report().partitions.iter().any(|p| p.ahead == 1)).await;
    topic.kafka.publish(&topic.name, [(0, "k", None, "no ID")]);
    assert_eq!(running.ended().await.unwrap_err().kind(), ErrorKind::Invalid);
}
