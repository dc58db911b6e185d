//! The particulars of each store.

use std::sync::Arc;

use ackonce::store::Inspect;
use anyhow::ensure;
use serde_json::Value;

use super::Bench;
use super::fill::Filled;
use crate::messages::id;

/// A kind of store, and the place where those that are measured are made.
pub(super) trait Subject {
    fn name(&self) -> &'static str;

    /// Versions and settings that the figures depend on.
    fn settings(&mut self) -> anyhow::Result<Value>;

    /// A new, empty store. Nothing of this name was opened before.
    fn open(&mut self, name: &str) -> anyhow::Result<Arc<dyn Inspect>>;

    /// Loads that go on at once.
    fn loaders(&self) -> u64 {
        4
    }

    /// The number of messages between two quiet moments of a server while `count` are loaded: once a minute or so,
    /// at some thousand messages a second.
    fn between_tidying(&self, count: u64) -> u64 {
        (count / 16).max(60_000)
    }

    /// The server's own work in such a moment.
    fn tidy(&mut self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }

    /// Bytes that its stores take now, all of them.
    fn bytes(&mut self) -> anyhow::Result<u64>;

    /// The check by hand, on a table or prefix of its own.
    fn by_hand(&mut self) -> anyhow::Result<Option<Box<dyn ByHand>>>;

    /// Measurements of this store alone.
    fn more(&mut self, _bench: &Bench<'_>, _filled: &mut [Filled]) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The least that remembers anything: no lease, no fence, no attempts.
pub(super) trait ByHand {
    /// One trip for all; how many were new.
    fn claim(&mut self, ids: &[String]) -> anyhow::Result<usize>;

    /// One trip for all.
    fn done(&mut self, ids: &[String]) -> anyhow::Result<()>;
}

/// The records in it before it is measured.
pub(super) const BY_HAND: u64 = 100_000;

/// It, and the IDs that it has not seen.
pub(super) struct Hand {
    by_hand: Box<dyn ByHand>,
    next: u64,
}

impl Hand {
    /// After `BY_HAND` IDs were claimed and done.
    pub(super) fn loaded(by_hand: Box<dyn ByHand>) -> anyhow::Result<Self> {
        let mut hand = Self { by_hand, next: 0 };
        hand.process(BY_HAND, 4000, true)?;
        Ok(hand)
    }

    /// Claims so many in batches, and says that they are done.
    pub(super) fn process(&mut self, count: u64, batch: u64, and_done: bool) -> anyhow::Result<u64> {
        for _ in 0..count / batch {
            let ids: Vec<String> = (self.next..self.next + batch).map(id).collect();
            self.next += batch;
            ensure!(self.by_hand.claim(&ids)? == ids.len(), "an ID by hand was not new");
            if and_done {
                self.by_hand.done(&ids)?;
            }
        }
        Ok(count / batch * batch)
    }
}
