//! Messages that another system has processed, recorded as done.

use std::collections::HashSet;
use std::time::Duration;

use crate::claim::{ClaimRequest, Claimed, Lease, Previous, Token};
use crate::deduplicator::Deduplicator;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::DEFAULT_WINDOW;
use crate::key::Key;
use crate::settle::{Attempt, Settle, Settled, Settlement};

/// The lease of a claim between its two trips. A copy that arrives in between waits, and a process that dies there leaves its
/// claims for so long.
const LEASE: Duration = Duration::from_secs(10);

/// The outcome of [`remember`] for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// It is recorded as done now.
    Now,
    /// There was a settled record, which stays as it is.
    Already,
    /// A worker holds the message, or it waits for its next run, after a failure or a redrive: it is left to that.
    InFlight,
}

/// Records messages as done without running them, each for its window: those that another deduplicator has seen, before
/// its consumers move to this store. One claim and one settlement for each, in two trips for all of them. A settled
/// record is never changed, and a message that waits for its next run is handed back to it, so it is safe to repeat.
///
/// # Crashes
/// A process that is killed between the two trips leaves claims for ten seconds, which the next call waits for and records
/// as done. A message that waited for its next run and was among them is taken for one of those, and does not run again.
///
/// ```
/// use std::time::Duration;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce::store::{Remembered, remember};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let (store, scope, week) = (MemoryStore::new(), Scope::new("billing/charge")?, Duration::from_secs(7 * 24 * 3600));
/// let rows = [(scope.key("evt_1")?, week), (scope.key("evt_2")?, week)];
/// assert_eq!(remember(&store, &rows).await?, [Remembered::Now, Remembered::Now]);
/// assert_eq!(remember(&store, &rows).await?, [Remembered::Already, Remembered::Already]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
/// The store could not answer. Some of the messages may be recorded; repeating the call is safe.
pub async fn remember(store: &dyn Deduplicator, rows: &[(Key, Duration)]) -> Result<Vec<Remembered>> {
    let (mut answers, busy) = pass(store, rows, (0..rows.len()).collect()).await?;
    let Some(wait) = busy.iter().map(|(_, free_in)| *free_in).filter(|free_in| *free_in <= LEASE).max()
    else {
        return Ok(answers);
    };
    // A claim of an earlier call that was killed; or a worker's, which will have settled or renewed it by then.
    tokio::time::sleep(wait + Duration::from_millis(5)).await;
    let again = busy.into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    let (second, _) = pass(store, rows, again.clone()).await?;
    for (at, answer) in again.into_iter().zip(second) {
        answers[at] = answer;
    }
    Ok(answers)
}

/// The answers for the rows at these places, in their order; and the places that are in flight, with the time for which they
/// are.
async fn pass(
    store: &dyn Deduplicator,
    rows: &[(Key, Duration)],
    places: Vec<usize>,
) -> Result<(Vec<Remembered>, Vec<(usize, Duration)>)> {
    let requests: Vec<_> = places
        .iter()
        .map(|at| ClaimRequest {
            key: rows[*at].0.clone(),
            token: Token::random(),
            lease: LEASE,
            window: trail(rows[*at].1),
            fingerprint: None,
        })
        .collect();
    let claimed = store.claim(&requests).await?;
    let (mut answers, mut busy, mut settlements, mut owners) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut ours = HashSet::new();
    for (n, (at, claimed)) in places.iter().zip(claimed).enumerate() {
        answers.push(match claimed {
            Claimed::Acquired(lease) => {
                let (action, answer) = action(&lease, rows[*at].1);
                settlements.push(Settlement::new(&lease, action));
                owners.push(n);
                ours.insert(&rows[*at].0);
                answer
            }
            Claimed::Done(_) | Claimed::Mismatch(_) => Remembered::Already,
            // The same message twice in a batch.
            Claimed::Busy { .. } if ours.contains(&rows[*at].0) => Remembered::Already,
            Claimed::Busy { free_in } => {
                busy.push((*at, free_in));
                Remembered::InFlight
            }
        });
    }
    let settled = if settlements.is_empty() { Vec::new() } else { store.settle(&settlements).await? };
    if settled.len() != owners.len() {
        return Err(Error::new(ErrorKind::Protocol, "the store answered another number of settlements"));
    }
    for (n, settled) in owners.into_iter().zip(settled) {
        // A pause past the lease: somebody else claimed it since.
        if settled == Settled::Lost {
            answers[n] = Remembered::InFlight;
        }
    }
    Ok((answers, busy))
}

fn action(lease: &Lease, window: Duration) -> (Settle, Remembered) {
    match lease.previous {
        // To complete it would swallow the run that it waits for.
        Previous::Released => {
            let (attempt, not_before) = (Attempt::Refunded, Duration::ZERO);
            (Settle::Release { attempt, window: trail(window), not_before }, Remembered::InFlight)
        }
        Previous::None | Previous::Vanished => (Settle::Complete { window, outcome: None }, Remembered::Now),
    }
}

/// The window of a trail: the steps and attempts of a message that is handed back are its consumer's, whose window is not
/// known here. That of the row is the rest of a window elsewhere, and may be seconds.
fn trail(window: Duration) -> Duration {
    window.max(DEFAULT_WINDOW)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::deduplicator::DeduplicatorExt;
    use crate::{MemoryStore, Scope};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(id: &str) -> Key {
        Scope::new("s").unwrap().key(id.to_owned()).unwrap()
    }

    fn claim(id: &str, lease: Duration) -> ClaimRequest {
        ClaimRequest { key: key(id), token: Token::random(), lease, window: HOUR, fingerprint: None }
    }

    async fn acquired(store: &MemoryStore, id: &str) -> Lease {
        match store.claim_one(claim(id, LEASE)).await.unwrap() {
            Claimed::Acquired(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// A message that failed after its step and waits for its next run.
    async fn with_a_failed_message() -> MemoryStore {
        let store = MemoryStore::new();
        let lease = acquired(&store, "failed").await;
        let step = Settle::Save { progress: "a step".into() };
        let release = Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: Duration::ZERO };
        store.settle(&[step, release].map(|action| Settlement::new(&lease, action))).await.unwrap();
        store
    }

    #[tokio::test(start_paused = true)]
    async fn the_claims_of_a_call_that_was_killed_are_waited_for_and_those_of_a_worker_are_left() {
        let store = MemoryStore::new();
        store.claim_one(claim("killed", LEASE)).await.unwrap();
        store.claim_one(claim("held", Duration::from_secs(60))).await.unwrap();
        let rows = ["new", "killed", "held", "new"].map(|id| (key(id), HOUR));
        let answers = remember(&store, &rows).await.unwrap();
        assert_eq!(answers[..3], [Remembered::Now, Remembered::Now, Remembered::InFlight]);
        assert_eq!(answers[3], Remembered::Already, "the same ID twice in a batch");
        assert!(matches!(store.claim_one(claim("killed", LEASE)).await.unwrap(), Claimed::Done(_)));
    }

    #[tokio::test]
    async fn a_message_that_waits_for_its_next_run_is_left_to_it() {
        let store = with_a_failed_message().await;
        for _ in 0..2 {
            assert_eq!(remember(&store, &[(key("failed"), HOUR)]).await.unwrap(), [Remembered::InFlight]);
        }
        let lease = acquired(&store, "failed").await;
        assert_eq!((lease.attempt, lease.previous), (2, Previous::Released), "no attempt is charged");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_left_to_its_run_keeps_its_steps() {
        let store = with_a_failed_message().await;
        // The rest of a window elsewhere.
        let rows = [(key("failed"), Duration::from_secs(30))];
        assert_eq!(remember(&store, &rows).await.unwrap(), [Remembered::InFlight]);
        tokio::time::advance(HOUR / 2).await;
        let lease = acquired(&store, "failed").await;
        assert_eq!((lease.attempt, lease.progress.as_deref()), (2, Some(&b"a step"[..])));
    }
}
