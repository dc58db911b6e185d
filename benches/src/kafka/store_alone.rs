//! The same claims and settlements with no Kafka in front: the most that a consumer could reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Fingerprint, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Scope};
use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;

use super::topic::BODY;
use crate::harness::Round;
use crate::messages::{WEEK, id};

/// Messages of a batch.
const BATCH: usize = 1000;
/// Batches under way at once: one is claimed while the other is settled, as in a consumer.
const AT_ONCE: usize = 2;

pub(super) fn run(
    runtime: &Runtime,
    store: &Arc<dyn Deduplicator>,
    scope: String,
    messages: usize,
) -> anyhow::Result<Round> {
    let scope = Scope::new(scope)?;
    let began = Instant::now();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| runtime.spawn(batches(store.clone(), scope.clone(), task, messages / BATCH)))
        .collect();
    for task in tasks {
        runtime.block_on(task)??;
    }
    Ok(Round::of(messages / BATCH * BATCH, Some(began)))
}

/// Every `AT_ONCE`th batch.
async fn batches(
    store: Arc<dyn Deduplicator>,
    scope: Scope,
    task: usize,
    batches: usize,
) -> anyhow::Result<()> {
    for batch in (task..batches).step_by(AT_ONCE) {
        let claim = |n| {
            let (key, token) = (scope.key(id(n as u64))?, Token::random());
            let (lease, fingerprint) = (Duration::from_secs(15), Some(Fingerprint::of(&BODY)));
            anyhow::Ok(ClaimRequest { key, token, lease, window: WEEK, fingerprint })
        };
        let claims = (batch * BATCH..(batch + 1) * BATCH).map(claim).collect::<anyhow::Result<Vec<_>>>()?;
        let complete = |answer| match answer {
            Claimed::Acquired(lease) => {
                Ok(Settlement::new(&lease, Settle::Complete { window: WEEK, outcome: None }))
            }
            other => bail!("not a new ID: {other:?}"),
        };
        let answers = store.claim(&claims).await?.into_iter();
        let settlements = answers.map(complete).collect::<anyhow::Result<Vec<_>>>()?;
        let settled = store.settle(&settlements).await?;
        settled.iter().all(|s| *s == Settled::Yes).then_some(()).context("a settlement was lost")?;
    }
    Ok(())
}
