//! Effects of the inbox: a ledger and an account in the store's own database, in the message's transaction.

use std::path::{Path, PathBuf};

use ackonce::Failure;
use ackonce_postgres::tokio_postgres::{self, Client, NoTls, Row};
use ackonce_postgres::{PostgresConfig, SchemaName, Sweep, Tables};
use ackonce_sqlite::{InboxTx, SqliteStore, rusqlite};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_testkit::servers::address;

use crate::drivers::{Act, Driver};

/// The files of the books.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Books {
    /// A file.
    Sqlite(PathBuf),
    /// A schema on a server.
    Postgres {
        /// The server.
        url: String,
        /// The schema.
        schema: String,
        /// The driver of the handler's transaction.
        driver: Driver,
    },
    /// The control: a store, and a ledger in a file of its own, which no transaction spans.
    Apart {
        /// The store's file.
        store: PathBuf,
        /// The ledger's.
        ledger: PathBuf,
    },
}

impl Books {
    /// Makes the store and empty books beside it.
    pub async fn create(&self) {
        match self {
            Self::Sqlite(file) => {
                drop(SqliteStore::open(file).unwrap());
                let db = rusqlite::Connection::open(file).unwrap();
                db.execute_batch(
                    "CREATE TABLE account (balance INTEGER NOT NULL); INSERT INTO account VALUES (0);
                     CREATE TABLE ledger (n INTEGER PRIMARY KEY, id TEXT, key TEXT, attempt INTEGER,
                                          fence INTEGER, pid INTEGER, at INTEGER)",
                )
                .unwrap();
            }
            Self::Postgres { url, schema, .. } => {
                postgres(url, schema).create_schema().await.unwrap();
                let client = client(url, schema).await;
                client
                    .batch_execute(
                        "CREATE TABLE account (balance bigint NOT NULL); INSERT INTO account VALUES (0);
                         CREATE TABLE ledger (n bigserial, id text, key text, attempt bigint, fence bigint,
                                              pid bigint, at bigint)",
                    )
                    .await
                    .unwrap();
            }
            Self::Apart { store, .. } => drop(SqliteStore::open(store).unwrap()),
        }
    }

    /// Every effect in order, and the balance.
    pub async fn read(&self) -> (Vec<LedgerEntry>, u64) {
        match self {
            Self::Sqlite(file) => read_file(file),
            Self::Postgres { url, schema, .. } => {
                let client = client(url, schema).await;
                let rows =
                    client.query("SELECT id, key, attempt, fence, pid, at FROM ledger ORDER BY n", &[]);
                let entries = rows.await.unwrap().iter().map(entry).collect();
                let balance = client.query_one("SELECT balance FROM account", &[]).await.unwrap();
                (entries, number(&balance, 0))
            }
            Self::Apart { ledger, .. } => {
                let entries = Ledger::read(ledger).unwrap().entries;
                let balance = entries.len() as u64;
                (entries, balance)
            }
        }
    }
}

/// The server; `None`, said loudly, where there is none, and a failure with `ACKONCE_REQUIRE_SERVERS=1`.
pub fn server() -> Option<String> {
    address("ACKONCE_TEST_POSTGRES")
}

/// The settings of a store in that schema.
pub fn postgres(url: &str, schema: &str) -> PostgresConfig {
    let config = PostgresConfig::new(url).unwrap().with_schema(SchemaName::new(schema).unwrap());
    config.with_tables(Tables::CreateMissing).with_sweep(Sweep::Manual)
}

/// One effect.
///
/// # Errors
/// Of the database.
pub fn book_in_file(tx: &InboxTx<'_>, entry: &LedgerEntry) -> Result<(), Failure> {
    let (attempt, fence, at) = (entry.attempt, i64::try_from(entry.fence)?, i64::try_from(entry.at)?);
    tx.execute("UPDATE account SET balance = balance + 1", [])?;
    point("before-effect");
    tx.execute(
        "INSERT INTO ledger (id, key, attempt, fence, pid, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (&entry.id, &entry.key, attempt, fence, entry.pid, at),
    )?;
    point("after-effect");
    Ok(())
}

/// One effect in that schema, in the transaction of any driver.
pub fn book_on_server(schema: &str, entry: &LedgerEntry) -> Vec<Act> {
    let LedgerEntry { id, key, attempt, fence, pid, at } = entry;
    let insert = format!(
        "INSERT INTO \"{schema}\".ledger (id, key, attempt, fence, pid, at) VALUES ('{id}', '{key}', {attempt}, {fence}, {pid}, {at})"
    );
    vec![
        Act::Run(format!("UPDATE \"{schema}\".account SET balance = balance + 1")),
        Act::Point("before-effect"),
        Act::Run(insert),
        Act::Point("after-effect"),
    ]
}

fn read_file(file: &Path) -> (Vec<LedgerEntry>, u64) {
    let db = rusqlite::Connection::open(file).unwrap();
    let mut rows = db.prepare("SELECT id, key, attempt, fence, pid, at FROM ledger ORDER BY n").unwrap();
    let number = |row: &rusqlite::Row<'_>, n| row.get::<_, i64>(n).map(|v| u64::try_from(v).unwrap());
    let entries = rows.query_map([], |row| {
        let (id, key, attempt, pid) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?);
        Ok(LedgerEntry { id, key, attempt, fence: number(row, 3)?, pid, at: number(row, 5)? })
    });
    let entries = entries.unwrap().collect::<Result<_, _>>().unwrap();
    let balance = db.query_row("SELECT balance FROM account", [], |row| number(row, 0)).unwrap();
    (entries, balance)
}

async fn client(url: &str, schema: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = \"{schema}\"")).await.unwrap();
    client
}

fn entry(row: &Row) -> LedgerEntry {
    let small = |n| u32::try_from(number(row, n)).unwrap();
    LedgerEntry {
        id: row.get(0),
        key: row.get(1),
        attempt: small(2),
        fence: number(row, 3),
        pid: small(4),
        at: number(row, 5),
    }
}

fn number(row: &Row, n: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(n)).unwrap()
}
