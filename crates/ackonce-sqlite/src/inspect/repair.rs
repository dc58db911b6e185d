//! Repair of one record by an operator: on the writer thread, in one transaction with its audit row.

use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, Note, RecordTarget, State};
use ackonce::{Error, ErrorKind, Key, Result};
use tokio::sync::oneshot;

use super::audit;
use crate::error::breaks_connection;
use crate::records::Records;
use crate::records::key::RecordKey;
use crate::records::lookup::Location;
use crate::records::write::{KnownNames, names_of};
use crate::writer::command::{Command, CommandContext, GroupOutcome};

/// The record after an operation; `None` if it does not change.
type Change = fn(&Row, u64) -> Option<Row>;

/// The result of a repair, and the state before it if the record changed.
pub(super) type Repaired = (AdminOutcome, Option<State>);

/// The record to change.
pub(super) enum Wanted {
    Key(Key),
    Listed {
        record_key: RecordKey,
        names: Option<(String, Vec<u8>)>,
        /// The state and the fence that it must still have.
        still: Option<(State, u64)>,
    },
}

impl Wanted {
    pub(super) fn new(target: RecordTarget<'_>) -> Result<Self> {
        let entry = match target {
            RecordTarget::Key(key) => return Ok(Self::Key(key.clone())),
            RecordTarget::Listed(entry) => entry,
        };
        let foreign = |_| Error::new(ErrorKind::Invalid, "sqlite: not a record's digest of this store");
        let record_key = entry.digest[..].try_into().map_err(foreign)?;
        let names = target.names().map(|(scope, id)| (scope.to_owned(), id.to_vec()));
        Ok(Self::Listed { record_key, names, still: target.still() })
    }

    fn record_key(&self, records: &Records<'_>) -> RecordKey {
        match self {
            Self::Key(key) => records.record_key(key),
            Self::Listed { record_key, .. } => *record_key,
        }
    }

    fn names(&self) -> KnownNames<'_> {
        match self {
            Self::Key(key) => names_of(key),
            Self::Listed { names, .. } => names.as_ref().map(|(scope, id)| (scope.as_str(), id.as_slice())),
        }
    }

    fn is(&self, row: &Row) -> bool {
        match self {
            Self::Key(_) | Self::Listed { still: None, .. } => true,
            Self::Listed { still: Some(still), .. } => *still == (row.state, row.fence),
        }
    }
}

/// One operation on one record.
pub(super) struct Repair {
    operation: &'static str,
    wanted: Wanted,
    note: Note,
    change: Change,
    result: Result<Repaired>,
    reply: oneshot::Sender<Result<Repaired>>,
}

/// Expires and empties the record. It stays until a sweep drops it, so that the next fence is above its own.
pub(super) fn emptied(row: &Row, _: u64) -> Option<Row> {
    Some(Row { expires: 0, fingerprint: None, outcome: None, reason: None, ..row.clone() })
}

impl Repair {
    pub(super) fn new(
        operation: &'static str,
        wanted: Wanted,
        note: Note,
        change: Change,
        reply: oneshot::Sender<Result<Repaired>>,
    ) -> Self {
        Self { operation, wanted, note, change, result: Ok((AdminOutcome::Nothing, None)), reply }
    }

    /// The result, and the record to write if it changed.
    fn decide(
        &self,
        cx: &CommandContext<'_>,
        record_key: &RecordKey,
        now: u64,
    ) -> Result<(Repaired, Option<(Row, Location)>)> {
        let nothing = (AdminOutcome::Nothing, None);
        let Some(found) = cx.records.lookup(record_key, None, now)? else { return Ok((nothing, None)) };
        let (result, change) = match protocol::tendable(Some(&found.row), now) {
            Some(_) if !self.wanted.is(&found.row) => (nothing, None),
            Some(true) => match (self.change)(&found.row, now) {
                Some(row) => ((AdminOutcome::Yes, Some(found.row.state)), Some(row)),
                None => (nothing, None),
            },
            Some(false) => ((AdminOutcome::InFlight, None), None),
            None => (nothing, None),
        };
        let row = change.or(found.shifted.then_some(found.row));
        Ok((result, row.map(|row| (row, found.location))))
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
        let (now, record_key) = (cx.clock.now(), self.wanted.record_key(cx.records));
        let (result, change) = match self.decide(cx, &record_key, now) {
            Ok(decided) => decided,
            Err(error) if breaks_connection(&error) => return Err(error),
            Err(error) => {
                self.result = Err(error);
                return Ok(0);
            }
        };
        self.result = Ok(result);
        let names = self.wanted.names();
        if let Some(before) = result.1 {
            let (operation, note) = (self.operation, &self.note);
            let change = audit::Change { operation, record_key: &record_key, names, note, before };
            audit::write(cx.records, &change, now)?;
        }
        let Some((row, location)) = change else { return Ok(0) };
        cx.records.write(&record_key, names, &row, Some(location), now)?;
        Ok(1)
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let _ = self.reply.send(outcome.answer(self.result));
    }
}
