//! Ten thousand buried records redriven by a filter, with a kill -9 midway and a second start.

use std::time::Duration;

use ackonce::Scope;
use ackonce::store::{Attempt, ClaimRequest, Claimed, DeduplicatorExt, Settle, Settlement, State, Token};

use crate::program::{command, json, output, refused};
use crate::seeded::{Seeded, WEEK, bury};

const RECORDS: usize = 10_000;
const OTHERS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    killed_midway(Seeded::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    killed_midway(Seeded::postgres("redrive").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() {
    killed_midway(Seeded::redis("redrive").await).await;
}

async fn killed_midway(store: Option<Seeded>) {
    let Some(store) = store else { return };
    store.bury(RECORDS, "the bank is away", "m").await;
    store.bury(OTHERS, "no such account", "other").await;
    let filter =
        ["redrive", "--store", &store.url, "--scope", "billing", "--reason-contains", "bank is away"];
    let note = ["--reason", "the bank is back", "--actor", "ada"];
    let all = [&filter[..], &note[..], &["--yes"]].concat();
    let plan = output(&[&filter[..], &["--dry-run"]].concat());
    assert!(plan.starts_with("10,000 buried records of scope billing"), "{plan}");
    refused(&[&filter[..], &note[..]].concat(), 2, &["10,000 buried records", "add --yes"]);

    let mut first = command(&all).spawn().unwrap();
    let inspect = store.store.inspect();
    let mut is_under_way = false;
    while !is_under_way {
        let stats = inspect.stats().await.unwrap();
        is_under_way = stats.released > 200;
        assert!(first.try_wait().unwrap().is_none(), "it has ended before it was killed: {stats:?}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let released = inspect.stats().await.unwrap().released;
    let second = json(&all).remove(0);
    println!("{released} before the kill, then {second}");
    let redriven = second["redriven"].as_u64().unwrap();
    assert!(redriven > 0 && redriven + released >= RECORDS as u64, "{second}");
    assert_eq!(json(&all)[0]["redriven"], 0, "a third start finds nothing");

    let stats = inspect.stats().await.unwrap();
    assert_eq!((stats.released, stats.buried), (RECORDS as u64, OTHERS as u64), "{stats:?}");
    each_runs_once_with_one_audit_line(&store).await;
}

async fn each_runs_once_with_one_audit_line(store: &Seeded) {
    let (scope, inspect) = (Scope::new("billing").unwrap(), store.store.inspect());
    let ids: Vec<_> = (0..RECORDS).map(|n| format!("m{n}")).collect();
    let claim = |id: &String| ClaimRequest {
        key: scope.key(id.clone()).unwrap(),
        token: Token::random(),
        lease: Duration::from_secs(60),
        window: WEEK,
        fingerprint: None,
    };
    for some in ids.chunks(1000) {
        let claimed = inspect.claim(&some.iter().map(claim).collect::<Vec<_>>()).await.unwrap();
        let done = claimed.iter().zip(some).map(|(claimed, id)| match claimed {
            Claimed::Acquired(lease) => {
                Settlement::new(lease, Settle::Complete { window: WEEK, outcome: None })
            }
            other => panic!("{id}: {other:?}"),
        });
        inspect.settle(&done.collect::<Vec<_>>()).await.unwrap();
        let copies = inspect.claim(&some.iter().map(claim).collect::<Vec<_>>()).await.unwrap();
        assert!(copies.iter().all(|copy| matches!(copy, Claimed::Done(_))));
    }
    for id in &ids {
        let audit = inspect.audit(&scope.key(id.clone()).unwrap()).await.unwrap();
        assert_eq!(audit.len(), 1, "{id}: {audit:?}");
        assert_eq!((audit[0].operation.as_str(), audit[0].actor.as_str()), ("redrive", "ada"));
        assert_eq!((audit[0].reason.as_str(), audit[0].before), ("the bank is back", State::Buried));
    }
}

/// A record that is buried anew during the walk is left for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_again_does_not_go_in_circles() {
    let Some(store) = Seeded::sqlite().await else { return };
    store.bury(2000, "the bank is away", "m").await;
    let failing = async {
        // A consumer whose cause is not mended: all that is redriven is buried again at once.
        let (scope, dedup) = (Scope::new("billing").unwrap(), store.store.deduplicator());
        let mut buried = 0;
        while buried < 2000 {
            for n in 0..2000 {
                let key = scope.key(format!("m{n}")).unwrap();
                let (token, lease) = (Token::random(), Duration::from_secs(60));
                let request = ClaimRequest { key, token, lease, window: WEEK, fingerprint: None };
                if let Claimed::Acquired(lease) = dedup.claim_one(request).await.unwrap() {
                    dedup.settle_one(Settlement::new(&lease, bury("the bank is away"))).await.unwrap();
                    buried += 1;
                }
            }
        }
        buried
    };
    let args = ["redrive", "--all", "--yes", "--reason", "a try", "--store", &store.url].map(str::to_owned);
    let redriving = tokio::task::spawn_blocking(move || json(&args.each_ref().map(String::as_str)).remove(0));
    let (buried, redriven) = tokio::join!(failing, redriving);
    assert_eq!((buried, redriven.unwrap()["redriven"].as_u64()), (2000, Some(2000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_the_walk_and_done_records_are_redriven_on_request_alone() {
    let Some(store) = Seeded::sqlite().await else { return };
    store.bury(30, "r", "m").await;
    store.ended("done", Settle::Complete { window: WEEK, outcome: None }).await;
    let released = Settle::Release { attempt: Attempt::Counts, window: WEEK, not_before: Duration::ZERO };
    store.ended("released", released).await;
    let base = ["redrive", "--store", &store.url, "--reason", "x", "--yes"];
    assert_eq!(json(&[&base[..], &["--all", "--limit", "7"]].concat())[0]["redriven"], 7);
    refused(&[&base[..], &["--all", "--limit", "0"]].concat(), 2, &["--limit 0", "leave it out"]);
    assert_eq!(json(&[&base[..], &["--all"]].concat())[0]["redriven"], 23);
    assert_eq!(
        json(&[&base[..], &["--state", "done"]].concat())[0]["redriven"],
        1,
        "by its digest, without a name"
    );
    assert_eq!(store.store.inspect().stats().await.unwrap().done, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_one_message_is_json_where_that_is_asked_for() {
    let Some(store) = Seeded::sqlite().await else { return };
    store.bury(1, "r", "m").await;
    let dry =
        |id: &str| json(&["redrive", id, "--scope", "billing", "--store", &store.url, "--dry-run"]).remove(0);
    let id = json(&["list", "--store", &store.url])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&dry(&id)["would_redrive"], &dry("nobody")["would_redrive"]), (&1.into(), &0.into()));
    assert_eq!(store.store.inspect().stats().await.unwrap().buried, 1);
}
