//! The messages that are ready in the queue, asked on a channel of its own: a refusal closes none that has messages.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, Result};

use crate::AmqpHealth;

/// The interval between two questions, and the time limit for an answer.
const EVERY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

/// Asks until it is dropped, or gets no answer: then the number is unknown.
pub(super) async fn ask(connection: Arc<Connection>, queue: ShortString, health: AmqpHealth) {
    let trouble = match asking(connection, &queue, &health).await {
        Ok(()) => format!("no answer within {} s", ANSWER.as_secs()),
        Err(error) => error.to_string(),
    };
    health.has_backlog(None);
    let scope = health.metrics().scope();
    tracing::debug!(target: "ackonce", scope, queue = %queue, trouble, "the number of ready messages is unknown");
}

async fn asking(connection: Arc<Connection>, queue: &ShortString, health: &AmqpHealth) -> Result<()> {
    let channel = connection.create_channel().await?;
    drop(connection);
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    loop {
        let asked = channel.queue_declare(queue.clone(), passive, FieldTable::default());
        let Ok(answer) = tokio::time::timeout(ANSWER, asked).await else { return Ok(()) };
        health.has_backlog(Some(answer?.message_count()));
        tokio::time::sleep(EVERY).await;
    }
}
