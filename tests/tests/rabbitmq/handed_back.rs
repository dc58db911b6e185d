//! Messages that are handed back: they wait in a delay queue, and no delivery limit is spent on them.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{ClaimRequest, Token};
use ackonce::{Deduplicator, ErrorKind, MemoryStore, OnFailure, Scope, Settings};
use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::{Delays, headers};
use ackonce_testkit::FaultyStore;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;

use crate::burials::header;
use crate::inside::{Inside, consumer, ids, memory, settings, told};

/// A queue that drops what comes back more than three times.
async fn limited(rabbit: &Rabbit) -> String {
    let queue = rabbit.name("limited");
    let limit = [("x-delivery-limit", AMQPValue::LongInt(3))];
    rabbit.connect().await.declare(&queue, Kind::Quorum, &limit).await;
    queue
}

fn delays(millis: &[u64]) -> Delays {
    Delays::new(millis.iter().map(|ms| Duration::from_millis(*ms))).create()
}

/// Returned 21 times in five seconds, it was dropped by the broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_finite_hold_spends_no_delivery_limit() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = limited(&rabbit).await;
    let store = Arc::new(MemoryStore::new());
    let key = Scope::new(queue.clone()).unwrap().key("m0").unwrap();
    let (lease, window) = (Duration::from_secs(5), Duration::from_secs(60));
    let held = ClaimRequest { key, token: Token::random(), lease, window, fingerprint: None };
    store.claim(&[held]).await.unwrap();
    rabbit.connect().await.publish(&queue, Some("m0"), b"ok").await;
    let held = settings().with_busy_timeout(Duration::from_millis(200));
    let inside =
        Inside::run(consumer(rabbit.url(), &queue, store).with_settings(held).with_delays(delays(&[200])));
    until("it ran", || inside.seen() == ["m0"]).await;
    let amqp = inside.counts();
    assert!(amqp.delayed > 4 && amqp.returned == 0, "{amqp:?}");
    inside.stop().await.unwrap();
    rabbit.until_empty(&queue).await;
}

/// The whole prefetch was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_outage_with_finite_patience_spends_no_delivery_limit() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = limited(&rabbit).await;
    let all = ids(0..30);
    rabbit.connect().await.publish_all(&queue, told(&all, &[])).await;
    let store = Arc::new(FaultyStore::scripted(memory(), [None]));
    store.pause();
    let patient = settings().with_store_timeout(Duration::from_millis(100));
    let at = consumer(rabbit.url(), &queue, store.clone()).with_settings(patient);
    let inside = Inside::run(at.with_delays(delays(&[100, 200])));
    until("each has been delayed several times", || inside.counts().delayed >= 150).await;
    store.resume();
    until("all ran", || inside.seen().len() == 30).await;
    let amqp = inside.counts();
    assert_eq!(amqp.returned, 0, "{amqp:?}");
    inside.stop().await.unwrap();
    rabbit.until_empty(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_hand_back_without_delay_queues_are_refused_by_their_names() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("refused", Kind::Quorum).await;
    let minute = Duration::from_secs(60);
    let refused: [(&str, Settings); 3] = [
        ("Settings::busy_timeout", settings().with_busy_timeout(minute)),
        ("Settings::store_timeout", settings().with_store_timeout(minute)),
        ("Settings::on_failure", settings().with_on_failure(OnFailure::HandBack)),
    ];
    for (name, settings) in refused {
        let at = || consumer(rabbit.url(), &queue, memory()).with_settings(settings.clone());
        let error = Inside::run(at()).ended().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("with_delays"), "{said}");
        // As long as it would be anyway, and with delays, it is allowed.
        let near = at().with_settings(at_least(&settings)).with_consumer_timeout(minute);
        let inside = Inside::run(near.with_delays(delays(&[100])));
        until("it consumes", || inside.health.is_ready()).await;
        inside.stop().await.unwrap();
    }
    let allowed =
        settings().with_busy_timeout(Duration::from_secs(50)).with_store_timeout(Duration::from_secs(50));
    let at = consumer(rabbit.url(), &queue, memory()).with_consumer_timeout(minute);
    let inside = Inside::run(at.with_settings(allowed));
    until("it consumes", || inside.health.is_ready()).await;
    inside.stop().await.unwrap();
}

fn at_least(settings: &Settings) -> Settings {
    settings.clone().with_handler_timeout(Duration::from_secs(10))
}

/// It was sent one by one, and repeated for ever: all other failed messages waited behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_delay_queue_stops_no_other_and_is_declared_again() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) = (rabbit.queue("gone", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let at = consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead);
    let inside = Inside::run(at.with_delays(delays(&[100, 200])));
    until("it consumes", || inside.health.is_ready()).await;
    admin.delete(&format!("{queue}.delay.100")).await;
    let all = ids(0..20);
    let failing: Vec<_> = all[..10].iter().map(|id| (id.as_str(), "fail")).collect();
    admin.publish_all(&queue, told(&all, &failing)).await;
    admin.until_ready(&dead, 10).await;
    let amqp = inside.counts();
    assert_eq!((inside.seen().len(), amqp.delayed, amqp.returned), (10, 20, 0), "{amqp:?}");
    assert_eq!(inside.stop().await.unwrap().buried, 10);
    // It is there again.
    admin.ready(&format!("{queue}.delay.100")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_delay_queue_that_is_not_ours_to_declare_is_gone_round() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("foreign", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    for wait in [100, 200] {
        let arguments = [
            ("x-message-ttl", AMQPValue::LongLongInt(wait)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(&queue)),
        ];
        admin.declare(&format!("{queue}.delay.{wait}"), Kind::Classic, &arguments).await;
    }
    let waits = Delays::new([Duration::from_millis(100), Duration::from_millis(200)]);
    let at = consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead).with_delays(waits);
    let inside = Inside::run(at);
    until("it consumes", || inside.health.is_ready()).await;
    admin.delete(&format!("{queue}.delay.100")).await;
    admin.publish(&queue, Some("m0"), b"fail").await;
    admin.until_ready(&dead, 1).await;
    assert_eq!(inside.counts().delayed, 2, "the other queue took it");
    // Without any it is run again in hand.
    admin.delete(&format!("{queue}.delay.200")).await;
    admin.publish(&queue, Some("m1"), b"fail").await;
    admin.until_ready(&dead, 2).await;
    let amqp = inside.counts();
    assert_eq!((amqp.delayed, amqp.returned), (2, 0), "{amqp:?}");
    assert_eq!(inside.stop().await.unwrap().buried, 2);
}

/// A copy may take no header away from the handler, so this one cannot be delayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_fit_into_a_delay_queue_is_run_again_in_hand() {
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) = (limited(&rabbit).await, rabbit.queue("dead", Kind::Classic).await);
    let admin = rabbit.connect().await;
    let mut table = FieldTable::default();
    table.insert("long".into(), AMQPValue::LongString("x".repeat(130_500).into()));
    let properties = BasicProperties::default().with_headers(table).with_message_id("m0".into());
    admin.publish_with(&queue, b"fail", properties).await;
    let at = consumer(rabbit.url(), &queue, memory()).with_dead_letters_to("", &dead);
    let inside = Inside::run(at.with_delays(delays(&[100])));
    admin.until_ready(&dead, 1).await;
    // The letter is in its queue before its confirmation is here.
    inside.until_acked(1).await;
    let amqp = inside.counts();
    assert_eq!((amqp.returned, amqp.delayed, amqp.buried_reduced), (0, 0, 1), "{amqp:?}");
    inside.stop().await.unwrap();
    let letters = admin.take(&dead).await;
    assert_eq!(header(&letters[0], headers::ATTEMPTS).as_deref(), Some("3"));
}

/// The attempt does not count, and so the wait stayed the first one.
#[tokio::test(flavor = "multi_thread")]
async fn each_hop_takes_the_next_wait_although_its_attempt_does_not_count() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("hops", Kind::Quorum).await;
    let admin = rabbit.connect().await;
    let store = Arc::new(FaultyStore::scripted(memory(), [None]));
    store.pause();
    let patient = settings().with_store_timeout(Duration::from_millis(50));
    let at = consumer(rabbit.url(), &queue, store.clone()).with_settings(patient);
    let inside = Inside::run(at.with_delays(delays(&[100, 3_600_000])));
    until("it consumes", || inside.counts().channels == 1).await;
    admin.publish(&queue, Some("m0"), b"ok").await;
    admin.until_ready(&format!("{queue}.delay.3600000"), 1).await;
    assert_eq!(inside.counts().delayed, 2);
    let waiting = admin.take(&format!("{queue}.delay.3600000")).await;
    assert_eq!(header(&waiting[0], headers::DELAYS).as_deref(), Some("2"));
    store.resume();
    inside.stop().await.unwrap();
}
