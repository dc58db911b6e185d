//! What happens when partitions come and go: stop intake, drain, commit, give up.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientContext, TopicPartitionList};

use crate::books::Books;
use crate::tracker::PartitionId;

/// The consumer's context; its callbacks run on the poll thread, inside `poll`.
#[derive(Debug)]
pub(crate) struct Groupie {
    pub(crate) books: Arc<Books>,
    pub(crate) drain: Duration,
}

impl ClientContext for Groupie {}

impl ConsumerContext for Groupie {
    /// Runs before the partitions really change, so that nothing of a revoked one is in work afterwards and its
    /// next owner starts where this one ended.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(target: "ackonce", partitions = ?ids(list), "assigned");
                self.books.assign(ids(list));
            }
            Rebalance::Revoke(list) => self.revoked(consumer, &ids(list)),
            Rebalance::Error(error) => tracing::warn!(target: "ackonce", %error, "rebalance failed"),
        }
    }

    /// A pause outlives a revocation, and a record of nobody resumes it.
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance
            && let Err(error) = consumer.resume(list)
        {
            tracing::warn!(target: "ackonce", %error, "partitions not resumed");
        }
    }
}

impl Groupie {
    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &[PartitionId]) {
        // Lost partitions belong to somebody else already: a commit would be refused, waiting helps nobody. What
        // runs goes on under its lease, and the new owner finds its claim or its record.
        let lost = consumer.assignment_lost();
        let drain = if lost { Duration::ZERO } else { self.drain };
        let left = self.books.drain(partitions, drain);
        tracing::info!(target: "ackonce", ?partitions, lost, still_running = left, "revoked");
        if !lost {
            commit(consumer, &self.books);
        }
        self.books.revoke(partitions);
    }
}

/// Commits what may be committed, and waits for the answer: a failed commit must not pass unseen (the
/// driver does not report asynchronous ones). Blocks the poll thread only.
pub(crate) fn commit(consumer: &BaseConsumer<Groupie>, books: &Books) {
    let Some(list) = books.to_commit() else { return };
    match consumer.commit(&list, CommitMode::Sync) {
        Ok(()) => books.committed(&list),
        Err(error) => {
            // The records are settled in the store: at worst they are redelivered and found there.
            books.commit_failed();
            tracing::warn!(target: "ackonce", %error, "offsets not committed, trying again");
        }
    }
}

fn ids(list: &TopicPartitionList) -> Vec<PartitionId> {
    list.elements().iter().map(|e| (e.topic().into(), e.partition())).collect()
}
