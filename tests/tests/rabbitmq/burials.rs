//! Messages that will never succeed, and where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ackonce::{CancellationToken, Context, Counts, Failure, Result};
use ackonce_amqp::lapin::message::Delivery;
use ackonce_amqp::lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{BasicProperties, ExchangeKind};
use ackonce_amqp::{AmqpConsumer, AmqpMessage, AmqpMetrics, headers};
use ackonce_tests::amqp::worker::Plan;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;
use tokio::task::JoinHandle;

use crate::inside::{Inside, consumer, ids, memory, told};

pub(crate) fn header(letter: &Delivery, name: &str) -> Option<String> {
    match letter.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::LongLongInt(n) => Some(n.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_is_buried_although_it_kills_the_process() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let dir = tempfile::tempdir().unwrap();
        let (queue, dead) = (rabbit.queue("poison", kind).await, rabbit.queue("dead", kind).await);
        let admin = rabbit.connect().await;
        let all = ids(0..30);
        admin.publish_all(&queue, told(&all, &[("m10", "abort")])).await;
        let plan = Plan { dead_letters: Some(dead.clone()), ..Plan::new(&rabbit, &queue, dir.path()) };
        for _ in 0..3 {
            assert!(plan.start().ended_by_signal(), "the message aborts its worker");
        }
        let mut last = plan.start();
        until("all the others are done", || plan.effects().len() >= 29).await;
        admin.until_ready(&dead, 1).await;
        assert!(last.terminate());
        let mut done = plan.ids();
        done.sort();
        done.dedup();
        assert_eq!(done.len(), 29, "{kind:?}: all but the poison, its neighbours included");
        assert_eq!(admin.ready(&queue).await.0, 0);
        let letters = admin.take(&dead).await;
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(
            (letter.data.as_slice(), letter.properties.message_id().as_ref().unwrap().as_str()),
            (&b"abort"[..], "m10")
        );
        assert_eq!(header(letter, headers::MESSAGE_ID).as_deref(), Some("m10"));
        assert_eq!(header(letter, headers::SCOPE).as_ref(), Some(&queue));
        assert_eq!(header(letter, headers::QUEUE).as_ref(), Some(&queue));
        assert_eq!(
            header(letter, headers::ATTEMPTS).as_deref(),
            Some("4"),
            "three that died, and the burial's"
        );
        assert!(header(letter, headers::ERROR).unwrap().contains("without a word"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_properties_and_goes_where_its_routing_key_leads() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("failing", Kind::Classic).await;
    let (dead, other) = (rabbit.queue("dead", Kind::Quorum).await, rabbit.queue("cc", Kind::Classic).await);
    let exchange = rabbit.name("dlx");
    let admin = rabbit.connect().await;
    let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
    admin
        .channel
        .exchange_declare(exchange.as_str().into(), ExchangeKind::Direct, options, table)
        .await
        .unwrap();
    let mut table = FieldTable::default();
    table.insert("tenant".into(), AMQPValue::LongString("a".into()));
    table.insert(
        "CC".into(),
        AMQPValue::FieldArray(vec![AMQPValue::LongString(other.as_str().into())].into()),
    );
    let properties = BasicProperties::default()
        .with_headers(table)
        .with_message_id("m0".into())
        .with_content_type("text/plain".into())
        .with_user_id("guest".into())
        .with_expiration("600000".into());
    admin.publish_with(&queue, b"fail", properties).await;
    assert_eq!(admin.take(&other).await.len(), 1, "the CC of the original");
    // Nothing is bound yet: the message leads nowhere, and is not acknowledged.
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters(&exchange));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(inside.counts().acked, 0);
    let (options, table) = (QueueBindOptions::default(), FieldTable::default());
    let bind = admin.channel.queue_bind(
        dead.as_str().into(),
        exchange.as_str().into(),
        queue.as_str().into(),
        options,
        table,
    );
    bind.await.unwrap();
    inside.until_acked(1).await;
    assert_eq!(inside.stop().await.unwrap().buried, 1);
    let letters = admin.take(&dead).await;
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), (exchange.as_str(), queue.as_str()));
    let properties = &letter.properties;
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
    assert_eq!(
        (properties.expiration(), properties.user_id()),
        (&None, &None),
        "it neither expires nor is refused"
    );
    assert_eq!(header(letter, "tenant").as_deref(), Some("a"));
    assert_eq!(header(letter, headers::EXPIRATION).as_deref(), Some("600000"));
    assert_eq!(header(letter, headers::USER_ID).as_deref(), Some("guest"));
    assert_eq!(header(letter, headers::ROUTING_KEY).as_ref(), Some(&queue));
    assert_eq!(header(letter, headers::EXCHANGE).as_deref(), Some(""));
    assert_eq!(header(letter, headers::ATTEMPTS).as_deref(), Some("3"));
    assert_eq!(header(letter, headers::ERROR).as_deref(), Some("failed 3 times, last: told to fail"));
    assert_eq!(admin.ready(&other).await.0, 0, "the dead letter goes to nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_an_id_are_buried_and_none_is_lost() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("anonymous", Kind::Classic).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    // Two that look the same are still two.
    admin.publish(&queue, None, b"ok").await;
    admin.publish(&queue, None, b"ok").await;
    admin.publish(&queue, Some(""), b"ok").await;
    admin.publish(&queue, Some("m0"), b"ok").await;
    // The same ID with another payload.
    admin.publish(&queue, Some("m0"), b"other").await;
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
    inside.until_acked(5).await;
    let counts = inside.stop().await.unwrap();
    assert_eq!((counts.run, counts.buried, counts.mismatch), (1, 4, 1));
    let mut errors: Vec<_> =
        admin.take(&dead).await.iter().map(|l| header(l, headers::ERROR).unwrap()).collect();
    errors.sort();
    assert_eq!(errors.len(), 4);
    assert!(errors[0].starts_with("malformed message ID") && errors[1] == errors[2], "{errors:?}");
    assert!(errors[1].starts_with("no message ID") && errors[3].contains("another payload"), "{errors:?}");
}

/// A consumer whose handler calls everything permanent until it is mended.
struct Mending {
    mended: Arc<AtomicBool>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<Counts>>,
    metrics: AmqpMetrics,
}

impl Mending {
    fn run(consumer: AmqpConsumer) -> Self {
        let (mended, shutdown) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let (metrics, is_mended) = (consumer.metrics(), mended.clone());
        let handler = move |_: Context, _: AmqpMessage| {
            let mended = is_mended.load(Ordering::SeqCst);
            async move { if mended { Ok(()) } else { Err(Failure::permanent("a bug")) } }
        };
        let running = tokio::spawn(consumer.with_shutdown(shutdown.clone()).run(handler));
        Self { mended, shutdown, running, metrics }
    }

    async fn until_acked(&self, messages: u64) {
        until(&format!("{messages} are acknowledged"), || self.metrics.counts().acked >= messages).await;
    }

    async fn stop(self) -> Counts {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap()
    }
}

/// Letters published again after the handler was mended were swallowed as duplicates of buried records.
#[tokio::test(flavor = "multi_thread")]
async fn letters_published_again_after_the_handler_was_mended_run_once() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let (queue, dead) = (rabbit.queue("mended", kind).await, rabbit.queue("dead", kind).await);
        let admin = rabbit.connect().await;
        admin.publish(&queue, Some("m0"), b"x").await;
        admin.publish(&queue, Some("m1"), b"x").await;
        admin.publish(&queue, None, b"no ID").await;
        let mending = Mending::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
        mending.until_acked(3).await;
        mending.mended.store(true, Ordering::SeqCst);
        admin.publish(&queue, Some("m0"), b"x").await;
        mending.until_acked(4).await;
        let letters = admin.take(&dead).await;
        assert_eq!(letters.len(), 3);
        for letter in letters.iter().chain(&letters) {
            admin.publish_with(&queue, &letter.data, letter.properties.clone()).await;
        }
        mending.until_acked(10).await;
        let counts = mending.stop().await;
        assert_eq!((counts.run, counts.redriven, counts.buried), (5, 3, 3), "{kind:?}");
        assert_eq!((counts.duplicate_of_buried, counts.duplicate), (1, 3), "the copy; each letter once");
    }
}

/// A dead-letter queue whose letters expire and go back, by the broker's own dead-lettering.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_that_sends_its_letters_back_redrives_them() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("again", Kind::Classic).await;
    let (dead, admin) = (rabbit.name("dead"), rabbit.connect().await);
    let text = |text: &str| AMQPValue::LongString(text.into());
    let back = [
        ("x-message-ttl", AMQPValue::LongLongInt(300)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&queue)),
    ];
    admin.declare(&dead, Kind::Classic, &back).await;
    admin.publish(&queue, Some("m0"), b"x").await;
    let mending = Mending::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
    mending.until_acked(3).await;
    mending.mended.store(true, Ordering::SeqCst);
    until("it took effect", || mending.metrics.counts().acked >= 4).await;
    rabbit.until_empty(&queue).await;
    let counts = mending.stop().await;
    assert!(
        counts.buried >= 3 && counts.redriven == counts.buried && counts.run == counts.buried + 1,
        "{counts:?}"
    );
    assert_eq!(admin.ready(&dead).await.0, 0);
}
