//! A worker of the inbox's crash runs: delivers its lines of the feed until it is killed.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Mode, RecordOnly};
use ackonce::{Context, Deduplicator, Failure, Handler, Runner, Scope, Settings};
use ackonce_sqlite::{InboxTx, SqliteStore};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::books::{self, Books, book_in_file, book_on_server};
use ackonce_tests::drivers::Pool;
use ackonce_tests::feed;
use ackonce_tests::inbox::Plan;
use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let plan: Plan = serde_json::from_str(&std::env::args().nth(1).context("no plan")?)?;
    match plan.books.clone() {
        Books::Sqlite(file) => {
            let store = SqliteStore::open(file)?;
            let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, (): &()| {
                book_in_file(tx, &LedgerEntry::now(cx, "effect"))
            });
            work(&plan, Arc::new(store), inbox).await
        }
        Books::Postgres { url, schema, driver } => {
            let store = books::postgres(&url, &schema).connect().await?;
            let script = move |cx: &Context, (): ()| book_on_server(&schema, &LedgerEntry::now(cx, "effect"));
            let inbox = driver.inbox(&store, &Pool::new(&url), Arc::new(script)).await;
            work(&plan, Arc::new(store), inbox).await
        }
        Books::Apart { store, ledger } => {
            let ledger = Arc::new(Ledger::open(ledger)?);
            let handler = move |cx: Context, (): ()| {
                let ledger = ledger.clone();
                async move {
                    point("before-effect");
                    ledger.append(&LedgerEntry::now(&cx, "effect"))?;
                    point("after-effect");
                    Ok::<_, Failure>(())
                }
            };
            work(&plan, Arc::new(SqliteStore::open(store)?), handler).await
        }
    }
}

async fn work<H>(plan: &Plan, store: Arc<dyn Deduplicator>, inbox: H) -> anyhow::Result<()>
where
    H: Handler<()>,
{
    // A message may well be killed several times here, and is none the worse for it. On a busy machine, a batch that waits for
    // the one row of the account takes seconds.
    let settings =
        Settings::default().with_lease(Duration::from_secs(4)).with_attempts(1000).with_concurrency(8);
    let scope = Scope::new("inbox")?;
    let runner = Runner::with(store, &scope, inbox, settings, Arc::new(RecordOnly))?;
    feed::consume(plan.share(), runner, scope, Mode::Batches, ackonce::shutdown_on_signals()?).await
}
