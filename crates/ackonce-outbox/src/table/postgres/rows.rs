//! Rows from the server.

use std::time::Duration;

use ackonce::Result;
use ackonce_postgres::statement_answered;
use ackonce_postgres::tokio_postgres::Row as PgRow;
use bytes::Bytes;

use crate::message::{OutboxMessage, decode};
use crate::table::{Parked, Row};

pub(super) fn row(row: &PgRow) -> Result<Row> {
    let get = |e| statement_answered("reading the outbox", e);
    let (message, broken) = message(row)?;
    Ok(Row {
        id: row.try_get("id").map_err(get)?,
        lane: row.try_get("lane").map_err(get)?,
        held: row.try_get("held").map_err(get)?,
        broken,
        message,
    })
}

pub(super) fn parked(row: &PgRow) -> Result<Parked> {
    let get = |e| statement_answered("listing parked rows", e);
    let behind: i64 = row.try_get("behind").map_err(get)?;
    Ok(Parked {
        row: row.try_get("id").map_err(get)?,
        reason: row.try_get("reason").map_err(get)?,
        at: row.try_get("parked_at").map_err(get)?,
        behind: u64::try_from(behind).unwrap_or(0),
        message: message(row)?.0,
    })
}

/// The message, and true if its headers cannot be read.
fn message(row: &PgRow) -> Result<(OutboxMessage, bool)> {
    let get = |e| statement_answered("reading the outbox", e);
    let bytes = |column: &str| row.try_get::<_, Option<&[u8]>>(column).map_err(get);
    let copied = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    let headers = decode(copied(bytes("headers")?).unwrap_or_default());
    let broken = headers.is_none();
    let message = OutboxMessage {
        id: row.try_get("message_id").map_err(get)?,
        to: row.try_get("destination").map_err(get)?,
        key: copied(bytes("key")?),
        headers: headers.unwrap_or_default(),
        payload: copied(bytes("payload")?).unwrap_or_default(),
    };
    Ok((message, broken))
}

/// Seconds as a length; a clock that was set back makes it zero.
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}
