//! The rows, found by key and dropped by time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::protocol::Row;
use crate::{Key, State};

/// Expired entries dealt with per row written, at most (a row has two: as claimed and as settled): memory follows the
/// window without a stop.
const SWEEP_PER_WRITE: usize = 4;
/// Claims that are not filed by the second yet, at most; rows of claims that were left may stay that much longer.
const IN_FLIGHT: usize = 64;
/// Microseconds of a second.
const MICROS: u64 = 1_000_000;

/// A key's digest.
pub(super) type Digest = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The first bytes of the digest, so that the table grows without a look at its rows, and the row. A table of
    /// little more than pointers is walked through the caches for longer than one of rows.
    by_key: HashTable<(u64, Box<Filed>)>,
    hasher: DefaultHashBuilder,
    /// Digests by the second in which their row may be dropped. A row that is written again is filed again;
    /// the older entry then means nothing.
    by_second: BTreeMap<u64, Vec<Digest>>,
    /// The same of the last claims: most are settled soon, and then need not be filed at all.
    in_flight: VecDeque<(u64, Digest)>,
    /// The latest moment it was told.
    now: u64,
}

/// A row with its key.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) digest: Digest,
    pub(super) row: Row,
}

/// A part of a digest is enough to spread it over the table.
fn tag(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl Rows {
    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        self.find(key.digest())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Filed> {
        self.by_key.iter().map(|(_, filed)| &**filed)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn find(&self, digest: &Digest) -> Option<&Row> {
        let tag = tag(digest);
        let found =
            self.by_key.find(self.hasher.hash_one(tag), |(t, filed)| *t == tag && filed.digest == *digest);
        found.map(|(_, filed)| &filed.row)
    }

    /// Callers look at the clock before they wait for the lock; here time does not go back, or a fence might.
    fn at(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    /// Answers by a key's row and the time, and writes the row that is to be instead of it.
    pub(super) fn update<A>(
        &mut self,
        key: &Key,
        now: u64,
        decide: impl FnOnce(Option<&Row>, u64) -> (A, Option<Row>),
    ) -> A {
        let now = self.at(now);
        let (digest, tag) = (*key.digest(), tag(key.digest()));
        let Self { by_key, hasher, .. } = self;
        let same = |(t, filed): &(u64, Box<Filed>)| *t == tag && filed.digest == digest;
        let (answer, filed) = match by_key.entry(hasher.hash_one(tag), same, |(t, _)| hasher.hash_one(t)) {
            Entry::Vacant(place) => {
                let (answer, row) = decide(None, now);
                let file = |row: Row| {
                    let filed = (gone_by(&row), row.state);
                    place.insert((tag, Box::new(Filed { digest, row })));
                    filed
                };
                (answer, row.map(file))
            }
            Entry::Occupied(mut place) => {
                let row = &mut place.get_mut().1.row;
                let (answer, changed) = decide(Some(row), now);
                let before = gone_by(row);
                if let Some(changed) = changed {
                    // A part of a buffer would keep all of it.
                    let outcome = changed.outcome.as_deref().map(Bytes::copy_from_slice);
                    *row = Row { outcome, ..changed };
                }
                (answer, Some((gone_by(row), row.state)).filter(|(second, _)| *second != before))
            }
        };
        if let Some((second, state)) = filed {
            match state {
                State::Claimed => self.claimed(second, digest),
                _ => self.by_second.entry(second).or_default().push(digest),
            }
            for _ in 0..SWEEP_PER_WRITE {
                if !self.drop_expired(now) {
                    break;
                }
            }
        }
        answer
    }

    /// Files the oldest claim instead, if its row is still as it was.
    fn claimed(&mut self, second: u64, digest: Digest) {
        self.in_flight.push_back((second, digest));
        if self.in_flight.len() > IN_FLIGHT
            && let Some((second, digest)) = self.in_flight.pop_front()
            && self.find(&digest).is_some_and(|row| gone_by(row) == second)
        {
            self.by_second.entry(second).or_default().push(digest);
        }
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
        if let Some(digest) = digest {
            self.remove_if(&digest, |row| gone_by(row) == second);
        }
        true
    }

    /// Drops all that is over, and counts it.
    pub(super) fn sweep(&mut self, now: u64) -> usize {
        let (before, now) = (self.len(), self.at(now));
        for (second, digest) in std::mem::take(&mut self.in_flight) {
            self.by_second.entry(second).or_default().push(digest);
        }
        while self.drop_expired(now) {}
        // What is over leaves the present second to the next otherwise.
        let next = now / MICROS + 1;
        let mut digests = self.by_second.remove(&next).unwrap_or_default();
        digests.retain(|digest| !self.remove_if(digest, |row| row.expires <= now && row.fence < now));
        if !digests.is_empty() {
            self.by_second.insert(next, digests);
        }
        before - self.len()
    }

    /// Drops a row of which this is true; whether it is gone.
    fn remove_if(&mut self, digest: &Digest, over: impl FnOnce(&Row) -> bool) -> bool {
        let tag = tag(digest);
        let same = |(t, filed): &(u64, Box<Filed>)| *t == tag && filed.digest == *digest;
        match self.by_key.find_entry(self.hasher.hash_one(tag), same) {
            Ok(place) if over(&place.get().1.row) => {
                place.remove();
                true
            }
            found => found.is_err(),
        }
    }

    #[cfg(test)]
    pub(super) fn filed(&self) -> usize {
        self.by_second.values().map(Vec::len).sum::<usize>() + self.in_flight.len()
    }
}

/// The second at whose beginning the row has expired, and the clock has passed its fence: the next fence of its
/// key must be larger.
fn gone_by(row: &Row) -> u64 {
    row.expires.div_ceil(MICROS).max(row.fence / MICROS + 1)
}
