//! The change of one record by hand, with its audit row, in one transaction.

use ackonce::protocol::{self, Row};
use ackonce::store::{AdminOutcome, Names, Note, RecordTarget, State, Token};
use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::Type;

use crate::connection::{ConnectionGuard, Param};
use crate::error::{statement, undone};
use crate::records::{BY_INDEX, Id, Salt, decode, millis};
use crate::store::Inner;

/// Locks and reads the record, so that no claim comes in between.
pub(crate) const HOLD: &str = "SELECT key, false, {now}, fence, expires, token, free_at, tally, fingerprint, NULL::bytea, \
                    {durable} FROM {schema}.record WHERE key = $1 FOR NO KEY UPDATE";
/// A redriven record waits for its next run, as one that failed: operators look for it by its names.
const NAME: &str =
    "INSERT INTO {schema}.name (key, scope, id) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING";
const AUDIT: &str = "INSERT INTO {schema}.audit (operation, key, scope, id, before, actor, reason) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// A repair: one kind of change of a record.
pub(crate) struct Repair {
    pub(crate) operation: &'static str,
    pub(crate) change: &'static str,
    /// True if the changed record has names.
    names: bool,
    /// True if the operation changes a record that is not in flight.
    applies: fn(&Row, u64) -> bool,
}

/// Expires the row but keeps it, so that the next fence is above it.
pub(crate) static FORGET: Repair = Repair {
    operation: "forget",
    change: "UPDATE {schema}.record SET expires = 0 WHERE key = $1",
    names: false,
    applies: |_, _| true,
};

/// Ends a back-off. A settled record gets a token that no claim draws: its claims are over, and
/// the next one is new.
pub(crate) static REDRIVE: Repair = Repair {
    operation: "redrive",
    change: "UPDATE {schema}.record r SET token = CASE WHEN coalesce(tally, 10) % 10 < 2 THEN '00000000-0000-0000-0000-000000000000' \
             ELSE token END, free_at = 0, tally = CASE WHEN coalesce(tally, 10) % 10 < 2 THEN 5 ELSE tally END, \
             detail = CASE coalesce(tally, 10) % 10 WHEN 0 THEN NULL WHEN 1 THEN {progress} ELSE detail END \
             WHERE key = $1",
    names: true,
    applies: |row, now| protocol::redriven(row, now).is_some(),
};

/// The record to change.
pub(crate) struct Wanted {
    id: Id,
    names: Option<(String, Vec<u8>)>,
    /// The state and the fence that it must still have.
    still: Option<(State, u64)>,
}

impl Wanted {
    pub(crate) fn new(target: RecordTarget<'_>, salt: &Salt) -> Result<Self> {
        let id = match target {
            RecordTarget::Key(key) => salt.id(key),
            RecordTarget::Listed(entry) => Id(entry.digest[..].try_into().map_err(|_| {
                Error::new(ErrorKind::Invalid, "postgres: not a record's digest of this store")
            })?),
        };
        let names = target.names().map(|(scope, id)| (scope.to_owned(), id.to_vec()));
        Ok(Self { id, names, still: target.still() })
    }
}

impl Repair {
    /// Returns the outcome, and the state before the change.
    pub(crate) async fn run(
        &self,
        inner: &Inner,
        mut connection: ConnectionGuard,
        wanted: &Wanted,
        note: &Note,
    ) -> Result<((AdminOutcome, Option<State>), ConnectionGuard)> {
        let texts = inner.texts();
        let id = wanted.id;
        let client: &mut tokio_postgres::Client = connection.object()?;
        // At a stricter level a record that changes during the wait for its lock is an error.
        let level = IsolationLevel::ReadCommitted;
        let failed = |e| undone("changing a record", e);
        let tx = client.build_transaction().isolation_level(level).start().await.map_err(failed)?;
        let wait = millis(inner.config.request_timeout);
        let settings = format!(
            "SET LOCAL lock_timeout = {wait}; SET LOCAL idle_in_transaction_session_timeout = {wait}; {BY_INDEX}"
        );
        tx.batch_execute(&settings).await.map_err(failed)?;
        let hold = texts.fill(HOLD);
        let row = tx.query_typed_opt(&hold, &[(&id, Type::UUID)]).await.map_err(failed)?;
        let Some(current) = row.as_ref().map(decode).transpose()?.flatten() else {
            tx.rollback().await.map_err(failed)?;
            return Ok(((AdminOutcome::Nothing, None), connection));
        };
        let row = current.row.map(|row| row.under(Token([0; 16])));
        let done = match (protocol::tendable(row.as_ref(), current.now), &row) {
            (_, Some(row)) if wanted.still.is_some_and(|still| still != (row.state, row.fence)) => {
                (AdminOutcome::Nothing, None)
            }
            (Some(true), Some(row)) if (self.applies)(row, current.now) => {
                (AdminOutcome::Yes, Some(row.state))
            }
            (Some(false), _) => (AdminOutcome::InFlight, None),
            _ => (AdminOutcome::Nothing, None),
        };
        if let (AdminOutcome::Yes, Some(before)) = done {
            // PostgreSQL's text cannot hold the character NUL.
            let (actor, reason) = (note.actor.replace('\0', " "), note.reason.replace('\0', " "));
            let scope = wanted.names.as_ref().map(|(scope, _)| scope.as_str());
            let name = wanted.names.as_ref().map(|(_, id)| id.as_slice());
            tx.execute_typed(&texts.fill(self.change), &[(&id, Type::UUID)]).await.map_err(failed)?;
            if let (true, Some(scope), Some(name)) =
                (self.names && inner.config.names != Names::Omit, scope, name)
            {
                let row: [Param<'_>; 3] = [(&id, Type::UUID), (&scope, Type::TEXT), (&name, Type::BYTEA)];
                tx.execute_typed(&texts.fill(NAME), &row).await.map_err(failed)?;
            }
            let row: [Param<'_>; 7] = [
                (&self.operation, Type::TEXT),
                (&id, Type::UUID),
                (&scope, Type::TEXT),
                (&name, Type::BYTEA),
                (&before.as_str(), Type::TEXT),
                (&actor, Type::TEXT),
                (&reason, Type::TEXT),
            ];
            tx.execute_typed(&texts.fill(AUDIT), &row).await.map_err(failed)?;
        }
        tx.commit().await.map_err(|e| statement("changing a record", e))?;
        Ok((done, connection))
    }
}
