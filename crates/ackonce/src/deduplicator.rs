//! A store is two functions, and a line about itself.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::claim::{ClaimRequest, Claimed};
use crate::error::{Error, ErrorKind, Result};
use crate::settle::{Settled, Settlement};

/// A store of processed message IDs.
///
/// # Contract
/// - **Atomic.** Of any number of claims of one key, by any number of processes, one is acquired until its
///   lease ends or it is settled. Requests of one batch are answered as if they came one after another, in order.
/// - **Safe to repeat.** The same claim (same token) is answered as before; the same settlement answers
///   [`Settled::Yes`] again. A claim that arrives after its own release is not granted again.
/// - **Fenced.** A settlement changes something only if token and fence are those of the last claim. The lease
///   may have ended: as long as nobody claimed since, a late completion is recorded.
/// - **Counted at the claim.** `attempt` grows, durably, when the claim is granted, so that a message which
///   kills its worker is counted too.
/// - **The store's clock.** Leases and windows are measured by the store; expiry is decided on read.
/// - **Durable before answered.** An answer means that the change survives every fault but those that the store's
///   [`describe`](Self::describe) lists.
/// - **All or nothing per request, never a guess.** A store that cannot answer returns an error. A lost
///   reply is [`Repeat::Unknown`](crate::store::Repeat::Unknown).
///
/// Dropping a returned future makes the outcome unknown, as a lost reply does. Clones and references speak
/// of the same records.
///
/// The conformance suite in `ackonce-testkit` tests every line above: with clients side by side, with the store opened
/// again as after a `kill -9`, with failures that it provokes, and by the room that expired records take. It does not
/// cut the power: a store that writes files has to show by itself that it flushes before it answers.
///
/// # A store of your own
/// A transaction, [`protocol::claim`](crate::protocol::claim) and [`protocol::settle`](crate::protocol::settle), and
/// [`Row::encode`](crate::protocol::Row::encode) for the bytes that are kept: `tests/folder/mod.rs` of
/// `ackonce-testkit` is a store of less than a hundred lines on the files of a folder, and `tests/third_party.rs`
/// beside it holds it to the suite.
#[async_trait]
pub trait Deduplicator: fmt::Debug + Send + Sync {
    /// One answer per request, in order; one trip for the whole batch.
    ///
    /// # Errors
    /// The store could not answer; nothing may be taken for a duplicate.
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>>;

    /// Complete, release, extend or bury each lease; one answer each, in order, one trip for the whole batch.
    ///
    /// # Errors
    /// The store could not answer; nothing may be acknowledged. With [`ErrorKind::Locked`] the trouble is that of single
    /// records, which somebody else's transaction holds: the same batch, sent again in parts, is answered but for those.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>>;

    /// Its name, and everything that weakens the promise as it is set up now; printed when a consumer starts.
    fn describe(&self) -> Description;
}

impl Description {
    /// The weakness of a store that keeps its records in its process. The conformance suite knows by these words that
    /// nothing is there after a restart, and demands it of every other store.
    pub const LOST_WITH_PROCESS: &str =
        "records live in this process alone: a restart or a second process runs everything again";
}

/// A store's description of itself.
///
/// ```
/// use ackonce::{Deduplicator, MemoryStore};
///
/// let description = MemoryStore::new().describe();
/// println!("{}", description.name);
/// for weakness in &description.weaknesses {
///     println!("- {weakness}");
/// }
/// # assert_eq!(description.weaknesses.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its kind and place, without secrets: `sqlite /var/lib/app/dedup.db`.
    pub name: String,
    /// Each a sentence on a cause that would lose or double a message: `records are lost when the process ends`.
    pub weaknesses: Vec<String>,
}

/// Single calls: a batch of one, written once for every store.
#[async_trait]
pub trait DeduplicatorExt: Deduplicator {
    /// Claims one key.
    ///
    /// # Errors
    /// As [`Deduplicator::claim`].
    async fn claim_one(&self, request: ClaimRequest) -> Result<Claimed> {
        only(self.claim(&[request]).await?)
    }

    /// Settles one lease.
    ///
    /// # Errors
    /// As [`Deduplicator::settle`].
    async fn settle_one(&self, settlement: Settlement) -> Result<Settled> {
        only(self.settle(&[settlement]).await?)
    }
}

impl<T: Deduplicator + ?Sized> DeduplicatorExt for T {}

fn only<T>(mut answers: Vec<T>) -> Result<T> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => Ok(answer),
        _ => Err(Error::new(ErrorKind::Protocol, "the store gave another number of answers than requests")),
    }
}

macro_rules! forward {
    ($($t:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Deduplicator + ?Sized> Deduplicator for $t {
            async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
                (**self).claim(requests).await
            }
            async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
                (**self).settle(settlements).await
            }
            fn describe(&self) -> Description {
                (**self).describe()
            }
        }
    )*};
}
forward!(Box<T>, Arc<T>, &T);
