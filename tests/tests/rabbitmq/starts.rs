//! What a consumer says when it cannot begin.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{ErrorKind, IdSource, MessageIds, OnMismatch, Scope};
use ackonce_amqp::lapin::{Connection, ConnectionProperties};
use ackonce_amqp::{AmqpConsumer, Delays, OnMissing, Order};
use ackonce_tests::amqp::{Kind, Rabbit};

use crate::inside::{Inside, consumer, ids, memory, settings, told};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_said_at_once() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("refused", Kind::Classic).await;
    let at = |url: &str, queue: &str| consumer(url, queue, memory());
    let coordinates = MessageIds::first_of([IdSource::Coordinates]);
    let refused = [
        at("http://localhost", &queue),
        at(&rabbit.url().replace("guest:guest", "guest:wrong"), &queue),
        at(&rabbit.url().replace("%2f", "nowhere"), &queue),
        at(rabbit.url(), &rabbit.name("missing")),
        at(rabbit.url(), &"x".repeat(256)),
        at(rabbit.url(), &queue).with_dead_letters(&rabbit.name("missing")),
        at(rabbit.url(), &queue).with_dead_letters(""),
        at(rabbit.url(), &queue).with_dead_letters_to("", &rabbit.name("missing")),
        at(rabbit.url(), &queue).with_ids(coordinates),
        at(rabbit.url(), &queue).with_settings(settings().with_on_mismatch(OnMismatch::HandBack)),
        at(rabbit.url(), &queue).with_dead_letters_to("", &queue),
        at(rabbit.url(), &queue).with_order(Order::Source).with_delays(Delays::new([Duration::from_secs(1)])),
        at(rabbit.url(), &queue).with_settings(settings().with_attempts(0)),
    ];
    for (n, consumer) in refused.into_iter().enumerate() {
        let error = Inside::run(consumer).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{n}: {error}");
        assert!(!ackonce::chain(&error).to_string().contains("guest:"), "no password: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_can_end_the_consumer() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("stop", Kind::Classic).await;
    let admin = rabbit.connect().await;
    admin.publish(&queue, None, b"ok").await;
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_on_missing(OnMissing::Stop));
    assert_eq!(inside.ended().await.unwrap_err().kind(), ErrorKind::Invalid);
    admin.until_ready(&queue, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_connection_is_used_and_not_replaced() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("given", Kind::Classic).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let all = ids(0..20);
    admin.publish_all(&queue, told(&all, &[("m3", "fail")])).await;
    let mine = Arc::new(Connection::connect(rabbit.url(), ConnectionProperties::default()).await.unwrap());
    let scope = Scope::new(queue.clone()).unwrap();
    let consumer = AmqpConsumer::on(mine.clone(), &queue, &scope, memory());
    let inside = Inside::run(consumer.with_settings(settings()).with_dead_letters_to("", &dead));
    inside.until_acked(20).await;
    assert_eq!((inside.seen().len(), admin.ready(&dead).await.0), (19, 1));
    mine.close(200, "bye".into()).await.unwrap();
    let error = inside.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_from_where_they_are_made() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("made", Kind::Classic).await;
    let admin = rabbit.connect().await;
    admin.publish_all(&queue, told(&ids(0..5), &[])).await;
    let url = rabbit.url().to_owned();
    let connect = move || -> ackonce_amqp::Connecting {
        let url = url.clone();
        Box::pin(async move { Connection::connect(&url, ConnectionProperties::default()).await })
    };
    let scope = Scope::new(queue.clone()).unwrap();
    let inside = Inside::run(AmqpConsumer::connecting(connect, &queue, &scope, memory()));
    inside.until_acked(5).await;
    inside.stop().await.unwrap();
    // Said goodbye to, not left to the broker's time-out.
    admin.until_ready(&queue, 0).await;
    assert_eq!(admin.ready(&queue).await, (0, 0));
}
