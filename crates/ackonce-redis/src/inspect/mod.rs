//! Inspection and repair.

mod list;
mod walk;

use std::collections::BTreeMap;
use std::time::Duration;

use ackonce::store::{
    AdminOutcome, AuditEntry, Entry, Inspect, Note, Page, Query, RecordTarget, ScopeStats, Stats,
};
use ackonce::{Key, Result};
use async_trait::async_trait;

use crate::RedisStore;
use crate::records::{field, misread, tag};
use crate::request::{Ask, At, Change, Look, Seen, stand_in};
use walk::Steps;

/// Each change by hand is kept in the same step as the record: the last hundred of each of the 16,384 parts of all keys,
/// for 90 days after the last one.
#[async_trait]
impl Inspect for RedisStore {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let secret = self.client.link.secrets.of(tag(key));
        let digest = list::digest(tag(key), &field(&secret, key));
        let names = Some((key.scope().name().to_owned(), key.id().clone()));
        match self.ask(At::Key(key), Ask::Get).await? {
            Seen::Record(now, row, record) => {
                Ok(Some(list::entry(digest, names, record, list::times(&row, now))))
            }
            Seen::Unreadable => {
                Ok(Some(list::entry(digest, names, stand_in(), (Duration::ZERO, Duration::ZERO))))
            }
            Seen::AdminOutcome(..) | Seen::Changes(_) => Ok(None),
        }
    }

    /// Released and buried records are found by an index, and so are those with names. All others are found by
    /// a walk through all records. A record that cannot be read is in no index: a list without a condition shows it, as
    /// buried.
    async fn list(&self, query: &Query) -> Result<Page> {
        list::page(&self.client, query).await
    }

    /// Counts every record, some thousand per trip; one that cannot be read counts as buried. `bytes` is the memory of the
    /// keys as Redis counts it (`MEMORY USAGE`), without their places in its own tables: about three bytes less per record
    /// than its memory grows by.
    async fn stats(&self) -> Result<Stats> {
        let (scopes, bytes) = self.count().await?;
        Ok(Stats { bytes, ..Stats::of(&scopes) })
    }

    /// Counts every record, some thousand per trip.
    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        self.count().await.map(|(scopes, _)| scopes)
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        match self.ask(At::Key(key), Ask::Changes).await? {
            Seen::Changes(changes) => Ok(changes),
            _ => Err(misread("something else came back for the changes of a record")),
        }
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", Ask::Forget(Change { still: target.still(), note }), target, note).await
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", Ask::Redrive(Change { still: target.still(), note }), target, note).await
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
    async fn ask(&self, at: At<'_>, ask: Ask<'_>) -> Result<Seen> {
        let mut seen = self.client.ask(&[Look { at, ask }]).await?;
        seen.pop().ok_or_else(|| misread("nothing came back"))
    }

    async fn repair(
        &self,
        operation: &'static str,
        ask: Ask<'_>,
        target: RecordTarget<'_>,
        note: &Note,
    ) -> Result<AdminOutcome> {
        let at = match target {
            RecordTarget::Key(key) => At::Key(key),
            RecordTarget::Listed(entry) => {
                let (tag, field) = list::named(&entry.digest)?;
                At::Listed(tag, field)
            }
        };
        match self.ask(at, ask).await? {
            Seen::AdminOutcome(outcome, before) => {
                if let Some(before) = before {
                    note.log(operation, target, before);
                }
                Ok(outcome)
            }
            _ => Err(misread("a record came back for a change")),
        }
    }

    /// The number of records by scope, and their bytes.
    async fn count(&self) -> Result<(Vec<ScopeStats>, Option<u64>)> {
        let mut named: BTreeMap<Option<String>, ScopeStats> = BTreeMap::new();
        let (mut all, mut bytes) = (ScopeStats::default(), Some(0));
        let mut steps = Steps::from(0);
        loop {
            let tags = steps.tags();
            if tags.is_empty() {
                break;
            }
            let mut rows = 0;
            for counted in self.client.count_tags(&tags).await? {
                add(&mut all, &counted.all);
                rows += counted.all.claimed + counted.all.released + counted.all.done + counted.all.buried;
                bytes = bytes.zip(counted.bytes).map(|(all, these)| all + these);
                for scope in counted.scopes {
                    let stats = named.entry(scope.scope.clone());
                    add(
                        stats.or_insert_with(|| ScopeStats {
                            scope: scope.scope.clone(),
                            ..Default::default()
                        }),
                        &scope,
                    );
                }
            }
            steps.saw(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        for scope in named.values() {
            all.claimed -= scope.claimed;
            all.released -= scope.released;
            all.done -= scope.done;
            all.buried -= scope.buried;
        }
        if all != ScopeStats::default() {
            named.insert(None, all);
        }
        Ok((named.into_values().collect(), bytes))
    }
}

fn add(stats: &mut ScopeStats, more: &ScopeStats) {
    stats.claimed += more.claimed;
    stats.released += more.released;
    stats.done += more.done;
    stats.buried += more.buried;
}
