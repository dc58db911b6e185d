//! The RabbitMQ consumer process of the tests. A payload names its message's behaviour: `ok`, `abort`, `fail`, or
//! `hold:PATH`, which waits while that file exists and is empty or names this process.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, Backoff, Class, Context, Failure, Handler, Item, Keyed, Scope, Settings};
use ackonce_amqp::{AmqpConsumer, AmqpMessage, Order};
use ackonce_sqlite::{InboxTx, SqliteStore};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::amqp::worker::Plan;
use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,lapin=off".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let plan = Plan::from_json(&std::env::args().nth(1).context("no plan")?)?;
    let store = SqliteStore::open(&plan.db)?;
    if plan.class == "inbox" {
        let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &AmqpMessage| book(tx, cx));
        return consume(&plan, store, Unhurried(inbox, Duration::from_millis(plan.work_ms))).await;
    }
    let ledger = Arc::new(Ledger::open(&plan.ledger)?);
    let work = Duration::from_millis(plan.work_ms);
    let handler = move |cx: Context, message: AmqpMessage| {
        let ledger = ledger.clone();
        async move { obey(&cx, &message, &ledger, work).await }
    };
    match plan.class.as_str() {
        "keyed" => consume(&plan, store, Keyed(handler)).await,
        _ => consume(&plan, store, handler).await,
    }
}

async fn consume<H: Handler<AmqpMessage>>(plan: &Plan, store: SqliteStore, handler: H) -> anyhow::Result<()> {
    let settings = Settings::default()
        .with_lease(Duration::from_millis(plan.lease_ms))
        .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) })
        .with_attempts(plan.attempts)
        .with_concurrency(plan.concurrency);
    let mut consumer = AmqpConsumer::new(&plan.url, &plan.queue, &Scope::new(&*plan.queue)?, Arc::new(store))
        .with_settings(settings)
        .with_order(if plan.ordered { Order::Source } else { Order::Unordered })
        .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2) })
        .with_shutdown(ackonce::shutdown_on_signals()?);
    if let Some(messages) = plan.prefetch {
        consumer = consumer.with_prefetch(messages);
    }
    if let Some(queue) = &plan.dead_letters {
        consumer = consumer.with_dead_letters_to("", queue);
    }
    if let Some(address) = &plan.management {
        consumer = consumer.with_management(address);
    }
    consumer.run(handler).await?;
    Ok(())
}

async fn obey(cx: &Context, message: &AmqpMessage, ledger: &Ledger, work: Duration) -> Result<(), Failure> {
    let order = String::from_utf8_lossy(message.payload()).into_owned();
    if let Some(file) = order.strip_prefix("hold:") {
        let me = std::process::id().to_string();
        while std::fs::read_to_string(file).is_ok_and(|held| held.is_empty() || held == me) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    match order.as_str() {
        "abort" => std::process::abort(),
        "fail" => return Err("told to fail".into()),
        _ => {}
    }
    tokio::time::sleep(work).await;
    point("before-effect");
    ledger.append(&LedgerEntry::now(cx, "effect"))?;
    point("after-effect");
    tokio::time::sleep(work).await;
    Ok(())
}

fn book(tx: &InboxTx<'_>, cx: &Context) -> Result<(), Failure> {
    let entry = LedgerEntry::now(cx, "effect");
    let numbers = (entry.attempt, i64::try_from(entry.fence)?, entry.pid, i64::try_from(entry.at)?);
    point("before-effect");
    tx.execute(
        "INSERT INTO ledger (id, key, attempt, fence, pid, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (entry.id, entry.key, numbers.0, numbers.1, numbers.2, numbers.3),
    )?;
    point("after-effect");
    Ok(())
}

/// Waits outside the transaction, so that the one writer of the file is not held up.
struct Unhurried<H>(H, Duration);

#[ackonce_tests::async_trait]
impl<H: Handler<AmqpMessage>> Handler<AmqpMessage> for Unhurried<H> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<AmqpMessage>>) -> Vec<Answer> {
        tokio::time::sleep(self.1).await;
        self.0.handle(items).await
    }
}
