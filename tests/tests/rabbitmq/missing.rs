//! Messages without an ID.

use std::time::{Duration, Instant};

use ackonce::ErrorKind;
use ackonce_amqp::OnMissing;
use ackonce_tests::amqp::{Kind, Rabbit};

use crate::inside::{Inside, consumer, ids, memory, told};

/// By default every message was buried and acknowledged, its payload gone with it.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_dead_letter_place_a_message_without_an_id_ends_the_consumer() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("default", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    admin.publish(&queue, None, b"precious").await;
    let error = Inside::start(&rabbit, &queue).ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let said = error.to_string();
    for part in [queue.as_str(), "delivery tag 1", "message-id", "with_ids", "with_dead_letters"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    admin.until_ready(&queue, 1).await;
    assert_eq!(admin.take(&queue).await[0].data, b"precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn good_messages_beside_one_without_an_id_run_and_the_consumer_ends_promptly() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("beside", Kind::Classic).await;
    let admin = rabbit.connect().await;
    let all = ids(0..10);
    admin.publish_all(&queue, told(&all[..5], &[])).await;
    admin.publish(&queue, None, b"ok").await;
    admin.publish_all(&queue, told(&all[5..], &[])).await;
    let dead = rabbit.queue("dead", Kind::Classic).await;
    let start = Instant::now();
    let consumer = consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead);
    let inside = Inside::run(consumer.with_on_missing(OnMissing::Stop));
    let seen = inside.seen.clone();
    let health = inside.health.clone();
    assert_eq!(inside.ended().await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(start.elapsed() < Duration::from_secs(10), "promptly: {:?}", start.elapsed());
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert!(seen.len() >= 5 && seen[..5] == all[..5], "{seen:?}");
    assert_eq!(health.report().counts.acked, u64::try_from(seen.len()).unwrap(), "and are acknowledged");
    let left = u32::try_from(11 - seen.len()).unwrap();
    admin.until_ready(&queue, left).await;
    assert_eq!(admin.ready(&dead).await.0, 0);
}
