//! Inspection and repair of records in memory.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::rows::{Digest, Rows};
use super::{MemoryStore, SHARDS, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::{
    AdminOutcome, AuditEntry, Entry, Filter, Inspect, Note, Page, Query, RecordTarget, ScopeStats, Stats,
};
use crate::key::Key;
use crate::protocol::{self, Row};
use crate::record::State;

/// The number of changes that are kept.
const KEPT: usize = 10_000;

/// The last changes by hand, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Changes(VecDeque<Change>);

#[derive(Debug)]
struct Change {
    digest: Digest,
    at: u64,
    operation: &'static str,
    note: Note,
    before: State,
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let now = self.now();
        let row = lock(self.shard(key.digest())).get(key.digest())?;
        let names = (key.scope().name(), &key.id()[..]);
        Ok(row.filter(|row| now < row.expires).map(|row| entry(*key.digest(), Some(names), &row, now)))
    }

    /// Reads one sixteenth of the records at a time, and no claim of that part is answered meanwhile.
    async fn list(&self, query: &Query) -> Result<Page> {
        let now = self.now();
        let after = query.place("memory")?.map(place).transpose()?;
        let first = after.map_or(0, |digest| usize::from(digest[31]) % SHARDS);
        let (mut entries, mut more) = (Vec::new(), false);
        for (n, shard) in self.shards.iter().enumerate().skip(first) {
            let after = after.filter(|_| n == first);
            let left = query.limit.max(1) - entries.len();
            let mut found = lock(shard).first(&query.filter, after, left.saturating_add(1), now)?;
            more = found.len() > left;
            found.truncate(left);
            entries.append(&mut found);
            if more {
                break;
            }
        }
        let next = entries.last().filter(|_| more).map(|entry| query.cursor("memory", &entry.digest));
        Ok(Page { entries, next })
    }

    async fn stats(&self) -> Result<Stats> {
        Ok(Stats::of(&self.scopes().await?))
    }

    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        let mut scopes: BTreeMap<Option<String>, ScopeStats> = BTreeMap::new();
        for shard in &*self.shards {
            let rows = lock(shard);
            for kept in rows.iter() {
                let (digest, row) = kept?;
                let scope = rows.names(&digest).map(|(scope, _)| scope.to_owned());
                let stats = scopes.entry(scope.clone());
                stats.or_insert_with(|| ScopeStats { scope, ..ScopeStats::default() }).add(row.state, 1);
            }
        }
        Ok(scopes.into_values().collect())
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        let now = self.now();
        let changes = lock(&self.changes);
        let of_key = changes.0.iter().filter(|change| change.digest == *key.digest());
        let entry = |change: &Change| AuditEntry {
            operation: change.operation.to_owned(),
            actor: change.note.actor.clone(),
            reason: change.note.reason.clone(),
            before: change.before,
            age: Duration::from_micros(now.saturating_sub(change.at)),
        };
        Ok(of_key.map(entry).collect())
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        // The row stays, expired, so that the next fence is above it.
        self.repair("forget", target, note, |row, _| Some(Row { expires: 0, ..row.clone() }))
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", target, note, protocol::redriven)
    }

    async fn sweep(&self) -> Result<u64> {
        let now = self.now();
        Ok(self.shards.iter().map(|shard| lock(shard).sweep(now)).sum::<usize>() as u64)
    }
}

impl MemoryStore {
    fn repair(
        &self,
        operation: &'static str,
        target: RecordTarget<'_>,
        note: &Note,
        change: impl FnOnce(&Row, u64) -> Option<Row>,
    ) -> Result<AdminOutcome> {
        let now = self.now();
        let decide = |row: Option<&Row>, now| match (protocol::tendable(row, now), row) {
            (Some(_), Some(row)) if target.still().is_some_and(|still| still != (row.state, row.fence)) => {
                ((AdminOutcome::Nothing, None), None)
            }
            (Some(true), Some(row)) => match change(row, now) {
                Some(changed) => ((AdminOutcome::Yes, Some(row.state)), Some(changed)),
                None => ((AdminOutcome::Nothing, None), None),
            },
            (Some(false), _) => ((AdminOutcome::InFlight, None), None),
            _ => ((AdminOutcome::Nothing, None), None),
        };
        let digest = match target {
            RecordTarget::Key(key) => *key.digest(),
            RecordTarget::Listed(entry) => place(&entry.digest)?,
        };
        let (outcome, before) = match target {
            RecordTarget::Key(key) => self.update(key, now, decide)?,
            RecordTarget::Listed(_) => lock(self.shard(&digest)).change(&digest, now, decide)?.0,
        };
        if let Some(before) = before {
            lock(&self.changes).keep(Change { digest, at: now, operation, note: note.clone(), before });
            note.log(operation, target, before);
        }
        Ok(outcome)
    }
}

impl Changes {
    fn keep(&mut self, change: Change) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(change);
    }
}

impl Rows {
    /// The first matching records by their digests, which come after that one.
    fn first(&self, filter: &Filter, after: Option<Digest>, most: usize, now: u64) -> Result<Vec<Entry>> {
        // The greatest of the least is on top: a row that is greater is passed over.
        let mut least: BinaryHeap<Digest> = BinaryHeap::new();
        for kept in self.iter() {
            let (digest, row) = kept?;
            let is_full = least.len() == most;
            if after.is_some_and(|after| digest <= after)
                || is_full && least.peek().is_some_and(|greatest| digest > *greatest)
                || now >= row.expires
                || !filter.matches(self.names(&digest).map(|(scope, _)| scope), &row.record(now))
            {
                continue;
            }
            if is_full {
                least.pop();
            }
            least.push(digest);
        }
        let mut entries = Vec::with_capacity(least.len());
        for digest in least.into_sorted_vec() {
            let row = self.get(&digest)?;
            entries.extend(row.map(|row| entry(digest, self.names(&digest), &row, now)));
        }
        Ok(entries)
    }
}

fn place(digest: &[u8]) -> Result<Digest> {
    let message = "memory: not a record's digest of this store";
    digest.try_into().map_err(|_| Error::new(ErrorKind::Invalid, message))
}

fn entry(digest: Digest, names: Option<(&str, &[u8])>, row: &Row, now: u64) -> Entry {
    Entry {
        digest: Bytes::copy_from_slice(&digest),
        scope: names.map(|(scope, _)| scope.to_owned()),
        id: names.map(|(_, id)| Bytes::copy_from_slice(id)),
        record: row.record(now),
        expires_in: Duration::from_micros(row.expires.saturating_sub(now)),
        free_in: row.free_in(now),
    }
}
