//! Channels, consumers and queues that go away, one at a time. The broker itself goes away in
//! `rabbitmq_outages`.

use std::time::Duration;

use ackonce_amqp::AmqpCounts;
use ackonce_tests::amqp::interposer::Interposer;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;

use crate::inside::{Inside, consumer, ids, memory, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_double_ack_costs_a_channel_and_no_message() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.queue("foreign", kind).await;
        let admin = rabbit.connect().await;
        let all = ids(0..60);
        admin.publish_all(&queue, told(&all[..20], &[("m5", "hold")])).await;
        let proxy = Interposer::start(rabbit.url()).await;
        let inside = Inside::run(consumer(&proxy.url(), &queue, memory()));
        inside.until_acked(19).await;
        // The broker does not know this tag any more, and closes the channel (406) with m5 on it.
        proxy.foreign_ack(1);
        until("there is another channel", || inside.counts().channels == 2).await;
        admin.publish_all(&queue, told(&all[20..], &[])).await;
        inside.until_acked(59).await;
        inside.gate.add_permits(1);
        inside.until_acked(60).await;
        let (amqp, mut seen) = (inside.counts(), inside.seen());
        let counts = inside.stop().await.unwrap();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), counts.run), (60, 60), "{kind:?}: each once, {amqp:?}");
        assert_eq!((amqp.lost, amqp.redeliveries_expected), (1, 1), "m5's first delivery: {amqp:?}");
        rabbit.until_empty(&queue).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_consumed_again_once_it_is_back() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.queue("deleted", kind).await;
        let admin = rabbit.connect().await;
        let all = ids(0..60);
        admin.publish_all(&queue, told(&all[..30], &[("m3", "hold"), ("m20", "hold")])).await;
        let inside = Inside::start(&rabbit, &queue);
        inside.until_acked(28).await;
        admin.delete(&queue).await;
        // A queue that is being deleted may be consumed, and cancelled, once more.
        until("the broker has cancelled it", || inside.counts().cancelled >= 1).await;
        admin.declare(&queue, kind, &[]).await;
        admin.publish_all(&queue, told(&all[30..], &[])).await;
        inside.until_acked(58).await;
        // Of these two the broker knows nothing any more; they still take effect.
        inside.gate.add_permits(2);
        // Nor do their acks matter: RabbitMQ 3.10 ends the whole connection (541) if a quorum queue is consumed in
        // the moment of its deletion, and then they cannot be sent.
        let closed = |amqp: AmqpCounts| amqp.acked + amqp.redeliveries_expected;
        until("the last two are done with", || closed(inside.counts()) == 60).await;
        let (amqp, seen) = (inside.counts(), inside.seen());
        let counts = inside.stop().await.unwrap();
        assert_eq!((seen.len(), counts.run, counts.duplicate), (60, 60, 0), "{kind:?}: {amqp:?}");
        assert!(amqp.lost == 0 && amqp.acked >= 58, "{kind:?}: {amqp:?}");
        rabbit.until_empty(&queue).await;
    }
}

/// A cancel of which the broker knows nothing: it goes on delivering to a consumer that is not there, and every
/// one of those messages comes back when the channel ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_consumer_acknowledges_nothing_it_has_not_seen() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("cancelled", Kind::Classic).await;
    let admin = rabbit.connect().await;
    let all = ids(0..60);
    admin.publish_all(&queue, told(&all[..10], &[("m9", "hold")])).await;
    let proxy = Interposer::start(rabbit.url()).await;
    let inside = Inside::run(consumer(&proxy.url(), &queue, memory()));
    inside.until_acked(9).await;
    proxy.cancel();
    until("it consumes on another channel", || inside.counts().channels == 2).await;
    assert_eq!(inside.counts().cancelled, 1);
    admin.publish_all(&queue, told(&all[10..], &[])).await;
    // About half of them go to the dead consumer. Its channel ends with its last message, and they come again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    inside.gate.add_permits(1);
    inside.until_acked(60).await;
    let (amqp, mut seen) = (inside.counts(), inside.seen());
    let counts = inside.stop().await.unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), counts.run), (60, 60), "{amqp:?}");
    rabbit.until_empty(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_change_is_not_noticed() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.queue("policy", kind).await;
        let admin = rabbit.connect().await;
        let all = ids(0..200);
        admin.publish_all(&queue, told(&all[..100], &[("m1", "hold")])).await;
        let inside = Inside::start(&rabbit, &queue);
        inside.until_acked(99).await;
        let pattern = format!("^{queue}$");
        let policy =
            r#"{"max-length":100000,"dead-letter-exchange":"amq.fanout","dead-letter-routing-key":"x"}"#;
        rabbit.ctl(&["set_policy", "--apply-to", "queues", &queue, &pattern, policy]);
        admin.publish_all(&queue, told(&all[100..], &[])).await;
        inside.gate.add_permits(1);
        inside.until_acked(200).await;
        rabbit.ctl(&["clear_policy", &queue]);
        let (amqp, seen) = (inside.counts(), inside.seen());
        let counts = inside.stop().await.unwrap();
        assert_eq!((seen.len(), counts.run), (200, 200), "{kind:?}: {amqp:?}");
        rabbit.until_empty(&queue).await;
    }
}
