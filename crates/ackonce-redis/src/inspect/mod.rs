//! Inspection and repair.

mod walk;

use std::time::Duration;

use ackonce::store::{
    AdminOutcome, AuditEntry, Entry, Inspect, Note, Page, Query, Record, ScopeStats, State, Stats, Target,
};
use ackonce::{Error, ErrorKind, Key, Result};
use async_trait::async_trait;
use bytes::Bytes;

use crate::RedisStore;
use crate::records::{Field, Row, TAGS, misread};
use crate::request::{At, Look, Seen, stand_in};
use walk::{Listed, Steps};

#[async_trait]
impl Inspect for RedisStore {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let entry = |record, (expires_in, free_in)| Entry {
            digest: Bytes::new(),
            scope: Some(key.scope().name().to_owned()),
            id: Some(key.id().clone()),
            record,
            expires_in,
            free_in,
        };
        match self.look_at(At::Key(key), b'G').await? {
            Seen::Record(now, row, record) => Ok(Some(entry(record, times(&row, now)))),
            Seen::Unreadable => Ok(Some(entry(stand_in(), (Duration::ZERO, Duration::ZERO)))),
            Seen::AdminOutcome(..) => Ok(None),
        }
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let after = query.place("redis")?.map(place).transpose()?;
        let only = query.filter.only().map(code);
        let limit = query.limit.max(1);
        let mut found: Vec<(Listed, u64)> = Vec::new();
        let mut steps = Steps::from(after.map_or(0, |(tag, _)| tag));
        while found.len() <= limit {
            let tags = steps.tags();
            if tags.is_empty() {
                break;
            }
            let (rows, now) = self.client.list_tags(&tags, only).await?;
            steps.saw(rows.len());
            let new = rows.into_iter().filter(|l| after.is_none_or(|a| (l.tag, l.field) > a));
            found.extend(new.map(|listed| (listed, now)));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(listed, _)| query.cursor("redis", &name(listed)));
        let mut entries = self.entries(found).await?;
        entries.retain(|entry| query.filter.matches(entry.scope.as_deref(), &entry.record));
        Ok(Page { entries, next })
    }

    /// Counts every record, some thousand per trip; one that cannot be read counts as buried. `bytes` is the memory of the
    /// keys as Redis counts it (`MEMORY USAGE`), without their places in its own tables: about three bytes less per record
    /// than its memory grows by.
    async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats { bytes: Some(0), ..Stats::default() };
        let mut steps = Steps::from(0);
        loop {
            let tags = steps.tags();
            if tags.is_empty() {
                return Ok(stats);
            }
            let mut rows = 0;
            for (counts, bytes) in self.client.count_tags(&tags).await? {
                let [claimed, released, done, buried] = counts;
                rows += counts.iter().sum::<u64>();
                stats.claimed += claimed;
                stats.released += released;
                stats.done += done;
                stats.buried += buried;
                stats.bytes = stats.bytes.zip(bytes).map(|(all, these)| all + these);
            }
            steps.saw(usize::try_from(rows).unwrap_or(usize::MAX));
        }
    }

    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        let Stats { claimed, released, done, buried, .. } = self.stats().await?;
        Ok(vec![ScopeStats { scope: None, claimed, released, done, buried }])
    }

    async fn audit(&self, _: &Key) -> Result<Vec<AuditEntry>> {
        Ok(Vec::new())
    }

    async fn forget(&self, target: Target<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", b'F', target, note).await
    }

    async fn redrive(&self, target: Target<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", b'R', target, note).await
    }

    async fn sweep(&self) -> Result<u64> {
        let mut dropped = 0;
        let mut steps = Steps::from(0);
        loop {
            let tags = steps.tags();
            if tags.is_empty() {
                return Ok(dropped);
            }
            let swept = self.client.sweep_tags(&tags).await?;
            dropped += swept.dropped;
            steps.saw(usize::try_from(swept.seen).unwrap_or(usize::MAX));
        }
    }
}

impl RedisStore {
    async fn look_at(&self, at: At<'_>, what: u8) -> Result<Seen> {
        let mut seen = self.client.ask(&[Look { at, what }]).await?;
        seen.pop().ok_or_else(|| misread("nothing came back"))
    }

    async fn repair(
        &self,
        operation: &'static str,
        what: u8,
        target: Target<'_>,
        note: &Note,
    ) -> Result<AdminOutcome> {
        let at = match target {
            Target::Key(key) => At::Key(key),
            Target::Listed(entry) => {
                let (tag, field) = place(&entry.digest)?;
                match self.look_at(At::Listed(tag, field), b'G').await? {
                    Seen::Record(_, row, _) if target.still() != Some((row.state, row.fence)) => {
                        return Ok(AdminOutcome::Nothing);
                    }
                    _ => At::Listed(tag, field),
                }
            }
        };
        match self.look_at(at, what).await? {
            Seen::AdminOutcome(outcome, before) => {
                if let Some(before) = before {
                    note.log(operation, target, before);
                }
                Ok(outcome)
            }
            Seen::Record(..) | Seen::Unreadable => Err(misread("a record came back for a change")),
        }
    }

    /// Outcomes and reasons are fetched for the records of the page alone.
    async fn entries(&self, found: Vec<(Listed, u64)>) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(found.len());
        for (listed, now) in found {
            let digest = name(&listed);
            let Some(row) = listed.row else {
                entries.push(entry(digest, stand_in(), Duration::ZERO, Duration::ZERO));
                continue;
            };
            let (expires_in, free_in) = times(&row, now);
            let state = row.state;
            let record = if row.has_body {
                // It may have been forgotten or redriven since; then it no longer belongs on this page.
                match self.look_at(At::Listed(listed.tag, listed.field), b'G').await? {
                    Seen::Record(_, row, record) if row.state == state => record,
                    _ => continue,
                }
            } else {
                row.record(now, None)
            };
            entries.push(entry(digest, record, expires_in, free_in));
        }
        Ok(entries)
    }
}

/// The times until the record expires, and until it may be claimed.
fn times(row: &Row, now: u64) -> (Duration, Duration) {
    let left = |end: u64| Duration::from_micros(end.saturating_sub(now));
    (left(row.expires), left(row.free_at))
}

fn entry(digest: Bytes, record: Record, expires_in: Duration, free_in: Duration) -> Entry {
    Entry { digest, scope: None, id: None, record, expires_in, free_in }
}

fn code(state: State) -> u8 {
    match state {
        State::Claimed => 0,
        State::Released => 1,
        State::Done => 2,
        State::Buried => 3,
    }
}

/// The name of a record, which is also the cursor: its tag and its field.
fn name(listed: &Listed) -> Bytes {
    [listed.tag.to_be_bytes().as_slice(), &listed.field].concat().into()
}

fn place(cursor: &[u8]) -> Result<(u16, Field)> {
    let split = cursor.split_first_chunk::<2>().map(|(tag, rest)| (u16::from_be_bytes(*tag), rest));
    let place = split.and_then(|(tag, rest)| Some((tag, Field::try_from(rest).ok()?)));
    place
        .filter(|(tag, _)| *tag < TAGS)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "redis: not a cursor of this store"))
}
