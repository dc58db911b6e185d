//! Redriving: a settled message runs once more, and its redelivery is not taken for a duplicate.

use ackonce::Previous;
use ackonce::store::{AdminOutcome, Claimed, Settle, State};

use super::Fixture;
use super::bench::{Bench, bury, complete, complete_with, extend, release, waiting};
use super::looking::same;

/// The record stays as released with no attempts; the next claim is granted, and its settlement counts.
pub async fn a_redriven_message_runs_once_more(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (id, end) in [("done at once", complete()), ("buried at last", bury()), ("done at last", complete())]
    {
        // The end of earlier attempts does not matter.
        match id {
            "buried at last" => drop(bench.settled(id, release()).await),
            "done at last" => drop(bench.lapsed(id).await),
            _ => {}
        }
        let old = bench.settled(id, end).await;
        assert_eq!(bench.b.redrive(&old.key).await, AdminOutcome::Yes, "{id}");
        let record = bench.a.record(&old.key).await;
        assert_eq!((record.state, record.attempt), (State::Released, 0), "was {id}");
        assert_eq!((record.outcome, record.reason), (None, None), "was {id}");
        let lease = bench.a.acquire(&bench.request(id)).await;
        assert_eq!((lease.attempt, lease.previous), (1, Previous::Released), "was {id}");
        assert!(lease.fence > old.fence, "fence {} after fence {}", lease.fence, old.fence);
        bench.b.is_busy(&bench.request(id)).await;
        bench.a.confirm(&lease, complete_with(Some("anew"))).await;
        let Claimed::Done(record) = bench.b.claim(&bench.request(id)).await else {
            panic!("a redelivery of a message that ran once more is a duplicate")
        };
        assert_eq!((record.state, record.attempt), (State::Done, 1), "was {id}");
        assert_eq!((record.outcome.as_deref(), record.reason), (Some(&b"anew"[..]), None), "was {id}");
    }
}

/// Progress is kept by the redrive of a message that is not done: its finished steps do not run again. One that was done
/// runs as if for the first time, and so does one that was forgotten.
pub async fn a_redriven_message_keeps_its_progress(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let half = Some(&b"half \xff"[..]);
    let cases = [("buried", bury(), half), ("waiting", waiting(), half), ("done", complete(), None)];
    for (id, end, kept) in cases {
        let old = bench.claimed(id).await;
        let save = Settle::Save { progress: b"half \xff".to_vec().into() };
        bench.a.confirm(&old, save).await;
        assert_eq!(
            bench.b.record(&old.key).await.progress.as_deref(),
            half,
            "the progress of a claimed message"
        );
        bench.a.confirm(&old, end).await;
        assert_eq!(bench.b.record(&old.key).await.progress.as_deref(), kept, "was {id}");
        assert_eq!(bench.b.redrive(&old.key).await, AdminOutcome::Yes, "{id}");
        assert_eq!(bench.b.record(&old.key).await.progress.as_deref(), kept, "was {id}, and redriven");
        let lease = bench.a.acquire(&bench.request(id)).await;
        assert_eq!(lease.progress.as_deref(), kept, "was {id}, and claimed again");
        bench.a.confirm(&lease, bury()).await;
        assert_eq!(bench.b.forget(&old.key).await, AdminOutcome::Yes, "{id}");
        assert_eq!(bench.a.acquire(&bench.request(id)).await.progress, None, "was {id}, and forgotten");
    }
}

/// An operator cannot make a running message run a second time.
pub async fn a_live_claim_is_not_redriven(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.claimed("id").await;
    let before = same(bench.b.record(&lease.key).await);
    assert_eq!(
        bench.b.redrive(&lease.key).await,
        AdminOutcome::InFlight,
        "a claim with a live lease is not redriven"
    );
    assert_eq!(same(bench.b.record(&lease.key).await), before, "the record of a claim that was not redriven");
    bench.b.is_busy(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(bench.b.redrive(&lease.key).await, AdminOutcome::Yes, "it is over");
}

/// Released and lapsed claims need no redrive: nothing changes, and their attempts are kept.
pub async fn what_is_granted_anyway_is_not_redriven(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let released = bench.settled("released", release()).await;
    let lapsed = bench.lapsed("lapsed").await;
    for (old, previous) in [(released, Previous::Released), (lapsed, Previous::Vanished)] {
        assert_eq!(bench.b.redrive(&old.key).await, AdminOutcome::Nothing, "{previous:?}");
        let next = bench.b.acquire(&super::bench::request(old.key.clone())).await;
        assert_eq!(
            (next.attempt, next.previous),
            (2, previous),
            "the next attempt, and how the one before it ended"
        );
    }
}

/// A back-off ends with a redrive: the next claim is granted, and the attempts are kept.
pub async fn a_redriven_message_waits_no_longer(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.settled("id", waiting()).await;
    bench.b.is_busy(&bench.request("id")).await;
    assert_eq!(bench.b.redrive(&old.key).await, AdminOutcome::Yes, "its back-off was not over");
    let next = bench.a.acquire(&bench.request("id")).await;
    assert_eq!(
        (next.attempt, next.previous),
        (2, Previous::Released),
        "the attempt that failed still counts"
    );
}

/// A key without a record, or with an expired one, has nothing to redrive.
pub async fn of_an_absent_key_nothing_is_redriven(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let unknown = bench.key("unknown");
    assert_eq!(
        bench.b.redrive(&unknown).await,
        AdminOutcome::Nothing,
        "a key that was never seen has nothing to redrive"
    );
    assert_eq!(bench.b.get(&unknown).await, None, "and no record is made of it");
    let expired = bench.expired("expired").await;
    assert_eq!(
        bench.b.redrive(&expired.key).await,
        AdminOutcome::Nothing,
        "an expired record is nothing to redrive"
    );
    assert_eq!(bench.b.get(&expired.key).await, None, "nor brought back");
}

/// A repeated redrive does nothing until the message has run again.
pub async fn a_record_is_redriven_once(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.settled("id", complete()).await;
    for _ in 0..2 {
        assert_eq!(bench.a.redrive(&old.key).await, AdminOutcome::Yes, "a done record is redriven");
        assert_eq!(
            bench.b.redrive(&old.key).await,
            AdminOutcome::Nothing,
            "a second redrive finds nothing to do"
        );
        bench.settled("id", bury()).await;
    }
}

/// A former holder settles nothing any more: neither at once, nor when another client holds the key.
pub async fn a_redriven_lease_settles_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (id, end) in [("done", complete()), ("buried", bury())] {
        let old = bench.settled(id, end).await;
        assert_eq!(bench.b.redrive(&old.key).await, AdminOutcome::Yes, "{id}");
        for action in [complete(), extend(), bury()] {
            bench.a.lose(&old, action).await;
        }
        // The record is as released, so a release may be confirmed, but it changes nothing.
        bench.a.settle(&old, release()).await;
        let record = bench.b.record(&old.key).await;
        assert_eq!((record.state, record.attempt), (State::Released, 0), "was {id}");
        let new = bench.b.acquire(&bench.request(id)).await;
        for action in [complete(), release(), extend(), bury()] {
            bench.a.lose(&old, action).await;
        }
        bench.b.confirm(&new, complete()).await;
    }
}
