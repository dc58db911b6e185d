//! A worker of the outbox's crash runs: a consumer with inbox and outbox, a relay, or the second consumer.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Answer, Backoff, Class, Context, Deduplicator, Failure, Handler, Item, Scope, Settings};
use ackonce_amqp::{AmqpConsumer, AmqpMessage, AmqpPublisher, Order};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage, KafkaPublisher};
use ackonce_outbox::{
    HttpPublisher, Outbox, OutboxMessage, OutboxOptions, OutboxPublisher, Outgoing, PostgresOutbox,
    SqliteOutbox,
};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_sqlite::{InboxTx, SqliteStore};
use ackonce_testkit::crash::point;
use ackonce_testkit::ledger::LedgerEntry;
use ackonce_tests::acceptance::Place;
use ackonce_tests::books::{self, Books, book_in_file, book_on_server};
use ackonce_tests::drivers::perform_in;
use ackonce_tests::outbox::{Plan, Role};
use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,lapin=off".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let plan: Plan = serde_json::from_str(&std::env::args().nth(1).context("no plan")?)?;
    match (plan.role, plan.place.clone()) {
        (Role::Relay, place) => relay(&plan, place).await,
        (Role::Events, _) if plan.service.is_some() => service::run(&plan).await,
        (Role::Orders, Place::Kafka(brokers)) => orders::<KafkaMessage>(&plan, OnKafka(brokers)).await,
        (Role::Orders, Place::Amqp(url)) => orders::<AmqpMessage>(&plan, OnRabbit(url)).await,
        (Role::Events, Place::Kafka(brokers)) => events::<KafkaMessage>(&plan, OnKafka(brokers)).await,
        (Role::Events, Place::Amqp(url)) => events::<AmqpMessage>(&plan, OnRabbit(url)).await,
    }
}

/// A message of both brokers.
trait Payload: Send + Sync + 'static {
    /// `key:number`.
    fn text(&self) -> String;
}

impl Payload for KafkaMessage {
    fn text(&self) -> String {
        String::from_utf8_lossy(self.payload()).into_owned()
    }
}

impl Payload for AmqpMessage {
    fn text(&self) -> String {
        String::from_utf8_lossy(self.payload()).into_owned()
    }
}

/// A broker's consumer.
trait Consume<M> {
    async fn consume<H: Handler<M>>(
        &self,
        from: &str,
        store: Arc<dyn Deduplicator>,
        handler: H,
    ) -> anyhow::Result<()>;
}

fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_secs(2))
        .with_attempts(1000)
        .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) })
}

struct OnKafka(String);

impl Consume<KafkaMessage> for OnKafka {
    async fn consume<H: Handler<KafkaMessage>>(
        &self,
        from: &str,
        store: Arc<dyn Deduplicator>,
        handler: H,
    ) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.0)
            .set("group.id", format!("{from}-group"))
            .set("session.timeout.ms", "2000")
            .set("heartbeat.interval.ms", "300");
        let consumer = KafkaConsumer::new(config, &[from], &Scope::new(from)?, store);
        consumer
            .with_settings(settings())
            .with_shutdown(ackonce::shutdown_on_signals()?)
            .run(handler)
            .await?;
        Ok(())
    }
}

struct OnRabbit(String);

impl Consume<AmqpMessage> for OnRabbit {
    async fn consume<H: Handler<AmqpMessage>>(
        &self,
        from: &str,
        store: Arc<dyn Deduplicator>,
        handler: H,
    ) -> anyhow::Result<()> {
        let consumer = AmqpConsumer::new(&format!("{}?heartbeat=2", self.0), from, &Scope::new(from)?, store)
            .with_order(Order::Source)
            .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_secs(1) })
            .with_settings(settings());
        consumer.with_shutdown(ackonce::shutdown_on_signals()?).run(handler).await?;
        Ok(())
    }
}

/// The event of an order, under the order's key.
fn event(to: &str, text: &str) -> Outgoing {
    let key = text.split(':').next().unwrap_or_default().to_owned();
    Outgoing::new(to, text.to_owned()).with_key(key)
}

async fn orders<M: Payload + Clone>(plan: &Plan, broker: impl Consume<M>) -> anyhow::Result<()> {
    let to = plan.events.clone();
    match plan.books.clone() {
        Books::Postgres { url, schema, .. } => {
            let store = books::postgres(&url, &schema).connect().await?;
            let outbox = PostgresOutbox::open(&store).await?;
            let (publishing, waking) = (outbox.clone(), outbox);
            let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, message: M| {
                let (outbox, schema, to) = (publishing.clone(), schema.clone(), to.clone());
                Box::pin(async move {
                    perform_in(tx, book_on_server(&schema, &LedgerEntry::now(&cx, "order"))).await?;
                    point("before-publish");
                    outbox.publish(tx, &event(&to, &message.text())).await?;
                    point("after-publish");
                    Ok::<_, Failure>(())
                })
            });
            broker.consume(&plan.orders, Arc::new(store), waking.waking(inbox)).await
        }
        Books::Sqlite(file) => {
            let store = SqliteStore::open(file)?;
            let outbox = SqliteOutbox::open(&store).await?;
            let publishing = outbox.clone();
            let inbox = store.inbox(move |tx: &InboxTx<'_>, cx: &Context, message: &M| {
                book_in_file(tx, &LedgerEntry::now(cx, "order"))?;
                point("before-publish");
                publishing.publish(tx, &event(&to, &message.text()))?;
                point("after-publish");
                Ok::<_, Failure>(())
            });
            broker.consume(&plan.orders, Arc::new(store), outbox.waking(inbox)).await
        }
        Books::Apart { .. } => anyhow::bail!("there is no transaction to publish in"),
    }
}

async fn events<M: Payload>(plan: &Plan, broker: impl Consume<M>) -> anyhow::Result<()> {
    let store = SqliteStore::open(&plan.events_db)?;
    let inbox = store.inbox(|tx: &InboxTx<'_>, _: &Context, message: &M| {
        let text = message.text();
        let (key, number) = text.split_once(':').ok_or("no event of ours")?;
        point("before-effect");
        tx.execute("INSERT INTO event (key, number) VALUES (?1, ?2)", (key, number.parse::<i64>()?))?;
        point("after-effect");
        Ok::<_, Failure>(())
    });
    broker.consume(&plan.events, Arc::new(store), Unhurried(inbox)).await
}

async fn relay(plan: &Plan, place: Place) -> anyhow::Result<()> {
    let outbox: Outbox = match plan.books.clone() {
        Books::Postgres { url, schema, .. } => {
            let outbox = PostgresOutbox::open(&books::postgres(&url, &schema).connect().await?).await?;
            Outbox::clone(&outbox)
        }
        Books::Sqlite(file) => {
            let outbox = SqliteOutbox::open(&SqliteStore::open(file)?).await?;
            Outbox::clone(&outbox)
        }
        Books::Apart { .. } => anyhow::bail!("there is no outbox"),
    };
    let mut options = OutboxOptions::default();
    (options.lease, options.attempts) = (Duration::from_secs(2), 1000);
    let outbox = outbox.with_options(options).with_shutdown(ackonce::shutdown_on_signals()?);
    if let Some(address) = &plan.service {
        outbox.run(Marked(HttpPublisher::beneath(&format!("http://{address}"))?)).await?;
        return Ok(());
    }
    match place {
        Place::Kafka(brokers) => {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers);
            outbox.run(Marked(KafkaPublisher::new(config, "outbox")?)).await?;
        }
        Place::Amqp(url) => drop(outbox.run(Marked(AmqpPublisher::new(&url, "outbox")?)).await?),
    }
    Ok(())
}

/// A service that honours the idempotency key: it notes the key in the transaction of its effect.
mod service {
    use std::path::PathBuf;

    use ackonce_sqlite::rusqlite::{Connection, TransactionBehavior};
    use ackonce_testkit::crash::point;
    use ackonce_tests::outbox::Plan;
    use anyhow::Context as _;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};

    pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
        let address = plan.service.as_ref().context("no address")?;
        let app = axum::Router::new().route(&format!("/{}", plan.events), axum::routing::post(post));
        let listener = tokio::net::TcpListener::bind(address).await?;
        let shutdown = ackonce::shutdown_on_signals()?;
        let served = axum::serve(listener, app.with_state(plan.events_db.clone()));
        Ok(served.with_graceful_shutdown(async move { shutdown.cancelled().await }).await?)
    }

    async fn post(State(db): State<PathBuf>, headers: HeaderMap, body: String) -> StatusCode {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let Some(key) = key else { return StatusCode::BAD_REQUEST };
        let taken = tokio::task::spawn_blocking(move || take(&db, &key, &body)).await;
        match taken {
            Ok(Ok(())) => StatusCode::NO_CONTENT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn take(db: &PathBuf, key: &str, body: &str) -> anyhow::Result<()> {
        let mut conn = Connection::open(db)?;
        conn.busy_timeout(std::time::Duration::from_secs(10))?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if tx.execute("INSERT OR IGNORE INTO operation VALUES (?1)", [key])? == 0 {
            return Ok(());
        }
        let (key, number) = body.split_once(':').context("no event of ours")?;
        point("before-effect");
        tx.execute("INSERT INTO event (key, number) VALUES (?1, ?2)", (key, number.parse::<i64>()?))?;
        point("after-effect");
        Ok(tx.commit()?)
    }
}

/// A publisher with the points of a crash around it.
#[derive(Debug)]
struct Marked<P>(P);

#[ackonce_tests::async_trait]
impl<P: OutboxPublisher> OutboxPublisher for Marked<P> {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        point("before-send");
        self.0.publish(message).await?;
        point("after-send");
        Ok(())
    }

    fn is_one_place(&self) -> bool {
        self.0.is_one_place()
    }

    fn at_once(&self) -> usize {
        self.0.at_once()
    }
}

/// Takes some time outside of the transaction.
struct Unhurried<H>(H);

#[ackonce_tests::async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Unhurried<H> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.handle(items).await
    }
}
