//! Repair of one record by an operator: on the writer thread, in one transaction with its audit row.

use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, Names, Note, State};
use ackonce::{Key, Result};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::clock::moment;
use crate::error::{breaks_connection, rolled_back};
use crate::records::key::RecordKey;
use crate::records::lookup::Location;
use crate::writer::command::{Command, CommandContext, GroupOutcome};

const INSERT_AUDIT: &str = "INSERT INTO main.ackonce_audit (at, operation, key, scope, id, actor, reason, before) \
                            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The record after an operation; `None` if it does not change.
type Change = fn(&Row, u64) -> Option<Row>;

/// One operation on one record.
pub(super) struct Repair {
    operation: &'static str,
    key: Key,
    note: Note,
    change: Change,
    result: Result<RepairResult>,
    reply: oneshot::Sender<Result<AdminOutcome>>,
}

#[derive(Clone, Copy)]
enum RepairResult {
    /// The record changed; it was in that state before.
    Changed(State),
    Unchanged(AdminOutcome),
}

/// Expires and empties the record. It stays until a sweep drops it, so that the next fence is above its own.
pub(super) fn emptied(row: &Row, _: u64) -> Option<Row> {
    Some(Row { expires: 0, fingerprint: None, outcome: None, reason: None, ..row.clone() })
}

impl Repair {
    pub(super) fn new(
        operation: &'static str,
        key: Key,
        note: Note,
        change: Change,
        reply: oneshot::Sender<Result<AdminOutcome>>,
    ) -> Self {
        let result = Ok(RepairResult::Unchanged(AdminOutcome::Nothing));
        Self { operation, key, note, change, result, reply }
    }

    /// The result, and the record to write if it changed.
    fn decide(
        &self,
        cx: &CommandContext<'_>,
        record_key: &RecordKey,
        now: u64,
    ) -> Result<(RepairResult, Option<(Row, Location)>)> {
        let Some(found) = cx.records.lookup(record_key, None, now)? else {
            return Ok((RepairResult::Unchanged(AdminOutcome::Nothing), None));
        };
        let (result, change) = match protocol::tendable(Some(&found.row), now) {
            Some(true) => match (self.change)(&found.row, now) {
                Some(row) => (RepairResult::Changed(found.row.state), Some(row)),
                None => (RepairResult::Unchanged(AdminOutcome::Nothing), None),
            },
            Some(false) => (RepairResult::Unchanged(AdminOutcome::InFlight), None),
            None => (RepairResult::Unchanged(AdminOutcome::Nothing), None),
        };
        let row = change.or(found.shifted.then_some(found.row));
        Ok((result, row.map(|row| (row, found.location))))
    }

    fn audit(&self, conn: &Connection, now: u64, before: State, names: Names) -> Result<()> {
        let (scope, id) = match names {
            Names::Keep | Names::Buried => (Some(self.key.scope().name()), Some(&self.key.id()[..])),
            Names::Omit => (None, None),
        };
        let at = moment(now);
        let digest = self.key.digest();
        let (actor, reason, before) = (&self.note.actor, &self.note.reason, before.as_str());
        conn.prepare_cached(INSERT_AUDIT)
            .and_then(|mut s| {
                s.execute(params![at, self.operation, digest, scope, id, actor, reason, before])
            })
            .map_err(|e| rolled_back("writing the audit trail", e))?;
        Ok(())
    }
}

impl Command for Repair {
    fn rows(&self) -> usize {
        1
    }

    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize> {
        // The result of an operation whose caller has gone away is not needed; repeating it later is safe.
        if self.reply.is_closed() {
            return Ok(0);
        }
        let (now, record_key) = (cx.clock.now(), cx.records.record_key(&self.key));
        let (result, change) = match self.decide(cx, &record_key, now) {
            Ok(decided) => decided,
            Err(error) if breaks_connection(&error) => return Err(error),
            Err(error) => {
                self.result = Err(error);
                return Ok(0);
            }
        };
        self.result = Ok(result);
        if let RepairResult::Changed(before) = result {
            self.audit(cx.records.conn, now, before, cx.records.settings.names)?;
        }
        let Some((row, location)) = change else { return Ok(0) };
        cx.records.write(&record_key, &self.key, &row, Some(location), now)?;
        Ok(1)
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let answer = outcome.answer(self.result).map(|result| match result {
            RepairResult::Changed(before) => {
                self.note.audit(self.operation, &self.key, before);
                AdminOutcome::Yes
            }
            RepairResult::Unchanged(answer) => answer,
        });
        let _ = self.reply.send(answer);
    }
}
