//! A real RabbitMQ, or loudly none.

mod acceptance;
pub mod interposer;
pub mod worker;

pub use acceptance::Queues;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce_amqp::lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable};
use ackonce_amqp::lapin::uri::AMQPUri;
use ackonce_amqp::lapin::{
    self as lapin, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, message,
};
use ackonce_testkit::servers::address;

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
    /// The age limit for the numbers of a quorum queue, which reports every 200 ms (scripts/servers).
    pub const STALE: Duration = Duration::from_secs(1);

    /// The RabbitMQ of `ACKONCE_TEST_AMQP`; `None`, said loudly, where there is none, and with
    /// `ACKONCE_REQUIRE_SERVERS=1` a failure: nothing stands in for it.
    pub fn real() -> Option<Self> {
        Some(Self { url: address("ACKONCE_TEST_AMQP")? })
    }

    /// Its listening address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The broker behind that URL.
    pub fn at(url: String) -> Self {
        Self { url }
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        let uri: AMQPUri = self.url.parse().unwrap();
        format!("{}:{}", uri.authority.host, uri.authority.port)
    }

    /// A name nobody has, here or in an earlier run.
    pub fn name(&self, stem: &str) -> String {
        static N: AtomicU64 = AtomicU64::new(0);
        format!("{stem}-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed))
    }

    /// A connection and a channel of the test's own.
    pub async fn connect(&self) -> Admin {
        self.try_connect().await.unwrap()
    }

    /// The same, where the broker may be away.
    ///
    /// # Errors
    /// It is.
    pub async fn try_connect(&self) -> lapin::Result<Admin> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Admin { channel, connection })
    }

    /// A new queue of that type, with nothing in it.
    pub async fn queue(&self, stem: &str, kind: Kind) -> String {
        let name = self.name(stem);
        self.connect().await.declare(&name, kind, &[]).await;
        name
    }

    /// The output of `rabbitmqctl`.
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

    /// The address of the management API.
    pub fn management(&self) -> String {
        std::env::var("ACKONCE_TEST_AMQP_MANAGEMENT").expect("scripts/servers says where it is")
    }

    /// The number of messages in a queue, and of those that are delivered and not acknowledged, as of
    /// [`STALE`](Self::STALE) ago or later; `None` while the broker is away, or has no such queue.
    pub async fn messages(&self, queue: &str) -> Option<(u64, u64)> {
        let url = format!("http://{}/api/queues", self.management());
        // Only the list has them where statistics are off.
        let query = "?disable_stats=true&enable_queue_totals=true";
        let asking = reqwest::Client::new().get(url + query).basic_auth("guest", Some("guest")).send();
        let queues: Vec<serde_json::Value> = asking.await.ok()?.json().await.ok()?;
        let found = queues.iter().find(|q| q["name"] == queue)?;
        Some((found["messages"].as_u64()?, found["messages_unacknowledged"].as_u64()?))
    }

    /// Waits until a queue has so many messages, of which so many are delivered and not acknowledged.
    ///
    /// # Panics
    /// After two minutes.
    pub async fn until_messages(&self, queue: &str, messages: u64, unacknowledged: u64) {
        let start = Instant::now();
        loop {
            let found = self.messages(queue).await;
            // Not the numbers of a quorum queue from before this began.
            if found == Some((messages, unacknowledged)) && start.elapsed() > Self::STALE {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "waited two minutes for {messages}, {unacknowledged}: {found:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a queue has nothing, and nobody has anything of it.
    pub async fn until_empty(&self, queue: &str) {
        self.until_messages(queue, 0, 0).await;
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

/// A strike against the broker itself.
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

    /// Deletes a queue with all its messages.
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

    /// Publishes many, all confirmed: `(message_id, payload)`.
    pub async fn publish_all<'a>(&self, queue: &str, all: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut open: Vec<_> = all.into_iter().collect();
        while !open.is_empty() {
            self.publish_some(queue, &mut open).await.unwrap();
        }
    }

    /// Publishes the `open` messages, and takes out the confirmed ones. The broker may refuse some, as a quorum queue does
    /// while it has no leader.
    ///
    /// # Errors
    /// The channel is gone.
    ///
    /// # Panics
    /// The broker does not confirm within two minutes.
    pub async fn publish_some(&self, queue: &str, open: &mut Vec<(&str, &str)>) -> lapin::Result<()> {
        let mut confirms = Vec::new();
        for (id, payload) in open.iter() {
            let properties = BasicProperties::default().with_message_id((*id).into()).with_delivery_mode(2);
            let (options, key) = (BasicPublishOptions::default(), queue.into());
            let publish = self.channel.basic_publish("".into(), key, options, payload.as_bytes(), properties);
            confirms.push(publish.await?);
        }
        let mut refused = Vec::new();
        for (message, confirm) in open.iter().zip(confirms) {
            let confirm = tokio::time::timeout(Duration::from_secs(120), confirm).await;
            if !confirm.expect("confirmed within two minutes")?.is_ack() {
                refused.push(*message);
            }
        }
        *open = refused;
        Ok(())
    }

    /// The number of messages that wait in a queue, without those that are delivered and not acknowledged, and of its
    /// consumers.
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
