//! Writes of one record by its key.

use ackonce::protocol::Row;
use ackonce::store::{Lease, Names, State};
use ackonce::{Error, ErrorKind, Key, Previous, Result};
use bytes::Bytes;
use rusqlite::params;

use super::Records;
use super::columns::{Brief, Shape, state_code, stored_fingerprint};
use super::generation::Generation;
use super::key::RecordKey;
use super::lookup::Location;
use super::statements::{DELETE_CLAIM, UPSERT_CLAIM, delete};
use crate::clock::moment;
use crate::error::rolled_back;

/// The scope and the message ID of a record, where they are known.
pub(crate) type KnownNames<'n> = Option<(&'n str, &'n [u8])>;

pub(crate) fn names_of(key: &Key) -> KnownNames<'_> {
    Some((key.scope().name(), key.id()))
}

impl Records<'_> {
    /// Writes the record of a key, which was at `location` until now.
    pub(crate) fn write(
        &self,
        record_key: &RecordKey,
        names: KnownNames<'_>,
        row: &Row,
        location: Option<Location>,
        now: u64,
    ) -> Result<()> {
        let settled = matches!(row.state, State::Done | State::Buried);
        // An expired record stays among the claims, whose sweep drops it.
        if !settled || row.expires <= now {
            if let Some(location @ Location::Generation(_)) = location {
                self.remove(record_key, location)?;
            }
            return self.write_full(UPSERT_CLAIM, record_key, names, row);
        }
        if let Some(location) = location {
            self.remove(record_key, location)?;
        }
        self.write_settled(record_key, names, row, moment(now))
    }

    /// Completes the claim that `lease` names; false if that claim no longer exists.
    pub(crate) fn complete(
        &self,
        lease: &Lease,
        outcome: Option<&Bytes>,
        expires: u64,
        now: u64,
    ) -> Result<bool> {
        let record_key = self.record_key(&lease.key);
        let Some(mut row) = self.lookup_claim(&record_key, now)? else { return Ok(false) };
        if row.state != State::Claimed || row.token != lease.token || row.fence != lease.fence {
            return Ok(false);
        }
        (row.state, row.expires, row.outcome) = (State::Done, expires, outcome.cloned());
        self.write(&record_key, names_of(&lease.key), &row, Some(Location::Claims), now)?;
        Ok(true)
    }

    /// Adds the record to the open generation for its shape and window.
    fn write_settled(
        &self,
        record_key: &RecordKey,
        names: KnownNames<'_>,
        row: &Row,
        now: i64,
    ) -> Result<()> {
        let shape = match self.settings.names {
            Names::Keep => Shape::Full,
            // The record alone decides if it fits, as long as its moments lie in the range of a brief one.
            Names::Buried | Names::Omit => match Brief::encode(row, now, 0) {
                Some(_) => Shape::Brief,
                None => Shape::Full,
            },
        };
        let expires = moment(row.expires);
        let lives = (expires.saturating_sub(now), expires.saturating_sub(moment(row.fence)));
        let generation = self.generations(|conn, all| all.open_for(conn, shape, lives, now))?;
        match shape {
            Shape::Brief => self.write_brief(&generation, record_key, row)?,
            Shape::Full => self.write_full(generation.insert(), record_key, names, row)?,
        }
        self.count_sampled(generation.id, record_key)
    }

    /// Counts the records of a generation by sampling: one record key in `every` adds `every`, so no exact count has
    /// to be written beside the rows.
    fn count_sampled(&self, generation: i64, record_key: &RecordKey) -> Result<()> {
        let size = self.settings.generation_size;
        let every = (size / 512).next_power_of_two().min(256);
        if u32::from(u16::from_be_bytes([record_key[14], record_key[15]])) % every != 0 {
            return Ok(());
        }
        self.generations(|conn, all| all.add_rows(conn, generation, i64::from(every), i64::from(size)))
    }

    fn write_brief(&self, generation: &Generation, record_key: &RecordKey, row: &Row) -> Result<()> {
        let brief = Brief::encode(row, generation.opened, generation.life).ok_or_else(|| wrong_count(0))?;
        let Brief { fence, life, token, fingerprint } = brief;
        self.conn
            .prepare_cached(generation.insert())
            .and_then(|mut s| s.execute(params![fence, life, token, fingerprint, record_key]))
            .map_err(|e| rolled_back("writing a record", e))
            .and_then(one_row)
    }

    fn write_full(&self, sql: &str, record_key: &RecordKey, names: KnownNames<'_>, row: &Row) -> Result<()> {
        let with_names = match self.settings.names {
            Names::Keep => true,
            Names::Buried => row.state != State::Done,
            Names::Omit => false,
        };
        let names = names.filter(|_| with_names);
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
                    record_key,
                    moment(row.expires),
                    state_code(row.state),
                    row.token.0,
                    moment(row.fence),
                    (row.claimed != row.fence).then(|| moment(row.claimed)),
                    free_at,
                    row.attempt,
                    previous,
                    row.fingerprint.map(stored_fingerprint),
                    row.reason,
                    row.outcome.as_deref(),
                    names.map(|(scope, _)| scope),
                    names.map(|(_, id)| id),
                ])
            })
            .map_err(|e| rolled_back("writing a record", e))
            .and_then(one_row)
    }

    /// Deletes the record from that location.
    fn remove(&self, record_key: &RecordKey, location: Location) -> Result<()> {
        let run = |sql: &str| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut s| s.execute([record_key]))
                .map_err(|e| rolled_back("moving a record", e))
        };
        let Location::Generation(id) = location else { return one_row(run(DELETE_CLAIM)?) };
        let table = self.generations(|_, all| Ok(all.get(id).map(Generation::table)))?;
        one_row(run(&delete(&table.ok_or_else(|| wrong_count(0))?))?)?;
        self.generations(|conn, all| all.subtract_rows(conn, id, 1))
    }
}

fn one_row(changed: usize) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(wrong_count(changed)) }
}

fn wrong_count(rows: usize) -> Error {
    Error::new(ErrorKind::Protocol, format!("sqlite: writing a record changed {rows} rows"))
}
