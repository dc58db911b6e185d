//! Consumer processes that are killed and stopped.

use std::collections::BTreeSet;

use ackonce_amqp::lapin::options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_tests::amqp::worker::Plan;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;
use ackonce_tests::worker::Signal;
use futures_util::StreamExt;

use crate::inside::{ids, told};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_only_the_unfinished_message_runs() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let dir = tempfile::tempdir().unwrap();
        let queue = rabbit.queue("hole", kind).await;
        let admin = rabbit.connect().await;
        let gate = dir.path().join("gate");
        std::fs::write(&gate, "").unwrap();
        let (all, hold) = (ids(0..101), format!("hold:{}", gate.display()));
        admin.publish_all(&queue, told(&all, &[("m50", &hold)])).await;
        let plan = Plan::new(&rabbit, &queue, dir.path());
        let mut first = plan.start();
        until("all but m50 are done", || plan.effects().len() == 100).await;
        first.kill();
        std::fs::remove_file(&gate).unwrap();
        let mut second = plan.start();
        until("m50 is done", || plan.effects().len() > 100).await;
        rabbit.until_empty(&queue).await;
        let after: Vec<_> = plan.effects().into_iter().filter(|e| e.pid == second.pid()).collect();
        // A settle that the kill cut off may leave an effect or two without their record; not more than ran.
        assert!(after.iter().any(|e| e.id == "m50" && e.attempt == 2), "{kind:?}: {after:?}");
        assert!(after.len() <= plan.concurrency, "{kind:?}: {after:?}");
        assert!(second.terminate(), "SIGTERM drains and ends with 0");
        assert_eq!(plan.ids().into_iter().collect::<BTreeSet<_>>().len(), 101);
    }
}

/// The queue drops what comes back more than three times, and there is no dead-letter exchange to drop it to.
async fn limited(rabbit: &Rabbit) -> String {
    let queue = rabbit.name("limited");
    let limit = [("x-delivery-limit", AMQPValue::LongInt(3))];
    rabbit.connect().await.declare(&queue, Kind::Quorum, &limit).await;
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_copy_is_not_dropped_by_a_delivery_limit() {
    let Some(rabbit) = Rabbit::real() else { return };
    let dir = tempfile::tempdir().unwrap();
    let queue = limited(&rabbit).await;
    let admin = rabbit.connect().await;
    let gate = dir.path().join("gate");
    std::fs::write(&gate, "").unwrap();
    let hold = format!("hold:{}", gate.display());
    // One at a time, so that the copy goes to the other one.
    let plan = Plan { lease_ms: 4000, prefetch: Some(1), ..Plan::new(&rabbit, &queue, dir.path()) };
    admin.publish(&queue, Some("m0"), hold.as_bytes()).await;
    let first = plan.start();
    rabbit.until_messages(&queue, 1, 1).await;
    // It stands still with the lease, and its connection stands.
    first.signal(Signal::STOP);
    // The gate keeps only the first one now: when it wakes, what ends its handler can only be the lost lease.
    std::fs::write(&gate, first.pid().to_string()).unwrap();
    admin.publish(&queue, Some("m0"), hold.as_bytes()).await;
    let mut second = plan.start();
    until("the copy took effect", || plan.effects().len() == 1).await;
    assert_eq!(plan.effects()[0].pid, second.pid());
    first.signal(Signal::CONT);
    rabbit.until_empty(&queue).await;
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(plan.effects().len(), 1, "the first one's lease is lost, and its handler cancelled");
    assert!(second.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_limit_without_a_dead_letter_exchange_is_warned_of_at_start() {
    let Some(rabbit) = Rabbit::real() else { return };
    let management = rabbit.management();
    let dir = tempfile::tempdir().unwrap();
    let queue = limited(&rabbit).await;
    rabbit.connect().await.publish(&queue, Some("m0"), b"ok").await;
    let log = dir.path().join("log");
    let plan = Plan { management: Some(management), ..Plan::new(&rabbit, &queue, dir.path()) };
    let mut worker = plan.start_logged(&log);
    until("it consumes", || plan.effects().len() == 1).await;
    assert!(worker.terminate());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("weakened: a quorum queue with a delivery limit of 3 and no dead-letter exchange"),
        "{said}"
    );
}

/// The harness bites: bounced instead of held, it is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounced_copy_is_dropped_by_a_delivery_limit() {
    let Some(rabbit) = Rabbit::real() else { return };
    let queue = limited(&rabbit).await;
    let admin = rabbit.connect().await;
    admin.publish(&queue, Some("m0"), b"ok").await;
    let mine = rabbit.connect().await;
    mine.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries =
        mine.channel.basic_consume(queue.as_str().into(), "".into(), options, table).await.unwrap();
    for _ in 0..4 {
        let delivery = deliveries.next().await.unwrap().unwrap();
        let again = BasicNackOptions { multiple: false, requeue: true };
        assert!(delivery.nack(again).await.unwrap());
    }
    rabbit.until_empty(&queue).await;
}
