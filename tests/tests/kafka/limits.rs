//! Fair shares, and limits that hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::{Context, Failure};
use ackonce_kafka::{KafkaMessage, Order};
use ackonce_tests::until;
use futures_util::future::join_all;

use crate::inside::{Gate, Log, Running, Topic};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_a_backlog_advance_together() {
    let Some(topic) = Topic::new("fair", 4).await else { return };
    topic.fill_all(1000);
    let log = Log::default();
    let ran = log.clone();
    let handler = move |cx: Context, message: KafkaMessage| {
        ran.add(&cx, &message);
        async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<(), Failure>(())
        }
    };
    let running = Running::start(topic.consumer(), handler);
    topic.until_all_committed().await;
    running.stop().await;
    let mut counts = [0_i32; 4];
    for ran in log.all() {
        counts[usize::try_from(ran.partition).unwrap()] += 1;
        if counts.contains(&1000) {
            break;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least < 400, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_handlers_run_than_messages_may_be_in_flight() {
    join_all([(Order::Unordered, 4), (Order::Key, 1), (Order::Unordered, 8)].map(five_at_once)).await;
}

async fn five_at_once((order, partitions): (Order, i32)) {
    let Some(topic) = Topic::new("five", partitions).await else { return };
    topic.fill_all(60);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running_now, highest) = (now.clone(), most.clone());
    let handler = move |_: Context, _: KafkaMessage| {
        let (now, most) = (running_now.clone(), highest.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<(), Failure>(())
        }
    };
    let running = Running::start(topic.consumer().with_order(order).with_max_in_flight(5), handler);
    topic.until_all_committed().await;
    running.stop().await;
    assert!((2..=5).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bytes_are_in_flight_than_may_be() {
    let Some(topic) = Topic::new("bytes", 2).await else { return };
    let payload = "x".repeat(10_000);
    let ids: Vec<_> = (0..100).map(|n| format!("m{n}")).collect();
    topic.kafka.publish(
        &topic.name,
        ids.iter().zip(0..).map(|(id, n)| (n % 2, id.as_str(), Some(&**id), &*payload)),
    );
    // A single message may be larger than all that is allowed.
    let large = "x".repeat(300_000);
    topic.kafka.publish(&topic.name, [(0, "k", Some("large"), &*large)]);
    let (gate, log) = (Gate::shut(), Log::default());
    let (passed, ran) = (gate.clone(), log.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        ran.add(&cx, &message);
        let gate = passed.clone();
        async move {
            gate.passed().await;
            Ok::<(), Failure>(())
        }
    };
    let consumer = topic.consumer().with_order(Order::Unordered).with_max_bytes(100_000);
    let running = Running::start(consumer, handler);
    until("it is as full as it gets", || {
        let report = running.health.report();
        report.partitions.len() == 2 && report.partitions.iter().all(|p| p.held == Some("enough in flight"))
    })
    .await;
    // Each partition may be over its limit by the message that reached it.
    assert!((5..=11).contains(&log.len()), "{} of 10,000 bytes each", log.len());
    gate.open();
    topic.until_all_committed().await;
    assert_eq!(running.stop().await.run, 101);
}
