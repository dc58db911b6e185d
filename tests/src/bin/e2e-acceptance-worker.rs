//! A consumer process of the acceptance test: wrapped, or one of the two loops that most teams write.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, Backoff, Class, Context, Failure, Handler, Item, Keyed, Scope, Settings};
use ackonce_amqp::AmqpConsumer;
use ackonce_kafka::rdkafka::Message as _;
use ackonce_kafka::rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use ackonce_kafka::rdkafka::message::Headers;
use ackonce_kafka::{ClientConfig, KafkaConsumer, Order};
use ackonce_sqlite::{InboxTx, SqliteStore, rusqlite};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::acceptance::{Place, Plan};
use ackonce_tests::books::book_in_file;
use anyhow::Context as _;

/// Between the steps of an effect, so that a kill finds it at any of them.
const PAUSE: Duration = Duration::from_millis(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let plan = Plan::from_json(&std::env::args().nth(1).context("no plan")?)?;
    match plan.mode.as_str() {
        "record-then-run" => by_hand(&plan, true).await,
        "run-then-record" => by_hand(&plan, false).await,
        _ => match &plan.place {
            Place::Kafka(_) => wrapped::<OnKafka>(&plan).await,
            Place::Amqp(_) => wrapped::<OnRabbit>(&plan).await,
        },
    }
}

fn config(plan: &Plan) -> anyhow::Result<ClientConfig> {
    let Place::Kafka(brokers) = &plan.place else { anyhow::bail!("not on Kafka") };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("{}-group", plan.name))
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "2000")
        .set("heartbeat.interval.ms", "300");
    Ok(config)
}

async fn wrapped<C: Consume>(plan: &Plan) -> anyhow::Result<()> {
    let store = SqliteStore::open(&plan.db)?;
    if plan.mode == "inbox" {
        let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, _: &C::Message| {
            book_in_file(tx, &LedgerEntry::now(cx, "effect"))
        });
        return C::consume(plan, store, Unhurried(inbox)).await;
    }
    let ledger = Arc::new(Ledger::open(&plan.ledger)?);
    match plan.mode.as_str() {
        "keyed" => C::consume(plan, store, Keyed(leased(ledger))).await,
        "leased" => C::consume(plan, store, leased(ledger)).await,
        mode => anyhow::bail!("no mode {mode}"),
    }
}

/// A broker's consumer.
trait Consume {
    type Message: Send + Sync + 'static;

    async fn consume<H: Handler<Self::Message>>(
        plan: &Plan,
        store: SqliteStore,
        handler: H,
    ) -> anyhow::Result<()>;
}

fn settings() -> Settings {
    Settings::default().with_lease(Duration::from_millis(1500)).with_concurrency(8)
}

struct OnKafka;

impl Consume for OnKafka {
    type Message = ackonce_kafka::KafkaMessage;

    async fn consume<H: Handler<Self::Message>>(
        plan: &Plan,
        store: SqliteStore,
        handler: H,
    ) -> anyhow::Result<()> {
        let scope = Scope::new(format!("{}-group", plan.name))?;
        KafkaConsumer::new(config(plan)?, &[&plan.name], &scope, Arc::new(store))
            .with_order(Order::Key)
            .with_settings(settings())
            .with_shutdown(ackonce::shutdown_on_signals()?)
            .run(handler)
            .await?;
        Ok(())
    }
}

struct OnRabbit;

impl Consume for OnRabbit {
    type Message = ackonce_amqp::AmqpMessage;

    async fn consume<H: Handler<Self::Message>>(
        plan: &Plan,
        store: SqliteStore,
        handler: H,
    ) -> anyhow::Result<()> {
        let Place::Amqp(url) = &plan.place else { anyhow::bail!("not on RabbitMQ") };
        AmqpConsumer::new(url, &plan.name, &Scope::new(&*plan.name)?, Arc::new(store))
            .with_settings(settings())
            .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2) })
            .with_shutdown(ackonce::shutdown_on_signals()?)
            .run(handler)
            .await?;
        Ok(())
    }
}

fn leased<M: Send + 'static>(ledger: Arc<Ledger>) -> impl Handler<M> {
    move |cx: Context, _: M| {
        let ledger = ledger.clone();
        async move {
            tokio::time::sleep(PAUSE).await;
            point("before-effect");
            ledger.append(&LedgerEntry::now(&cx, "effect"))?;
            point("after-effect");
            tokio::time::sleep(PAUSE).await;
            Ok::<_, Failure>(())
        }
    }
}

/// Waits outside the transaction, so that the one writer of the file is not held up.
struct Unhurried<H>(H);

#[ackonce_tests::async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Unhurried<H> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        tokio::time::sleep(PAUSE).await;
        self.0.handle(items).await
    }
}

/// "Have I seen this ID?", as most teams write it.
async fn by_hand(plan: &Plan, record_first: bool) -> anyhow::Result<()> {
    let ledger = Ledger::open(&plan.ledger)?;
    let db = rusqlite::Connection::open(PathBuf::from(&plan.db))?;
    db.busy_timeout(Duration::from_secs(10))?;
    let consumer: StreamConsumer = config(plan)?.set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&[&plan.name])?;
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
            ledger.append(&LedgerEntry {
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
