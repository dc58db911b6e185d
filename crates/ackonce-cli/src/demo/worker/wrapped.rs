//! The consumer wrapped in Ackonce.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ackonce::{
    Answer, AtMostOnce, Class, Context, Counts, Failure, Handler, Item, Keyed, OnStart, Scope, Settings,
};
use ackonce_amqp::AmqpConsumer;
use ackonce_kafka::{KafkaConsumer, Order};
use ackonce_postgres::PostgresStore;
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_sqlite::{InboxTx, SqliteStore};
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use tokio::time::sleep;
use tracing_subscriber::EnvFilter;

use super::super::args::DemoClass;
use super::super::broker::Source;
use super::super::counter::{FileCounter, FileRecorder, PROGRESS};
use super::super::work;
use super::{WorkerOrder, kafka};
use crate::ledger;
use crate::stores::{Opened, StoreUrl};

/// The number of messages claimed at once; after a kill, those that had not begun wait for the lease.
const CHUNK: usize = 32;

pub(super) fn run(order: &WorkerOrder) -> Result<()> {
    // RUST_LOG=ackonce=info tells of rebalances, =debug of each decision.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    metrics::set_global_recorder(FileRecorder::new(&order.files)?).context("counting")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(consume(order))?;
    Ok(())
}

async fn consume(order: &WorkerOrder) -> Result<Counts> {
    let shutdown = ackonce::shutdown_on_signals()?;
    // Another worker may be standing still in the middle of a write.
    let store = order.store.parse::<StoreUrl>()?.open_at_start(OnStart::default(), &shutdown).await?;
    let scope = Scope::new(order.group.clone())?;
    let lease = Duration::from_millis(order.lease_ms);
    let settings = Settings::default()
        .with_lease(lease)
        .with_attempts(order.attempts)
        // One message at a time, as the loops written by hand do.
        .with_concurrency(1)
        .with_chunk(CHUNK);
    match &order.source {
        Source::Kafka { brokers, topic, group, session_ms } => {
            let config = kafka(brokers, group, *session_ms);
            let consumer = KafkaConsumer::new(config, &[topic], &scope, store.deduplicator())
                .with_settings(settings)
                .with_order(Order::Key)
                .with_shutdown(shutdown);
            handle(order, &store, consumer).await
        }
        Source::RabbitMq { url, queue } => {
            let consumer = AmqpConsumer::new(url, queue, &scope, store.deduplicator())
                .with_settings(settings)
                .with_shutdown(shutdown);
            handle(order, &store, consumer).await
        }
    }
}

/// A broker's consumer.
trait Consumer {
    type Message: Send + Sync + 'static;

    async fn run<H: Handler<Self::Message>>(self, handler: H) -> ackonce::Result<Counts>;
}

impl Consumer for KafkaConsumer {
    type Message = ackonce_kafka::KafkaMessage;

    async fn run<H: Handler<Self::Message>>(self, handler: H) -> ackonce::Result<Counts> {
        Self::run(self, handler).await
    }
}

impl Consumer for AmqpConsumer {
    type Message = ackonce_amqp::AmqpMessage;

    async fn run<H: Handler<Self::Message>>(self, handler: H) -> ackonce::Result<Counts> {
        Self::run(self, handler).await
    }
}

async fn handle<C: Consumer>(order: &WorkerOrder, store: &Opened, consumer: C) -> Result<Counts> {
    let counts = match (order.class, store) {
        (DemoClass::Inbox, Opened::Sqlite(store)) => consumer.run(in_sqlite(order, store)?).await,
        (DemoClass::Inbox, Opened::Postgres(store)) => consumer.run(in_postgres(order, store)?).await,
        (DemoClass::Inbox, _) => bail!("class inbox needs a sqlite: or postgres:// store"),
        (DemoClass::Leased, _) => consumer.run(to_file(order)?).await,
        (DemoClass::Keyed, _) => consumer.run(Keyed(to_file(order)?)).await,
        (DemoClass::AtMostOnce, _) => consumer.run(AtMostOnce(to_file(order)?)).await,
    };
    Ok(counts?)
}

/// The effect is a row of the store's file, committed together with the record.
fn in_sqlite<M: Send + Sync + 'static>(
    order: &WorkerOrder,
    store: &SqliteStore,
) -> Result<impl Handler<M> + use<M>> {
    let progress = FileCounter::open(&order.files.counter(PROGRESS))?;
    Ok(Begun(store.inbox(move |tx: &InboxTx<'_>, cx: &Context, _: &M| {
        ledger::sqlite::insert(tx, &LedgerEntry::now(cx, "effect"))?;
        progress.add(1)?;
        thread::sleep(work::part());
        Ok::<(), Failure>(())
    })))
}

/// The same with a row on a server.
fn in_postgres<M: Send + Sync + 'static>(
    order: &WorkerOrder,
    store: &PostgresStore,
) -> Result<impl Handler<M> + use<M>> {
    let progress = Arc::new(FileCounter::open(&order.files.counter(PROGRESS))?);
    Ok(Begun(store.inbox(move |tx: &Transaction<'_>, cx: Context, _: M| {
        let progress = progress.clone();
        Box::pin(async move {
            ledger::postgres::insert(tx, &LedgerEntry::now(&cx, "effect")).await?;
            progress.add(1)?;
            sleep(work::part()).await;
            Ok::<(), Failure>(())
        })
    })))
}

/// A handler whose first part is none of the transaction's business: SQLite has one writer, and all wait for it.
#[derive(Debug)]
struct Begun<H>(H);

#[async_trait]
impl<M: Send + 'static, H: Handler<M>> Handler<M> for Begun<H> {
    fn class(&self) -> Class {
        self.0.class()
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        sleep(work::part()).await;
        self.0.handle(items).await
    }
}

/// The effect is a line of a file, which knows nothing of the store.
fn to_file<M: Send + 'static>(order: &WorkerOrder) -> Result<impl Handler<M> + use<M>> {
    let progress = FileCounter::open(&order.files.counter(PROGRESS))?;
    let effects = Arc::new((Ledger::open(order.files.ledger())?, progress));
    Ok(move |cx: Context, _: M| {
        let effects = effects.clone();
        async move {
            sleep(work::part()).await;
            effects.0.append(&LedgerEntry::now(&cx, "effect"))?;
            effects.1.add(1)?;
            sleep(work::part()).await;
            Ok::<(), Failure>(())
        }
    })
}
