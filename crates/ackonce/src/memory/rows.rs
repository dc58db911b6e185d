//! A map from the digest of a key to its row, as bytes.

use std::collections::HashMap;

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;
use indexmap::map::Entry;
use smallvec::SmallVec;

use crate::error::Result;
use crate::key::Key;
use crate::protocol::Row;
use crate::record::State;

/// Rows looked at per row written: memory follows the window without a stop.
const CHECKS_PER_WRITE: usize = 2;

/// Bytes of a row that lie in the map itself: all that have no long outcome.
const INLINE_BYTES: usize = 64;

/// A key's digest.
pub(super) type Digest = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// In the order in which they came, so that the row of a message that is being run is near at hand.
    rows: IndexMap<Digest, StoredRow, DefaultHashBuilder>,
    /// The scope and the message ID of released and buried rows.
    names: HashMap<Digest, (String, Vec<u8>)>,
    /// The row to look at next: is it over?
    next: usize,
    /// The latest moment it was told.
    now: u64,
}

#[derive(Debug)]
struct StoredRow {
    /// When it is over, and the clock past its fence: the next fence of its key must be larger.
    over_at: u64,
    row: SmallVec<[u8; INLINE_BYTES]>,
}

impl StoredRow {
    fn new(row: &Row) -> Self {
        let over_at = row.expires.max(row.fence.saturating_add(1));
        Self { over_at, row: SmallVec::from_slice(&row.encode()) }
    }
}

impl Rows {
    pub(super) fn get(&self, digest: &Digest) -> Result<Option<Row>> {
        self.rows.get(digest).map(|kept| Row::decode(&kept.row)).transpose()
    }

    /// The scope and the message ID, if they are kept.
    pub(super) fn names(&self, digest: &Digest) -> Option<(&str, &[u8])> {
        self.names.get(digest).map(|(scope, id)| (scope.as_str(), id.as_slice()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(Digest, Row)>> {
        self.rows.iter().map(|(digest, kept)| Ok((*digest, Row::decode(&kept.row)?)))
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
    ) -> Result<A> {
        let (answer, state) = self.change(key.digest(), now, decide)?;
        match state {
            Some(State::Released | State::Buried) => {
                let named = || (key.scope().name().to_owned(), key.id().to_vec());
                self.names.entry(*key.digest()).or_insert_with(named);
            }
            Some(State::Done) if !self.names.is_empty() => drop(self.names.remove(key.digest())),
            _ => {}
        }
        Ok(answer)
    }

    /// The same for a digest, whose names are as before; and the state of the row that was written.
    pub(super) fn change<A>(
        &mut self,
        digest: &Digest,
        now: u64,
        decide: impl FnOnce(Option<&Row>, u64) -> (A, Option<Row>),
    ) -> Result<(A, Option<State>)> {
        let now = self.at(now);
        let found = self.rows.entry(*digest);
        let row = match &found {
            Entry::Occupied(found) => Some(Row::decode(&found.get().row)?),
            Entry::Vacant(_) => None,
        };
        let (answer, written) = decide(row.as_ref(), now);
        let state = written.as_ref().map(|row| row.state);
        if let Some(row) = written {
            found.insert_entry(StoredRow::new(&row));
            self.drop_expired(now);
        }
        Ok((answer, state))
    }

    /// Looks at the next few rows, and drops those that are over.
    fn drop_expired(&mut self, now: u64) {
        for _ in 0..CHECKS_PER_WRITE {
            match self.rows.get_index(self.next) {
                // The last row takes its place, and is looked at next.
                Some((_, kept)) if kept.over_at <= now => {
                    if let Some((digest, _)) = self.rows.swap_remove_index(self.next)
                        && !self.names.is_empty()
                    {
                        self.names.remove(&digest);
                    }
                }
                Some(_) => self.next += 1,
                None => self.next = 0,
            }
        }
    }

    /// Drops all that is over, and counts it.
    pub(super) fn sweep(&mut self, now: u64) -> usize {
        let (before, now) = (self.len(), self.at(now));
        self.rows.retain(|_, kept| now < kept.over_at);
        self.names.retain(|digest, _| self.rows.contains_key(digest));
        if self.rows.capacity() / 4 > self.len() {
            self.rows.shrink_to_fit();
        }
        before - self.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Microseconds of a second.
    const MICROS: u64 = 1_000_000;
    use crate::claim::{ClaimRequest, Claimed, Token};
    use crate::key::Scope;
    use crate::protocol;
    use crate::settle::{Attempt, Settle, Settlement};

    proptest! {
        /// Rows that are dropped change no answer: those of a map that drops nothing.
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
                        let answer = rows.update(&key, now, |row, now| protocol::settle(row, &asked, now)).unwrap();
                        prop_assert_eq!(answer, expected);
                        changed
                    }
                    None => {
                        let (token, lease) = (Token::random(), Duration::from_secs(size));
                        let asked = ClaimRequest { key: key.clone(), token, lease, window, fingerprint: None };
                        let (expected, changed) = protocol::claim(was, &asked, now);
                        let answer = rows.update(&key, now, |row, now| protocol::claim(row, &asked, now)).unwrap();
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
            prop_assert_eq!(rows.len(), 0, "nothing is left behind");
        }
    }
}
