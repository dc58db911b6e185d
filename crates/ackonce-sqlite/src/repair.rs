//! Repair of one record by an operator: on the writer thread, in one transaction with its audit row.

use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, Names, Note, State};
use ackonce::{Key, Result};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::clock::moment;
use crate::error::{breaks_connection, rolled_back};
use crate::lookup::Home;
use crate::record_key::RecordKey;
use crate::writer::{Outcome, Turn, Work};

const AUDIT: &str = "INSERT INTO main.ackonce_audit (at, operation, key, scope, id, actor, reason, before) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// One operation on one record.
pub(crate) struct Repair {
    pub(crate) operation: &'static str,
    pub(crate) key: Key,
    pub(crate) note: Note,
    /// The record afterwards; `None` if it does not change.
    pub(crate) change: fn(&Row, u64) -> Option<Row>,
    pub(crate) done: Result<Done>,
    pub(crate) reply: oneshot::Sender<Result<AdminOutcome>>,
}

/// The result of an operation.
#[derive(Clone, Copy)]
pub(crate) enum Done {
    /// The record changed; it was in that state before.
    Changed(State),
    Unchanged(AdminOutcome),
}

/// Expires and empties the record. It stays until a sweep drops it, so that the next fence is above its own.
pub(crate) fn forgotten(row: &Row, _: u64) -> Option<Row> {
    Some(Row { expires: 0, fingerprint: None, outcome: None, reason: None, ..row.clone() })
}

impl Repair {
    /// The result, and the record to write if it changed.
    fn decide(&self, turn: &Turn<'_>, name: &RecordKey, now: u64) -> Result<(Done, Option<(Row, Home)>)> {
        let Some(seen) = turn.records.lookup(name, None, now)? else {
            return Ok((Done::Unchanged(AdminOutcome::Nothing), None));
        };
        let (done, change) = match protocol::tendable(Some(&seen.row), now) {
            Some(true) => match (self.change)(&seen.row, now) {
                Some(row) => (Done::Changed(seen.row.state), Some(row)),
                None => (Done::Unchanged(AdminOutcome::Nothing), None),
            },
            Some(false) => (Done::Unchanged(AdminOutcome::InFlight), None),
            None => (Done::Unchanged(AdminOutcome::Nothing), None),
        };
        Ok((done, change.or(seen.moved.then_some(seen.row)).map(|row| (row, seen.home))))
    }

    fn audit(&self, conn: &Connection, now: u64, before: State, names: Names) -> Result<()> {
        let (scope, id) = match names {
            Names::Keep | Names::Buried => (Some(self.key.scope().name()), Some(&self.key.id()[..])),
            Names::Omit => (None, None),
        };
        let at = moment(now);
        let digest = self.key.digest();
        let (actor, reason, before) = (&self.note.actor, &self.note.reason, before.as_str());
        conn.prepare_cached(AUDIT)
            .and_then(|mut s| {
                s.execute(params![at, self.operation, digest, scope, id, actor, reason, before])
            })
            .map_err(|e| rolled_back("writing the audit trail", e))?;
        Ok(())
    }
}

impl Work for Repair {
    fn rows(&self) -> usize {
        1
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize> {
        // The result of an operation whose caller has gone away is not needed; repeating it later is safe.
        if self.reply.is_closed() {
            return Ok(0);
        }
        let (now, name) = (turn.clock.now(), turn.records.record_key(&self.key));
        let (done, change) = match self.decide(turn, &name, now) {
            Ok(decided) => decided,
            Err(error) if breaks_connection(&error) => return Err(error),
            Err(error) => {
                self.done = Err(error);
                return Ok(0);
            }
        };
        self.done = Ok(done);
        if let Done::Changed(before) = done {
            self.audit(turn.records.conn, now, before, turn.records.keeping.names)?;
        }
        let Some((row, home)) = change else { return Ok(0) };
        turn.records.write(&name, &self.key, &row, Some(home), now)?;
        Ok(1)
    }

    fn answer(self: Box<Self>, outcome: &Outcome) {
        let answer = match (outcome, self.done) {
            (Outcome::Committed, Ok(Done::Changed(before))) => {
                self.note.audit(self.operation, &self.key, before);
                Ok(AdminOutcome::Yes)
            }
            (Outcome::Committed, Ok(Done::Unchanged(result))) => Ok(result),
            (Outcome::Committed, Err(error)) => Err(error),
            (Outcome::Refused(error) | Outcome::Failed(error), _) => Err(error.clone()),
        };
        let _ = self.reply.send(answer);
    }
}
