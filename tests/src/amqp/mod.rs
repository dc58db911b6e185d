//! A real RabbitMQ, or loudly none.

pub mod acceptance;
pub mod proxy;
pub mod worker;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce_amqp::lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, message,
};

/// The broker of one test.
#[derive(Debug, Clone)]
pub struct Rabbit {
    url: String,
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Durable, on one node.
    Classic,
    /// Durable, replicated; it counts deliveries.
    Quorum,
}

impl Rabbit {
    /// The RabbitMQ of `ACKONCE_TEST_AMQP`; `None`, said loudly, where there is none, and with
    /// `ACKONCE_REQUIRE_SERVERS=1` a failure: nothing stands in for it.
    pub fn real() -> Option<Self> {
        if let Ok(url) = std::env::var("ACKONCE_TEST_AMQP") {
            return Some(Self { url });
        }
        assert!(
            std::env::var_os("ACKONCE_REQUIRE_SERVERS").is_none_or(|v| v != "1"),
            "ACKONCE_TEST_AMQP is not set: run this through scripts/test"
        );
        eprintln!("NOT TESTED: rabbitmq (ACKONCE_TEST_AMQP is not set; run scripts/test)");
        None
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A name nobody has, here or in an earlier run.
    pub fn name(&self, stem: &str) -> String {
        static N: AtomicU64 = AtomicU64::new(0);
        format!("{stem}-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed))
    }

    /// A connection and a channel of the test's own.
    pub async fn connect(&self) -> Admin {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Admin { channel, connection }
    }

    /// A new queue of that type, with nothing in it.
    pub async fn queue(&self, stem: &str, kind: Kind) -> String {
        let name = self.name(stem);
        self.connect().await.declare(&name, kind, &[]).await;
        name
    }

    /// `rabbitmqctl`: what it says.
    ///
    /// # Panics
    /// It fails.
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = servers().args(["ctl", "rabbitmq", "--quiet"]).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{args:?}: {text}");
        text
    }

    /// The management API, as `host:port`.
    pub fn management(&self) -> String {
        std::env::var("ACKONCE_TEST_AMQP_MANAGEMENT").expect("scripts/servers says where it is")
    }

    /// How many messages a queue has, delivered ones included.
    ///
    /// # Panics
    /// The broker does not tell.
    pub fn messages(&self, queue: &str) -> u32 {
        let text = self.ctl(&["list_queues", "--no-table-headers", "name", "messages"]);
        let line = text.lines().find_map(|line| line.strip_prefix(queue)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("{text}"))
    }

    /// `stop`, `kill`, `start`, `pause` or `resume` the broker.
    ///
    /// # Panics
    /// It could not be done.
    pub fn control(&self, what: &str) {
        assert!(servers().args([what, "rabbitmq"]).status().unwrap().success(), "{what}");
    }
}

fn servers() -> Command {
    Command::new(std::env::var_os("ACKONCE_SERVERS").expect("started by scripts/servers"))
}

/// What a test does to the broker itself.
#[derive(Debug)]
pub struct Admin {
    /// A channel with confirms.
    pub channel: Channel,
    /// Its connection.
    pub connection: Connection,
}

impl Admin {
    /// Declares a durable queue.
    pub async fn declare(&self, queue: &str, kind: Kind, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        let kind = if kind == Kind::Quorum { "quorum" } else { "classic" };
        table.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, table).await.unwrap();
    }

    /// Deletes a queue with whatever is in it.
    pub async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Publishes one persistent message to a queue, confirmed.
    pub async fn publish(&self, queue: &str, id: Option<&str>, payload: &[u8]) {
        let properties = match id {
            Some(id) => BasicProperties::default().with_message_id(id.into()),
            None => BasicProperties::default(),
        };
        self.publish_with(queue, payload, properties).await;
    }

    /// The same with these properties.
    pub async fn publish_with(&self, queue: &str, payload: &[u8], properties: BasicProperties) {
        let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = properties.with_delivery_mode(2);
        let confirm = self.channel.basic_publish("".into(), queue.into(), mandatory, payload, properties);
        let confirm = confirm.await.unwrap().await.unwrap();
        assert!(matches!(confirm, Confirmation::Ack(None)), "{confirm:?}");
    }

    /// Publishes many, all confirmed: `(message_id, payload)`. What the broker refuses, as a quorum queue does while
    /// it has no leader, is published again.
    pub async fn publish_all<'a>(&self, queue: &str, all: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut open: Vec<_> = all.into_iter().collect();
        while !open.is_empty() {
            let mut confirms = Vec::new();
            for (id, payload) in open.drain(..) {
                let properties = BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2);
                let (options, key) = (BasicPublishOptions::default(), queue.into());
                let publish =
                    self.channel.basic_publish("".into(), key, options, payload.as_bytes(), properties);
                confirms.push((id, payload, publish.await.unwrap()));
            }
            for (id, payload, confirm) in confirms {
                let confirm = tokio::time::timeout(Duration::from_secs(120), confirm).await;
                if !confirm.expect("confirmed within two minutes").unwrap().is_ack() {
                    open.push((id, payload));
                }
            }
        }
    }

    /// How many messages wait in a queue, and how many consumers it has. What is delivered and not acknowledged
    /// is not among them.
    pub async fn ready(&self, queue: &str) -> (u32, u32) {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Takes all messages that wait in a queue.
    pub async fn take(&self, queue: &str) -> Vec<message::Delivery> {
        let mut all = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            all.push(got.delivery);
        }
        all
    }

    /// Waits until so many messages wait in a queue, and nobody has any in hand who still consumes.
    pub async fn until_ready(&self, queue: &str, messages: u32) {
        let what = format!("{messages} messages wait in {queue}");
        let end = Instant::now() + Duration::from_secs(120);
        while self.ready(queue).await.0 != messages {
            assert!(Instant::now() < end, "waited two minutes: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
