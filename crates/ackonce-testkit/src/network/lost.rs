//! Requests and replies that are lost, at each step of a call.

use std::time::Duration;

use ackonce::store::{Claimed, Repeat, Settle};

use super::Fixture;
use super::bench::{Bench, repeatable, start};
use super::cuts::{Cuts, Start, WAYS, cut};
use crate::conformance::bench::{Client, LONG, acquired, complete};
use crate::proxy::ProxyMode;

/// A claim that was cut was applied or not. Where it was, a rival finds the key busy, and the same claim again is
/// answered as if nothing had happened: first attempt, same fence. Where it was not, the key is the rival's. An
/// error that promises that nothing was applied keeps its promise.
pub async fn a_claim_cut_anywhere_is_repeated_or_is_a_rivals(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for what in WAYS {
        for start in [Start::Warm, Start::Cold] {
            let mut cuts = Cuts::new(&bench, what, start);
            let mut is_answered = false;
            while let Some(id) = cuts.next(is_answered).await {
                (is_answered, _) = claim_through(&bench, &id).await;
            }
        }
    }
    // A cut may come before the server is through with the request. A reply that is swallowed never does.
    bench.warm_up().await;
    bench.proxy.set_replies(ProxyMode::Blackhole);
    let claimed = claim_through(&bench, "swallowed").await;
    assert_eq!(claimed, (false, true), "the reply is lost, and the claim is applied");
    bench.proxy.set(ProxyMode::Pass);
    bench.proxy.cut_all().await;
}

/// Claims through the proxy, and looks at the record from beside it. Returns whether it was answered, and whether it
/// was applied.
async fn claim_through(bench: &Bench, id: &str) -> (bool, bool) {
    let request = bench.request(id);
    let answer = bench.try_claim(&request).await;
    let is_answered = answer.is_ok();
    let is_safe = answer.as_ref().err().is_some_and(|e| e.repeat() == Repeat::Safe);
    let answered = answer.map_err(|e| repeatable(&e)).ok().map(|a| acquired(a, &request));
    match bench.near.claim(&bench.request(id)).await {
        Claimed::Busy { .. } => {
            assert!(!is_safe, "{id}: told that nothing was applied, and it was");
            let lease = bench.near.acquire(&request).await;
            assert_eq!(lease.attempt, 1, "{id}: the repetition of a claim");
            assert!(answered.is_none_or(|answered| answered == lease), "{id}: leased twice");
            (is_answered, true)
        }
        Claimed::Acquired(rivals) => {
            assert_eq!((rivals.attempt, answered), (1, None), "{id}: the rival's claim");
            (is_answered, false)
        }
        answer => panic!("{id}: it was not completed, and the store answers {answer:?}"),
    }
}

/// A completion that was cut is repeated until it is confirmed, and then the key is done, with that outcome.
pub async fn a_completion_cut_anywhere_is_repeated(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for what in WAYS {
        for start in [Start::Warm, Start::Cold] {
            let mut cuts = Cuts::new(&bench, what, start);
            let mut is_answered = false;
            while let Some(id) = cuts.next(is_answered).await {
                let lease = bench.near.acquire(&bench.request(&id)).await;
                let action = Settle::Complete { window: LONG, outcome: Some(id.clone().into()) };
                let answer = bench.try_settle(&lease, action.clone()).await;
                is_answered = answer.is_ok();
                if let Err(error) = answer {
                    repeatable(&error);
                    bench.near.confirm(&lease, action).await;
                }
                let record = bench.near.done(&bench.request(&id)).await;
                assert_eq!(
                    (record.fence, record.outcome.as_deref()),
                    (lease.fence, Some(id.as_bytes())),
                    "fence and outcome of the completion"
                );
            }
        }
    }
}

/// A store that is cut while it connects can be connected again: no cut is taken for a wrong setting.
pub async fn connecting_cut_anywhere_can_be_repeated(fixture: &dyn Fixture) {
    for what in WAYS {
        let proxy = start(fixture).await;
        let address = proxy.addr().to_string();
        for nth in 1.. {
            let before = cut(&proxy.counts());
            what.cut(&proxy, nth);
            let opened = fixture.open(&address).await;
            if cut(&proxy.counts()) == before {
                assert!(nth > 1, "connecting sends something");
                let store = opened.unwrap_or_else(|e| panic!("nothing was cut, and it is not open: {e}"));
                proxy.set(ProxyMode::Pass);
                Client(store).claim_all(&[]).await;
                break;
            }
            opened.map(drop).unwrap_or_else(|e| repeatable(&e));
        }
    }
}

/// Half a reply is no reply.
pub async fn a_reply_cut_in_the_middle_is_no_answer(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    // The sizes of parts are in bytes; a reply is longer than any of them.
    for bytes in [1, 3] {
        let request = bench.request(&format!("{bytes} bytes"));
        let before = bench.proxy.counts().replies;
        bench.proxy.set_replies(ProxyMode::Drip { bytes, gap: Duration::from_millis(20) });
        let cut = async {
            bench.proxy.wait_for(|counts| counts.replies.bytes > before.bytes).await;
            bench.proxy.cut_all().await;
            bench.proxy.set(ProxyMode::Pass);
        };
        let (answer, ()) = tokio::join!(bench.try_claim(&request), cut);
        match answer {
            Ok(answer) => {
                acquired(answer, &request);
            }
            Err(error) => {
                assert_eq!(error.repeat(), Repeat::Unknown, "a part of the reply was there: {error}")
            }
        }
        let lease = bench.acquire(&request).await;
        assert_eq!(lease.attempt, 1, "the repetition of a claim");
        bench.settle(&lease, complete()).await;
    }
}
