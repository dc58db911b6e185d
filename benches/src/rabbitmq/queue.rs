//! The queues that the arms read, a new one for each turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce_amqp::lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use ackonce_amqp::lapin::types::FieldTable;
use ackonce_amqp::lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, Queue as Declared,
};

use crate::messages::id;

pub(super) const BODY: [u8; 200] = [b'x'; 200];
/// AMQP's number for a message that survives the broker.
const PERSISTENT: u8 = 2;

pub(crate) struct Queues {
    pub(super) url: String,
    pub(super) prefetch: u16,
    connection: Connection,
    made: AtomicUsize,
}

/// A queue with messages on it.
pub(crate) struct Queue {
    pub(crate) name: String,
    channel: Channel,
}

impl Queues {
    pub(crate) async fn connect(url: &str, prefetch: u16) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        Ok(Self { url: url.to_owned(), prefetch, connection, made: AtomicUsize::new(0) })
    }

    pub(crate) async fn fill(&self, messages: usize) -> anyhow::Result<Queue> {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("ackonce-bench-{}-{made}", std::process::id());
        let queue = Queue { name, channel: self.connection.create_channel().await? };
        queue.declare(false).await?;
        for n in 0..messages {
            let properties = BasicProperties::default()
                .with_message_id(id(n as u64).into())
                .with_delivery_mode(PERSISTENT);
            let options = BasicPublishOptions::default();
            let publish = queue.channel.basic_publish(
                "".into(),
                queue.name.as_str().into(),
                options,
                &BODY,
                properties,
            );
            drop(publish.await?);
        }
        while queue.declare(true).await?.message_count() as usize != messages {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The broker has something to tidy up after so many.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(queue)
    }

    /// A consumer as one sets it up without Ackonce, on a connection of its own, which must be kept.
    pub(super) async fn consume(&self, queue: &Queue) -> anyhow::Result<(Connection, Consumer)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let (name, options) = (queue.name.as_str().into(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        Ok((connection, consumer))
    }
}

impl Queue {
    async fn declare(&self, passive: bool) -> anyhow::Result<Declared> {
        let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
        Ok(self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await?)
    }

    pub(crate) async fn delete(self) -> anyhow::Result<()> {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await?;
        Ok(self.channel.close(200, "OK".into()).await?)
    }
}
