//! Rows of the file.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce_sqlite::rusqlite::{self, Connection, OptionalExtension, Row as SqlRow};

use crate::OutboxLag;
use crate::message::{OutboxMessage, decode};
use crate::outgoing::range_of;
use crate::table::{Parked, Row, Wanted};

/// Numbers and lanes: the payloads of rows in flight are not touched.
const SCAN: &str = "SELECT id, lane FROM ackonce_outbox ORDER BY id";
const FETCH: &str = "SELECT message_id, destination, key, headers, payload, \
                     EXISTS (SELECT 1 FROM ackonce_outbox_parked p WHERE p.lane = ?2) \
                     FROM ackonce_outbox WHERE id = ?1";
const PARKED: &str = "SELECT message_id, destination, key, headers, payload, id, reason, parked_at, \
                      (SELECT count(*) FROM ackonce_outbox_parked b WHERE b.lane = p.lane AND b.reason IS NULL) \
                      FROM ackonce_outbox_parked p WHERE reason IS NOT NULL AND id >= ?1 ORDER BY id LIMIT ?2";
/// Beyond this the number of rows is an estimate.
const COUNTED: i64 = 10_000;

/// The rows that are wanted, of one snapshot.
pub(super) fn read(conn: &Connection, wanted: &Wanted) -> rusqlite::Result<Vec<Row>> {
    let snapshot = conn.unchecked_transaction()?;
    let busy: HashSet<i64> = wanted.busy.iter().copied().collect();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    {
        let (mut scan, mut fetch) = (conn.prepare_cached(SCAN)?, conn.prepare_cached(FETCH)?);
        let mut scanned = scan.query([])?;
        while rows.len() < wanted.rows && bytes < wanted.bytes {
            let Some(row) = scanned.next()? else { break };
            let (id, lane): (i64, i64) = (row.get(0)?, row.get(1)?);
            if busy.contains(&lane) || !wanted.ranges.contains(&range_of(lane)) {
                continue;
            }
            let row = fetch.query_row((id, lane), |row| {
                let (message, broken) = message(row)?;
                Ok(Row { id, lane, held: row.get(5)?, broken, message })
            })?;
            bytes += row.message.payload.len();
            rows.push(row);
        }
    }
    snapshot.finish()?;
    Ok(rows)
}

pub(super) fn parked(conn: &Connection, from: i64, most: usize) -> rusqlite::Result<Vec<Parked>> {
    let mut statement = conn.prepare_cached(PARKED)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map((from, most), |row| {
        Ok(Parked {
            row: row.get(5)?,
            reason: row.get(6)?,
            at: UNIX_EPOCH + Duration::from_micros(unsigned(row.get(7)?)),
            behind: unsigned(row.get(8)?),
            message: message(row)?.0,
        })
    })?;
    rows.collect()
}

pub(super) fn lag(conn: &Connection) -> rusqlite::Result<OutboxLag> {
    let snapshot = conn.unchecked_transaction()?;
    let counted: i64 = conn.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM ackonce_outbox LIMIT ?1)",
        [COUNTED + 1],
        |row| row.get(0),
    )?;
    let waiting = match counted {
        0..=COUNTED => counted,
        _ => conn.query_row("SELECT max(id) - min(id) + 1 FROM ackonce_outbox", [], |row| row.get(0))?,
    };
    let first = "SELECT at FROM ackonce_outbox ORDER BY id LIMIT 1";
    let oldest: Option<i64> = conn.query_row(first, [], |row| row.get(0)).optional()?;
    let parked = conn.query_row("SELECT count(*) FROM ackonce_outbox_parked", [], |row| row.get(0))?;
    snapshot.finish()?;
    let oldest =
        oldest.map_or(Duration::ZERO, |at| Duration::from_micros(unsigned(now().saturating_sub(at))));
    Ok(OutboxLag { waiting: unsigned(waiting), oldest, parked: unsigned(parked) })
}

/// The message, and true if its headers cannot be read.
fn message(row: &SqlRow<'_>) -> rusqlite::Result<(OutboxMessage, bool)> {
    let (key, headers): (Option<Vec<u8>>, Vec<u8>) = (row.get(2)?, row.get(3)?);
    let headers = decode(headers.into());
    let broken = headers.is_none();
    let payload: Vec<u8> = row.get(4)?;
    let message = OutboxMessage {
        id: row.get(0)?,
        to: row.get(1)?,
        key: key.map(Into::into),
        headers: headers.unwrap_or_default(),
        payload: payload.into(),
    };
    Ok((message, broken))
}

/// Microseconds since 1970, by the host's clock.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
