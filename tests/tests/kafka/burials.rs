//! Burials end, and a letter keeps what the dead-letter topic takes.

use ackonce::{Context, Counts, ErrorKind, Failure};
use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use ackonce_kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use ackonce_kafka::{KafkaConsumer, Message, Order, headers};
use sha2::{Digest, Sha256};
use std::time::Duration;

use crate::inside::{Running, Topic};

pub(crate) fn header(letter: &OwnedMessage, name: &str) -> Option<String> {
    let all = letter.headers()?;
    let found = all.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value.unwrap_or_default()).into_owned())
}

/// Buries everything, and returns the counts once all is committed.
async fn bury(topic: &Topic, consumer: KafkaConsumer, error: &'static str) -> Counts {
    let handler = move |_: Context, _: Message| async move { Err::<(), _>(Failure::permanent(error)) };
    let running = Running::start(consumer, handler);
    topic.until_all_committed().await;
    running.stop().await
}

fn hex(payload: &[u8]) -> String {
    Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_dead_letter_topic_is_buried_without_its_payload() {
    let Some(topic) = Topic::with("large", 1, &[("max.message.bytes", "3000000")]).await else { return };
    let dead = topic.beside("dead").await;
    let large = "x".repeat(1_200_000);
    topic.kafka.publish(
        &topic.name,
        [(0, "a", Some("small"), "small"), (0, "b", Some("large"), &*large), (0, "c", Some("last"), "last")],
    );
    let counts = bury(&topic, topic.consumer().with_dead_letters(&dead), "poison").await;
    assert_eq!((counts.buried, counts.letters_reduced), (3, 1));
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters.len(), 3);
    let letter = &letters[1];
    assert_eq!((letter.key(), letter.payload()), (Some(&b"b"[..]), None));
    assert_eq!(header(letter, headers::PAYLOAD_SHA256), Some(hex(large.as_bytes())));
    assert_eq!(header(letter, headers::REDUCED).as_deref(), Some("the payload"));
    assert_eq!(header(letter, headers::TOPIC).as_ref(), Some(&topic.name));
    assert_eq!(header(letter, headers::OFFSET).as_deref(), Some("1"));
    assert_eq!(header(letter, headers::MESSAGE_ID).as_deref(), Some("large"));
    assert_eq!(header(letter, "message-id").as_deref(), Some("large"), "small headers are kept");
    assert_eq!(letters[2].payload(), Some(&b"last"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_too_large_for_the_dead_letter_topic_are_left_out_and_the_payload_is_kept() {
    let Some(topic) = Topic::with("headers", 1, &[("max.message.bytes", "3000000")]).await else { return };
    let dead = topic.beside("dead").await;
    let mut config = topic.kafka.config();
    let producer: BaseProducer = config.set("message.max.bytes", "10000000").create().unwrap();
    let large = "x".repeat(1_200_000);
    let all = OwnedHeaders::new()
        .insert(Header { key: "message-id", value: Some("m") })
        .insert(Header { key: "large", value: Some(&large) });
    let record = BaseRecord::to(&topic.name).partition(0).key("k").payload("payload").headers(all);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    let counts = bury(&topic, topic.consumer().with_dead_letters(&dead), "poison").await;
    assert_eq!((counts.buried, counts.letters_reduced), (1, 1));
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters[0].payload(), Some(&b"payload"[..]));
    assert_eq!(header(&letters[0], headers::REDUCED).as_deref(), Some("the headers"));
    assert_eq!(header(&letters[0], headers::MESSAGE_ID).as_deref(), Some("m"));
}

/// A broker refuses a request as a whole: each of these letters fits, two of them do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_fits_is_whole_however_many_are_buried_at_once() {
    let Some(topic) = Topic::new("together", 1).await else { return };
    let dead = format!("{}-dead", topic.name);
    topic.kafka.create_with(&dead, 1, &[("max.message.bytes", "300000")]).await;
    let payload = "x".repeat(200_000);
    let ids: Vec<_> = (0..40).map(|n| format!("m{n}")).collect();
    topic.kafka.publish(&topic.name, ids.iter().map(|id| (0, id.as_str(), Some(id.as_str()), &*payload)));
    let consumer = topic.consumer().with_order(Order::Unordered).with_dead_letters(&dead);
    let counts = bury(&topic, consumer, "poison").await;
    assert_eq!((counts.buried, counts.letters_reduced), (40, 0));
    assert!(topic.kafka.read(&dead).iter().all(|letter| letter.payload() == Some(payload.as_bytes())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_letter_no_topic_takes_is_buried_by_its_record() {
    let Some(topic) = Topic::new("never", 1).await else { return };
    let dead = format!("{}-dead", topic.name);
    topic.kafka.create_with(&dead, 1, &[("max.message.bytes", "100")]).await;
    topic.fill(0, 0..70);
    let counts = bury(&topic, topic.consumer().with_dead_letters(&dead), "poison").await;
    assert_eq!((counts.buried, counts.buried_without_letter), (70, 70));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_cut() {
    let Some(topic) = Topic::new("long-error", 1).await else { return };
    let dead = topic.beside("dead").await;
    topic.fill(0, 0..1);
    let error: &'static str = "ä".repeat(1_000_000).leak();
    let counts = bury(&topic, topic.consumer().with_dead_letters(&dead), error).await;
    assert_eq!((counts.buried, counts.letters_reduced), (1, 0));
    let reason = header(&topic.kafka.read(&dead)[0], headers::ERROR).unwrap();
    assert!(reason.starts_with('ä') && reason.len() <= 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_is_missing_or_read_by_the_subscription_is_refused_at_start() {
    let Some(topic) = Topic::new("refused", 1).await else { return };
    let dead = format!("{}-dead", topic.name);
    let error = Running::logging(topic.consumer().with_dead_letters(&dead)).0.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("with_dead_letters") && text.contains(&dead), "{text}");
    topic.kafka.create(&dead, 1).await;
    let pattern = format!("^{}.*", topic.name);
    for subscription in [&*pattern, &dead] {
        let consumer = KafkaConsumer::new(
            topic.config(),
            &[subscription],
            &topic.scope(),
            std::sync::Arc::new(ackonce::MemoryStore::new()),
        );
        let error = Running::logging(consumer.with_dead_letters(&dead)).0.ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(ackonce::chain(&error).to_string().contains("with_dead_letters"), "{error}");
    }
}

/// As an operator would who moves letters back by hand: whole ones, and one without its payload.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_comes_back_keeps_its_identity() {
    let Some(topic) = Topic::with("returned", 1, &[("max.message.bytes", "3000000")]).await else { return };
    let dead = topic.beside("dead").await;
    let large = "x".repeat(1_200_000);
    topic.kafka.publish(
        &topic.name,
        [
            (0, "a", Some("known"), "known"),
            (0, "b", None, "no ID"),
            (0, "c", Some("large"), &*large),
            (0, "d", Some("known"), "another payload"),
        ],
    );
    let handler = |_: Context, _: Message| async { Err::<(), _>(Failure::permanent("poison")) };
    let running = Running::start(topic.consumer().with_dead_letters(&dead), handler);
    topic.until_committed(0).await;
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters.len(), 4);
    let producer: BaseProducer = topic.kafka.config().create().unwrap();
    for letter in &letters {
        let record = BaseRecord::<[u8], [u8]>::to(&topic.name).partition(0);
        let record = record.key(letter.key().unwrap_or_default()).headers(letter.headers().unwrap().clone());
        let record = match letter.payload() {
            Some(payload) => record.payload(payload),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.buried, counts.duplicate_of_buried), (4, 4), "found as buried");
    assert_eq!(topic.kafka.read(&dead).len(), 4, "no second letters");
}
