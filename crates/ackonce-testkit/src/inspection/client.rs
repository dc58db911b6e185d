//! One client of the store, with the suite's way of asking.

use std::future::Future;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{
    AdminOutcome, AuditEntry, ClaimRequest, Claimed, Entry, Inspect, Lease, Note, Page, Query, Record,
    RecordTarget, ScopeStats, Settle, Settled, Settlement, Stats,
};
use ackonce::{Key, Result};
use tokio::time::Instant;

use super::Fixture;

/// The time limit for an event that must happen, such as an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(super) struct Client(Arc<dyn Inspect>);

impl Client {
    pub(super) async fn open(fixture: &dyn Fixture) -> Self {
        Self(fixture.open().await)
    }

    pub(super) async fn claim(&self, request: &ClaimRequest) -> Claimed {
        only(answer(self.0.claim(slice::from_ref(request))).await)
    }

    pub(super) async fn acquire(&self, request: &ClaimRequest) -> Lease {
        match self.claim(request).await {
            Claimed::Acquired(lease) => lease,
            answer => panic!("expected Acquired, not {answer:?}"),
        }
    }

    /// Asks until the claim is granted: each time as a new attempt.
    pub(super) async fn acquire_at_last(&self, request: impl Fn() -> ClaimRequest) -> Lease {
        let began = Instant::now();
        loop {
            match self.claim(&request()).await {
                Claimed::Acquired(lease) => return lease,
                answer => assert!(began.elapsed() < PATIENCE, "not granted after {PATIENCE:?}: {answer:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn is_busy(&self, request: &ClaimRequest) {
        let answer = self.claim(request).await;
        assert!(matches!(answer, Claimed::Busy { .. }), "expected Busy, not {answer:?}");
    }

    pub(super) async fn settle(&self, lease: &Lease, action: Settle) -> Settled {
        only(answer(self.0.settle(&[Settlement::new(lease, action)])).await)
    }

    pub(super) async fn confirm(&self, lease: &Lease, action: Settle) {
        let answer = self.settle(lease, action.clone()).await;
        assert_eq!(answer, Settled::Yes, "{action:?} by the holder of the last claim");
    }

    pub(super) async fn lose(&self, lease: &Lease, action: Settle) {
        let answer = self.settle(lease, action.clone()).await;
        assert_eq!(answer, Settled::Lost, "{action:?} of a claim that an operator has ended");
    }

    pub(super) async fn get(&self, key: &Key) -> Option<Record> {
        self.look(key).await.map(|entry| entry.record)
    }

    pub(super) async fn look(&self, key: &Key) -> Option<Entry> {
        answer(self.0.look(key)).await
    }

    /// The record of a key that has one.
    pub(super) async fn record(&self, key: &Key) -> Record {
        self.get(key).await.unwrap_or_else(|| panic!("{key:?} has a record, and it is not shown"))
    }

    /// Waits until the record has expired.
    pub(super) async fn until_absent(&self, key: &Key) {
        let began = Instant::now();
        while let Some(record) = self.get(key).await {
            assert!(began.elapsed() < PATIENCE, "still there after {PATIENCE:?}: {record:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn list(&self, query: &Query) -> Page {
        let page = answer(self.0.list(query)).await;
        assert!(
            page.entries.len() <= query.limit,
            "{} entries of at most {}",
            page.entries.len(),
            query.limit
        );
        page
    }

    pub(super) async fn try_list(&self, query: &Query) -> Result<Page> {
        within_patience(self.0.list(query)).await
    }

    pub(super) async fn stats(&self) -> Stats {
        answer(self.0.stats()).await
    }

    pub(super) async fn scopes(&self) -> Vec<ScopeStats> {
        answer(self.0.scopes()).await
    }

    pub(super) async fn audit(&self, key: &Key) -> Vec<AuditEntry> {
        answer(self.0.audit(key)).await
    }

    pub(super) async fn forget(&self, key: &Key) -> AdminOutcome {
        answer(self.0.forget(RecordTarget::Key(key), &note())).await
    }

    pub(super) async fn redrive(&self, key: &Key) -> AdminOutcome {
        answer(self.0.redrive(RecordTarget::Key(key), &note())).await
    }

    pub(super) async fn forget_listed(&self, entry: &Entry) -> AdminOutcome {
        answer(self.0.forget(RecordTarget::Listed(entry), &note())).await
    }

    pub(super) async fn redrive_listed(&self, entry: &Entry) -> AdminOutcome {
        answer(self.0.redrive(RecordTarget::Listed(entry), &note())).await
    }

    pub(super) async fn sweep(&self) -> u64 {
        answer(self.0.sweep()).await
    }
}

pub(super) fn note() -> Note {
    Note { actor: "the inspection suite".into(), reason: "it's a \"test\"; -- \u{2713}".into() }
}

/// A store that hangs breaks the property, not the test run.
async fn within_patience<T>(call: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => panic!("no answer after {PATIENCE:?}"),
    }
}

async fn answer<T>(call: impl Future<Output = Result<T>>) -> T {
    within_patience(call)
        .await
        .unwrap_or_else(|e| panic!("the store could not answer: {}", ackonce::chain(&e)))
}

fn only<T>(answers: Vec<T>) -> T {
    assert_eq!(answers.len(), 1, "one answer per request");
    answers.into_iter().next().unwrap_or_else(|| panic!("one answer per request"))
}
