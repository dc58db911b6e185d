//! The in-memory store: for tests, for one process that can afford to forget, and as the plainest
//! reading of the contract: look up the row, let the protocol decide, write the row.

mod rows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use self::rows::{Digest, Rows};
use crate::claim::{ClaimRequest, Claimed};
use crate::deduplicator::{Deduplicator, Description};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::{AdminOutcome, Entry, Inspect, Note, Page, Query, Stats};
use crate::key::Key;
use crate::protocol::{self, Row};
use crate::record::{Record, State};
use crate::settle::{Settled, Settlement};

/// Parts with a lock of their own, so that threads hardly ever wait for each other.
const SHARDS: usize = 16;

/// Records in this process's memory. Clones share them; a restart forgets them all.
///
/// Its clock is tokio's, so tests can pause it.
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
        lock(self.shard(key)).update(key, now, decide)
    }

    fn shard(&self, key: &Key) -> &Mutex<Rows> {
        let [.., last] = *key.digest();
        &self.shards[usize::from(last) % SHARDS]
    }
}

/// A plain mutex is right: it is held for map look-ups only, never across an await.
fn lock(shard: &Mutex<Rows>) -> MutexGuard<'_, Rows> {
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

#[async_trait]
impl Inspect for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let now = self.now();
        let row = lock(self.shard(key)).get(key)?;
        Ok(row.filter(|row| now < row.expires).map(|row| row.record(now)))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let now = self.now();
        let after = query.after.as_ref().map(|c| <[u8; 32]>::try_from(&c[..])).transpose();
        let after = after.map_err(|_| Error::new(ErrorKind::Invalid, "not a cursor of this store"))?;
        let wanted = |row: &Row| now < row.expires && query.state.is_none_or(|s| s == row.state);
        // A scan and a sort per page: for tests and small stores.
        let mut found = Vec::new();
        for shard in &*self.shards {
            for kept in lock(shard).iter() {
                let (digest, row) = kept?;
                if after.is_none_or(|after| digest > after) && wanted(&row) {
                    found.push(entry(digest, &row, now));
                }
            }
        }
        found.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|entry| entry.digest.clone());
        Ok(Page { entries: found, next })
    }

    async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for shard in &*self.shards {
            for kept in lock(shard).iter() {
                *match kept?.1.state {
                    State::Claimed => &mut stats.claimed,
                    State::Released => &mut stats.released,
                    State::Done => &mut stats.done,
                    State::Buried => &mut stats.buried,
                } += 1;
            }
        }
        Ok(stats)
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        // The row stays, expired, so that the next fence is above it.
        self.repair("forget", key, note, |row, _| Some(Row { expires: 0, ..row.clone() }))
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", key, note, protocol::redriven)
    }

    async fn sweep(&self) -> Result<u64> {
        let now = self.now();
        let sweep = |shard| lock(shard).sweep(now);
        Ok(self.shards.iter().map(sweep).sum::<usize>() as u64)
    }
}

impl MemoryStore {
    fn repair(
        &self,
        operation: &'static str,
        key: &Key,
        note: &Note,
        change: impl FnOnce(&Row, u64) -> Option<Row>,
    ) -> Result<AdminOutcome> {
        let now = self.now();
        let (repaired, before) =
            self.update(key, now, |row, now| match (protocol::tendable(row, now), row) {
                (Some(true), Some(row)) => match change(row, now) {
                    Some(changed) => ((AdminOutcome::Yes, Some(row.state)), Some(changed)),
                    None => ((AdminOutcome::Nothing, None), None),
                },
                (Some(false), _) => ((AdminOutcome::InFlight, None), None),
                _ => ((AdminOutcome::Nothing, None), None),
            })?;
        if let Some(before) = before {
            note.audit(operation, key, before);
        }
        Ok(repaired)
    }
}

fn entry(digest: Digest, row: &Row, now: u64) -> Entry {
    Entry {
        digest: Bytes::copy_from_slice(&digest),
        scope: None,
        id: None,
        record: row.record(now),
        expires_in: Duration::from_micros(row.expires.saturating_sub(now)),
        free_in: row.free_in(now),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::claim::Token;
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
