//! The two loops that teams write by hand: a table of processed IDs, looked at before, written before or after.

use std::thread;
use std::time::Duration;

use ackonce_amqp::lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use ackonce_amqp::lapin::types::{FieldTable, ShortString};
use ackonce_amqp::lapin::{Connection, ConnectionProperties};
use ackonce_sqlite::rusqlite;
use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{ClientConfig, Message as _};

use super::super::arm::Arm;
use super::super::broker::Source;
use super::super::counter::{DELIVERED, FileCounter, PROGRESS, RECORDED, SUPPRESSED};
use super::super::work;
use super::{WorkerOrder, kafka};
use crate::streams;

/// Messages with one worker of RabbitMQ's, as the wrapped one has.
const PREFETCH: u16 = 4;

struct Loop<'o> {
    order: &'o WorkerOrder,
    db: rusqlite::Connection,
    effects: Ledger,
    delivered: FileCounter,
    recorded: FileCounter,
    suppressed: FileCounter,
    progress: FileCounter,
}

pub(super) fn run(order: &WorkerOrder) -> Result<()> {
    let counter = |name| FileCounter::open(&order.files.counter(name));
    let this = Loop {
        order,
        db: open(order)?,
        effects: Ledger::open(order.files.ledger())?,
        delivered: counter(DELIVERED)?,
        recorded: counter(RECORDED)?,
        suppressed: counter(SUPPRESSED)?,
        progress: counter(PROGRESS)?,
    };
    match &order.source {
        Source::Kafka { brokers, topic, group, session_ms } => {
            this.on_kafka(&kafka(brokers, group, *session_ms), topic)
        }
        Source::RabbitMq { url, queue } => this.on_rabbitmq(url, queue),
    }
}

fn open(order: &WorkerOrder) -> Result<rusqlite::Connection> {
    let db = rusqlite::Connection::open(order.files.database())?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS processed (id TEXT PRIMARY KEY)")?;
    Ok(db)
}

impl Loop<'_> {
    fn on_kafka(&self, config: &ClientConfig, topic: &str) -> Result<()> {
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        loop {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = match message {
                Ok(message) => message,
                // The client recovers by itself from a broker that is away and from a rebalance.
                Err(error) => {
                    streams::note(error);
                    continue;
                }
            };
            self.handle(message_id(&message).as_deref())?;
            consumer.commit_message(&message, CommitMode::Async)?;
        }
    }

    fn on_rabbitmq(&self, url: &str, queue: &str) -> Result<()> {
        // lapin's own tasks get the second thread.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
            let mut consumer = channel.basic_consume(queue.into(), "".into(), options, table).await?;
            while let Some(delivery) = consumer.next().await {
                let delivery = delivery?;
                self.handle(delivery.properties.message_id().as_ref().map(ShortString::as_str))?;
                delivery.ack(BasicAckOptions::default()).await?;
            }
            bail!("RabbitMQ cancelled the consumer")
        })
    }

    fn handle(&self, id: Option<&str>) -> Result<()> {
        self.delivered.add(1)?;
        let id = id.context("a message without its ID")?;
        let ran = match self.order.arm {
            Arm::RecordThenRun => self.record_then_run(id)?,
            Arm::RunThenRecord | Arm::Ackonce => self.run_then_record(id)?,
        };
        let counter = if ran { &self.recorded } else { &self.suppressed };
        Ok(counter.add(1)?)
    }

    /// Killed after the record, the effect is lost: the redelivery finds the record.
    fn record_then_run(&self, id: &str) -> Result<bool> {
        let new = self.record(id)?;
        if new {
            self.effect(id)?;
        }
        Ok(new)
    }

    /// Killed before the record, the effect is doubled: the redelivery finds none.
    fn run_then_record(&self, id: &str) -> Result<bool> {
        let new = !self.recorded(id)?;
        if new {
            self.effect(id)?;
            self.record(id)?;
        }
        Ok(new)
    }

    /// True if the ID was new.
    fn record(&self, id: &str) -> rusqlite::Result<bool> {
        Ok(self.db.execute("INSERT INTO processed (id) VALUES (?1) ON CONFLICT DO NOTHING", [id])? == 1)
    }

    fn recorded(&self, id: &str) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS (SELECT 1 FROM processed WHERE id = ?1)", [id], |row| row.get(0))
    }

    fn effect(&self, id: &str) -> Result<()> {
        thread::sleep(work::part());
        self.effects.append(&bare(id))?;
        self.progress.add(1)?;
        thread::sleep(work::part());
        Ok(())
    }
}

/// Such a loop counts no attempts and has neither fence nor idempotency key.
fn bare(id: &str) -> LedgerEntry {
    let (pid, at) = (std::process::id(), crate::demo::micros_now());
    LedgerEntry { id: id.to_owned(), key: String::new(), attempt: 0, fence: 0, pid, at }
}

fn message_id(message: &BorrowedMessage<'_>) -> Option<String> {
    let header = message.headers()?.iter().find(|header| header.key == "message-id")?;
    String::from_utf8(header.value?.to_vec()).ok()
}
