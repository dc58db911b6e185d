//! The rows, found by key and dropped by time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

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
/// Where a row lies.
type Place = usize;

#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Slab<Filed>,
    /// The first bytes of the digest, so that the table grows without a look at its rows, and where the row is.
    by_key: HashTable<(u64, Place)>,
    hasher: DefaultHashBuilder,
    /// Rows by the second in which they may be dropped. A row that is written again is filed again; the older entry
    /// then means nothing, even if another row lies there by now.
    by_second: BTreeMap<u64, Vec<Place>>,
    /// The last claims, of which none is filed: most are settled soon. What is settled is struck out.
    in_flight: VecDeque<Option<Place>>,
    /// How many claims have left that queue.
    landed: u64,
    /// The latest moment it was told.
    now: u64,
}

/// A row with its key.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) digest: Digest,
    pub(super) row: Row,
    /// Which claim it was last queued as, of all of them.
    flight: u64,
}

/// A part of a digest is enough to spread it over the table.
fn tag(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl Rows {
    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        let tag = tag(key.digest());
        let same = |(t, place): &(u64, Place)| *t == tag && is_at(&self.rows, *place, key.digest());
        let (_, place) = self.by_key.find(self.hasher.hash_one(tag), same)?;
        Some(&self.rows.get(*place)?.row)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Filed> {
        self.rows.iter().map(|(_, filed)| filed)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
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
        let (digest, tag) = (key.digest(), tag(key.digest()));
        let Self { rows, by_key, hasher, .. } = self;
        // What is found was found by its row, so that is there.
        let same = |(t, place): &(u64, Place)| *t == tag && is_at(rows, *place, digest);
        let (answer, written) = match by_key.entry(hasher.hash_one(tag), same, |(t, _)| hasher.hash_one(t)) {
            Entry::Vacant(vacant) => {
                let (answer, row) = decide(None, now);
                let file = |row| {
                    let place = rows.insert(Filed { digest: *digest, row, flight: u64::MAX });
                    vacant.insert((tag, place));
                    place
                };
                (answer, row.map(file))
            }
            Entry::Occupied(found) => {
                let place = found.get().1;
                let row = rows.get_mut(place).map(|filed| &mut filed.row);
                let (answer, changed) = decide(row.as_deref(), now);
                let before = row.as_deref().map(gone_by);
                if let (Some(row), Some(changed)) = (row, changed) {
                    // A part of a buffer would keep all of it.
                    let outcome = changed.outcome.as_deref().map(Bytes::copy_from_slice);
                    *row = Row { outcome, ..changed };
                }
                let moved = rows.get(place).map(|filed| gone_by(&filed.row)) != before;
                (answer, moved.then_some(place))
            }
        };
        if let Some(place) = written {
            self.file(place);
            for _ in 0..SWEEP_PER_WRITE {
                if !self.drop_expired(now) {
                    break;
                }
            }
        }
        answer
    }

    /// Sees to it that a row that was written is dropped when its time comes.
    fn file(&mut self, place: Place) {
        let Some(filed) = self.rows.get_mut(place) else { return };
        let queued = filed.flight.checked_sub(self.landed).and_then(|n| usize::try_from(n).ok());
        let queued = queued.and_then(|n| self.in_flight.get_mut(n)).filter(|queued| **queued == Some(place));
        match (filed.row.state, queued) {
            (State::Claimed, Some(_)) => {}
            (State::Claimed, None) => {
                filed.flight = self.landed + self.in_flight.len() as u64;
                self.in_flight.push_back(Some(place));
                if self.in_flight.len() > IN_FLIGHT {
                    self.land();
                }
            }
            (_, queued) => {
                if let Some(queued) = queued {
                    *queued = None;
                }
                self.by_second.entry(gone_by(&filed.row)).or_default().push(place);
            }
        }
    }

    /// Takes the oldest claim out of the queue, and files it if it is not settled.
    fn land(&mut self) {
        let Some(oldest) = self.in_flight.pop_front() else { return };
        self.landed += 1;
        if let Some(place) = oldest
            && let Some(filed) = self.rows.get(place)
        {
            self.by_second.entry(gone_by(&filed.row)).or_default().push(place);
        }
    }

    /// Deals with the oldest entry, if it is due.
    fn drop_expired(&mut self, now: u64) -> bool {
        let Some(mut oldest) = self.by_second.first_entry().filter(|e| *e.key() <= now / MICROS) else {
            return false;
        };
        let second = *oldest.key();
        let place = oldest.get_mut().pop();
        if oldest.get().is_empty() {
            oldest.remove();
        }
        if let Some(place) = place {
            self.remove_if(place, |row| gone_by(row) == second);
        }
        true
    }

    /// Drops all that is over, and counts it.
    pub(super) fn sweep(&mut self, now: u64) -> usize {
        let (before, now) = (self.len(), self.at(now));
        while !self.in_flight.is_empty() {
            self.land();
        }
        while self.drop_expired(now) {}
        // What is over leaves the present second to the next otherwise.
        let next = now / MICROS + 1;
        let mut places = self.by_second.remove(&next).unwrap_or_default();
        places.retain(|place| !self.remove_if(*place, |row| row.expires <= now && row.fence < now));
        if !places.is_empty() {
            self.by_second.insert(next, places);
        }
        before - self.len()
    }

    /// Drops a row of which this is true; whether it is gone.
    fn remove_if(&mut self, place: Place, over: impl FnOnce(&Row) -> bool) -> bool {
        let Some(filed) = self.rows.get(place) else { return true };
        if !over(&filed.row) {
            return false;
        }
        let hash = self.hasher.hash_one(tag(&filed.digest));
        if let Ok(found) = self.by_key.find_entry(hash, |(_, other)| *other == place) {
            found.remove();
        }
        self.rows.remove(place);
        true
    }

    #[cfg(test)]
    pub(super) fn filed(&self) -> usize {
        self.by_second.values().map(Vec::len).sum::<usize>() + self.in_flight.len()
    }
}

fn is_at(rows: &Slab<Filed>, place: Place, digest: &Digest) -> bool {
    rows.get(place).is_some_and(|filed| filed.digest == *digest)
}

/// The second at whose beginning the row has expired, and the clock has passed its fence: the next fence of its
/// key must be larger.
fn gone_by(row: &Row) -> u64 {
    row.expires.div_ceil(MICROS).max(row.fence / MICROS + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{Attempt, ClaimRequest, Claimed, Scope, Settle, Settlement, Token, protocol};

    proptest! {
        /// Rows that are dropped, and places that are taken again, change no answer: those of a map that drops nothing.
        #[test]
        fn dropping_changes_no_answer(steps in prop::collection::vec((0..24_u8, 0..6_u8, 0..4_u64), 1..600)) {
            let (mut rows, mut kept) = (Rows::default(), HashMap::<Digest, Row>::new());
            let scope = Scope::new("s").unwrap();
            let (mut now, mut leases) = (1_000 * MICROS, HashMap::new());
            for (id, step, size) in steps {
                now += 1 + size * 400_000;
                let key = scope.key(vec![id]).unwrap();
                let window = Duration::from_millis(size * 700);
                let settle = |action| leases.get(&id).map(|lease| Settlement::new(lease, action));
                let settlement = match step {
                    0 | 1 => None,
                    2 => settle(Settle::Complete { window, outcome: None }),
                    3 => {
                        let not_before = Duration::from_millis(size * 300);
                        settle(Settle::Release { attempt: Attempt::Counts, window, not_before })
                    }
                    4 => settle(Settle::Extend { lease: Duration::from_secs(size), window }),
                    _ => {
                        rows.sweep(now);
                        continue;
                    }
                };
                let was = kept.get(key.digest());
                let changed = match settlement {
                    Some(asked) => {
                        let (expected, changed) = protocol::settle(was, &asked, now);
                        let answer = rows.update(&key, now, |row, now| protocol::settle(row, &asked, now));
                        prop_assert_eq!(answer, expected);
                        changed
                    }
                    None => {
                        let (token, lease) = (Token::random(), Duration::from_secs(size));
                        let asked = ClaimRequest { key: key.clone(), token, lease, window, fingerprint: None };
                        let (expected, changed) = protocol::claim(was, &asked, now);
                        let answer = rows.update(&key, now, |row, now| protocol::claim(row, &asked, now));
                        prop_assert_eq!(&answer, &expected);
                        if let Claimed::Acquired(lease) = answer {
                            leases.insert(id, lease);
                        }
                        changed
                    }
                };
                kept.extend(changed.map(|row| (*key.digest(), row)));
            }
            rows.sweep(now + 3_600 * MICROS);
            prop_assert_eq!((rows.len(), rows.by_key.len(), rows.filed()), (0, 0, 0), "nothing is left behind");
        }
    }
}
