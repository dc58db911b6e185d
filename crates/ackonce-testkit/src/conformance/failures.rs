//! Never a guess: a store that cannot answer returns an error, which tells if anything may have been applied.

use std::future::Future;
use std::io::Write;
use std::slice;

use ackonce::store::{ClaimRequest, Claimed, Lease, Repeat, Settle, Settled, Settlement};
use ackonce::{Error, Result};
use tokio::time::Instant;

use super::bench::{Bench, Client, PATIENCE, SHORT, acquired, complete, within_patience};
use super::durability::is_lost_with_process;
use super::{Breakable, CannotFail, Fixture, Outage};

/// A client that has been used, so that all that is done once per connection is done; `None` for a store that
/// cannot fail.
async fn broken(bench: &Bench, failure: Outage, breakable: &dyn Breakable) -> Option<Client> {
    let client = Client(breakable.client());
    let lease = client.acquire(&bench.request(format!("to warm up {failure:?}"))).await;
    client.confirm(&lease, complete()).await;
    let Err(CannotFail(reason)) = breakable.fail(failure).await else { return Some(client) };
    if !is_lost_with_process(&*bench.a.0) {
        assert_eq!(
            failure,
            Outage::ReplyLost,
            "every store with records outside of this process can be away: {reason}"
        );
        // Past the harness, which captures the output of a test that passes.
        let name = bench.a.0.describe().name;
        let _ = writeln!(std::io::stderr(), "NOT PROVOKED: a lost reply of {name} ({reason})");
    }
    None
}

async fn try_claim(client: &Client, request: &ClaimRequest) -> Result<Claimed> {
    within_patience(client.0.claim(slice::from_ref(request))).await.map(only)
}

async fn try_settle(client: &Client, lease: &Lease, action: Settle) -> Result<Settled> {
    within_patience(client.0.settle(&[Settlement::new(lease, action)])).await.map(only)
}

fn only<T>(answers: Vec<T>) -> T {
    assert_eq!(answers.len(), 1, "one answer per request");
    answers.into_iter().next().unwrap_or_else(|| panic!("one answer per request"))
}

/// An outage is an error, not an answer; the call may be repeated, and the same client works again afterwards.
pub async fn an_outage_is_an_error_and_passes(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let held = bench.a.acquire(&bench.request("held")).await;
    let done = bench.a.acquire(&bench.request("done")).await;
    bench.a.confirm(&done, complete()).await;
    let breakable = fixture.breakable().await;
    let Some(client) = broken(&bench, Outage::Away, &*breakable).await else { return };
    let (new, repeat) = (bench.request("new"), bench.request("done"));
    let claimed = try_claim(&client, &new).await;
    let found = try_claim(&client, &repeat).await;
    let settled = try_settle(&client, &held, complete()).await;
    breakable.heal().await;

    for answer in [&claimed, &found] {
        passes(answer.as_ref().err());
    }
    passes(settled.as_ref().err());
    match &claimed {
        Err(_) => {}
        // The store reached its records in spite of the outage; then the answer must be true.
        Ok(Claimed::Acquired(_)) => drop(bench.b.busy(&bench.request("new")).await),
        Ok(answer) => panic!("the key has no record, and a store that is away answers {answer:?}"),
    }
    if let Ok(answer) = found {
        assert!(
            matches!(answer, Claimed::Done(_)),
            "the key is done, and a store that is away answers {answer:?}"
        );
    }
    assert_ne!(
        settled.ok(),
        Some(Settled::Lost),
        "its holder settles, and a store that is away says that it is lost"
    );
    let claimed = at_last(|| try_claim(&client, &new)).await;
    assert_eq!(acquired(claimed, &new).attempt, 1, "the same claim after the outage");
    let settled = at_last(|| try_settle(&client, &held, complete())).await;
    assert_eq!(settled, Settled::Yes, "the same settlement after the outage");
    bench.b.done(&bench.request("held")).await;
}

/// The answer to a call that is repeated until it has one, as a runner does.
async fn at_last<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                passes(Some(&error));
                let waited = began.elapsed();
                assert!(waited < PATIENCE, "the outage is over, and after {waited:?} there is: {error}");
            }
        }
        tokio::time::sleep(SHORT).await;
    }
}

fn passes(error: Option<&Error>) {
    if let Some(error) = error {
        assert_ne!(
            error.repeat(),
            Repeat::Never,
            "an outage passes, and the store gives up for good: {error}"
        );
    }
}

/// `Repeat::Safe` means that nothing was applied: an applied request never gets it.
pub async fn an_error_is_safe_only_where_nothing_was_applied(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let breakable = fixture.breakable().await;
    for failure in [Outage::ReplyLost, Outage::Away] {
        let id = |what: &str| format!("{failure:?} {what}");
        let held = bench.a.acquire(&bench.request(id("held"))).await;
        let Some(client) = broken(&bench, failure, &*breakable).await else { continue };
        let new = bench.request(id("new"));
        let claimed = try_claim(&client, &new).await;
        let settled = try_settle(&client, &held, complete()).await;
        breakable.heal().await;

        let taken = matches!(bench.b.claim(&bench.request(id("new"))).await, Claimed::Busy { .. });
        let completed = matches!(bench.b.claim(&bench.request(id("held"))).await, Claimed::Done(_));
        for (what, error, was_applied) in
            [("claim", claimed.err(), taken), ("settlement", settled.err(), completed)]
        {
            let is_safe = error.as_ref().is_some_and(|error| error.repeat() == Repeat::Safe);
            assert!(
                !(is_safe && was_applied),
                "{failure:?}: a {what} was applied, and its error is safe: {error:?}"
            );
        }
    }
}

/// A settlement that can never be carried out is [`Repeat::Never`], and the key is still its holder's.
pub async fn the_impossible_is_never_to_be_repeated(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let Some(impossible) = fixture.impossible() else { return };
    let lease = bench.a.acquire(&bench.request("id")).await;
    match try_settle(&bench.a, &lease, impossible).await {
        Err(error) => {
            assert_eq!(error.repeat(), Repeat::Never, "whether the impossible may be repeated: {error}")
        }
        Ok(answer) => {
            panic!("the fixture calls this settlement impossible, and the store answers {answer:?}")
        }
    }
    bench.b.busy(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
}
