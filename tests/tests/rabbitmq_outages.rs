//! The consumer on a real RabbitMQ that loses all connections, is killed, frozen and started again; alone on
//! it, one test after another.
//!
//! `ACKONCE_AMQP_MESSAGES`, `_KILLS` and `_OUTAGES` scale each of the acceptance runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce::{Backoff, CancellationToken, Class, Context, Failure, MemoryStore, OnStart, Scope, Settings};
use ackonce_amqp::{AmqpConsumer, AmqpMessage, Delays, Phase, headers};
use ackonce_tests::acceptance::{Scale, accept, scaled};
use ackonce_tests::amqp::interposer::Interposer;
use ackonce_tests::amqp::{Kind, Queues, Rabbit};
use ackonce_tests::until;

/// There is one broker to take down.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn class(class: Class, kind: Kind, seed: u64) {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    // Together they are 50,000.
    let messages = scaled("ACKONCE_AMQP_MESSAGES", 12_500);
    let (kills, outages) = (scaled("ACKONCE_AMQP_KILLS", 15), scaled("ACKONCE_AMQP_OUTAGES", 6));
    accept(&Queues(rabbit, kind), class, Scale { messages, slices: 40, kills, outages }, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_loses_nothing_and_doubles_nothing_on_a_quorum_queue() {
    class(Class::Inbox, Kind::Quorum, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_effects_are_neither_lost_nor_doubled_on_a_classic_queue() {
    class(Class::Keyed, Kind::Classic, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leased_effects_are_not_lost_and_each_double_is_explained_on_a_quorum_queue() {
    class(Class::Leased, Kind::Quorum, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leased_effects_are_not_lost_and_each_double_is_explained_on_a_classic_queue() {
    class(Class::Leased, Kind::Classic, 4).await;
}

/// Nobody dies but the broker: nothing runs twice, whatever it forgets.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_outlives_its_broker() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("outlived", Kind::Quorum).await;
    let shutdown = CancellationToken::new();
    let settings = Settings::default().with_lease(Duration::from_millis(1500));
    let url = format!("{}?heartbeat=2", rabbit.url());
    let scope = Scope::new(queue.clone()).unwrap();
    // Away at the start, too. In good order: a quorum queue that was declared a moment before a kill -9 never gets
    // a leader again (seen on 3.10.8).
    rabbit.control("stop");
    let consumer = AmqpConsumer::new(&url, &queue, &scope, Arc::new(MemoryStore::new()))
        .with_settings(settings)
        .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_secs(1) })
        .with_shutdown(shutdown.clone());
    let (metrics, run) = (consumer.metrics(), Arc::new(AtomicU64::new(0)));
    let counted = run.clone();
    let running = tokio::spawn(consumer.run(move |_: Context, _: AmqpMessage| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), Failure>(()) }
    }));
    rabbit.control("start");
    let mut n = 0;
    for outage in ["kill", "close", "pause"] {
        publish(&rabbit, &queue, &mut n).await;
        until("all ran", || run.load(Ordering::SeqCst) == n).await;
        let lost = metrics.counts().lost;
        match outage {
            "kill" => {
                rabbit.control("kill");
                rabbit.control("start");
            }
            "close" => drop(rabbit.ctl(&["close_all_connections", "an outage"])),
            _ => {
                rabbit.control("pause");
                // A frozen broker is noticed by its heartbeats alone.
                until("the connection is given up", || metrics.counts().lost > lost).await;
                rabbit.control("resume");
            }
        }
        until("it was noticed", || metrics.counts().lost > lost).await;
    }
    publish(&rabbit, &queue, &mut n).await;
    until("all ran", || run.load(Ordering::SeqCst) == n).await;
    rabbit.until_empty(&queue).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert_eq!(counts.run, n, "each once: {counts:?}, {metrics:?}");
}

async fn publish(rabbit: &Rabbit, queue: &str, n: &mut u64) {
    let ids: Vec<_> = (*n..*n + 200).map(|n| format!("m{n}")).collect();
    rabbit.connect().await.publish_all(queue, ids.iter().map(|id| (id.as_str(), "ok"))).await;
    *n += 200;
}

/// The consumer of the tests below.
fn consumer(url: &str, queue: &str, shutdown: &CancellationToken) -> AmqpConsumer {
    let settings = Settings::default()
        .with_lease(Duration::from_millis(1500))
        .with_shutdown_timeout(Duration::from_secs(1));
    AmqpConsumer::new(url, queue, &Scope::new(queue).unwrap(), Arc::new(MemoryStore::new()))
        .with_settings(settings)
        .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_millis(500) })
        .with_shutdown(shutdown.clone())
}

async fn handle(_: Context, message: AmqpMessage) -> Result<(), Failure> {
    match message.payload() {
        b"hold" => std::future::pending().await,
        b"poison" => Err(Failure::permanent("told to fail")),
        _ => Ok(()),
    }
}

/// `shutdown_timeout` plus five seconds, and something for a loaded machine.
const BOUND: Duration = Duration::from_secs(1 + 5 + 4);

/// It took as long as the broker was away.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_bounded_whatever_the_broker_does() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    for outage in ["none", "pause", "kill"] {
        let (queue, dead) =
            (rabbit.queue("bounded", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
        let shutdown = CancellationToken::new();
        let waits = Delays::new([Duration::from_secs(60)]).create();
        let consumer =
            consumer(rabbit.url(), &queue, &shutdown).with_dead_letters_to("", &dead).with_delays(waits);
        let health = consumer.health();
        let running = tokio::spawn(consumer.run(handle));
        until("it consumes", || health.is_ready()).await;
        let admin = rabbit.connect().await;
        admin.publish_all(&queue, [("m0", "hold"), ("m1", "poison"), ("m2", "ok")]).await;
        until("two are settled", || health.report().counts.acked == 2).await;
        if outage != "none" {
            rabbit.control(outage);
        }
        let start = Instant::now();
        shutdown.cancel();
        running.await.unwrap().unwrap();
        let took = start.elapsed();
        if outage != "none" {
            rabbit.control(if outage == "pause" { "resume" } else { "start" });
        }
        eprintln!("outage {outage}: shut down after {took:?}");
        assert!(took < BOUND, "{outage}: {took:?}");
        rabbit.until_messages(&queue, 1, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_in_health_and_the_consumer_stays_live() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    // Stopped in order: a queue that was declared a moment before a kill -9 may be unknown after it, of either kind.
    let queue = rabbit.queue("away", Kind::Classic).await;
    let shutdown = CancellationToken::new();
    let consumer = consumer(rabbit.url(), &queue, &shutdown);
    let health = consumer.health();
    let running = tokio::spawn(consumer.run(handle));
    until("it consumes", || health.is_ready()).await;
    rabbit.control("stop");
    until("it is seen", || !health.is_ready()).await;
    let report = health.report();
    assert!(health.is_live() && report.trouble.is_some() && report.phase == Phase::Away, "{report}");
    rabbit.control("start");
    until("it consumes again", || health.is_ready()).await;
    assert_eq!(health.report().counts.reconnects, 1);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_at_run_time_are_said_and_outlived() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("rotated", Kind::Quorum).await;
    rabbit.ctl(&["add_user", "rotated", "first"]);
    rabbit.ctl(&["set_permissions", "rotated", ".*", ".*", ".*"]);
    let shutdown = CancellationToken::new();
    let url = rabbit.url().replace("guest:guest", "rotated:first");
    let consumer = consumer(&url, &queue, &shutdown);
    let health = consumer.health();
    let running = tokio::spawn(consumer.run(handle));
    until("it consumes", || health.is_ready()).await;
    rabbit.ctl(&["change_password", "rotated", "second"]);
    rabbit.ctl(&["close_all_connections", "rotated"]);
    until("it is refused", || health.report().counts.refused >= 2).await;
    assert!(health.is_live() && !health.is_ready());
    assert!(health.report().trouble.unwrap().contains("ACCESS_REFUSED"), "{}", health.report());
    rabbit.ctl(&["change_password", "rotated", "first"]);
    until("it consumes again", || health.is_ready()).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    rabbit.ctl(&["delete_user", "rotated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_hosts_are_tried_in_turn_at_start_and_after_a_loss() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("hosts", Kind::Quorum).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Interposer::start(rabbit.url()).await;
    let (first, second) = (proxy.url(), rabbit.url().to_owned());
    let away = format!("amqp://guest:guest@{nobody}/%2f");
    let refusing = rabbit.url().replace("guest:guest", "guest:wrong");
    let shutdown = CancellationToken::new();
    let urls = [away.as_str(), refusing.as_str(), first.as_str(), second.as_str()];
    let scope = Scope::new(queue.clone()).unwrap();
    let consumer = AmqpConsumer::new_any(urls, &queue, &scope, Arc::new(MemoryStore::new()))
        .with_shutdown(shutdown.clone());
    let (health, metrics) = (consumer.health(), consumer.metrics());
    let running = tokio::spawn(consumer.run(handle));
    until("it consumes by the third", || health.is_ready()).await;
    proxy.cut();
    until("it consumes by the last", || metrics.counts().channels == 2).await;
    rabbit.connect().await.publish(&queue, Some("m0"), b"ok").await;
    until("it ran", || metrics.counts().acked == 1).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_or_ends_as_its_setting_says() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = rabbit.queue("start", Kind::Quorum).await;
    let wrong = rabbit.url().replace("guest:guest", "guest:wrong");
    let away = "amqp://guest:guest@127.0.0.1:1/%2f";
    for (on_start, url, ends) in [
        (OnStart::Wait, wrong.as_str(), false),
        (OnStart::Wait, away, false),
        (OnStart::EndIfRefused, wrong.as_str(), true),
        (OnStart::EndIfRefused, away, false),
        (OnStart::End, wrong.as_str(), true),
        (OnStart::End, away, true),
    ] {
        let shutdown = CancellationToken::new();
        let consumer =
            consumer(url, &queue, &shutdown).with_settings(Settings::default().with_on_start(on_start));
        let health = consumer.health();
        let running = tokio::spawn(consumer.run(handle));
        match ends {
            true => assert!(running.await.unwrap().is_err(), "{on_start:?} {url}"),
            false => {
                until("it has been tried", || health.report().trouble.is_some()).await;
                assert!(health.is_live() && !health.is_ready());
                shutdown.cancel();
                running.await.unwrap().unwrap();
            }
        }
    }
}

/// A broker that is short of memory does not read: nothing is taken for lost, and no channel is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn burials_wait_while_the_broker_is_short_of_memory() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("alarm", Kind::Classic).await, rabbit.queue("dead", Kind::Classic).await);
    let shutdown = CancellationToken::new();
    let consumer = consumer(rabbit.url(), &queue, &shutdown).with_dead_letters_to("", &dead);
    let health = consumer.health();
    let admin = rabbit.connect().await;
    let ids: Vec<_> = (0..20).map(|n| format!("m{n}")).collect();
    admin.publish_all(&queue, ids.iter().map(|id| (id.as_str(), "poison"))).await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.000001"]);
    let running = tokio::spawn(consumer.run(handle));
    until("it is blocked", || health.report().blocked).await;
    assert!(health.is_live());
    tokio::time::sleep(Duration::from_secs(2)).await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    until("all are buried", || health.report().counts.acked == 20).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    rabbit.connect().await.until_ready(&dead, 20).await;
}

/// The broker closes the channel for a message that is larger than it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_too_large_is_buried_without_its_payload() {
    let _alone = ALONE.lock().await;
    let Some(rabbit) = Rabbit::real() else { return };
    let (queue, dead) =
        (rabbit.queue("large", Kind::Quorum).await, rabbit.queue("dead", Kind::Classic).await);
    let shutdown = CancellationToken::new();
    let consumer = consumer(rabbit.url(), &queue, &shutdown).with_dead_letters_to("", &dead);
    let health = consumer.health();
    let admin = rabbit.connect().await;
    admin.publish(&queue, None, &[7; 300_000]).await;
    let ids: Vec<_> = (0..20).map(|n| format!("m{n}")).collect();
    admin.publish_all(&queue, ids.iter().map(|id| (id.as_str(), "poison"))).await;
    rabbit.ctl(&["eval", "application:set_env(rabbit, max_message_size, 100000), persistent_term:put(max_message_size, 100000)."]);
    let running = tokio::spawn(consumer.run(handle));
    until("all are buried", || health.report().counts.acked == 21).await;
    rabbit.ctl(&["eval", "application:set_env(rabbit, max_message_size, 134217728), persistent_term:put(max_message_size, 134217728)."]);
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(health.report().counts.buried_reduced, 1);
    let letters = admin.take(&dead).await;
    let table =
        |letter: &ackonce_amqp::lapin::message::Delivery| letter.properties.headers().clone().unwrap();
    let reduced = letters.iter().filter(|letter| table(letter).inner().contains_key(headers::PAYLOAD_SHA256));
    assert_eq!(reduced.count(), 1);
    // The closed channel leaves the letters beside it unconfirmed: they are sent again, and are two of one message.
    let ids: HashSet<_> =
        letters.iter().map(|letter| format!("{:?}", table(letter).inner()[headers::MESSAGE_ID])).collect();
    assert_eq!(ids.len(), 21);
}
