//! The in-memory store: for tests, for one process that can afford to forget, and as the plainest
//! reading of the contract: look up the row, let the protocol decide, write the row.

mod inspect;
mod rows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::time::Instant;

use self::inspect::Changes;
use self::rows::{Digest, Rows};
use crate::claim::{ClaimRequest, Claimed};
use crate::deduplicator::{Deduplicator, Description};
use crate::error::Result;
use crate::key::Key;
use crate::protocol::{self, Row};
use crate::settle::{Settled, Settlement};

/// Parts with a lock of their own, so that threads hardly ever wait for each other.
const SHARDS: usize = 16;

/// Records in this process's memory. Clones share them; a restart forgets them all.
///
/// Its clock is tokio's, so tests can pause it. It keeps scope and message ID of released and buried records, and the
/// last 10,000 changes by hand.
///
/// ```
/// use std::time::Duration;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Token};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// let request = || ClaimRequest {
///     key: Scope::new("orders").unwrap().key("evt_1").unwrap(),
///     token: Token::random(),
///     lease: Duration::from_secs(30),
///     window: Duration::from_secs(3600),
///     fingerprint: None,
/// };
/// assert!(matches!(store.claim_one(request()).await?, Claimed::Acquired(_)));
/// assert!(matches!(store.claim_one(request()).await?, Claimed::Busy { .. }));
/// # Ok::<(), ackonce::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shards: Arc<[Mutex<Rows>; SHARDS]>,
    /// Changes by hand.
    changes: Arc<Mutex<Changes>>,
    /// The wall clock when the store was made, in microseconds, and the steady clock at that moment:
    /// fences follow the date, leases never jump with it.
    epoch: u64,
    start: Instant,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            shards: Arc::default(),
            changes: Arc::default(),
            epoch: u64::try_from(epoch.as_micros()).unwrap_or(u64::MAX),
            start: Instant::now(),
        }
    }

    /// The number of keys it holds, expired ones that were not yet dropped included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn now(&self) -> u64 {
        self.epoch + u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Answers by a key's row and the time, and writes the row that is to be instead of it.
    fn update<A>(
        &self,
        key: &Key,
        now: u64,
        decide: impl FnOnce(Option<&Row>, u64) -> (A, Option<Row>),
    ) -> Result<A> {
        lock(self.shard(key.digest())).update(key, now, decide)
    }

    fn shard(&self, digest: &Digest) -> &Mutex<Rows> {
        let [.., last] = *digest;
        &self.shards[usize::from(last) % SHARDS]
    }
}

/// A plain mutex is right: it is held for map look-ups only, never across an await.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Deduplicator for MemoryStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let now = self.now();
        let answer = |r: &ClaimRequest| self.update(&r.key, now, |row, now| protocol::claim(row, r, now));
        requests.iter().map(answer).collect()
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let now = self.now();
        let answer = |s: &Settlement| self.update(&s.key, now, |row, now| protocol::settle(row, s, now));
        settlements.iter().map(answer).collect()
    }

    fn describe(&self) -> Description {
        Description { name: "memory".into(), weaknesses: vec![Description::LOST_WITH_PROCESS.into()] }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::claim::Token;
    use crate::inspect::Inspect;
    use crate::key::Scope;
    use crate::settle::Settle;
    use crate::store::DeduplicatorExt;

    #[tokio::test(start_paused = true)]
    async fn memory_follows_the_window() {
        let store = MemoryStore::new();
        let scope = Scope::new("s").unwrap();
        for n in 0..6400_u32 {
            let request = ClaimRequest {
                key: scope.key(n.to_be_bytes().to_vec()).unwrap(),
                token: Token::random(),
                lease: Duration::from_secs(1),
                window: Duration::from_secs(1),
                fingerprint: None,
            };
            let Claimed::Acquired(lease) = store.claim_one(request).await.unwrap() else { panic!() };
            let done = Settle::Complete { window: Duration::from_secs(10), outcome: None };
            assert_eq!(store.settle_one(Settlement::new(&lease, done)).await.unwrap(), Settled::Yes);
            if n % 64 == 63 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(store.len() <= 13 * 64, "{} rows are held for a window of 10 seconds", store.len());
    }

    fn request(id: &'static str, window: Duration) -> ClaimRequest {
        let key = Scope::new("s").unwrap().key(id).unwrap();
        ClaimRequest { key, token: Token::random(), lease: Duration::from_secs(1), window, fingerprint: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_was_left_is_swept_once_its_trail_has_expired() {
        let store = MemoryStore::new();
        store.claim_one(request("left", Duration::from_secs(1))).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((store.sweep().await.unwrap(), store.len()), (0, 1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((store.sweep().await.unwrap(), store.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_looked_at_the_clock_before_a_row_was_dropped_gets_no_smaller_fence() {
        let store = MemoryStore::new();
        let request = request("a", Duration::from_millis(1));
        let claim =
            |now| store.update(&request.key, now, |row, now| protocol::claim(row, &request, now)).unwrap();
        let early = store.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        let Claimed::Acquired(first) = claim(store.now()) else { panic!() };
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(store.sweep().await.unwrap(), 1, "nothing is left that tells of the fence");
        let Claimed::Acquired(second) = claim(early) else { panic!() };
        assert!(second.fence > first.fence, "{} after {}", second.fence, first.fence);
    }

    #[tokio::test]
    async fn a_part_of_a_buffer_does_not_keep_all_of_it() {
        let store = MemoryStore::new();
        let request = request("a", Duration::from_secs(9));
        let Claimed::Acquired(lease) = store.claim_one(request.clone()).await.unwrap() else { panic!() };
        let buffer = Bytes::from(vec![7; 1 << 20]);
        let outcome = Some(buffer.slice(..9));
        let done = Settle::Complete { window: Duration::from_secs(9), outcome };
        assert_eq!(store.settle_one(Settlement::new(&lease, done)).await.unwrap(), Settled::Yes);
        let Claimed::Done(record) = store.claim_one(request).await.unwrap() else { panic!() };
        let kept = record.outcome.unwrap();
        assert_eq!(kept, buffer.slice(..9));
        assert_ne!(kept.as_ptr(), buffer.as_ptr(), "it lies in memory of its own");
    }
}
