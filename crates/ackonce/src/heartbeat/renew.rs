//! The loop of the heartbeat's thread: renewals in one trip, and looks at the clock meanwhile.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::chain::chain;
use crate::coalesce::bisect;
use crate::deduplicator::Deduplicator;
use crate::error::Result;
use crate::observe::{Throttle, panic_text};
use crate::settle::{Settle, Settled, Settlement};

use super::grant::Grants;
use super::leases::Shared;

/// A store that panics costs one renewal.
pub(super) async fn renew_until_end(shared: Arc<Shared>, store: Arc<dyn Deduplicator>) {
    while let Err(panic) = AssertUnwindSafe(renew(&shared, store.as_ref())).catch_unwind().await {
        let text = panic_text(panic.as_ref());
        tracing::error!(target: "ackonce", scope = shared.metrics.scope,
            "heartbeat: the store panicked while it renewed leases; trying again: {text}");
        if check_meanwhile(&shared, tokio::time::sleep(shared.tick())).await.is_none() {
            return;
        }
    }
}

async fn renew(shared: &Shared, store: &dyn Deduplicator) {
    let (failures, scope) = (Throttle::default(), &shared.metrics.scope);
    loop {
        let (idle, ended) = {
            let held = shared.lock();
            (held.groups.is_empty(), held.ended)
        };
        if ended {
            return;
        }
        if idle {
            shared.wake.notified().await;
            continue;
        }
        let sent = Instant::now();
        let due = shared.due(sent);
        let answered = match due.is_empty() {
            true => None,
            false => {
                let trip = tokio::time::timeout(shared.lease / 3, extend(shared, store, &due));
                match check_meanwhile(shared, trip).await {
                    None => return,
                    answered => {
                        shared.metrics.extend_time.record(sent.elapsed());
                        answered
                    }
                }
            }
        };
        match answered {
            None => {}
            Some(Ok(Ok(answers))) => {
                if failures.recovered() {
                    tracing::warn!(target: "ackonce", scope, "heartbeat: the store renews leases again");
                }
                let mut rest = answers.as_slice();
                for (index, grants) in &due {
                    let (mine, others) = rest.split_at(grants.len().min(rest.len()));
                    shared.renewed(*index, grants, sent, mine);
                    rest = others;
                }
                if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
                    failures.warn(|more| {
                        tracing::warn!(target: "ackonce", scope, error = %chain(error), more, "heartbeat: the store could not renew a lease");
                    });
                }
            }
            Some(Ok(Err(error))) => {
                failures.warn(|more| {
                    tracing::warn!(target: "ackonce", scope, error = %chain(&error), more, "heartbeat: the store could not renew leases");
                });
            }
            Some(Err(_)) => {
                failures.warn(|more| {
                    tracing::warn!(target: "ackonce", scope, more, "heartbeat: the store did not answer in a third of the lease");
                });
            }
        }
        if check_meanwhile(shared, tokio::time::sleep(shared.lease / 12)).await.is_none() {
            return;
        }
    }
}

/// Waits for `other` and looks at the clock meanwhile; `None` if the runner has ended first.
async fn check_meanwhile<T>(shared: &Shared, other: impl Future<Output = T>) -> Option<T> {
    let mut other = pin!(other);
    loop {
        tokio::select! {
            biased;
            () = shared.end.notified() => return None,
            done = &mut other => return Some(done),
            () = tokio::time::sleep(shared.tick()) => {
                shared.due(Instant::now());
            }
        }
    }
}

/// A lease that cannot be renewed now, for its record is locked, does not cost the others theirs.
async fn extend(
    shared: &Shared,
    store: &dyn Deduplicator,
    due: &[(usize, Grants)],
) -> Result<Vec<Result<Settled>>> {
    let action = Settle::Extend { lease: shared.lease, window: shared.window };
    let settlements: Vec<_> =
        due.iter().flat_map(|(_, grants)| grants).map(|g| Settlement::new(g, action.clone())).collect();
    match store.settle(&settlements).await {
        Ok(answers) => Ok(answers.into_iter().map(Ok).collect()),
        Err(error) => {
            let digest = |n: usize| *settlements[n].key.digest();
            bisect(settlements.len(), error, digest, |part| store.settle(&settlements[part])).await
        }
    }
}
