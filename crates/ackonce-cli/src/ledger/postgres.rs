//! The table in a PostgreSQL database.

use ackonce_postgres::tokio_postgres::types::Type;
use ackonce_postgres::tokio_postgres::{Error, Transaction};
use ackonce_postgres::{PostgresStore, deadpool_postgres};
use ackonce_testkit::ledger::LedgerEntry;
use anyhow::Result;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS ledger (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    id text NOT NULL, key text NOT NULL, attempt bigint NOT NULL, fence bigint NOT NULL, pid bigint NOT NULL, \
    at bigint NOT NULL)";
const INSERT: &str = "INSERT INTO ledger (id, key, attempt, fence, pid, at) VALUES ($1, $2, $3, $4, $5, $6)";
/// Two processes that create one table at the same time are an error to PostgreSQL; `ledger` in ASCII.
const CREATING: i64 = 0x006c_6564_6765_7200;

/// Creates the table in the store's database where it is missing.
///
/// # Errors
/// The database cannot be reached; the role may not create tables there, and the table is missing.
pub async fn create(store: &PostgresStore) -> Result<()> {
    let mut client = connect(store).await?;
    let tx = client.transaction().await?;
    tx.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&CREATING, Type::INT8)]).await?;
    // `IF NOT EXISTS` asks for the right to create before it looks.
    let exists: bool =
        tx.query_typed_one("SELECT to_regclass('ledger') IS NOT NULL", &[]).await?.try_get(0)?;
    if !exists {
        tx.batch_execute(CREATE).await?;
    }
    Ok(tx.commit().await?)
}

/// Records an effect in the transaction of an inbox handler. PostgreSQL has no NUL in a text: it becomes U+FFFD.
///
/// # Errors
/// The server's error, to be returned as it is, so that the inbox can classify it.
pub async fn insert(tx: &Transaction<'_>, entry: &LedgerEntry) -> Result<(), Error> {
    let id = entry.id.replace('\0', "\u{fffd}");
    let (attempt, pid) = (i64::from(entry.attempt), i64::from(entry.pid));
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (fence, at) = (number(entry.fence), number(entry.at));
    let params: [(&(dyn ackonce_postgres::tokio_postgres::types::ToSql + Sync), Type); 6] = [
        (&id, Type::TEXT),
        (&entry.key, Type::TEXT),
        (&attempt, Type::INT8),
        (&fence, Type::INT8),
        (&pid, Type::INT8),
        (&at, Type::INT8),
    ];
    tx.execute_typed(INSERT, &params).await.map(drop)
}

/// The number of the last row, 0 if there is none.
///
/// # Errors
/// The database cannot be reached, or has no such table.
pub async fn last(store: &PostgresStore) -> Result<i64> {
    let row = connect(store).await?.query_typed_one("SELECT coalesce(max(n), 0) FROM ledger", &[]).await?;
    Ok(row.try_get(0)?)
}

/// The rows after number `after`, in the order in which they were inserted.
///
/// # Errors
/// As [`last`].
pub async fn read(store: &PostgresStore, after: i64) -> Result<Vec<LedgerEntry>> {
    let sql = "SELECT id, key, attempt, fence, pid, at FROM ledger WHERE n > $1 ORDER BY n";
    let rows = connect(store).await?.query_typed(sql, &[(&after, Type::INT8)]).await?;
    rows.iter()
        .map(|row| {
            let number = |n: usize| row.try_get::<_, i64>(n);
            Ok(LedgerEntry {
                id: row.try_get(0)?,
                key: row.try_get(1)?,
                attempt: u32::try_from(number(2)?)?,
                fence: u64::try_from(number(3)?)?,
                pid: u32::try_from(number(4)?)?,
                at: u64::try_from(number(5)?)?,
            })
        })
        .collect()
}

async fn connect(store: &PostgresStore) -> Result<deadpool_postgres::Object> {
    Ok(store.pool(1)?.get().await?)
}
