//! The consumer on a real RabbitMQ that loses all connections, is killed, frozen and started again; alone on
//! it, one test after another.
//!
//! `ACKONCE_AMQP_MESSAGES`, `_KILLS` and `_OUTAGES` scale each of the acceptance runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackonce::{Backoff, CancellationToken, Class, Context, Failure, MemoryStore, Scope, Settings};
use ackonce_amqp::{AmqpConsumer, Message};
use ackonce_tests::acceptance::{Scale, accept, scaled};
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
    let (tally, run) = (consumer.tally(), Arc::new(AtomicU64::new(0)));
    let counted = run.clone();
    let running = tokio::spawn(consumer.run(move |_: Context, _: Message| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), Failure>(()) }
    }));
    rabbit.control("start");
    let mut n = 0;
    for outage in ["kill", "close", "pause"] {
        publish(&rabbit, &queue, &mut n).await;
        until("all ran", || run.load(Ordering::SeqCst) == n).await;
        let lost = tally.counts().lost;
        match outage {
            "kill" => {
                rabbit.control("kill");
                rabbit.control("start");
            }
            "close" => drop(rabbit.ctl(&["close_all_connections", "an outage"])),
            _ => {
                rabbit.control("pause");
                // A frozen broker is noticed by its heartbeats alone.
                until("the connection is given up", || tally.counts().lost > lost).await;
                rabbit.control("resume");
            }
        }
        until("it was noticed", || tally.counts().lost > lost).await;
    }
    publish(&rabbit, &queue, &mut n).await;
    until("all ran", || run.load(Ordering::SeqCst) == n).await;
    rabbit.until_empty(&queue).await;
    shutdown.cancel();
    let counts = running.await.unwrap().unwrap();
    assert_eq!(counts.run, n, "each once: {counts:?}, {tally:?}");
}

async fn publish(rabbit: &Rabbit, queue: &str, n: &mut u64) {
    let ids: Vec<_> = (*n..*n + 200).map(|n| format!("m{n}")).collect();
    rabbit.connect().await.publish_all(queue, ids.iter().map(|id| (id.as_str(), "ok"))).await;
    *n += 200;
}
