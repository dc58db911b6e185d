//! A pooler between the store and the server: found by the server process behind each of two connections.

use std::time::Duration;

use ackonce::Result;
use deadpool_postgres::Pool;
use tokio_postgres::{Client, Error};

use super::in_time;
use crate::error::{pool as no_connection, statement};

/// The treatment of a session between this host and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// A connection keeps its server process.
    None,
    /// Each transaction may get another server process, and prepared statements follow it.
    Transaction,
    /// Each transaction may get another server process, and prepared statements are lost.
    TransactionUnprepared,
    /// It could not be told: a second connection, or its transaction, was not to be had.
    Unknown,
}

/// Two connections hold a transaction each, and end it in the order in which a pooler would then swap their processes: it
/// hands out the one that came back last.
pub(super) async fn of(one: &Client, pool: &Pool, limit: Duration) -> Result<Pooling> {
    let Ok(other) = in_time(limit, async { pool.get().await.map_err(no_connection) }).await else {
        return Ok(Pooling::Unknown);
    };
    // A pooler with a single process lets the second transaction wait for the first one.
    let looked = tokio::time::timeout(limit, look(one, &other)).await;
    if let Ok(Ok(found)) = looked {
        return Ok(found);
    }
    // Dropped connections end their transactions.
    let _ = tokio::time::timeout(limit, one.batch_execute("ROLLBACK")).await;
    match looked {
        Ok(Err(error)) => Err(statement("looking for a pooler", error)),
        _ => Ok(Pooling::Unknown),
    }
}

async fn look(one: &Client, other: &Client) -> Result<Pooling, Error> {
    for client in [one, other] {
        client.batch_execute("BEGIN READ ONLY").await?;
    }
    let first = process(other).await?;
    let prepared = other.prepare("SELECT 1").await;
    for client in [other, one] {
        client.batch_execute("ROLLBACK").await?;
    }
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(_) => return Ok(Pooling::TransactionUnprepared),
    };
    other.batch_execute("BEGIN READ ONLY").await?;
    let second = process(other).await?;
    let found = match (first == second, other.query(&prepared, &[]).await) {
        (true, Ok(_)) => Pooling::None,
        (false, Ok(_)) => Pooling::Transaction,
        (_, Err(_)) => Pooling::TransactionUnprepared,
    };
    other.batch_execute("ROLLBACK").await?;
    Ok(found)
}

async fn process(client: &Client) -> Result<i32, Error> {
    client.query_typed_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)
}
