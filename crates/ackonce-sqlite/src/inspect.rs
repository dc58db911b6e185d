//! Inspection and repair: the operators' interface to the store.

use ackonce::store::{AdminOutcome, Inspect, Note, Page, Query, Record, Stats};
use ackonce::{Error, ErrorKind, Key, Result, protocol};
use async_trait::async_trait;

use crate::SqliteStore;
use crate::cursor::Cursor;
use crate::records::Records;
use crate::repair::{Done, Repair, forgotten};

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
        self.reader().scan(|scan| scan.at_once(read)).await
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
        self.reader().scan(move |scan| scan.page(state, limit, after)).await
    }

    /// The bytes are those of the whole file and its log, including tables of your own.
    async fn stats(&self) -> Result<Stats> {
        let bytes = self.reader().bytes()?;
        let stats = self.reader().scan(|scan| scan.count()).await?;
        Ok(Stats { bytes: Some(bytes), ..stats })
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair("forget", key, note, forgotten).await
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
        let done = Ok(Done::Unchanged(AdminOutcome::Nothing));
        self.writer().call(|reply| Repair { operation, key, note, change, done, reply }).await
    }
}
