//! Calls that share trips, and trips that fail because of one request.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::batcher::IN_FLIGHT;
use super::*;
use crate::claim::Token;
use crate::error::{Error, ErrorKind};
use crate::key::Scope;
use crate::memory::MemoryStore;
use crate::store::DeduplicatorExt;

#[derive(Debug, Default)]
struct Counting(MemoryStore, AtomicUsize);

#[async_trait]
impl Deduplicator for Counting {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if requests.iter().any(|r| r.key.id() == "impossible") {
            return Err(Error::new(ErrorKind::Invalid, "impossible"));
        }
        assert!(requests.iter().all(|r| r.key.id() != "panics"), "as a store with a fault does");
        if requests.iter().any(|r| r.key.id() == "bad") {
            return Err(Error::new(ErrorKind::Unavailable, "down"));
        }
        self.0.claim(requests).await
    }
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.0.settle(settlements).await
    }
    fn describe(&self) -> Description {
        self.0.describe()
    }
}

fn request(id: &str) -> ClaimRequest {
    ClaimRequest {
        key: Scope::new("s").unwrap().key(id.to_owned()).unwrap(),
        token: Token::random(),
        lease: Duration::from_secs(9),
        window: Duration::from_secs(9),
        fingerprint: None,
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_trips_and_get_their_own_answers() {
    let counting = Arc::new(Counting::default());
    let store = Coalesce::new(counting.clone());
    let calls = (0..100).map(|n| store.claim_one(request(&(n / 2).to_string())));
    let answers = join_all(calls).await;
    let won = answers.iter().filter(|a| matches!(a, Ok(Claimed::Acquired(_)))).count();
    assert_eq!(won, 50, "each of 50 keys once");
    assert!(counting.1.load(Ordering::Relaxed) <= IN_FLIGHT + 1);
}

#[tokio::test]
async fn a_store_that_panics_is_one_that_does_not_answer() {
    let store = Coalesce::new(Arc::new(Counting::default()));
    for ids in [vec!["panics"], vec!["panics", "1"]] {
        let requests: Vec<_> = ids.iter().map(|id| request(id)).collect();
        assert_eq!(store.claim(&requests).await.unwrap_err().kind(), ErrorKind::Unavailable);
        let shared = join_all(requests.iter().map(|request| store.claim_one(request.clone()))).await;
        assert!(shared[0].is_err(), "the other one may have a trip of its own");
    }
    assert!(store.claim_one(request("2")).await.is_ok(), "the next trip is made");
}

#[tokio::test]
async fn an_impossible_request_fails_alone() {
    let store = Coalesce::new(Arc::new(Counting::default()));
    let calls = ["1", "2", "impossible", "3"].map(|id| store.claim_one(request(id)));
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
}

#[tokio::test]
async fn impossible_requests_of_one_call_fail_alone() {
    let store = Coalesce::new(Arc::new(Counting::default()));
    for ids in [vec!["impossible"], vec!["1", "impossible", "2", "3", "impossible"]] {
        let requests: Vec<_> = ids.iter().map(|id| request(id)).collect();
        let answers = store.claim_unboxed(&requests).await.unwrap();
        let fits: Vec<_> = answers.into_iter().map(|a| matches!(a, Ok(Claimed::Acquired(_)))).collect();
        assert_eq!(fits, ids.iter().map(|id| *id != "impossible").collect::<Vec<_>>());
        assert_eq!(store.claim(&requests).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn an_outage_while_a_trip_is_split_is_nobodys_fault() {
    let store = Coalesce::new(Arc::new(Counting::default()));
    let requests = ["impossible", "1", "bad"].map(request);
    // "bad" comes last: it is an outage from the first trip on, or while the rest is being split.
    for of in [&requests[..], &requests[1..]] {
        let error = store.claim_unboxed(of).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Deduplicator for Silent {
    async fn claim(&self, _: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        std::future::pending().await
    }
    async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>> {
        std::future::pending().await
    }
    fn describe(&self) -> Description {
        Description { name: "silent".into(), weaknesses: Vec::new() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_keeps_nobody_for_ever() {
    let store = Coalesce::new(Arc::new(Silent));
    let calls = (0..50).map(|n| store.claim_one(request(&n.to_string())));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[tokio::test]
async fn an_error_reaches_everyone_in_its_trip() {
    let store = Coalesce::new(Arc::new(Counting::default()));
    let error = store.claim_one(request("bad")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.claim(&[]).await.unwrap().is_empty());
}
