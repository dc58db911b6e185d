//! Consumers without Ackonce: bare ones, and the loop that one writes by hand.

use std::time::{Duration, Instant};

use ackonce_amqp::lapin::options::BasicAckOptions;
use anyhow::Context as _;
use futures_util::{FutureExt, StreamExt};

use super::queue::Queues;
use crate::harness::Round;
use crate::processed::Processed;

const GONE: &str = "the broker cancelled the consumer";

/// One message after another: claim, run, done, ack; bare where nothing remembers them.
pub(super) async fn each(
    queues: &Queues,
    messages: usize,
    mut processed: Option<&mut Processed>,
    work: Duration,
) -> anyhow::Result<Round> {
    let queue = queues.fill(messages).await?;
    let (connection, mut consumer) = queues.consume(&queue).await?;
    let mut began = None;
    for _ in 0..messages {
        let delivery = consumer.next().await.context(GONE)??;
        began.get_or_insert_with(Instant::now);
        let id = delivery.properties.message_id().as_ref().context("no message ID")?;
        let id = format!("{}:{id}", queue.name);
        let new = match &mut processed {
            Some(processed) => processed.claim(&id).await?,
            None => true,
        };
        if new && !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        if let (Some(processed), true) = (&mut processed, new) {
            processed.done(&id).await?;
        }
        delivery.ack(BasicAckOptions { multiple: false }).await?;
    }
    let round = Round::of(messages, began);
    connection.close(200, "OK".into()).await?;
    queue.delete().await?;
    Ok(round)
}

/// No store at all: one ack for all that has arrived, up to half of the prefetch. More would leave it
/// with nothing to send.
pub(super) async fn bare(queues: &Queues, messages: usize) -> anyhow::Result<Round> {
    let queue = queues.fill(messages).await?;
    let (connection, mut consumer) = queues.consume(&queue).await?;
    let (mut seen, mut began) = (0, None);
    while seen < messages {
        let mut last = consumer.next().await.context(GONE)??;
        began.get_or_insert_with(Instant::now);
        let mut batch = 1;
        while batch < usize::from(queues.prefetch / 2)
            && let Some(next) = consumer.next().now_or_never()
        {
            last = next.context(GONE)??;
            batch += 1;
        }
        last.ack(BasicAckOptions { multiple: true }).await?;
        seen += batch;
    }
    let round = Round::of(messages, began);
    connection.close(200, "OK".into()).await?;
    queue.delete().await?;
    Ok(round)
}
