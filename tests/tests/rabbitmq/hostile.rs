//! Messages that any publisher can send, and that must not stop anybody else's.

use std::time::Duration;

use ackonce::ErrorKind;
use ackonce_amqp::headers;
use ackonce_amqp::lapin::options::{
    BasicPublishOptions, ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions,
};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{BasicProperties, ExchangeKind};
use ackonce_tests::amqp::{Admin, Kind, Rabbit};
use ackonce_tests::until;

use crate::burials::header;
use crate::inside::{Inside, consumer, ids, memory, told};

fn text(text: impl Into<String>) -> AMQPValue {
    AMQPValue::LongString(text.into().into())
}

fn with_headers<'a>(all: impl IntoIterator<Item = (&'a str, AMQPValue)>) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in all {
        table.insert(name.into(), value);
    }
    BasicProperties::default().with_headers(table)
}

async fn exchange(rabbit: &Rabbit, admin: &Admin, kind: ExchangeKind, bound: &[(&str, &str)]) -> String {
    let name = rabbit.name("exchange");
    let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
    admin.channel.exchange_declare(name.as_str().into(), kind, options, table).await.unwrap();
    for (queue, key) in bound {
        bind(admin, &name, queue, key).await;
    }
    name
}

async fn bind(admin: &Admin, exchange: &str, queue: &str, key: &str) {
    let (options, table) = (QueueBindOptions::default(), FieldTable::default());
    admin.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, table).await.unwrap();
}

async fn publish_to(admin: &Admin, exchange: &str, key: &str, properties: BasicProperties) {
    let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
    let publish = admin.channel.basic_publish(exchange.into(), key.into(), mandatory, b"fail", properties);
    publish.await.unwrap().await.unwrap();
}

/// Each of these was retried for ever, with a handler's slot in its hands.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_messages_that_no_letter_holds_do_not_stop_twenty_good_ones() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let (queue, dead) = (rabbit.queue("hostile", kind).await, rabbit.queue("dead", kind).await);
        let admin = rabbit.connect().await;
        for n in 0..64 {
            let properties = match n % 4 {
                0 => with_headers([(headers::DELAYED_ROUTING_KEY, text("k".repeat(300)))]),
                1 => with_headers([("long", text("x".repeat(130_900)))]),
                2 => with_headers((0..500).map(|_| ("many", text("x".repeat(200))))),
                _ => with_headers([
                    (headers::ERROR, text("e".repeat(60_000))),
                    (headers::MESSAGE_ID, text("i".repeat(60_000))),
                ]),
            };
            admin.publish_with(&queue, format!("hostile {n}").as_bytes(), properties).await;
        }
        let all = ids(0..20);
        admin.publish_all(&queue, told(&all, &[])).await;
        let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
        inside.until_acked(84).await;
        let amqp = inside.counts();
        assert_eq!((inside.seen().len(), amqp.channels), (20, 1), "{kind:?}: {amqp:?}");
        let counts = inside.stop().await.unwrap();
        assert_eq!((counts.run, counts.buried, amqp.buried_reduced), (20, 64, 16), "{kind:?}: {amqp:?}");
        let letters = admin.take(&dead).await;
        assert_eq!(letters.len(), 64, "{kind:?}");
        let reduced = letters.iter().filter(|letter| header(letter, headers::REDUCED).is_some());
        for letter in reduced {
            assert!(letter.data.starts_with(b"hostile"), "the payload is there");
            assert!(header(letter, "long").is_none() && header(letter, headers::ERROR).unwrap().len() < 5000);
        }
        rabbit.until_empty(&queue).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_properties_of_strangers_are_buried_whole() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) = (rabbit.queue("odd", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let long = "m".repeat(255);
    let odd = |id: &str| BasicProperties::default().with_message_id(id.into());
    let array =
        |names: &[&str]| AMQPValue::FieldArray(names.iter().map(|n| text(*n)).collect::<Vec<_>>().into());
    let nested = |depth: usize| {
        (0..depth).fold(AMQPValue::Void, |inner, _| {
            let mut table = FieldTable::default();
            table.insert("in".into(), inner);
            AMQPValue::FieldTable(table)
        })
    };
    let all = [
        odd(&long),
        odd("expiring").with_expiration("600000".into()),
        odd("cc").with_headers(with_headers([("CC", array(&["nowhere", "x"]))]).headers().clone().unwrap()),
        odd("bcc").with_headers(with_headers([("BCC", array(&["nowhere"]))]).headers().clone().unwrap()),
        odd("deep").with_headers(with_headers([("t", nested(50))]).headers().clone().unwrap()),
        odd("death").with_headers(with_headers([("x-death", text("garbage"))]).headers().clone().unwrap()),
        odd("user").with_user_id("guest".into()),
        odd("priority").with_priority(255).with_timestamp(u64::MAX),
    ];
    for properties in &all {
        admin.publish_with(&queue, b"fail", properties.clone()).await;
    }
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead));
    inside.until_acked(8).await;
    let amqp = inside.counts();
    assert_eq!((amqp.buried_reduced, amqp.channels), (0, 1), "{amqp:?}");
    assert_eq!(inside.stop().await.unwrap().buried, 8);
    let letters = admin.take(&dead).await;
    let ids: Vec<_> = letters.iter().filter_map(|letter| header(letter, headers::MESSAGE_ID)).collect();
    assert_eq!(ids.len(), 8);
    assert!(ids.contains(&long) && ids.contains(&"deep".to_owned()), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_header_chooses_no_routing_key() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("forged", Kind::Classic).await;
    let (dead, stolen) =
        (rabbit.queue("dead", Kind::Classic).await, rabbit.queue("stolen", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let orders = exchange(&rabbit, &admin, ExchangeKind::Direct, &[(&queue, "order.new")]).await;
    let dlx =
        exchange(&rabbit, &admin, ExchangeKind::Direct, &[(&dead, "order.new"), (&stolen, "stolen")]).await;
    let mut death = FieldTable::default();
    death.insert("queue".into(), text(format!("{queue}.delay.1")));
    death.insert("reason".into(), text("expired"));
    let forged = with_headers([
        (headers::DELAYED_ROUTING_KEY, text("stolen")),
        (headers::DELAYED_EXCHANGE, text("")),
        (headers::QUEUE, text(queue.as_str())),
        ("x-death", AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into())),
    ]);
    publish_to(&admin, &orders, "order.new", forged.with_message_id("m0".into())).await;
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters(&dlx));
    inside.until_acked(1).await;
    inside.stop().await.unwrap();
    let letters = admin.take(&dead).await;
    assert_eq!((letters.len(), admin.ready(&stolen).await.0), (1, 0));
    assert_eq!(header(&letters[0], headers::EXCHANGE), Some(orders));
    assert_eq!(header(&letters[0], headers::ROUTING_KEY).as_deref(), Some("order.new"));
}

/// One record became thousands of letters within seconds.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_come_back_are_not_buried_again() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("circle", Kind::Classic).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let fanout = exchange(&rabbit, &admin, ExchangeKind::Fanout, &[(&queue, ""), (&dead, "")]).await;
    admin.publish(&queue, None, b"ok").await;
    admin.publish(&queue, Some("m0"), b"fail").await;
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters(&fanout));
    inside.until_acked(4).await;
    // Time for more, if there were any.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = inside.stop().await.unwrap();
    assert_eq!((counts.buried, counts.duplicate_of_buried), (2, 2), "{counts:?}");
    let letters = admin.take(&dead).await;
    assert_eq!(letters.len(), 2);
    // An operator's tool sends the letters back with their headers. To a store that knows nothing of them they are
    // messages, and the letter of one without an ID has that of its burial.
    for letter in letters {
        admin.publish_with(&queue, &letter.data, letter.properties.clone()).await;
        let errors = letter.properties.headers().as_ref().unwrap().inner().keys();
        assert_eq!(errors.filter(|name| name.as_str() == headers::ERROR).count(), 1);
    }
    let again = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters(&fanout));
    again.until_acked(3).await;
    let counts = again.stop().await.unwrap();
    assert_eq!((counts.buried, counts.duplicate_of_buried), (1, 1), "the letter that goes in a circle");
    assert_eq!(counts.run, 4, "three attempts of the one, one of the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_exchange_that_leads_back_is_refused_where_it_can_be_known() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("refused", Kind::Classic).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let fanout = exchange(&rabbit, &admin, ExchangeKind::Fanout, &[(&queue, ""), (&dead, "")]).await;
    let topic = exchange(&rabbit, &admin, ExchangeKind::Topic, &[(&queue, "order.#"), (&dead, "dead")]).await;
    let at = || consumer(rabbit.url(), &queue, memory()).with_management(&rabbit.management());
    for consumer in [
        at().with_dead_letters(&fanout),
        at().with_dead_letters(&topic),
        at().with_dead_letters_to(&topic, "order.dead"),
    ] {
        let error = Inside::run(consumer).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(ackonce::chain(&error).to_string().contains("leads back"), "{error}");
    }
    // Another routing key of the same exchange is right.
    let inside = Inside::run(at().with_dead_letters_to(&topic, "dead"));
    admin.publish(&queue, Some("m0"), b"fail").await;
    inside.until_acked(1).await;
    inside.stop().await.unwrap();
    assert_eq!(admin.ready(&dead).await.0, 1);
}

/// Returns come with whichever confirmation completes next: none may be taken for delivered.
#[tokio::test(flavor = "multi_thread")]
async fn letters_that_lead_nowhere_are_told_from_those_beside_them() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("mixed", Kind::Classic).await, rabbit.queue("dead", Kind::Quorum).await);
    let admin = rabbit.connect().await;
    let source = exchange(&rabbit, &admin, ExchangeKind::Topic, &[(&queue, "#")]).await;
    let dlx = exchange(&rabbit, &admin, ExchangeKind::Direct, &[(&dead, "good")]).await;
    // A hundred lead nowhere: more than there are handlers.
    for n in 0..500 {
        let key = if n % 5 == 0 { "bad" } else { "good" };
        let properties = BasicProperties::default().with_message_id(format!("{key}{n}").into());
        publish_to(&admin, &source, key, properties).await;
    }
    let inside = Inside::run(consumer(rabbit.url(), &queue, memory()).with_dead_letters(&dlx));
    inside.until_acked(400).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(inside.counts().acked, 400, "those that lead nowhere are not acknowledged");
    admin.until_ready(&dead, 400).await;
    // The queue's name is tried after the message's own routing key.
    bind(&admin, &dlx, &dead, &queue).await;
    inside.until_acked(500).await;
    inside.stop().await.unwrap();
    let mut ids: Vec<_> =
        admin.take(&dead).await.iter().map(|letter| header(letter, headers::MESSAGE_ID).unwrap()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_says_it_is_of_a_stream_is_not_believed() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("no-stream", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    let forged = with_headers([("x-stream-offset", AMQPValue::LongLongInt(7))]).with_message_id("m0".into());
    admin.publish_with(&queue, b"ok", forged).await;
    let inside = Inside::start(&rabbit, &queue);
    inside.until_acked(1).await;
    inside.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_refused() {
    let Some(rabbit) = Rabbit::real() else { return };
    for arguments in [vec![], vec![("x-max-age", text("1h"))]] {
        let queue = rabbit.name("stream");
        let admin = rabbit.connect().await;
        let stream = [("x-queue-type", text("stream"))];
        admin.declare(&queue, Kind::Classic, &[&stream[..], &arguments].concat()).await;
        let asked = consumer(rabbit.url(), &queue, memory()).with_management(&rabbit.management());
        let error = Inside::run(asked).ended().await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Config && ackonce::chain(&error).to_string().contains("stream"),
            "{error}"
        );
        // Over AMQP it is known by its first message.
        let unasked = Inside::start(&rabbit, &queue);
        until("it consumes", || unasked.counts().channels == 1).await;
        admin.publish(&queue, Some("m0"), b"ok").await;
        let error = unasked.ended().await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Config && ackonce::chain(&error).to_string().contains("stream"),
            "{error}"
        );
    }
}

/// Not followed over bindings between exchanges, where it is not refused, it does no harm either.
#[tokio::test(flavor = "multi_thread")]
async fn a_circle_over_two_exchanges_ends_by_itself() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("far-circle", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    let second = exchange(&rabbit, &admin, ExchangeKind::Fanout, &[(&queue, "")]).await;
    let first = exchange(&rabbit, &admin, ExchangeKind::Fanout, &[]).await;
    let (options, table) = (ExchangeBindOptions::default(), FieldTable::default());
    let (to, from) = (second.as_str().into(), first.as_str().into());
    admin.channel.exchange_bind(to, from, "".into(), options, table).await.unwrap();
    admin.publish(&queue, None, b"ok").await;
    let inside = Inside::run(
        consumer(rabbit.url(), &queue, memory())
            .with_dead_letters(&first)
            .with_management(&rabbit.management()),
    );
    inside.until_acked(2).await;
    rabbit.until_empty(&queue).await;
    assert_eq!(inside.stop().await.unwrap().buried, 1);
}
