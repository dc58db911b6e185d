//! What the broker is told, and when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::Job;
use ackonce::store::{ClaimRequest, Token};
use ackonce::{Batch, CancellationToken, Context, Deduplicator, Failure, Item, MemoryStore, Runner, Scope};
use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::options::{BasicConsumeOptions, BasicQosOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::{Acked, AmqpDelivery, AmqpMessage, Order, ack};
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;
use futures_util::StreamExt;

use crate::inside::{Inside, consumer, ids, memory, settings, told};

#[tokio::test(flavor = "multi_thread")]
async fn each_message_takes_effect_once_and_acks_are_coalesced() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.queue("coalesced", kind).await;
        let admin = rabbit.connect().await;
        let all = ids(0..2000);
        // Each of them twice.
        admin.publish_all(&queue, told(&all, &[]).chain(told(&all, &[]))).await;
        let inside = Inside::start(&rabbit, &queue);
        inside.until_acked(4000).await;
        let (amqp, mut seen) = (inside.counts(), inside.seen());
        let counts = inside.stop().await.unwrap();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), counts.run, counts.duplicate), (2000, 2000, 2000), "{kind:?}");
        assert!(amqp.ack_frames < 4000, "{kind:?}: fewer frames than messages: {amqp:?}");
        assert_eq!(admin.ready(&queue).await.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_message_holds_nothing_back() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("gap", Kind::Classic).await;
    let admin = rabbit.connect().await;
    let all = ids(0..300);
    admin.publish_all(&queue, told(&all, &[("m0", "hold"), ("m7", "hold")])).await;
    // Far fewer than there are messages: what is settled behind the gap must make room.
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_prefetch(20));
    inside.until_acked(298).await;
    assert_eq!(inside.seen().len(), 298);
    inside.gate.add_permits(2);
    inside.until_acked(300).await;
    let counts = inside.stop().await.unwrap();
    assert_eq!((counts.run, counts.duplicate), (300, 0));
    assert_eq!(admin.ready(&queue).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_gives_back_what_it_did_not_do() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let queue = rabbit.queue("shutdown", kind).await;
        let admin = rabbit.connect().await;
        let all = ids(0..100);
        let special: Vec<_> = all[50..].iter().map(|id| (id.as_str(), "hold")).collect();
        admin.publish_all(&queue, told(&all, &special)).await;
        let settings = settings().with_concurrency(8).with_shutdown_timeout(Duration::from_millis(200));
        let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_settings(settings));
        inside.until_acked(50).await;
        inside.stop().await.unwrap();
        let letters = admin.take(&queue).await;
        assert_eq!(letters.len(), 50, "{kind:?}: the eight that were cancelled, and those that had to wait");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_holds_for_too_long_is_given_back_and_not_lost() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("held", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    let store = Arc::new(MemoryStore::new());
    let key = Scope::new(queue.clone()).unwrap().key("m0").unwrap();
    let (lease, window) = (Duration::from_secs(4), Duration::from_secs(60));
    store
        .claim(&[ClaimRequest { key, token: Token::random(), lease, window, fingerprint: None }])
        .await
        .unwrap();
    admin.publish(&queue, Some("m0"), b"ok").await;
    // Given back after 5/6 of this.
    let timeout = Duration::from_millis(1200);
    let consumer = consumer(rabbit.url(), &queue, store).with_consumer_timeout(timeout);
    let inside = Inside::run(consumer.with_settings(settings().with_handler_timeout(timeout / 2)));
    inside.until_acked(1).await;
    assert!(inside.counts().returned >= 1, "{:?}", inside.counts());
    let counts = inside.stop().await.unwrap();
    assert_eq!((counts.run, counts.lease_lost), (1, 0));
    assert_eq!(admin.ready(&queue).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_per_key_when_asked() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("order", Kind::Classic).await;
    let admin = rabbit.connect().await;
    for n in 0..200 {
        let mut table = FieldTable::default();
        table.insert("customer".into(), AMQPValue::LongString(format!("c{}", n % 5).into()));
        let properties =
            BasicProperties::default().with_headers(table).with_message_id(format!("{n}").into());
        admin.publish_with(&queue, b"ok", properties).await;
    }
    let seen: Arc<Mutex<Vec<(String, u32)>>> = Arc::default();
    let noted = seen.clone();
    let shutdown = CancellationToken::new();
    let consumer = consumer(rabbit.url(), &queue, memory())
        .with_order(Order::Header("customer".into()))
        .with_shutdown(shutdown.clone());
    let running = tokio::spawn(consumer.run(move |_: Context, message: AmqpMessage| {
        let noted = noted.clone();
        async move {
            let n: u32 = message.message_id().unwrap().parse().unwrap();
            // Later ones are quicker: without an order they would overtake.
            tokio::time::sleep(Duration::from_millis(u64::from(200 - n) / 20)).await;
            let customer = String::from_utf8(message.header("customer").unwrap().to_vec()).unwrap();
            noted.lock().unwrap().push((customer, n));
            Ok::<(), Failure>(())
        }
    }));
    until("all are done", || seen.lock().unwrap().len() == 200).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let seen = seen.lock().unwrap();
    for customer in ["c0", "c1", "c2", "c3", "c4"] {
        let theirs: Vec<_> = seen.iter().filter(|(c, _)| c == customer).map(|(_, n)| *n).collect();
        assert!(theirs.is_sorted() && theirs.len() == 40, "{customer}: {theirs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_large_bodies_arrive_whole() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("large", Kind::Classic).await;
    let admin = rabbit.connect().await;
    // Dozens of frames each.
    let bodies: Vec<Vec<u8>> = (1..=6_u8).map(|n| vec![n; 700_000 * usize::from(n)]).collect();
    for (n, body) in bodies.iter().enumerate() {
        admin.publish(&queue, Some(&format!("m{n}")), body).await;
    }
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let noted = seen.clone();
    let shutdown = CancellationToken::new();
    let consumer = consumer(rabbit.url(), &queue, memory()).with_prefetch(2).with_shutdown(shutdown.clone());
    let metrics = consumer.metrics();
    let running = tokio::spawn(consumer.run_batch(Batch(move |items: Vec<Item<AmqpMessage>>| {
        noted.lock().unwrap().extend(items.iter().map(|item| item.message.payload().to_vec()));
        async move { items.iter().map(|_| Ok(().into())).collect() }
    })));
    until("all are acknowledged", || metrics.counts().acked == 6).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert!(seen == bodies, "every byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_ones_own_learns_of_acks_that_did_not_go_out() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("own", Kind::Classic).await;
    let admin = rabbit.connect().await;
    admin.publish_all(&queue, [("m0", "ok"), ("m1", "ok")]).await;
    let scope = Scope::new(queue.clone()).unwrap();
    let handler = |_: Context, _: AmqpMessage| async { Ok::<(), Failure>(()) };
    let runner = Runner::new(memory(), &scope, handler).unwrap();
    let mine = rabbit.connect().await;
    mine.channel.basic_qos(10, BasicQosOptions::default()).await.unwrap();
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries =
        mine.channel.basic_consume(queue.as_str().into(), "".into(), options, table).await.unwrap();
    let mut receipts = Vec::new();
    for _ in 0..2 {
        let incoming = AmqpDelivery::new(deliveries.next().await.unwrap().unwrap());
        let id = incoming.as_message().message_id().unwrap().to_owned();
        receipts.push(runner.process(Job::new(scope.key(id).unwrap(), incoming)).await.unwrap());
    }
    let second = receipts.pop().unwrap();
    assert!(matches!(ack(receipts.pop().unwrap()).await, Acked::Sent));
    mine.connection.close(200, "bye".into()).await.unwrap();
    assert!(matches!(ack(second).await, Acked::RedeliveryExpected(_)), "not an error, and not a success");
    admin.until_ready(&queue, 1).await;
}
