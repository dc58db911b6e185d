//! Long waits in queues of the broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::{CancellationToken, Context, ErrorKind, Failure};
use ackonce_amqp::lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{BasicProperties, ExchangeKind};
use ackonce_amqp::{AmqpMessage, Delays};
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;

use crate::inside::{Inside, consumer, ids, memory, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_waits_in_a_queue_and_its_attempts_go_on() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("delayed", Kind::Quorum).await, rabbit.queue("dead", Kind::Quorum).await);
    let admin = rabbit.connect().await;
    let exchange = rabbit.name("orders");
    let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
    admin
        .channel
        .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, table)
        .await
        .unwrap();
    let (options, table) = (QueueBindOptions::default(), FieldTable::default());
    let bind = admin.channel.queue_bind(
        queue.as_str().into(),
        exchange.as_str().into(),
        "order.#".into(),
        options,
        table,
    );
    bind.await.unwrap();
    let mut table = FieldTable::default();
    table.insert("tenant".into(), AMQPValue::LongString("a".into()));
    let properties = BasicProperties::default().with_headers(table).with_message_id("m0".into());
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let publish = admin.channel.basic_publish(
        exchange.as_str().into(),
        "order.new".into(),
        options,
        b"fail",
        properties,
    );
    publish.await.unwrap().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let shutdown = CancellationToken::new();
    let waits = [Duration::from_millis(300), Duration::from_millis(600)];
    let consumer = consumer(rabbit.url(), &queue, memory())
        .with_delays(Delays::new(waits).create())
        .with_dead_letters_to("", &dead)
        .with_shutdown(shutdown.clone());
    let metrics = consumer.metrics();
    let running = tokio::spawn(consumer.run(move |cx: Context, message: AmqpMessage| {
        let (exchange, key) = (message.exchange().to_owned(), message.routing_key().to_owned());
        let kept = message.header("tenant") == Some(b"a") && message.message_id() == Some("m0");
        noted.lock().unwrap().push((cx.attempt(), exchange, key, kept));
        async { Err::<(), _>(Failure::from("not yet")) }
    }));
    until("it is buried", || metrics.counts().acked == 3).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert_eq!((counts.run, counts.buried, metrics.counts().delayed), (3, 1, 2));
    let expected: Vec<_> = (1..=3).map(|n| (n, exchange.clone(), "order.new".to_owned(), true)).collect();
    assert_eq!(*seen.lock().unwrap(), expected, "every attempt sees the message as it was published");
    assert_eq!(admin.take(&dead).await.len(), 1);
    for name in [&queue, &format!("{queue}.delay.300"), &format!("{queue}.delay.600")] {
        rabbit.until_empty(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_takes_no_room() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("room", Kind::Classic).await;
    let admin = rabbit.connect().await;
    let all = ids(0..40);
    let special: Vec<_> = all[..20].iter().map(|id| (id.as_str(), "fail")).collect();
    admin.publish_all(&queue, told(&all, &special)).await;
    let delays = Delays::new([Duration::from_secs(3600)]).create();
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_prefetch(4).with_delays(delays));
    inside.until_acked(40).await;
    assert_eq!((inside.seen().len(), inside.counts().delayed), (20, 20));
    inside.stop().await.unwrap();
    admin.until_ready(&format!("{queue}.delay.3600000"), 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_queues_are_not_made_unasked() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("undeclared", Kind::Classic).await;
    let delays = Delays::new([Duration::from_secs(1)]);
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_delays(delays));
    assert_eq!(inside.ended().await.unwrap_err().kind(), ErrorKind::Config);
}
