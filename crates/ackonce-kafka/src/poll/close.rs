//! Leaving the group, in bounded time even if the broker never answers.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::Poller;

/// The time limit for the group to take the partitions back and to answer the last commit.
const LEAVE: Duration = Duration::from_secs(2);
/// The part of it for the commits of partitions that were just assigned to be read.
const READ: Duration = Duration::from_millis(500);
/// The time limit for the driver to end its threads. After it, they end by themselves.
const DESTROY: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// Commits the settled offsets, gives the partitions back, and ends the driver.
///
/// Each step has a deadline. A commit that a dead broker never answers would hold the driver's own closing for minutes,
/// so that happens on a thread of its own, which ends when the driver does. Messages after the last commit are redelivered
/// and found in the store.
pub(crate) fn close(mut poller: Poller) {
    let until = Instant::now() + LEAVE;
    // A commit that waits for the last one to be read can still be made.
    let read = Instant::now() + READ;
    while poller.lanes.iter().any(|lane| lane.origin.is_unread()) && Instant::now() < read {
        let _ = poller.consumer.poll(STEP);
        poller.act_on_events();
        poller.look_for_recreated();
    }
    poller.store_offsets_now();
    poller.consumer.unsubscribe();
    let assigned = |poller: &Poller| poller.consumer.assignment().is_ok_and(|list| list.count() > 0);
    while (assigned(&poller) || poller.lanes.iter().any(|lane| lane.watch.is_unconfirmed()))
        && Instant::now() < until
    {
        let served = poller.consumer.poll(STEP).is_some();
        poller.act_on_events();
        poller.revoke_now();
        if served && poller.consumer.client().fatal_error().is_some() {
            break;
        }
    }
    let (consumer, scope) = (poller.consumer.clone(), poller.health.shared_scope().clone());
    consumer.context().close();
    // A lane keeps the consumer alive.
    drop(poller);
    let closing = std::thread::Builder::new().name("ackonce-kafka-close".into()).spawn(move || {
        let until = Instant::now() + DESTROY;
        if consumer.close_queue().is_ok() {
            while !consumer.closed() && Instant::now() < until {
                let _ = consumer.poll(STEP);
            }
        }
        drop(consumer);
    });
    let until = Instant::now() + DESTROY;
    while closing.as_ref().is_ok_and(|thread| !thread.is_finished()) && Instant::now() < until {
        std::thread::sleep(STEP);
    }
    if closing.is_ok_and(|thread| !thread.is_finished()) {
        tracing::warn!(target: "ackonce", scope = &*scope, "Kafka does not answer; the client is left to end by itself, and the group \
            notices by session.timeout.ms");
    }
}
