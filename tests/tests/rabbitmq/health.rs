//! What a consumer says of itself.

use std::time::Duration;

use ackonce_amqp::{Phase, Waits};
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;

use crate::inside::{Inside, consumer, memory};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_says_what_its_oldest_message_waits_for() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("health", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    let waiting = consumer(rabbit.url(), &queue, memory());
    let health = waiting.health();
    assert!(health.is_live() && !health.is_ready(), "not started");
    let inside = Inside::run(waiting);
    until("it consumes", || health.is_ready()).await;
    assert_eq!((health.report().phase, health.report().in_flight), (Phase::Consuming, 0));
    admin.publish(&queue, Some("slow\n\u{e9}"), b"hold").await;
    admin.publish(&queue, Some("m1"), b"ok").await;
    inside.until_acked(1).await;
    let report = health.report();
    let oldest = report.oldest.clone().unwrap();
    assert_eq!((report.in_flight, oldest.delivery_tag, oldest.waits), (1, 1, Waits::Handler));
    assert_eq!(oldest.message_id.as_deref(), Some("slow\\n\\u{e9}"));
    assert!(health.is_live() && health.is_ready());
    let text = report.to_string();
    assert!(text.contains("live: yes, ready: yes") && text.contains("its handler runs"), "{text}");
    inside.gate.add_permits(1);
    inside.until_acked(2).await;
    assert_eq!(health.report().in_flight, 0);
    inside.stop().await.unwrap();
    assert!(!health.is_live() && !health.is_ready());
    assert_eq!(health.report().phase, Phase::Ended);
}

/// It stayed, with its messages, for the life of the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_consumer_leaves_the_queue() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("dropped", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    admin.publish(&queue, Some("m0"), b"hold").await;
    admin.publish(&queue, Some("m1"), b"fail").await;
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
    inside.until_acked(1).await;
    let health = inside.health.clone();
    inside.dropped().await;
    assert_eq!(health.report().phase, Phase::Ended);
    rabbit.until_messages(&queue, 1, 0).await;
    until_no_consumer(&rabbit, &queue).await;
    let second = Inside::start(&rabbit, &queue);
    second.gate.add_permits(1);
    second.until_acked(1).await;
    second.stop().await.unwrap();
}

async fn until_no_consumer(rabbit: &Rabbit, queue: &str) {
    let admin = rabbit.connect().await;
    for _ in 0..500 {
        if admin.ready(queue).await.1 == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the consumer is still there");
}
