//! Inspection and repair: the operators' interface to the store.

mod audit;
mod list;
mod repair;
mod stats;
mod sweep;

use ackonce::store::{
    AdminOutcome, AuditEntry, Entry, Inspect, Note, Page, Query, RecordTarget, ScopeStats, Stats,
};
use ackonce::{Error, ErrorKind, Key, Result, protocol};
use async_trait::async_trait;

use crate::SqliteStore;
use crate::records::Records;
use crate::records::columns::Decoded;
use crate::records::cursor::Cursor;
use crate::records::lookup::Found;
use repair::{Repair, Wanted, emptied};

/// The maximum number of records in one read, and in one step of a sweep.
const CHUNK: u32 = 2000;

/// Reads run beside the writer and hold up neither it nor the checkpoints. A change is on the disk before it is
/// answered, like a claim, together with a row in the table `ackonce_audit` with operator, time and reason. That
/// table is yours to read and to prune.
#[async_trait]
impl Inspect for SqliteStore {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let key = key.clone();
        let read = move |records: &Records<'_>, now| {
            let record_key = records.record_key(&key);
            let found = records.lookup(&record_key, None, now)?.filter(|found| now < found.row.expires);
            Ok(found.map(|Found { row, shifted, .. }| {
                let scope = Some(key.scope().name().to_owned());
                list::entry_of(
                    Decoded { row, shifted },
                    record_key.to_vec(),
                    scope,
                    Some(key.id().clone()),
                    now,
                )
            }))
        };
        self.reader().run(|inspection| inspection.in_snapshot(read)).await
    }

    /// A page also ends early when its outcomes and reasons take more than 16 MiB.
    async fn list(&self, query: &Query) -> Result<Page> {
        let start = query.place("sqlite")?.map_or(Some(Cursor::START), Cursor::of);
        let start = start.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "sqlite: not a cursor of this store; list from the start")
        })?;
        let query = query.clone();
        self.reader().run(move |inspection| list::page(inspection, query, start)).await
    }

    /// The bytes are those of the whole file and its log, including tables of your own.
    async fn stats(&self) -> Result<Stats> {
        let bytes = self.reader().bytes()?;
        Ok(Stats { bytes: Some(bytes), ..Stats::of(&self.scopes().await?) })
    }

    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        self.reader().run(stats::count).await
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        let key = key.clone();
        let read = move |records: &Records<'_>, now| audit::changes(records, &records.record_key(&key), now);
        self.reader().run(|inspection| inspection.in_snapshot(read)).await
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", target, note, emptied).await
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", target, note, protocol::redriven).await
    }

    async fn sweep(&self) -> Result<u64> {
        Self::sweep(self).await
    }
}

impl SqliteStore {
    async fn repair(
        &self,
        operation: &'static str,
        target: RecordTarget<'_>,
        note: &Note,
        change: fn(&protocol::Row, u64) -> Option<protocol::Row>,
    ) -> Result<AdminOutcome> {
        let (wanted, kept) = (Wanted::new(target)?, note.clone());
        let (outcome, before) =
            self.writer().call(|reply| Repair::new(operation, wanted, kept, change, reply)).await?;
        if let Some(before) = before {
            note.log(operation, target, before);
        }
        Ok(outcome)
    }
}
