//! The outbox from commit to confirmed, beside the loop that most teams write: poll, publish, update row by row. The place that
//! messages go to confirms at once, so the figures are those of the database.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::{CancellationToken, Failure};
use ackonce_outbox::{Outbox, OutboxMessage, OutboxPublisher, Outgoing, PostgresOutbox, SqliteOutbox};
use ackonce_postgres::deadpool_postgres::Pool;
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Tables};
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::{Connection, TransactionBehavior};
use clap::Args;
use tokio::runtime::Runtime;

use crate::harness::{Arm, Round, compare};

/// Messages of one transaction, and transactions at once.
const IN_ONE: usize = 100;
const WRITERS: usize = 4;
const KEYS: usize = 5000;

#[derive(Args)]
pub(crate) struct Options {
    /// Messages of a round
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    /// Messages of a round of the loops by hand
    #[arg(long, default_value_t = 10_000)]
    by_hand: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The Postgres to measure on; without one it is left out
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: Option<String>,
    /// Directory for SQLite's file
    #[arg(long, default_value = ".")]
    directory: PathBuf,
}

/// Confirms at once.
#[derive(Debug, Default)]
struct Sink(AtomicUsize);

#[async_trait::async_trait]
impl OutboxPublisher for Sink {
    async fn publish(&self, _: &OutboxMessage) -> Result<(), Failure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let file = directory.path().join("outbox.db");
    let (messages, by_hand) = (options.messages, options.by_hand);
    let sqlite = runtime.block_on(open_sqlite(&file))?;
    let most = Cell::new(0);
    let arms = vec![
        Arm::timed("SQLite by hand: poll, publish, update each", || sqlite_by_hand(&file, by_hand)),
        Arm::timed("SQLite, ackonce-outbox", || {
            let round = runtime.block_on(from_sqlite(&sqlite, &file, messages))?;
            most.set(most.get().max(std::fs::metadata(&file)?.len()));
            Ok(round)
        })
        .reference("SQLite"),
    ];
    compare("outbox, SQLite", options.rounds, arms)?;
    println!("the file had {:.1} MB at most at the end of a round", megabytes(most.get()));
    let Some(url) = &options.postgres else { return Ok(()) };
    let postgres = runtime.block_on(open_postgres(url))?;
    let most = Cell::new(0);
    let arms = vec![
        Arm::timed("PostgreSQL by hand: poll, publish, update each", || {
            postgres_by_hand(&runtime, &postgres.pool, by_hand)
        }),
        Arm::timed("PostgreSQL, ackonce-outbox", || {
            let round = runtime.block_on(from_postgres(&postgres, messages))?;
            most.set(most.get().max(runtime.block_on(postgres.bytes())?));
            Ok(round)
        })
        .reference("PostgreSQL"),
    ];
    compare("outbox, PostgreSQL", options.rounds, arms)?;
    println!("the tables had {:.1} MB at most at the end of a round", megabytes(most.get()));
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a size in megabytes is no count")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The time from the first commit until everything is confirmed and gone from the table.
async fn relayed<P>(outbox: &Outbox, messages: usize, publishing: P) -> anyhow::Result<Round>
where
    P: Future<Output = anyhow::Result<()>>,
{
    let (sink, shutdown) = (Arc::new(Sink::default()), CancellationToken::new());
    let relay = outbox.with_shutdown(shutdown.clone());
    let relay = tokio::spawn({
        let sink = sink.clone();
        async move { relay.run(sink).await }
    });
    // It holds its ranges by then.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    publishing.await?;
    while sink.0.load(Ordering::Relaxed) < messages || outbox.lag().await?.waiting > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let round = Round::of(messages, Some(began));
    shutdown.cancel();
    relay.await??;
    Ok(round)
}

fn message(n: usize) -> Outgoing {
    Outgoing::new("orders", format!(r#"{{"order": {n}, "customer": {}, "amount": 1250}}"#, n % KEYS))
        .with_key(format!("customer-{}", n % KEYS))
}

async fn open_sqlite(file: &Path) -> anyhow::Result<SqliteOutbox> {
    Ok(SqliteOutbox::open(&SqliteStore::open(file)?).await?)
}

async fn from_sqlite(outbox: &SqliteOutbox, file: &Path, messages: usize) -> anyhow::Result<Round> {
    let (publishing, file) = (outbox.clone(), file.to_owned());
    let publish = move || -> anyhow::Result<()> {
        let mut conn = connect(&file)?;
        for from in (0..messages).step_by(IN_ONE) {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for n in from..(from + IN_ONE).min(messages) {
                publishing.publish(&tx, &message(n))?;
            }
            tx.commit()?;
            publishing.wake();
        }
        Ok(())
    };
    relayed(outbox, messages, async { tokio::task::spawn_blocking(publish).await? }).await
}

fn connect(file: &Path) -> anyhow::Result<Connection> {
    let conn = Connection::open(file)?;
    conn.busy_timeout(Duration::from_secs(60))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

fn sqlite_by_hand(file: &Path, messages: usize) -> anyhow::Result<Round> {
    let mut conn = connect(file)?;
    conn.execute_batch(
        "DROP TABLE IF EXISTS by_hand;
         CREATE TABLE by_hand (id INTEGER PRIMARY KEY, payload TEXT NOT NULL, sent_at INTEGER);
         CREATE INDEX by_hand_open ON by_hand (id) WHERE sent_at IS NULL",
    )?;
    let began = Instant::now();
    let tx = conn.transaction()?;
    for n in 0..messages {
        tx.prepare_cached("INSERT INTO by_hand (payload) VALUES (?1)")?.execute([format!("{n}")])?;
    }
    tx.commit()?;
    loop {
        let ids = {
            let mut poll =
                conn.prepare_cached("SELECT id FROM by_hand WHERE sent_at IS NULL ORDER BY id LIMIT 100")?;
            let ids = poll.query_map([], |row| row.get(0))?;
            ids.collect::<Result<Vec<i64>, _>>()?
        };
        if ids.is_empty() {
            return Ok(Round::of(messages, Some(began)));
        }
        for id in ids {
            conn.prepare_cached("UPDATE by_hand SET sent_at = unixepoch() WHERE id = ?1")?.execute([id])?;
        }
    }
}

struct Server {
    outbox: PostgresOutbox,
    pool: Pool,
}

impl Server {
    async fn bytes(&self) -> anyhow::Result<u64> {
        let text = "SELECT (pg_total_relation_size('ackonce_bench_outbox.outbox_0') \
                    + pg_total_relation_size('ackonce_bench_outbox.outbox_1'))::bigint";
        let bytes: i64 = self.pool.get().await?.query_one(text, &[]).await?.get(0);
        Ok(u64::try_from(bytes)?)
    }
}

async fn open_postgres(url: &str) -> anyhow::Result<Server> {
    let config = PostgresConfig::new(url)?.with_schema(SchemaName::new("ackonce_bench_outbox")?);
    let store: PostgresStore = config.with_tables(Tables::CreateMissing).connect().await?;
    Ok(Server { outbox: PostgresOutbox::open(&store).await?, pool: store.pool(WRITERS + 1)? })
}

async fn from_postgres(server: &Server, messages: usize) -> anyhow::Result<Round> {
    let share = messages / WRITERS;
    let writer = |first: usize| async move {
        let mut client = server.pool.get().await?;
        for from in (first..first + share).step_by(IN_ONE) {
            let all: Vec<_> = (from..(from + IN_ONE).min(first + share)).map(message).collect();
            let tx = client.transaction().await?;
            server.outbox.publish_all(&tx, &all).await?;
            tx.commit().await?;
            server.outbox.wake();
        }
        anyhow::Ok(())
    };
    let publishing = async {
        futures_util::future::try_join_all((0..WRITERS).map(|n| writer(n * share))).await?;
        Ok(())
    };
    relayed(&server.outbox, share * WRITERS, publishing).await
}

fn postgres_by_hand(runtime: &Runtime, pool: &Pool, messages: usize) -> anyhow::Result<Round> {
    runtime.block_on(async {
        let client = pool.get().await?;
        client
            .batch_execute(
                "DROP TABLE IF EXISTS ackonce_bench_by_hand;
                 CREATE TABLE ackonce_bench_by_hand (id bigserial PRIMARY KEY, payload text NOT NULL, sent_at timestamptz);
                 CREATE INDEX ON ackonce_bench_by_hand (id) WHERE sent_at IS NULL",
            )
            .await?;
        let began = Instant::now();
        let insert = "INSERT INTO ackonce_bench_by_hand (payload) SELECT n::text FROM generate_series(1, $1::bigint) n";
        client.execute(insert, &[&i64::try_from(messages)?]).await?;
        let poll = client.prepare("SELECT id FROM ackonce_bench_by_hand WHERE sent_at IS NULL ORDER BY id LIMIT 100").await?;
        let update = client.prepare("UPDATE ackonce_bench_by_hand SET sent_at = now() WHERE id = $1").await?;
        loop {
            let rows = client.query(&poll, &[]).await?;
            if rows.is_empty() {
                return Ok(Round::of(messages, Some(began)));
            }
            for row in rows {
                client.execute(&update, &[&row.get::<_, i64>(0)]).await?;
            }
        }
    })
}
