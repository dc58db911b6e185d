//! Group commit, written once for every store: concurrent calls become one trip.
//!
//! While the trips that may be in flight are under way, calls pile up; the next trip takes them all. At a
//! trickle a call waits for nobody, under load batches grow by themselves. There is no timer to tune.

mod answers;
mod batcher;
mod bisect;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::claim::{ClaimRequest, Claimed};
use crate::deduplicator::{Deduplicator, Description};
use crate::error::Result;
use crate::settle::{Settled, Settlement};

use self::answers::Answers;
use self::batcher::Batcher;
pub(crate) use self::bisect::bisect;

/// A store in front of a store, that turns concurrent calls into batches.
///
/// Of a caller that stops waiting the outcome is unknown, as after a lost reply. A call that is not answered within a
/// minute ends with [`Timeout`](crate::ErrorKind::Timeout).
pub struct Coalesce {
    store: Arc<dyn Deduplicator>,
    claims: Batcher<ClaimRequest, Claimed>,
    settles: Batcher<Settlement, Settled>,
}

impl Coalesce {
    /// Starts coalescing calls to `store`, on two tasks of the current tokio runtime that end with it.
    ///
    /// # Panics
    /// Outside a tokio runtime; a call, on a runtime without time.
    #[must_use]
    pub fn new(store: Arc<dyn Deduplicator>) -> Self {
        let to = store.clone();
        let claims = Batcher::start(
            |request: &ClaimRequest| &request.key,
            move |batch: Arc<Vec<ClaimRequest>>, part: Range<usize>| {
                let to = to.clone();
                async move { to.claim(&batch[part]).await }
            },
        );
        let to = store.clone();
        let settles = Batcher::start(
            |settlement: &Settlement| &settlement.key,
            move |batch: Arc<Vec<Settlement>>, part: Range<usize>| {
                let to = to.clone();
                async move { to.settle(&batch[part]).await }
            },
        );
        Self { store, claims, settles }
    }
}

/// The trait's functions for a caller that has the type itself: one boxed future less.
impl Coalesce {
    pub(crate) fn claim_unboxed<'a>(
        &'a self,
        requests: &'a [ClaimRequest],
    ) -> impl Future<Output = Result<Answers<Claimed>>> + Send {
        // Not through `Arc`, which is a store as well.
        self.claims.call(requests, |part| self.store.as_ref().claim(part))
    }

    pub(crate) fn settle_unboxed<'a>(
        &'a self,
        settlements: &'a [Settlement],
    ) -> impl Future<Output = Result<Answers<Settled>>> + Send {
        self.settles.call(settlements, |part| self.store.as_ref().settle(part))
    }
}

impl fmt::Debug for Coalesce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coalesce").field(&self.store).finish()
    }
}

#[async_trait]
impl Deduplicator for Coalesce {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.claim_unboxed(requests).await?.into_result()
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.settle_unboxed(settlements).await?.into_result()
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}
