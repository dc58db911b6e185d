//! The properties' workbench: clients of one store, a scope of its own, and helpers.

use std::future::Future;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{Attempt, ClaimRequest, Claimed, Lease, Record, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Key, KeyError, Result, Scope};
use tokio::time::Instant;

use super::Fixture;

/// Longer than any property runs.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// A time that is waited out. Nothing may depend on something else happening before it ends.
pub(crate) const SHORT: Duration = Duration::from_millis(50);
/// Spans for answers that count only if they came within one: too slow for the first, try the next.
pub(crate) const SPANS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// The time limit for an event that must happen, such as an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) a: Client,
    pub(crate) b: Client,
    pub(crate) scope: Scope,
}

impl Bench {
    pub(crate) async fn new(fixture: &dyn Fixture) -> Self {
        Self { a: Client::open(fixture).await, b: Client::open(fixture).await, scope: scope("") }
    }

    /// A new attempt at that message, long in every respect.
    pub(crate) fn request(&self, id: impl AsRef<[u8]>) -> ClaimRequest {
        request(key(&self.scope, id))
    }

    /// The same with a lease to wait out.
    pub(crate) fn short(&self, id: impl AsRef<[u8]>) -> ClaimRequest {
        ClaimRequest { lease: SHORT, ..self.request(id) }
    }

    /// A claim whose lease ended, and the one that took the key over.
    pub(crate) async fn taken_over(&self, id: &str) -> (Lease, Lease) {
        let old = self.a.acquire(&self.short(id)).await;
        let new = self.b.acquire_at_last(|| self.request(id)).await;
        (old, new)
    }

    /// Returns when that much time has passed by the store's clock: a lease of that length has come and gone.
    /// For a window, pass more: a store may round it up.
    pub(crate) async fn pass(&self, time: Duration) {
        let key = key(&self.scope, format!("clock {:?}", Token::random()));
        self.a.acquire(&ClaimRequest { lease: time, ..request(key.clone()) }).await;
        self.a.acquire_at_last(|| request(key.clone())).await;
    }
}

/// A scope that no other run uses.
pub(crate) fn scope(suffix: &str) -> Scope {
    valid(Scope::new(format!("conformance-{:032x}{suffix}", u128::from_be_bytes(Token::random().0))))
}

pub(crate) fn key(scope: &Scope, id: impl AsRef<[u8]>) -> Key {
    valid(scope.key(id.as_ref().to_vec()))
}

fn valid<T>(made: std::result::Result<T, KeyError>) -> T {
    made.unwrap_or_else(|e| panic!("the suite made a bad key: {e}"))
}

pub(crate) fn request(key: Key) -> ClaimRequest {
    ClaimRequest { key, token: Token::random(), lease: LONG, window: LONG, fingerprint: None }
}

pub(crate) fn complete() -> Settle {
    Settle::Complete { window: LONG, outcome: None }
}
pub(crate) fn release() -> Settle {
    Settle::Release { attempt: Attempt::Counts, window: LONG, not_before: Duration::ZERO }
}
pub(crate) fn refund() -> Settle {
    Settle::Release { attempt: Attempt::Refunded, window: LONG, not_before: Duration::ZERO }
}
pub(crate) fn extend() -> Settle {
    Settle::Extend { lease: LONG, window: LONG }
}
pub(crate) fn redrive() -> Settle {
    Settle::Redrive { window: LONG }
}
pub(crate) fn bury() -> Settle {
    Settle::Bury { window: LONG, reason: "it will never succeed".to_owned() }
}

/// The machine was too slow for every span.
pub(crate) fn inconclusive() -> ! {
    panic!("no answer came within {:?}, nothing is proven", SPANS[SPANS.len() - 1])
}

/// One client, with the suite's way of asking.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) Arc<dyn Deduplicator>);

impl Client {
    pub(crate) async fn open(fixture: &dyn Fixture) -> Self {
        Self(fixture.open().await)
    }

    pub(crate) async fn claim_all(&self, requests: &[ClaimRequest]) -> Vec<Claimed> {
        answers(within_patience(self.0.claim(requests)).await, requests.len())
    }

    pub(crate) async fn settle_all(&self, settlements: &[Settlement]) -> Vec<Settled> {
        answers(within_patience(self.0.settle(settlements)).await, settlements.len())
    }

    pub(crate) async fn claim(&self, request: &ClaimRequest) -> Claimed {
        only(self.claim_all(slice::from_ref(request)).await)
    }

    pub(crate) async fn settle(&self, lease: &Lease, action: Settle) -> Settled {
        only(self.settle_all(&[Settlement::new(lease, action)]).await)
    }

    pub(crate) async fn acquire(&self, request: &ClaimRequest) -> Lease {
        acquired(self.claim(request).await, request)
    }

    /// Asks until the claim is granted: each time as a new attempt.
    pub(crate) async fn acquire_at_last(&self, request: impl Fn() -> ClaimRequest) -> Lease {
        let began = Instant::now();
        loop {
            let request = request();
            let answer = self.claim(&request).await;
            if matches!(answer, Claimed::Acquired(_)) {
                return acquired(answer, &request);
            }
            assert!(began.elapsed() < PATIENCE, "not granted after {PATIENCE:?}: {answer:?}");
            tokio::time::sleep(SHORT / 4).await;
        }
    }

    /// The time for which the key stays busy.
    pub(crate) async fn busy(&self, request: &ClaimRequest) -> Duration {
        match self.claim(request).await {
            Claimed::Busy { free_in } => free_in,
            answer => panic!("expected Busy, not {answer:?}"),
        }
    }

    pub(crate) async fn done(&self, request: &ClaimRequest) -> Record {
        match self.claim(request).await {
            Claimed::Done(record) => record,
            answer => panic!("expected Done, not {answer:?}"),
        }
    }

    pub(crate) async fn mismatch(&self, request: &ClaimRequest) -> Record {
        match self.claim(request).await {
            Claimed::Mismatch(record) => record,
            answer => panic!("expected Mismatch, not {answer:?}"),
        }
    }

    pub(crate) async fn confirm(&self, lease: &Lease, action: Settle) {
        let answer = self.settle(lease, action.clone()).await;
        assert_eq!(answer, Settled::Yes, "{action:?} by the holder of the last claim");
    }

    pub(crate) async fn lose(&self, lease: &Lease, action: Settle) {
        let answer = self.settle(lease, action.clone()).await;
        assert_eq!(answer, Settled::Lost, "{action:?} by a client that does not hold the last claim");
    }
}

/// The lease, if it is the one that was asked for.
pub(crate) fn acquired(answer: Claimed, request: &ClaimRequest) -> Lease {
    match answer {
        Claimed::Acquired(lease) => {
            assert_eq!((&lease.key, lease.token), (&request.key, request.token), "a lease on something else");
            lease
        }
        answer => panic!("expected Acquired, not {answer:?}"),
    }
}

/// A store that hangs breaks the property, not the test run.
pub(crate) async fn within_patience<T>(call: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => panic!("no answer after {PATIENCE:?}"),
    }
}

fn answers<T>(answers: Result<Vec<T>>, requests: usize) -> Vec<T> {
    let answers = answers.unwrap_or_else(|e| panic!("the store could not answer: {}", ackonce::chain(&e)));
    assert_eq!(answers.len(), requests, "one answer per request");
    answers
}

fn only<T>(answers: Vec<T>) -> T {
    answers.into_iter().next().unwrap_or_else(|| panic!("one answer per request"))
}
