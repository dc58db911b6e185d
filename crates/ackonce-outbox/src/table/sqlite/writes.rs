//! Changes of the file, each in one transaction of the store's writer.

use std::collections::BTreeSet;

use ackonce::store::Note;
use ackonce_sqlite::rusqlite::{self, OptionalExtension, Transaction};

use super::rows::now;
use crate::table::ToPark;

const IS_HELD: &str = "SELECT EXISTS (SELECT 1 FROM ackonce_outbox_parked WHERE lane = ?1)";
const PARK: &str = "INSERT INTO ackonce_outbox_parked \
                    SELECT id, at, lane, message_id, destination, key, headers, payload, ?2, ?3 \
                    FROM ackonce_outbox WHERE id = ?1";
const REMOVE: &str = "DELETE FROM ackonce_outbox WHERE id = ?1";
const BACK: &str = "INSERT INTO ackonce_outbox \
                    SELECT id, at, lane, message_id, destination, key, headers, payload \
                    FROM ackonce_outbox_parked WHERE id = ?1";
const NOTE: &str = "INSERT INTO ackonce_outbox_audit \
                    SELECT ?2, ?3, id, message_id, destination, ?4, ?5, reason FROM ackonce_outbox_parked WHERE id = ?1";

pub(super) fn remove(tx: &Transaction<'_>, rows: &[i64]) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(REMOVE)?;
    rows.iter().try_for_each(|id| statement.execute([id]).map(drop))
}

pub(super) fn park(tx: &Transaction<'_>, rows: &[ToPark]) -> rusqlite::Result<()> {
    let (with_reason, behind): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.reason.is_some());
    for row in with_reason.into_iter().chain(behind) {
        let is_held =
            row.reason.is_some() || tx.prepare_cached(IS_HELD)?.query_row([row.lane], |r| r.get(0))?;
        if is_held {
            tx.prepare_cached(PARK)?.execute((row.id, now(), &row.reason))?;
            tx.prepare_cached(REMOVE)?.execute([row.id])?;
        }
    }
    Ok(())
}

/// Puts parked rows and those behind them back; with `keep` false deletes the rows themselves.
pub(super) fn unpark(
    tx: &Transaction<'_>,
    rows: &[i64],
    operation: &str,
    keep: bool,
    note: &Note,
) -> rusqlite::Result<u64> {
    let mut lanes = BTreeSet::new();
    let mut count = 0;
    for id in rows {
        let find = "SELECT lane FROM ackonce_outbox_parked WHERE id = ?1 AND reason IS NOT NULL";
        let Some(lane) = tx.query_row(find, [id], |row| row.get::<_, i64>(0)).optional()? else { continue };
        lanes.insert(lane);
        count += 1;
        tx.execute(NOTE, (id, now(), operation, &note.actor, &note.reason))?;
        if keep {
            tx.execute(BACK, [id])?;
        }
        tx.execute("DELETE FROM ackonce_outbox_parked WHERE id = ?1", [id])?;
    }
    for lane in lanes {
        let held =
            "SELECT EXISTS (SELECT 1 FROM ackonce_outbox_parked WHERE lane = ?1 AND reason IS NOT NULL)";
        if tx.query_row(held, [lane], |row| row.get(0))? {
            continue;
        }
        let back = "INSERT INTO ackonce_outbox \
                    SELECT id, at, lane, message_id, destination, key, headers, payload \
                    FROM ackonce_outbox_parked WHERE lane = ?1";
        tx.execute(back, [lane])?;
        tx.execute("DELETE FROM ackonce_outbox_parked WHERE lane = ?1", [lane])?;
    }
    Ok(count)
}

/// Notes a live relay; returns the number of the others.
pub(super) fn announce(tx: &Transaction<'_>, relay: [u8; 16], lease: i64) -> rusqlite::Result<i64> {
    let now = now();
    tx.execute("DELETE FROM ackonce_outbox_relay WHERE until <= ?1", [now])?;
    let note = "INSERT INTO ackonce_outbox_relay VALUES (?1, ?2) ON CONFLICT (relay) DO UPDATE SET until = excluded.until";
    tx.execute(note, (relay, now.saturating_add(lease)))?;
    tx.query_row("SELECT count(*) FROM ackonce_outbox_relay WHERE relay <> ?1", [relay], |row| row.get(0))
}
