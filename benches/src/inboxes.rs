//! The inbox of PostgreSQL through each driver: one insert a message, committed with its record. Claims are made before, so the
//! time is that of the transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Token};
use ackonce::{CancellationToken, Context, Deduplicator, Failure, Handler, Item, Scope};
use ackonce_diesel::DieselInbox;
use ackonce_diesel::diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool,
};
use ackonce_diesel::diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ackonce_postgres::{InboxSettings, PostgresConfig, PostgresStore, Tables};
use ackonce_seaorm::SeaOrmInbox;
use ackonce_seaorm::sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseTransaction, DbBackend, Statement,
};
use ackonce_sqlx::SqlxInbox;
use ackonce_sqlx::sqlx::postgres::PgPoolOptions;
use ackonce_sqlx::sqlx::{self, PgTransaction};
use anyhow::{Context as _, ensure};
use diesel::ExpressionMethods as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::handlers::postgres_inbox;
use crate::harness::{Arm, Round, compare};
use crate::stores::EFFECT_TABLE;

/// The connections of each pool, and transactions at once in the row of singles at once.
const AT_ONCE: usize = 16;
const CONNECTIONS: u32 = 16;
/// The messages of one transaction.
const BATCH: usize = 60;
const INSERT: &str = "INSERT INTO ackonce_bench_effect VALUES ($1, 1)";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: String,
    /// Messages of a round; a tenth of them alone
    #[arg(long, default_value_t = 6000)]
    messages: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (store, inboxes) = runtime.block_on(open(&options.postgres))?;
    for (title, messages, batch, at_once) in [
        ("alone", options.messages / 10, 1, 1),
        ("16 at once", options.messages, 1, AT_ONCE),
        ("batches of 60", options.messages, BATCH, 1),
    ] {
        let arm = |(name, inbox): &(&'static str, Arc<dyn Handler<()>>)| {
            let (runtime, store, inbox) = (&runtime, &store, inbox.clone());
            Arm::timed(*name, move || {
                let items = runtime.block_on(claim(store, messages))?;
                let began = Instant::now();
                runtime.block_on(handle(&inbox, items, batch, at_once))?;
                Ok(Round::of(messages, Some(began)))
            })
        };
        compare(&format!("inbox, {title}"), options.rounds, inboxes.iter().map(arm).collect())?;
    }
    Ok(())
}

type Inboxes = Vec<(&'static str, Arc<dyn Handler<()>>)>;

async fn open(url: &str) -> anyhow::Result<(PostgresStore, Inboxes)> {
    let store = PostgresConfig::new(url)?.with_tables(Tables::CreateMissing).connect().await?;
    store.pool(1)?.get().await?.batch_execute(EFFECT_TABLE).await?;
    let tokio = postgres_inbox(&store, InboxSettings::default().with_connections(AT_ONCE));

    let sqlx = sqlx_inbox(&store, url, false).await?;
    let checking = sqlx_inbox(&store, url, true).await?;

    let mut options = ConnectOptions::new(url);
    options.max_connections(CONNECTIONS).test_before_acquire(false).sqlx_logging(false);
    let db = Database::connect(options).await?;
    let seaorm = SeaOrmInbox::new(&store, db, |tx: &DatabaseTransaction, cx: Context, ()| {
        Box::pin(async move {
            let id = cx.key().id().to_vec().into();
            tx.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, INSERT, [id])).await?;
            Ok::<_, Failure>(())
        })
    });

    diesel::table! { ackonce_bench_effect (id) { id -> Binary, amount -> BigInt, } }
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    let pool = deadpool::Pool::builder(manager).max_size(AT_ONCE).build()?;
    let diesel = DieselInbox::new(&store, pool, |tx: &mut AsyncPgConnection, cx: Context, ()| {
        Box::pin(async move {
            use ackonce_bench_effect::{amount, id, table};
            let row = (id.eq(cx.key().id().to_vec()), amount.eq(1));
            diesel::insert_into(table).values(row).execute(tx).await?;
            Ok::<_, Failure>(())
        })
    });
    let inboxes: Inboxes = vec![
        ("tokio-postgres", Arc::new(tokio)),
        ("sqlx", Arc::new(sqlx)),
        ("sqlx, with its pool's check", Arc::new(checking)),
        ("SeaORM", Arc::new(seaorm)),
        ("diesel-async", Arc::new(diesel)),
    ];
    Ok((store, inboxes))
}

/// `checks` is the default of sqlx: a sign of life of each connection before it is given out, by a round trip of its own.
async fn sqlx_inbox(
    store: &PostgresStore,
    url: &str,
    checks: bool,
) -> anyhow::Result<impl Handler<()> + use<>> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(checks);
    Ok(SqlxInbox::new(store, pool.connect(url).await?, |tx: &mut PgTransaction<'_>, cx: Context, ()| {
        Box::pin(async move {
            sqlx::query(INSERT).bind(cx.key().id().to_vec()).execute(&mut **tx).await?;
            Ok::<_, Failure>(())
        })
    }))
}

/// New messages, with leases for the time of a round.
async fn claim(store: &PostgresStore, messages: usize) -> anyhow::Result<Vec<Item<()>>> {
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    let hour = Duration::from_secs(3600);
    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
    let scope = Scope::new(format!("inboxes-{}-{round}", std::process::id()))?;
    let requests = (0..messages).map(|n| {
        let key = scope.key(n.to_be_bytes().to_vec())?;
        anyhow::Ok(ClaimRequest { key, token: Token::random(), lease: hour, window: hour, fingerprint: None })
    });
    let requests: Vec<_> = requests.collect::<Result<_, _>>()?;
    let mut items = Vec::with_capacity(messages);
    for some in requests.chunks(1000) {
        for claimed in store.claim(some).await? {
            let Claimed::Acquired(lease) = claimed else { anyhow::bail!("a new message is not free") };
            items.push(Item { cx: Context::new(lease, CancellationToken::new()), message: () });
        }
    }
    Ok(items)
}

async fn handle(
    inbox: &Arc<dyn Handler<()>>,
    items: Vec<Item<()>>,
    batch: usize,
    at_once: usize,
) -> anyhow::Result<()> {
    let groups: Vec<_> = items.chunks(batch).map(<[_]>::to_vec).collect();
    let one = |group: Vec<Item<()>>| {
        let inbox = inbox.clone();
        async move {
            let answers = tokio::spawn(async move { inbox.handle(group).await }).await?;
            ensure!(answers.iter().all(Result::is_ok), "a message failed: {answers:?}");
            anyhow::Ok(())
        }
    };
    stream::iter(groups).map(Ok).try_for_each_concurrent(at_once, one).await.context("the inbox")
}
