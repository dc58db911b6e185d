//! Burials end, and a letter keeps what the dead-letter topic takes.

use ackonce::{Context, Counts, ErrorKind, Failure};
use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use ackonce_kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order, headers};
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
    let handler = move |_: Context, _: KafkaMessage| async move { Err::<(), _>(Failure::permanent(error)) };
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

/// Publishes letters to their topic again, with all their headers, as tools for dead letters do.
fn publish_again(topic: &Topic, letters: &[OwnedMessage]) {
    let producer: BaseProducer = topic.kafka.config().create().unwrap();
    for letter in letters {
        let record = BaseRecord::<[u8], [u8]>::to(&topic.name).partition(0);
        let record = record.key(letter.key().unwrap_or_default()).headers(letter.headers().unwrap().clone());
        let record = match letter.payload() {
            Some(payload) => record.payload(payload),
            None => record,
        };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// As an operator would who moves letters back by hand, too early: the handler is not mended. A letter without its payload
/// and one of another payload under a known ID stay what they were.
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
    let handler = |_: Context, _: KafkaMessage| async { Err::<(), _>(Failure::permanent("poison")) };
    let running = Running::start(topic.consumer().with_dead_letters(&dead), handler);
    topic.until_committed(0).await;
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters.len(), 4);
    publish_again(&topic, &letters);
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.buried, counts.redriven, counts.duplicate_of_buried), (6, 2, 2));
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters.len(), 6, "one more for each that ran again");
    let ids: Vec<_> = letters.iter().map(|letter| header(letter, headers::MESSAGE_ID)).collect();
    assert_eq!(ids[4..], ids[..2], "under the same identity");
}

/// Letters published again after the handler was mended were swallowed as duplicates of buried records.
#[tokio::test(flavor = "multi_thread")]
async fn letters_published_again_after_the_handler_was_mended_run_once() {
    let Some(topic) = Topic::new("mended", 1).await else { return };
    let dead = topic.beside("dead").await;
    let store = std::sync::Arc::new(ackonce::MemoryStore::new());
    topic.fill(0, 0..3);
    topic.kafka.publish(&topic.name, [(0, "k", None, "no ID")]);
    let consumer = || topic.consumer_with(store.clone()).with_dead_letters(&dead);
    assert_eq!(bury(&topic, consumer(), "a bug").await.buried, 4);
    let letters = topic.kafka.read(&dead);

    let (running, log) = Running::logging(consumer());
    topic.fill(0, 0..1);
    topic.until_committed(0).await;
    assert_eq!(log.ids().len(), 0, "a copy of the original is no letter");
    publish_again(&topic, &letters);
    publish_again(&topic, &letters);
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.redriven, counts.buried), (4, 4, 0));
    assert_eq!((counts.duplicate, counts.duplicate_of_buried), (4, 1), "each letter once, and the copy");
}

/// IDs that were looked for in the wrong place, and are found by the mended consumer.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_messages_without_an_id_take_the_id_that_is_found_now() {
    let Some(topic) = Topic::new("ids", 1).await else { return };
    let dead = topic.beside("dead").await;
    let store = std::sync::Arc::new(ackonce::MemoryStore::new());
    topic.kafka.publish(&topic.name, [(0, "k", None, r#"{"id":"a"}"#), (0, "k", None, r#"{"id":"b"}"#)]);
    let consumer = || topic.consumer_with(store.clone()).with_dead_letters(&dead);
    assert_eq!(bury(&topic, consumer(), "no handler runs").await.buried, 2);
    let letters = topic.kafka.read(&dead);
    let ids = ackonce::MessageIds::first_of([ackonce::IdSource::Json("/id".into())]);
    let (running, _) = Running::logging(consumer().with_ids(ids));
    publish_again(&topic, &letters);
    topic.kafka.publish(&topic.name, [(0, "k", None, r#"{"id":"a"}"#)]);
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.duplicate, counts.buried), (2, 1, 0), "the late copy is known by its ID");
}

/// All tombstones were one message under `IdSource::Payload`.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_has_no_payload_to_be_known_by() {
    let Some(topic) = Topic::new("tombstones", 1).await else { return };
    let dead = topic.beside("dead").await;
    let producer: BaseProducer = topic.kafka.config().create().unwrap();
    for key in ["user-1", "user-2"] {
        let record = BaseRecord::<str, str>::to(&topic.name).partition(0).key(key);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    let empty = BaseRecord::<str, str>::to(&topic.name).partition(0).key("user-3").payload("");
    producer.send(empty).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    let payload = ackonce::IdSource::Payload;
    let by_payload = topic.consumer().with_ids(ackonce::MessageIds::first_of([payload.clone()]));
    let (running, log) = Running::logging(by_payload.with_dead_letters(&dead));
    topic.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.buried, counts.duplicate), (1, 2, 0), "{:?}", log.ids());
    let letters = topic.kafka.read(&dead);
    assert_eq!(letters.iter().filter(|letter| letter.payload().is_none()).count(), 2);

    // A source after it decides.
    let second = Topic::new("tombstones-by-key", 1).await.unwrap();
    let producer: BaseProducer = second.kafka.config().create().unwrap();
    for key in ["user-1", "user-2"] {
        let record = BaseRecord::<str, str>::to(&second.name).partition(0).key(key);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    // The same ID with an empty payload is another message.
    let empty = BaseRecord::<str, str>::to(&second.name).partition(0).key("user-2");
    let id = OwnedHeaders::new().insert(Header { key: "id", value: Some("user-2") });
    producer.send(empty.payload("").headers(id)).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    let sources = [ackonce::IdSource::Header("id".into()), payload, ackonce::IdSource::Key];
    let by_key = second.consumer().with_ids(ackonce::MessageIds::first_of(sources)).with_record_only();
    let (running, _) = Running::logging(by_key);
    second.until_committed(0).await;
    let counts = running.stop().await;
    assert_eq!((counts.run, counts.mismatch), (2, 1), "null is not empty");
}
