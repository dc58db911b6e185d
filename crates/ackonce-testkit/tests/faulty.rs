//! The store that fails on purpose: each fault does as documented, and the contract holds through all of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{
    ClaimRequest, Claimed, DeduplicatorExt, Lease, Repeat, Settle, Settled, Settlement, Token,
};
use ackonce::{Deduplicator, MemoryStore, Scope};
use ackonce_testkit::{Fault, FaultyStore, Injected, Rates};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(600);

fn request(id: &str) -> ClaimRequest {
    let key = Scope::new("faulty").unwrap().key(id.to_owned()).unwrap();
    ClaimRequest { key, token: Token::random(), lease: LONG, window: LONG, fingerprint: None }
}

fn complete(lease: &Lease) -> Settlement {
    Settlement::new(lease, Settle::Complete { window: LONG, outcome: None })
}

/// Tells if a call under that fault was applied, and the caller's answer (`None`: nothing in time).
async fn applied_under(fault: Fault) -> (bool, Option<Result<(), Repeat>>) {
    let inner = MemoryStore::new();
    let store = FaultyStore::scripted(Arc::new(inner.clone()), [fault]);
    let told = timeout(LONG, store.claim_one(request("id"))).await.ok();
    let applied = matches!(inner.claim_one(request("id")).await.unwrap(), Claimed::Busy { .. });
    (applied, told.map(|answer| answer.map(|_| ()).map_err(|e| e.repeat())))
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_what_it_says() {
    let minute = Duration::from_secs(60);
    let cases = [
        (Fault::Refused, false, Some(Err(Repeat::Safe))),
        (Fault::RequestLost, false, Some(Err(Repeat::Unknown))),
        (Fault::ReplyLost, true, Some(Err(Repeat::Unknown))),
        (Fault::Slow(minute), true, Some(Ok(()))),
        (Fault::NeverApplied, false, None),
    ];
    for (fault, applied, told) in cases {
        assert_eq!(applied_under(fault).await, (applied, told), "{fault:?}");
    }
    let inner = MemoryStore::new();
    let store = FaultyStore::scripted(Arc::new(inner.clone()), [Fault::NeverAnswered]);
    assert!(timeout(minute, store.claim_one(request("id"))).await.is_err());
    assert!(matches!(inner.claim_one(request("id")).await.unwrap(), Claimed::Busy { .. }), "it was applied");
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_applied_after_its_caller_was_told() {
    let inner = MemoryStore::new();
    let store = FaultyStore::scripted(Arc::new(inner.clone()), [Fault::AppliedLate(LONG / 2)]);
    let Claimed::Acquired(lease) = inner.claim_one(request("id")).await.unwrap() else { panic!() };
    assert_eq!(store.settle_one(complete(&lease)).await.unwrap_err().repeat(), Repeat::Unknown);
    assert!(matches!(inner.claim_one(request("id")).await.unwrap(), Claimed::Busy { .. }), "not yet");
    tokio::time::sleep(LONG / 2 + Duration::from_secs(1)).await;
    assert!(matches!(inner.claim_one(request("id")).await.unwrap(), Claimed::Done(_)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_slow_and_the_next_is_not() {
    let delay = Duration::from_secs(7);
    let store = FaultyStore::scripted(Arc::new(MemoryStore::new()), [Fault::Slow(delay)]);
    let began = Instant::now();
    store.claim(&[]).await.unwrap();
    assert_eq!(began.elapsed(), delay);
    store.claim(&[]).await.unwrap();
    assert_eq!(began.elapsed(), delay);
}

#[tokio::test]
async fn a_pause_makes_everything_unavailable() {
    let store = FaultyStore::scripted(Arc::new(MemoryStore::new()), [None, Some(Fault::ReplyLost)]);
    let Claimed::Acquired(lease) = store.claim_one(request("id")).await.unwrap() else { panic!() };
    store.pause();
    for _ in 0..3 {
        assert_eq!(store.claim_one(request("id")).await.unwrap_err().repeat(), Repeat::Safe);
        assert_eq!(store.settle_one(complete(&lease)).await.unwrap_err().repeat(), Repeat::Safe);
    }
    store.resume();
    assert_eq!(store.settle_one(complete(&lease)).await.unwrap_err().repeat(), Repeat::Unknown, "the script");
    assert_eq!(store.settle_one(complete(&lease)).await.unwrap(), Settled::Yes, "the same again");
    let expected = Injected { calls: 9, while_paused: 6, replies_lost: 1, ..Injected::default() };
    assert_eq!(store.injected(), expected);
}

async fn errors_of(seed: u64) -> Vec<Option<Repeat>> {
    let rates = Rates { refused: 200, request_lost: 200, reply_lost: 200, ..Rates::default() };
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), seed, rates);
    let mut errors = Vec::new();
    for _ in 0..200 {
        errors.push(store.claim(&[]).await.err().map(|e| e.repeat()));
    }
    errors
}

#[tokio::test]
async fn the_seed_decides() {
    assert_eq!(errors_of(7).await, errors_of(7).await);
    assert_ne!(errors_of(7).await, errors_of(8).await);
}

#[tokio::test]
async fn rates_are_kept() {
    let rates = Rates { refused: 100, reply_lost: 300, ..Rates::default() };
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), 1, rates);
    for _ in 0..10_000 {
        let _ = store.claim(&[]).await;
    }
    let injected = store.injected();
    assert!((900..1100).contains(&injected.refused), "{injected:?}");
    assert!((2800..3200).contains(&injected.replies_lost), "{injected:?}");
    assert_eq!((injected.calls, injected.requests_lost, injected.slow), (10_000, 0, 0));
}

/// Repeats the same call until it is answered, as the runner does.
async fn answered<T, F: Future<Output = ackonce::Result<T>>>(call: impl Fn() -> F) -> T {
    loop {
        if let Ok(Ok(answer)) = timeout(Duration::from_secs(1), call()).await {
            return answer;
        }
    }
}

/// Three workers, three hundred messages, every fault there is: each message is run by one of them.
#[tokio::test(start_paused = true)]
async fn repeating_the_same_call_is_enough_to_run_each_message_once() {
    for seed in 0..20 {
        let rates = Rates {
            refused: 100,
            request_lost: 100,
            reply_lost: 100,
            applied_late: 100,
            slow: 100,
            delay: Duration::from_millis(1500),
            never_applied: 50,
            never_answered: 50,
        };
        let store = FaultyStore::new(Arc::new(MemoryStore::new()), seed, rates);
        let worker = || async {
            let mut ran = 0;
            for n in 0..300 {
                let request = request(&n.to_string());
                match answered(|| store.claim_one(request.clone())).await {
                    Claimed::Acquired(lease) => {
                        ran += 1;
                        let settled = answered(|| store.settle_one(complete(&lease))).await;
                        assert_eq!(settled, Settled::Yes, "seed {seed}");
                    }
                    Claimed::Done(_) | Claimed::Busy { .. } => {}
                    Claimed::Mismatch(record) => panic!("seed {seed}: {record:?}"),
                }
            }
            ran
        };
        let (a, b, c) = tokio::join!(worker(), worker(), worker());
        assert_eq!(a + b + c, 300, "seed {seed}");
    }
}
