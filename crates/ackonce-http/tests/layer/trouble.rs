//! Stores that fail, leases that end, workers that come back from the dead.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{MemoryStore, OnUnknown, Settings};
use ackonce_http::Options;
use ackonce_testkit::{Fault, FaultyStore, Rates};
use http::StatusCode;

use crate::common::Api;

fn quick() -> Settings {
    Options::settings().with_store_timeout(Duration::from_millis(50))
}

fn options(settings: Settings) -> Options {
    Options::default().with_settings(settings)
}

#[tokio::test]
async fn a_store_that_is_down_before_the_run_is_a_503_and_the_handler_is_not_called() {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), 0, Rates::default()));
    let api = Api::on(store.clone(), options(quick()), async |_, _| StatusCode::CREATED);
    store.pause();
    let answer = api.post("k", "{}").await;
    assert_eq!(answer.refusal(), (503, "store_unavailable".into()));
    assert_eq!(api.runs.count(), 0);
    store.resume();
    assert_eq!(api.post("k", "{}").await.status, 201);
}

#[tokio::test]
async fn a_store_that_is_down_at_completion_does_not_change_the_answer_and_is_counted() {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), 0, Rates::default()));
    let down = store.clone();
    let api = Api::on(store.clone(), options(quick()), move |_, _| {
        down.pause();
        async { (StatusCode::CREATED, "true answer") }
    });
    let answer = api.post("k", "{}").await;
    assert_eq!((answer.status, &answer.body[..]), (201, &b"true answer"[..]));
    assert_eq!(api.layer.counts().completed_not_recorded, 1);
}

#[tokio::test]
async fn a_lost_reply_is_neither_a_rival_nor_a_second_run() {
    for lost in [0, 1] {
        let script = (0..2).map(|n| (n == lost).then_some(Fault::ReplyLost));
        let store = Arc::new(FaultyStore::scripted(Arc::new(MemoryStore::new()), script));
        let api = Api::on(store, options(Options::settings()), async |run: u32, _| run.to_string());
        assert_eq!(api.post("k", "{}").await.body, "1");
        assert!(api.post("k", "{}").await.is_replay());
        assert_eq!(api.runs.count(), 1);
    }
}

#[tokio::test]
async fn after_a_process_vanished_the_policy_decides() {
    use ackonce::Deduplicator;
    use ackonce::store::{ClaimRequest, Fingerprint, Token};
    for (on_unknown, expected) in [(OnUnknown::RunAgain, 201), (OnUnknown::Park, 409)] {
        let store = MemoryStore::new();
        let settings = quick().with_on_unknown(on_unknown);
        let api = Api::on(Arc::new(store.clone()), options(settings), async |_, _| StatusCode::CREATED);
        let key = api.layer.key(Some(b"sk_1"), &http::Method::POST, "/payments", b"k").unwrap();
        let lease = Duration::from_millis(50);
        let window = Duration::from_secs(60);
        let fingerprint = Some(Fingerprint::of(b"{}"));
        store
            .claim(&[ClaimRequest { key, token: Token::random(), lease, window, fingerprint }])
            .await
            .unwrap();
        assert_eq!(api.post("k", "{}").await.refusal(), (409, "request_in_progress".into()));
        tokio::time::sleep(lease).await;
        let answer = api.post("k", "{}").await;
        assert_eq!(answer.status, expected);
        if expected == 409 {
            assert_eq!(answer.problem(), "outcome_unknown");
        }
    }
}
