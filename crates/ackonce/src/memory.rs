//! The in-memory store: for tests, for one process that can afford to forget, and as the plainest
//! reading of the contract.

use std::collections::hash_map;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::protocol::{self, Row};
use crate::{
    ClaimRequest, Claimed, Deduplicator, Description, Entry, Error, ErrorKind, Inspect, Key, Note, Page,
    Query, Record, Result, Settled, Settlement, State, Stats, Tended,
};

/// Expired entries dealt with per row written, at most (a row has two: as claimed and as settled): memory follows the window without a stop.
const SWEEP_PER_WRITE: usize = 4;
/// Microseconds of a second.
const MICROS: u64 = 1_000_000;

/// Records in this process's memory. Clones share them; a restart forgets them all.
///
/// Its clock is tokio's, so tests can pause it.
///
/// ```
/// use std::time::Duration;
/// use ackonce::{ClaimRequest, Claimed, DeduplicatorExt, MemoryStore, Scope, Token};
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
    rows: Arc<Mutex<Rows>>,
    /// The wall clock when the store was made, in microseconds, and the steady clock at that moment:
    /// fences follow the date, leases never jump with it.
    epoch: u64,
    start: Instant,
}

/// A key's digest. A part of it is enough to spread it over the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest([u8; 32]);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

#[derive(Debug, Default)]
struct Rows {
    /// Boxed, because a map moves what it holds whenever it grows.
    by_key: HashMap<Digest, Box<Row>>,
    /// Digests by the second in which their row may be dropped. A row that is written again is filed again;
    /// the older entry then means nothing.
    by_second: BTreeMap<u64, Vec<Digest>>,
}

impl Rows {
    fn get(&self, key: &Key) -> Option<&Row> {
        self.by_key.get(&Digest(*key.digest())).map(Box::as_ref)
    }

    /// Answers by a key's row, and writes the row that is to be instead of it.
    fn update<A>(&mut self, key: &Key, now: u64, decide: impl FnOnce(Option<&Row>) -> (A, Option<Row>)) -> A {
        let digest = Digest(*key.digest());
        let (answer, filed) = match self.by_key.entry(digest) {
            hash_map::Entry::Vacant(place) => {
                let (answer, row) = decide(None);
                (answer, row.map(|row| gone_by(place.insert(Box::new(row)))))
            }
            hash_map::Entry::Occupied(mut place) => {
                let row = place.get_mut().as_mut();
                let (answer, changed) = decide(Some(row));
                let before = gone_by(row);
                if let Some(changed) = changed {
                    *row = changed;
                }
                (answer, Some(gone_by(row)).filter(|second| *second != before))
            }
        };
        if let Some(second) = filed {
            self.by_second.entry(second).or_default().push(digest);
            for _ in 0..SWEEP_PER_WRITE {
                if !self.drop_expired(now) {
                    break;
                }
            }
        }
        answer
    }

    /// Deals with the oldest entry, if it is due.
    fn drop_expired(&mut self, now: u64) -> bool {
        let Some(mut oldest) = self.by_second.first_entry().filter(|e| *e.key() <= now / MICROS) else {
            return false;
        };
        let second = *oldest.key();
        let digest = oldest.get_mut().pop();
        if oldest.get().is_empty() {
            oldest.remove();
        }
        if let Some(digest) = digest
            && self.by_key.get(&digest).is_some_and(|row| gone_by(row) == second)
        {
            self.by_key.remove(&digest);
        }
        true
    }

    /// What a sweep finds beyond [`drop_expired`](Self::drop_expired), which leaves the present second to the next.
    fn drop_expired_of_this_second(&mut self, now: u64) {
        let Self { by_key, by_second } = self;
        let Some(digests) = by_second.get_mut(&(now / MICROS + 1)) else { return };
        digests.retain(|digest| {
            let over = by_key.get(digest).is_none_or(|row| row.expires <= now && row.fence < now);
            if over {
                by_key.remove(digest);
            }
            !over
        });
    }
}

/// The second at whose beginning the row has expired, and the clock has passed its fence: the next fence of its
/// key must be larger.
fn gone_by(row: &Row) -> u64 {
    row.expires.div_ceil(MICROS).max(row.fence / MICROS + 1)
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            rows: Arc::default(),
            epoch: u64::try_from(epoch.as_micros()).unwrap_or(u64::MAX),
            start: Instant::now(),
        }
    }

    /// How many keys it holds, expired ones that were not yet dropped included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn now(&self) -> u64 {
        self.epoch + u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A plain mutex is right: it is held for map look-ups only, never across an await.
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Deduplicator for MemoryStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let mut rows = self.lock();
        let now = self.now();
        let answer = |r: &ClaimRequest| rows.update(&r.key, now, |row| protocol::claim(row, r, now));
        Ok(requests.iter().map(answer).collect())
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut rows = self.lock();
        let now = self.now();
        let answer = |s: &Settlement| rows.update(&s.key, now, |row| protocol::settle(row, s, now));
        Ok(settlements.iter().map(answer).collect())
    }

    fn describe(&self) -> Description {
        Description {
            name: "memory".into(),
            weaknesses: vec![
                "records live in this process alone: a restart or a second process runs everything again"
                    .into(),
            ],
        }
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let now = self.now();
        let rows = self.lock();
        Ok(rows.get(key).filter(|r| now < r.expires).map(|r| r.record(now)))
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let now = self.now();
        let after = query.after.as_ref().map(|c| <[u8; 32]>::try_from(&c[..])).transpose();
        let after = after.map_err(|_| Error::new(ErrorKind::Invalid, "not a cursor of this store"))?;
        let rows = self.lock();
        let wanted = |row: &Row| now < row.expires && query.state.is_none_or(|s| s == row.state);
        let mut found: Vec<_> = rows
            .by_key
            .iter()
            .filter(|(digest, row)| after.is_none_or(|a| digest.0 > a) && wanted(row))
            .collect();
        // A scan and a sort per page: for tests and small stores.
        found.sort_unstable_by_key(|(digest, _)| digest.0);
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|(digest, _)| Bytes::copy_from_slice(&digest.0));
        let entries = found.into_iter().map(|(digest, row)| entry(digest.0, row, now)).collect();
        Ok(Page { entries, next })
    }

    async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for row in self.lock().by_key.values() {
            *match row.state {
                State::Claimed => &mut stats.claimed,
                State::Released => &mut stats.released,
                State::Done => &mut stats.done,
                State::Buried => &mut stats.buried,
            } += 1;
        }
        Ok(stats)
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<Tended> {
        // The row stays, expired, so that the next fence is above it.
        self.tend("forget", key, note, |row| Some(Row { expires: 0, ..row.clone() }))
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<Tended> {
        self.tend("redrive", key, note, protocol::redriven)
    }

    async fn sweep(&self) -> Result<u64> {
        let now = self.now();
        let mut rows = self.lock();
        let before = rows.by_key.len();
        while rows.drop_expired(now) {}
        rows.drop_expired_of_this_second(now);
        Ok((before - rows.by_key.len()) as u64)
    }
}

impl MemoryStore {
    fn tend(
        &self,
        operation: &'static str,
        key: &Key,
        note: &Note,
        change: impl FnOnce(&Row) -> Option<Row>,
    ) -> Result<Tended> {
        let mut rows = self.lock();
        let now = self.now();
        let (tended, before) = rows.update(key, now, |row| match (protocol::tendable(row, now), row) {
            (Some(true), Some(row)) => match change(row) {
                Some(changed) => ((Tended::Yes, Some(row.state)), Some(changed)),
                None => ((Tended::Nothing, None), None),
            },
            (Some(false), _) => ((Tended::InFlight, None), None),
            _ => ((Tended::Nothing, None), None),
        });
        if let Some(before) = before {
            note.audit(operation, key, before);
        }
        Ok(tended)
    }
}

fn entry(digest: [u8; 32], row: &Row, now: u64) -> Entry {
    Entry {
        digest: Bytes::copy_from_slice(&digest),
        scope: None,
        id: None,
        record: row.record(now),
        expires_in: Duration::from_micros(row.expires.saturating_sub(now)),
        lease_ends_in: Duration::from_micros(row.lease_ends.saturating_sub(now)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{DeduplicatorExt, Scope, Settle, Token};

    #[tokio::test(start_paused = true)]
    async fn memory_follows_the_window() {
        let store = MemoryStore::new();
        let scope = Scope::new("s").unwrap();
        for n in 0..100_u32 {
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
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(store.len() <= 13, "{} rows are held for a window of 10", store.len());
        let filed: usize = store.lock().by_second.values().map(Vec::len).sum();
        assert!(filed <= 2 * store.len() + 2, "{filed} entries are held for {} rows", store.len());
    }
}
