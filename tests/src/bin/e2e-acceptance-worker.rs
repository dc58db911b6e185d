//! A consumer process of the acceptance test: wrapped, or one of the two loops that most teams write.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, Class, Context, Failure, Handler, Item, Keyed, Scope, Settings};
use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use ackonce_kafka::rdkafka::message::Headers;
use ackonce_kafka::{ClientConfig, KafkaConsumer, Message, Order};
use ackonce_sqlite::{InboxTx, SqliteStore, rusqlite};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Entry, Ledger};
use ackonce_tests::acceptance::Plan;
use ackonce_tests::books::book_in_file;
use anyhow::Context as _;

/// Between the steps of an effect, so that a kill finds it at any of them.
const PAUSE: Duration = Duration::from_millis(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let plan = Plan::from_json(&std::env::args().nth(1).context("no plan")?)?;
    let ledger = Arc::new(Ledger::open(&plan.ledger)?);
    match plan.mode.as_str() {
        "inbox" => {
            let store = SqliteStore::open(&plan.db)?;
            let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &Message| {
                book_in_file(tx, &Entry::now(cx, "effect"))
            });
            wrapped(&plan, store, Unhurried(inbox)).await
        }
        "keyed" => wrapped(&plan, SqliteStore::open(&plan.db)?, Keyed(leased(ledger))).await,
        "leased" => wrapped(&plan, SqliteStore::open(&plan.db)?, leased(ledger)).await,
        "record-then-run" => by_hand(&plan, &ledger, true).await,
        "run-then-record" => by_hand(&plan, &ledger, false).await,
        mode => anyhow::bail!("no mode {mode}"),
    }
}

fn config(plan: &Plan) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &plan.brokers)
        .set("group.id", &plan.group)
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "2000")
        .set("heartbeat.interval.ms", "300");
    config
}

async fn wrapped<H: Handler<Message>>(plan: &Plan, store: SqliteStore, handler: H) -> anyhow::Result<()> {
    let settings = Settings::default().with_lease(Duration::from_millis(1500)).with_concurrency(8);
    KafkaConsumer::new(config(plan), &[&plan.topic], &Scope::new(&*plan.group)?, Arc::new(store))
        .with_order(Order::Key)
        .with_settings(settings)
        .with_shutdown(ackonce::shutdown_on_signals()?)
        .run(handler)
        .await?;
    Ok(())
}

fn leased(ledger: Arc<Ledger>) -> impl Handler<Message> {
    move |cx: Context, _: Message| {
        let ledger = ledger.clone();
        async move {
            tokio::time::sleep(PAUSE).await;
            point("before-effect");
            ledger.append(&Entry::now(&cx, "effect"))?;
            point("after-effect");
            tokio::time::sleep(PAUSE).await;
            Ok::<_, Failure>(())
        }
    }
}

/// Waits outside the transaction, so that the one writer of the file is not held up.
struct Unhurried<H>(H);

#[ackonce_tests::async_trait]
impl<H: Handler<Message>> Handler<Message> for Unhurried<H> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<Message>>) -> Vec<Answer> {
        tokio::time::sleep(PAUSE).await;
        self.0.handle(items).await
    }
}

/// "Have I seen this ID?", as most teams write it.
async fn by_hand(plan: &Plan, ledger: &Ledger, record_first: bool) -> anyhow::Result<()> {
    let db = rusqlite::Connection::open(PathBuf::from(&plan.db))?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")?;
    let consumer: StreamConsumer = config(plan).set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&[&plan.topic])?;
    let shutdown = ackonce::shutdown_on_signals()?;
    loop {
        let record = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            record = consumer.recv() => record?,
        };
        let headers = record.headers().context("no headers")?;
        let id = headers.iter().find(|h| h.key == "message-id").and_then(|h| h.value).context("no id")?;
        let id = std::str::from_utf8(id)?.to_owned();
        let mark = || db.execute("INSERT INTO seen (id) VALUES (?1) ON CONFLICT DO NOTHING", [&id]);
        let fresh = if record_first {
            mark()? == 1
        } else {
            !db.prepare("SELECT 1 FROM seen WHERE id = ?1")?.exists([&id])?
        };
        if fresh {
            tokio::time::sleep(PAUSE).await;
            let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
            let (key, at) = (id.clone(), u64::try_from(at)?);
            ledger.append(&Entry {
                id: id.clone(),
                key,
                attempt: 1,
                fence: at,
                pid: std::process::id(),
                at,
            })?;
            tokio::time::sleep(PAUSE).await;
            if !record_first {
                mark()?;
            }
        }
        consumer.commit_message(&record, CommitMode::Async)?;
    }
}
