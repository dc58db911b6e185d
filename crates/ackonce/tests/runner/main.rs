//! The runner against a store that fails on cue: what runs, how often, and what may be acknowledged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

#[path = "../common/mod.rs"]
mod common;
mod failures;
mod handing_back;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter, RecordOnly, SettledAs, Why};
use ackonce::store::{Claimed, DeduplicatorExt, Fingerprint, State};
use ackonce::{
    AtMostOnce, Backoff, Context, Deduplicator, Failure, Found, Handler, OnFailure, OnMismatch, OnUnknown,
    Previous, Probe, Runner, Settings,
};
use async_trait::async_trait;
use common::{Fault, Number, Scripted, claim_request, job, scope, settings};

type Runs = Arc<AtomicU32>;

fn runner<H: Handler<u64>>(store: &Scripted, settings: Settings, handler: H) -> Runner<Number, H> {
    Runner::with(Arc::new(store.clone()), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap()
}

/// A handler that counts its runs and fails the first `failures` of them.
fn counting(failures: u32) -> (Runs, impl Handler<u64>) {
    let runs = Runs::default();
    let count = runs.clone();
    let handler = move |_: Context, _: u64| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        async move { if run < failures { Err(Failure::from("not yet")) } else { Ok(()) } }
    };
    (runs, handler)
}

async fn state(store: &Scripted, n: u64) -> State {
    match store.store.claim_one(claim_request(n, Duration::from_secs(9))).await.unwrap() {
        Claimed::Done(record) => record.state,
        Claimed::Busy { .. } => State::Claimed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redelivery_finds_the_record_and_does_not_run() {
    let (runs, handler) = counting(0);
    let runner = runner(&Scripted::default(), settings(), handler);
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert!(matches!(runner.process(job(1)).await.unwrap().how(), SettledAs::Duplicate { .. }));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let counts = runner.counts();
    assert_eq!((counts.delivered, counts.run, counts.duplicate), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_remembered_for_its_whole_window_and_no_longer() {
    const WINDOW: Duration = Duration::from_secs(3600);
    let (runs, handler) = counting(0);
    let runner = runner(&Scripted::default(), settings().with_window(WINDOW), handler);
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    tokio::time::advance(WINDOW - Duration::from_secs(1)).await;
    assert!(matches!(runner.process(job(1)).await.unwrap().how(), SettledAs::Duplicate { .. }));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn twins_at_the_same_time_run_once_and_all_end_settled() {
    let (runs, handler) = counting(0);
    let runner = runner(&Scripted::default(), settings(), handler);
    let all = futures_util::future::join_all((0..50).map(|_| runner.process(job(1)))).await;
    assert_eq!(all.iter().filter(|r| r.as_ref().unwrap().how() == SettledAs::Run).count(), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lost_reply_costs_neither_an_attempt_nor_the_message() {
    let store = Scripted::default();
    store.claims.lock().unwrap().extend([Fault::ErrorBefore, Fault::ErrorAfter, Fault::ErrorAfter]);
    store.settles.lock().unwrap().extend([Fault::ErrorAfter, Fault::ErrorBefore]);
    let runner = runner(&store, settings(), |cx: Context, _: u64| async move {
        assert_eq!(cx.attempt(), 1);
        Ok::<_, Failure>(())
    });
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(state(&store, 1).await, State::Done);
    assert_eq!(runner.counts().store_unavailable, 5);
}

#[tokio::test]
async fn a_store_that_refuses_for_good_ends_it_unsettled() {
    let store = Scripted::default();
    store.claims.lock().unwrap().push_back(Fault::Refuse);
    let (runs, handler) = counting(0);
    let unsettled = runner(&store, settings(), handler).process(job(1)).await.unwrap_err();
    assert!(matches!(unsettled.why(), Why::Fatal(_)));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_same_id_with_another_payload_is_buried_beside_the_first_or_fails() {
    let store = Scripted::default();
    let (runs, handler) = counting(0);
    let bury = runner(&store, settings(), handler);
    let print = |text: &str| Fingerprint::of(text.as_bytes());
    assert_eq!(bury.process(job(1).with_fingerprint(print("a"))).await.unwrap().how(), SettledAs::Run);
    assert_eq!(bury.process(job(1).with_fingerprint(print("b"))).await.unwrap().how(), SettledAs::Buried);
    let again = bury.process(job(1).with_fingerprint(print("b"))).await.unwrap().how();
    assert!(matches!(again, SettledAs::Duplicate { .. }), "buried once");
    assert_eq!(state(&store, 1).await, State::Done, "the first record is untouched");
    assert_eq!(runs.load(Ordering::SeqCst), 1);

    let fail = runner(&store, settings().with_on_mismatch(OnMismatch::Fail), counting(0).1);
    let unsettled = fail.process(job(1).with_fingerprint(print("b"))).await.unwrap_err();
    assert!(matches!(unsettled.why(), Why::Fatal(_)));
}

#[tokio::test]
async fn at_most_once_is_recorded_before_it_runs() {
    let store = Scripted::default();
    let looking = store.clone();
    let handler = AtMostOnce(move |_: Context, n: u64| {
        let store = looking.clone();
        async move {
            assert_eq!(state(&store, n).await, State::Done);
            Err::<(), _>(Failure::from("lost"))
        }
    });
    let runner = runner(&store, settings(), handler);
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert!(matches!(runner.process(job(1)).await.unwrap().how(), SettledAs::Duplicate { .. }));
}
