//! Loops without Ackonce: the bare one, and those that one writes by hand.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers};
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use super::topic::Topic;
use crate::harness::Round;
use crate::processed::Processed;

fn id<'a>(message: &'a BorrowedMessage<'_>) -> anyhow::Result<&'a str> {
    let headers = message.headers().context("no headers")?;
    let value = headers.iter().find(|h| h.key == "message-id").and_then(|h| h.value);
    Ok(std::str::from_utf8(value.context("no message-id")?)?)
}

/// The loop most teams write: claim, run, done, commit, one message after another.
pub(super) fn each(
    runtime: &Runtime,
    topic: &Topic,
    messages: usize,
    processed: &mut Processed,
    work: Duration,
) -> anyhow::Result<Round> {
    let group = topic.group();
    let _runtime = runtime.enter();
    let consumer: StreamConsumer = topic.config(&group).set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&[&topic.name])?;
    runtime.block_on(async {
        let mut began = None;
        for _ in 0..messages {
            let message = consumer.recv().await?;
            began.get_or_insert_with(Instant::now);
            let id = format!("{group}:{}", id(&message)?);
            if processed.claim(&id).await? {
                if !work.is_zero() {
                    tokio::time::sleep(work).await;
                }
                processed.done(&id).await?;
            }
            consumer.commit_message(&message, CommitMode::Sync)?;
        }
        Ok(Round::of(messages, began))
    })
}

/// Reads a thousand messages at a time, works on each, and hands them to `batch` before it commits.
fn thousands(
    topic: &Topic,
    group: &str,
    messages: usize,
    work: Duration,
    mut batch: impl FnMut(&[String]) -> anyhow::Result<()>,
    look: bool,
) -> anyhow::Result<Round> {
    let consumer: BaseConsumer = topic.config(group).set("enable.auto.commit", "false").create()?;
    consumer.subscribe(&[&topic.name])?;
    let (mut seen, mut held, mut ids, mut began) = (0, 0, Vec::new(), None);
    while seen < messages {
        let wait = if held == 0 { Duration::from_secs(1) } else { Duration::ZERO };
        let arrived = match consumer.poll(wait) {
            Some(Err(error)) => bail!(error),
            Some(Ok(message)) => {
                began.get_or_insert_with(Instant::now);
                if look {
                    ids.push(format!("{group}:{}", id(&message)?));
                }
                if !work.is_zero() {
                    std::thread::sleep(work);
                }
                (seen, held) = (seen + 1, held + 1);
                true
            }
            None => false,
        };
        if held > 0 && (held == 1000 || !arrived || seen == messages) {
            batch(&ids)?;
            ids.clear();
            held = 0;
            consumer.commit_consumer_state(CommitMode::Sync)?;
        }
    }
    Ok(Round::of(messages, began))
}

/// No store at all.
pub(super) fn bare(topic: &Topic, messages: usize, work: Duration) -> anyhow::Result<Round> {
    thousands(topic, &topic.group(), messages, work, |_| Ok(()), false)
}

/// Batches by hand over bare `SET NX`: one pipeline claims, one says done.
pub(super) fn in_batches(
    runtime: &Runtime,
    topic: &Topic,
    messages: usize,
    redis: &mut MultiplexedConnection,
) -> anyhow::Result<Round> {
    let batch = |ids: &[String]| {
        runtime.block_on(async {
            let mut claim = redis::pipe();
            ids.iter().for_each(|id| {
                claim.cmd("SET").arg(id).arg("1").arg("NX").arg("PX").arg(3_600_000);
            });
            let claimed: Vec<Option<String>> = claim.query_async(redis).await?;
            ensure!(claimed.iter().all(Option::is_some), "not a new ID");
            let mut done = redis::pipe();
            ids.iter().for_each(|id| {
                done.cmd("SET").arg(id).arg("2").arg("PX").arg(3_600_000).ignore();
            });
            done.query_async::<()>(redis).await?;
            Ok(())
        })
    };
    thousands(topic, &topic.group(), messages, Duration::ZERO, batch, true)
}
