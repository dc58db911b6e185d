//! The trail of changes by hand.

use std::time::Duration;

use ackonce::store::{AuditEntry, Names, Note, State};
use ackonce::{Error, ErrorKind, Result};
use rusqlite::params;

use crate::clock::moment;
use crate::error::rolled_back;
use crate::records::Records;
use crate::records::key::RecordKey;
use crate::records::write::KnownNames;

const INSERT: &str = "INSERT INTO main.ackonce_audit (at, operation, key, scope, id, actor, reason, before) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const SELECT: &str = "SELECT operation, actor, reason, before, at FROM main.ackonce_audit WHERE key = ?1 \
                      ORDER BY rowid";

/// One change.
pub(super) struct Change<'c> {
    pub(super) operation: &'static str,
    pub(super) record_key: &'c RecordKey,
    pub(super) names: KnownNames<'c>,
    pub(super) note: &'c Note,
    pub(super) before: State,
}

/// Adds a change, in the transaction that makes it.
pub(super) fn write(records: &Records<'_>, change: &Change<'_>, now: u64) -> Result<()> {
    let names = change.names.filter(|_| records.settings.names != Names::Omit);
    let values = params![
        moment(now),
        change.operation,
        change.record_key,
        names.map(|(scope, _)| scope),
        names.map(|(_, id)| id),
        change.note.actor,
        change.note.reason,
        change.before.as_str(),
    ];
    let written = records.conn.prepare_cached(INSERT).and_then(|mut s| s.execute(values));
    written.map(drop).map_err(|e| rolled_back("writing the audit trail", e))
}

/// The changes of one record, the newest last.
pub(super) fn changes(records: &Records<'_>, record_key: &RecordKey, now: u64) -> Result<Vec<AuditEntry>> {
    let rows = || -> rusqlite::Result<Vec<(AuditEntry, String)>> {
        let mut statement = records.conn.prepare_cached(SELECT)?;
        let rows = statement.query_map([record_key], |row| {
            let entry = AuditEntry {
                operation: row.get(0)?,
                actor: row.get(1)?,
                reason: row.get(2)?,
                before: State::Done,
                age: Duration::from_micros(now.saturating_sub(row.get::<_, i64>(4)?.unsigned_abs())),
            };
            Ok((entry, row.get(3)?))
        })?;
        rows.collect()
    };
    let rows = rows().map_err(|e| rolled_back("reading the audit trail", e))?;
    let known = |(entry, before): (AuditEntry, String)| {
        let state = State::from_name(&before);
        state.map(|before| AuditEntry { before, ..entry }).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("sqlite: the audit trail has a state {before:?}"))
        })
    };
    rows.into_iter().map(known).collect()
}
