//! Inspection and repair: the operators' interface to the store.

mod list;
mod repair;
mod stats;
mod sweep;

use ackonce::store::{AdminOutcome, Inspect, Note, Page, Query, Record, Stats};
use ackonce::{Error, ErrorKind, Key, Result, protocol};
use async_trait::async_trait;

use crate::SqliteStore;
use crate::records::Records;
use crate::records::cursor::Cursor;
use repair::{Repair, emptied};

/// The maximum number of records in one read, and in one step of a sweep.
const CHUNK: u32 = 2000;

/// Reads run beside the writer and hold up neither it nor the checkpoints. A change is on the disk before it is
/// answered, like a claim, together with a row in the table `ackonce_audit` with operator, time and reason. That
/// table is yours to read and to prune.
#[async_trait]
impl Inspect for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let key = key.clone();
        let read = move |records: &Records<'_>, now| {
            let found = records.lookup(&records.record_key(&key), None, now)?;
            Ok(found.map(|f| f.row).filter(|row| now < row.expires).map(|row| row.record(now)))
        };
        self.reader().run(|inspection| inspection.in_snapshot(read)).await
    }

    /// A page ends early when its outcomes and reasons take more than 16 MiB.
    async fn list(&self, query: &Query) -> Result<Page> {
        let after = match &query.after {
            None => Some(Cursor::START),
            Some(cursor) => Cursor::of(cursor),
        };
        let after =
            after.ok_or_else(|| Error::new(ErrorKind::Invalid, "sqlite: not a cursor of this store"))?;
        let (state, limit) = (query.state, query.limit.max(1));
        self.reader().run(move |inspection| list::page(inspection, state, limit, after)).await
    }

    /// The bytes are those of the whole file and its log, including tables of your own.
    async fn stats(&self) -> Result<Stats> {
        let bytes = self.reader().bytes()?;
        let stats = self.reader().run(stats::count).await?;
        Ok(Stats { bytes: Some(bytes), ..stats })
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", key, note, emptied).await
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("redrive", key, note, protocol::redriven).await
    }

    async fn sweep(&self) -> Result<u64> {
        Self::sweep(self).await
    }
}

impl SqliteStore {
    async fn repair(
        &self,
        operation: &'static str,
        key: &Key,
        note: &Note,
        change: fn(&protocol::Row, u64) -> Option<protocol::Row>,
    ) -> Result<AdminOutcome> {
        let (key, note) = (key.clone(), note.clone());
        self.writer().call(|reply| Repair::new(operation, key, note, change, reply)).await
    }
}
