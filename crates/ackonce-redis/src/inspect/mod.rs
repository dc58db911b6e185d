//! Inspection and repair.

mod walk;

use std::time::Duration;

use ackonce::store::{AdminOutcome, Entry, Inspect, Note, Page, Query, Record, State, Stats};
use ackonce::{Error, ErrorKind, Key, Result};
use async_trait::async_trait;
use bytes::Bytes;

use crate::RedisStore;
use crate::records::{Field, TAGS, misread};
use crate::request::{At, Look, Seen, stand_in};
use walk::{Listed, Steps};

#[async_trait]
impl Inspect for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        match self.look(At::Key(key), b'G').await? {
            Seen::Record(_, record) => Ok(Some(record)),
            Seen::Unreadable => Ok(Some(stand_in())),
            Seen::AdminOutcome(..) => Ok(None),
        }
    }

    async fn list(&self, query: &Query) -> Result<Page> {
        let after = query.after.as_deref().map(place).transpose()?;
        let only = query.state.map(code);
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
        let next = found.last().filter(|_| more).map(|(listed, _)| name(listed));
        Ok(Page { entries: self.entries(found).await?, next })
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

    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", b'F', key, note).await
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", b'R', key, note).await
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
    async fn look(&self, at: At<'_>, what: u8) -> Result<Seen> {
        let mut seen = self.client.ask(&[Look { at, what }]).await?;
        seen.pop().ok_or_else(|| misread("nothing came back"))
    }

    async fn repair(
        &self,
        operation: &'static str,
        what: u8,
        key: &Key,
        note: &Note,
    ) -> Result<AdminOutcome> {
        match self.look(At::Key(key), what).await? {
            Seen::AdminOutcome(outcome, before) => {
                if let Some(before) = before {
                    note.audit(operation, key, before);
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
            let left = |end: u64| Duration::from_micros(end.saturating_sub(now));
            let (expires_in, free_in) = (left(row.expires), left(row.free_at));
            let state = row.state;
            let record = if row.has_body {
                // It may have been forgotten or redriven since; then it no longer belongs on this page.
                match self.look(At::Listed(listed.tag, listed.field), b'G').await? {
                    Seen::Record(row, record) if row.state == state => record,
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
