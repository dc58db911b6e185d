//! Complete, release, extend and bury: each does its one thing, once.

use std::time::Duration;

use ackonce::Previous;
use ackonce::store::{ClaimRequest, Claimed, Fingerprint, Lease, Settle, State, Token};

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, bury, complete, extend, redrive, refund, release};

/// A completed key answers Done to everybody.
pub async fn a_completed_key_is_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
    for client in [&bench.a, &bench.b] {
        let record = client.done(&bench.request("id")).await;
        assert_eq!((record.state, record.reason), (State::Done, None), "state and reason of a completed key");
    }
}

/// A buried key is settled too, and its record shows the burial and its reason.
pub async fn a_buried_key_is_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, bury()).await;
    let record = bench.b.done(&bench.request("id")).await;
    assert_eq!((record.state, record.outcome), (State::Buried, None), "state and outcome of a buried key");
    assert_eq!(record.reason.as_deref(), Some("it will never succeed"), "the reason it was buried for");
}

/// A key that was handed back can be claimed at once, before its lease ends.
pub async fn a_released_key_is_granted_at_once(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for action in [release(), refund()] {
        let lease = bench.a.acquire(&bench.request("id")).await;
        bench.a.confirm(&lease, action).await;
        let next = bench.b.acquire(&bench.request("id")).await;
        assert_ne!(next.previous, Previous::Vanished, "a release is not a silence");
        bench.b.confirm(&next, refund()).await;
    }
}

/// The heartbeat: an extension holds the key beyond the lease it was claimed with.
pub async fn an_extended_lease_holds_past_its_first_end(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.a.confirm(&lease, extend()).await;
    bench.pass(SHORT).await;
    let free_in = bench.b.busy(&bench.request("id")).await;
    assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
    bench.a.confirm(&lease, Settle::Extend { lease: SHORT, window: LONG }).await;
    assert_eq!(bench.b.acquire_at_last(|| bench.request("id")).await.attempt, 2, "the trail of an extension");
}

/// After the lease's end, if no other claim came in between, a completion is still recorded.
pub async fn a_late_completion_is_recorded(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.pass(SHORT).await;
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(
        bench.b.done(&bench.request("id")).await.fence,
        lease.fence,
        "the fence of the late completion"
    );
}

/// After the lease's end, if no other claim came in between, a late heartbeat holds the key again.
pub async fn a_late_extension_holds_again(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.pass(SHORT).await;
    bench.a.confirm(&lease, extend()).await;
    bench.b.busy(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
}

/// A lost reply: the same settlement is confirmed again, from any client.
pub async fn a_repeated_settlement_is_confirmed_again(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (n, action) in [complete(), release(), refund(), extend(), bury()].into_iter().enumerate() {
        let id = format!("id {n}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        for client in [&bench.a, &bench.a, &bench.b] {
            client.confirm(&lease, action.clone()).await;
        }
        if let (Settle::Extend { .. }, free_in) = (action, bench.b.claim(&bench.request(&id)).await) {
            let held = matches!(free_in, Claimed::Busy { free_in } if free_in <= LONG);
            assert!(held, "extended by {LONG:?} three times over: {free_in:?}");
        }
    }
}

/// A completed message is neither released, extended nor buried afterwards.
pub async fn a_completed_lease_stays_completed(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    let outcome = Some("result".into());
    bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: outcome.clone() }).await;
    for action in [release(), refund(), extend(), bury()] {
        bench.b.lose(&lease, action).await;
        let record = bench.b.done(&bench.request("id")).await;
        assert_eq!(
            (record.state, record.outcome, record.reason),
            (State::Done, outcome.clone(), None),
            "state, outcome and reason stay those of the completion"
        );
    }
}

/// A buried message is neither completed, released nor extended afterwards.
pub async fn a_buried_lease_stays_buried(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, bury()).await;
    for action in [complete(), release(), refund(), extend()] {
        bench.b.lose(&lease, action).await;
        assert_eq!(
            bench.b.done(&bench.request("id")).await.state,
            State::Buried,
            "a buried key stays buried"
        );
    }
}

/// A released message is neither completed, extended nor buried afterwards: the next claim may be on its way.
pub async fn a_released_lease_stays_released(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, release()).await;
    for action in [complete(), extend(), bury()] {
        bench.b.lose(&lease, action).await;
    }
    assert_eq!(
        bench.b.acquire(&bench.request("id")).await.attempt,
        2,
        "the attempt after one that was released once"
    );
}

/// A dead letter that comes back is identified by the claim that buried it, and its message begins anew, with any
/// payload.
pub async fn a_burial_is_redriven_by_its_own_claim(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let with =
        |payload: &[u8]| ClaimRequest { fingerprint: Some(Fingerprint::of(payload)), ..bench.request("id") };
    let payloads = [b"first".as_slice(), b"mended", b"mended again"];
    for pair in payloads.windows(2) {
        // Attempts before the last one are forgotten with it.
        let failed = bench.a.acquire(&with(pair[0])).await;
        bench.a.confirm(&failed, release()).await;
        let lease = bench.a.acquire(&with(pair[0])).await;
        bench.a.confirm(&lease, bury()).await;
        bench.b.confirm(&lease, redrive()).await;
        let again = bench.b.acquire(&with(pair[1])).await;
        assert_eq!((again.attempt, again.previous), (1, Previous::Released), "it begins anew");
        assert!(again.fence > lease.fence, "fences grow over a redrive");
        bench.b.confirm(&again, release()).await;
    }
    let last = bench.a.acquire(&with(payloads[2])).await;
    bench.a.confirm(&last, complete()).await;
    let record = bench.b.done(&with(payloads[2])).await;
    assert_eq!((record.state, record.reason), (State::Done, None), "the reason of the burial is gone");
    bench.b.mismatch(&with(payloads[1])).await;
}

/// The letter of an earlier burial, and one of a message that took effect, redrive nothing.
pub async fn a_redrive_changes_nothing_but_its_own_burial(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let first = bench.a.acquire(&bench.request("id")).await;
    bench.b.lose(&first, redrive()).await;
    bench.a.confirm(&first, bury()).await;
    bench.a.confirm(&first, redrive()).await;
    let second = bench.b.acquire(&bench.request("id")).await;
    bench.a.lose(&first, redrive()).await;
    bench.b.confirm(&second, bury()).await;
    bench.a.lose(&first, redrive()).await;
    let record = bench.a.done(&bench.request("id")).await;
    assert_eq!(
        (record.state, record.fence),
        (State::Buried, second.fence),
        "the second burial stays, whatever the first one's letter asks"
    );
    for (n, action) in [complete(), release()].into_iter().enumerate() {
        let id = format!("other {n}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.a.confirm(&lease, action).await;
        bench.b.lose(&lease, redrive()).await;
    }
    bench.a.done(&bench.request("other 0")).await;
}

/// A forged letter may know the fence, which is in every record that an operator looks at.
pub async fn a_redrive_needs_the_token_of_its_burial(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, bury()).await;
    for token in [Token([0; 16]), Token::random()] {
        let forged = Lease { token, ..lease.clone() };
        bench.b.lose(&forged, redrive()).await;
        let record = bench.a.done(&bench.request("id")).await;
        assert_eq!(record.state, State::Buried, "a forged letter redrives nothing");
    }
    bench.b.confirm(&lease, redrive()).await;
    bench.a.acquire(&bench.request("id")).await;
}
