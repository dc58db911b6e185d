//! One statement on one connection, prepared or not.

use deadpool_postgres::StatementCache;
use futures_util::future::join3;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use crate::Prepare;

/// A parameter with its type, which saves a round trip to ask the server for the type.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Sends BEGIN, the statement and COMMIT in one round trip. A statement that fails makes the COMMIT a ROLLBACK.
pub(super) async fn transact(
    client: &Client,
    cache: &StatementCache,
    prepare: Prepare,
    begin: &str,
    text: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let prepared = prepared(client, cache, prepare, text, params).await?;
    // They are polled in this order, and the driver sends in the order of the first polls.
    let statement = send_prepared(client, prepared.as_ref(), text, params);
    let (begun, answered, committed) =
        join3(client.batch_execute(begin), statement, client.batch_execute("COMMIT")).await;
    let rows = answered?;
    begun?;
    committed?;
    Ok(rows)
}

/// Sends one statement, prepared or not.
pub(crate) async fn send(
    client: &Client,
    cache: &StatementCache,
    prepare: Prepare,
    text: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let prepared = prepared(client, cache, prepare, text, params).await?;
    send_prepared(client, prepared.as_ref(), text, params).await
}

pub(crate) async fn prepared(
    client: &Client,
    cache: &StatementCache,
    prepare: Prepare,
    text: &str,
    params: &[Param<'_>],
) -> Result<Option<Statement>, tokio_postgres::Error> {
    if prepare == Prepare::Never {
        return Ok(None);
    }
    let types: Vec<Type> = params.iter().map(|(_, t)| t.clone()).collect();
    cache.prepare_typed(client, text, &types).await.map(Some)
}

pub(crate) async fn send_prepared(
    client: &Client,
    prepared: Option<&Statement>,
    text: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let Some(statement) = prepared else { return client.query_typed(text, params).await };
    let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
    client.query(statement, &values).await
}
