//! Leaving the group, in bounded time even if the broker never answers.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, RebalanceProtocol};

use super::Poller;

/// The time limit for the group to take the partitions back and to answer the last commit.
const LEAVE: Duration = Duration::from_secs(2);
/// The part of it for the commits of partitions that were just assigned to be read.
const READ: Duration = Duration::from_millis(500);
/// The time limit for the driver to end its threads. After it, they end by themselves.
const DESTROY: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// The consumer's membership in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It stays at its end: the broker keeps its partitions for its next process until its session ends.
    Static,
    /// It leaves at its end.
    Classic,
    /// The same, of `group.protocol=consumer` (KIP-848).
    Kip848,
}

impl Membership {
    pub(crate) fn of(config: &ClientConfig) -> Self {
        let is_kip_848 =
            config.get("group.protocol").is_some_and(|name| name.eq_ignore_ascii_case("consumer"));
        match config.get("group.instance.id") {
            Some(_) => Self::Static,
            None if is_kip_848 => Self::Kip848,
            None => Self::Classic,
        }
    }
}

/// Commits the settled offsets, gives the partitions back, and ends the driver.
///
/// The driver closes first and has its revocation answered then: a cooperative member that gives its partitions up before
/// it closes does not leave its group.
///
/// Each step has a deadline. A commit that a dead broker never answers would hold the driver's own closing for minutes,
/// so that ends on a thread of its own, which ends when the driver does. Messages after the last commit are redelivered
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
    poller.revoke_now();
    unsubscribe(&mut poller, until);
    let is_closing = poller.consumer.close_queue().is_ok();
    while is_closing && !poller.consumer.closed() && Instant::now() < until {
        let served = poller.consumer.poll(STEP).is_some();
        poller.act_on_events();
        poller.revoke_now();
        if served && poller.consumer.client().fatal_error().is_some() {
            break;
        }
    }
    destroy(poller, is_closing);
}

/// A member without partitions has nothing revoked, and leaves as it unsubscribes.
fn unsubscribe(poller: &mut Poller, until: Instant) {
    // The driver closes a static member, and lets it stay; one that unsubscribes leaves.
    if poller.settings.membership == Membership::Static {
        return;
    }
    poller.consumer.unsubscribe();
    // The driver puts that off until the end of a rebalance. A cooperative member without partitions that closes before
    // then does not leave, and nothing tells whether there is one.
    let is_cooperative = poller.settings.membership == Membership::Classic
        && matches!(poller.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let has_none = |poller: &Poller| poller.consumer.assignment().is_ok_and(|list| list.count() == 0);
    while is_cooperative && has_none(poller) && Instant::now() < until {
        let _ = poller.consumer.poll(STEP);
        poller.act_on_events();
    }
}

fn destroy(poller: Poller, is_closing: bool) {
    let (consumer, scope) = (poller.consumer.clone(), poller.health.shared_scope().clone());
    consumer.context().close();
    // A lane keeps the consumer alive.
    drop(poller);
    let closing = std::thread::Builder::new().name("ackonce-kafka-close".into()).spawn(move || {
        let until = Instant::now() + DESTROY;
        while is_closing && !consumer.closed() && Instant::now() < until {
            let _ = consumer.poll(STEP);
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
