//! Writing of one record by its key: in `ackonce_claims` until it is settled, then in a generation.
//!
//! A key has one record at most across all tables: a move deletes it from one table and inserts it into another in
//! one transaction.

use std::cell::RefCell;

use ackonce::protocol::Row;
use ackonce::store::{Lease, Names, State};
use ackonce::{Error, ErrorKind, Key, Previous, Result};
use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::clock::moment;
use crate::columns::{Brief, beginning, code};
use crate::error::{breaks_connection, rolled_back};
use crate::generation::{Generation, Shape};
use crate::generations::{Filters, Generations};
use crate::lookup::Home;
use crate::record_key::{RecordKey, Secret};
use crate::schema;

const END_CLAIM: &str = "DELETE FROM main.ackonce_claims WHERE key = ?1";

/// `ON CONFLICT` names the key, so that no other violated constraint can pass for a duplicate.
const WRITE_CLAIM: &str = "INSERT INTO main.ackonce_claims (key, expires, state, token, fence, claimed, free_at, \
    attempt, previous, fingerprint, reason, outcome, scope, id) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
    ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, state = excluded.state, \
    token = excluded.token, fence = excluded.fence, claimed = excluded.claimed, \
    free_at = excluded.free_at, attempt = excluded.attempt, previous = excluded.previous, \
    fingerprint = excluded.fingerprint, reason = excluded.reason, outcome = excluded.outcome, \
    scope = excluded.scope, id = excluded.id";

/// The statement that adds a full record to a table.
pub(crate) fn insert_full(table: &str) -> String {
    format!(
        "INSERT INTO {table} (key, expires, state, token, fence, claimed, free_at, attempt, previous, \
         fingerprint, reason, outcome, scope, id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    )
}

/// The settings for keeping records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    pub(crate) names: Names,
    /// The maximum number of records in a generation.
    pub(crate) generation: u32,
}

/// A connection's memory of its file. It is derived from one incarnation of the file, which each transaction
/// compares.
#[derive(Debug)]
pub(crate) struct Known {
    secret: Option<Secret>,
    pub(crate) generations: Generations,
}

impl Known {
    pub(crate) fn nothing(filters: Filters) -> RefCell<Self> {
        RefCell::new(Self { secret: None, generations: Generations::new(filters) })
    }

    /// Reads the file again if its incarnation is not the one that this memory was derived from: another process
    /// changed the file, a backup was restored, the tables were made anew, or a transaction was undone.
    fn refresh(&mut self, conn: &Connection) -> Result<Secret> {
        let incarnation = schema::incarnation(conn)?;
        match &self.secret {
            Some(secret) if self.generations.are_of(&incarnation) => Ok(secret.clone()),
            _ => {
                let secret = Secret::read(conn)?;
                self.generations.read(conn, incarnation)?;
                Ok(self.secret.insert(secret).clone())
            }
        }
    }
}

/// The records of a file, in one transaction.
pub(crate) struct Records<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) known: &'c RefCell<Known>,
    secret: Secret,
    pub(crate) keeping: Keeping,
}

impl<'c> Records<'c> {
    /// Reads the changes since the connection's last transaction. The present transaction has begun.
    pub(crate) fn of(conn: &'c Connection, known: &'c RefCell<Known>, keeping: Keeping) -> Result<Self> {
        let secret = known.borrow_mut().refresh(conn)?;
        Ok(Self { conn, known, secret, keeping })
    }

    /// Runs `work` in a savepoint: if it fails, none of its changes are committed with the others of this
    /// transaction.
    ///
    /// # Errors
    /// The errors of `work`. If the transaction is over by then, or may be half undone, the connection is not used
    /// again after the error, or [`is_over`](Self::is_over) is true.
    pub(crate) fn apart<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let run = |sql: &str| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut s| s.execute([]).map(drop))
                .map_err(|e| rolled_back("a savepoint", e))
        };
        run("SAVEPOINT ackonce_apart")?;
        match work() {
            Ok(done) => run("RELEASE ackonce_apart").map(|()| done),
            // There is no savepoint left to go back to.
            Err(error) if self.is_over() || breaks_connection(&error) => Err(error),
            Err(error) => {
                run("ROLLBACK TO ackonce_apart")?;
                run("RELEASE ackonce_apart")?;
                self.known.borrow_mut().refresh(self.conn)?;
                Err(error)
            }
        }
    }

    /// True once SQLite has rolled the transaction back by itself: the next statement would commit alone.
    pub(crate) fn is_over(&self) -> bool {
        self.conn.is_autocommit()
    }

    pub(crate) fn record_key(&self, key: &Key) -> RecordKey {
        self.secret.record_key(key.digest())
    }

    /// Passes the list of generations to a closure, which must not call back into `self`.
    pub(crate) fn generations<T>(
        &self,
        ask: impl FnOnce(&Connection, &mut Generations) -> Result<T>,
    ) -> Result<T> {
        ask(self.conn, &mut self.known.borrow_mut().generations)
    }

    /// Writes the record of `key`, which was at `home` until now.
    pub(crate) fn write(
        &self,
        name: &RecordKey,
        key: &Key,
        row: &Row,
        home: Option<Home>,
        now: u64,
    ) -> Result<()> {
        let settled = matches!(row.state, State::Done | State::Buried);
        // An expired record stays among the claims, whose sweep drops it.
        if !settled || row.expires <= now {
            if let Some(home @ Home::Generation(_)) = home {
                self.remove(name, home)?;
            }
            return self.write_full(WRITE_CLAIM, name, key, row);
        }
        if let Some(home) = home {
            self.remove(name, home)?;
        }
        self.settle(name, key, row, moment(now))
    }

    /// Adds the record to the generation of its kind.
    fn settle(&self, name: &RecordKey, key: &Key, row: &Row, now: i64) -> Result<()> {
        let keeping = self.keeping;
        let kind = match keeping.names {
            Names::Keep => Shape::Full,
            // The record alone decides if it fits, as long as its moments lie in the range of a brief one.
            Names::Buried | Names::Omit => match Brief::encode(row, now, 0) {
                Some(_) => Shape::Brief,
                None => Shape::Full,
            },
        };
        let expires = moment(row.expires);
        let lives = (expires.saturating_sub(now), expires.saturating_sub(moment(row.fence)));
        let into = self.generations(|conn, all| all.open_for(conn, kind, lives, now))?;
        match kind {
            Shape::Brief => self.write_brief(&into, name, row)?,
            Shape::Full => self.write_full(into.insert(), name, key, row)?,
        }
        // Approximate counting: one name in `every` adds `every`, so no exact count has to be written beside the
        // rows.
        let every = (keeping.generation / 512).next_power_of_two().min(256);
        if u32::from(u16::from_be_bytes([name[14], name[15]])) % every == 0 {
            let most = i64::from(keeping.generation);
            self.generations(|conn, all| all.grown(conn, into.id, i64::from(every), most))?;
        }
        Ok(())
    }

    fn write_brief(&self, into: &Generation, name: &RecordKey, row: &Row) -> Result<()> {
        let brief = Brief::encode(row, into.opened, into.life).ok_or_else(|| wrote(0))?;
        let Brief { fence, life, token, fingerprint } = brief;
        self.conn
            .prepare_cached(into.insert())
            .and_then(|mut s| s.execute(params![fence, life, token, fingerprint, name]))
            .map_err(|e| rolled_back("writing a record", e))
            .and_then(one_row)
    }

    fn write_full(&self, sql: &str, name: &RecordKey, key: &Key, row: &Row) -> Result<()> {
        let kept = match self.keeping.names {
            Names::Keep => true,
            Names::Buried => row.state != State::Done,
            Names::Omit => false,
        };
        let previous = match row.previous {
            Previous::None => 0,
            Previous::Released => 1,
            Previous::Vanished => 2,
        };
        let free_at = match row.state {
            State::Claimed | State::Released => moment(row.free_at),
            State::Done | State::Buried => 0,
        };
        self.conn
            .prepare_cached(sql)
            .and_then(|mut s| {
                s.execute(params![
                    name,
                    moment(row.expires),
                    code(row.state),
                    row.token.0,
                    moment(row.fence),
                    (row.claimed != row.fence).then(|| moment(row.claimed)),
                    free_at,
                    row.attempt,
                    previous,
                    row.fingerprint.map(beginning),
                    row.reason,
                    row.outcome.as_deref(),
                    kept.then(|| key.scope().name()),
                    kept.then(|| &key.id()[..]),
                ])
            })
            .map_err(|e| rolled_back("writing a record", e))
            .and_then(one_row)
    }

    /// Deletes the record from that location.
    pub(crate) fn remove(&self, name: &RecordKey, home: Home) -> Result<()> {
        let run = |sql: &str| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut s| s.execute([name]))
                .map_err(|e| rolled_back("moving a record", e))
        };
        let Home::Generation(id) = home else { return one_row(run(END_CLAIM)?) };
        let table = self.known.borrow().generations.all.iter().find(|g| g.id == id).map(Generation::table);
        let table = table.ok_or_else(|| wrote(0))?;
        one_row(run(&format!("DELETE FROM {table} WHERE key = ?1"))?)?;
        self.generations(|conn, all| all.shrunk(conn, id, 1))
    }

    /// Completes the claim that `lease` names; false if that claim no longer exists.
    pub(crate) fn complete(
        &self,
        lease: &Lease,
        outcome: Option<&Bytes>,
        expires: u64,
        now: u64,
    ) -> Result<bool> {
        let name = self.record_key(&lease.key);
        let Some(mut row) = self.lookup_claim(&name, now)? else { return Ok(false) };
        if row.state != State::Claimed || row.token != lease.token || row.fence != lease.fence {
            return Ok(false);
        }
        (row.state, row.expires, row.outcome) = (State::Done, expires, outcome.cloned());
        self.write(&name, &lease.key, &row, Some(Home::Claims), now)?;
        Ok(true)
    }
}

fn one_row(changed: usize) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(wrote(changed)) }
}

fn wrote(rows: usize) -> Error {
    Error::new(ErrorKind::Protocol, format!("sqlite: writing a record changed {rows} rows"))
}
