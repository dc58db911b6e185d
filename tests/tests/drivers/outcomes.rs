//! The outcomes of handlers.

use ackonce::store::{ClaimRequest, Repeat};
use ackonce::{Class, Failure, Handler};
use ackonce_tests::drivers::{Act, Ends};
use std::time::Duration;

use crate::place::{Place, acquire, item, request};

pub(crate) async fn effects_and_records_commit_together(place: Place) {
    let inbox = place.inbox().await;
    assert_eq!(inbox.class(), Class::Inbox);
    let mut items = Vec::new();
    for id in ["a", "b", "c"] {
        items.push(place.item(id, vec![place.insert(id)]).await);
    }
    for answer in inbox.handle(items).await {
        drop(answer.unwrap());
    }
    let alone = inbox.handle(vec![place.item("d", vec![place.insert("d")]).await]).await;
    assert!(alone[0].is_ok(), "{alone:?}");
    assert_eq!(place.effects().await, ["a", "b", "c", "d"]);
    for id in ["a", "b", "c", "d"] {
        assert!(place.is_done(id).await);
    }
}

pub(crate) async fn failures_are_undone_alone(place: Place) {
    let inbox = place.inbox().await;
    let ends = [None, Some(Act::Refuse), Some(Act::Fail), None, Some(Act::Panic), None];
    let mut items = Vec::new();
    for (n, end) in ends.iter().enumerate() {
        let id = format!("{n}");
        let acts = [place.insert(&id)].into_iter().chain(end.clone()).collect();
        items.push(place.item(&id, acts).await);
    }
    let answers = inbox.handle(items).await;
    let [Ok(_), Err(Failure::Permanent(_)), Err(Failure::Retry(_)), Ok(_), Err(Failure::Retry(panic)), Ok(_)] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(panic.to_string(), "the handler panicked: out of tune");
    assert_eq!(place.effects().await, ["0", "3", "5"]);
    for end in ends.into_iter().flatten() {
        let acts = vec![place.insert("alone"), end];
        let alone = inbox.handle(vec![place.item(&format!("alone {:?}", acts.len()), acts).await]).await;
        assert!(matches!(alone[0], Err(Failure::Permanent(_) | Failure::Retry(_))), "{alone:?}");
        // Its claim is still held, so each has a message of its own.
        place.client().await.batch_execute(&place.sql("DELETE FROM {s}.record")).await.unwrap();
    }
    assert_eq!(place.count("effect").await, 3);
}

/// Wherever the culprit is, it alone is charged; a neighbour that met the same refusal runs again.
pub(crate) async fn a_swallowed_failure_is_no_success(place: Place) {
    for culprit in 0..4 {
        let inbox = place.inbox().await;
        for round in 0..2 {
            let ids: Vec<_> = (0..4).map(|n| format!("{culprit} {round} {n}")).collect();
            let mut items = Vec::new();
            for (n, id) in ids.iter().enumerate() {
                let fails = [place.insert("y"), place.swallow("SELECT 1/0"), place.swallow("SELECT 1")];
                let acts = if n == culprit { fails.to_vec() } else { vec![place.run("SELECT 1")] };
                items.push(place.item(id, acts).await);
            }
            let answers = inbox.handle(items).await;
            for (n, answer) in answers.iter().enumerate() {
                match answer {
                    Err(Failure::Retry(error)) => {
                        assert_eq!(n, culprit, "{answers:?}");
                        assert!(error.to_string().contains("answered success"), "{error}");
                    }
                    Err(Failure::Store(error)) => {
                        assert_eq!((n, round, error.repeat()), (culprit + 1, 0, Repeat::Safe), "{answers:?}");
                    }
                    other => assert!(other.is_ok() && n != culprit, "{answers:?}"),
                }
                assert_eq!(answer.is_ok(), place.is_done(&ids[n]).await, "{culprit} {round} {n}");
            }
        }
        let id = format!("alone {culprit}");
        let acts = vec![place.insert("y"), place.swallow("INSERT INTO missing VALUES (1)")];
        let alone = inbox.handle(vec![place.item(&id, acts).await]).await;
        assert!(matches!(&alone[..], [Err(Failure::Retry(_))]), "{alone:?}");
        assert!(!place.is_done(&id).await);
    }
    assert_eq!(place.count("effect").await, 0);
}

pub(crate) async fn nested_transactions_are_the_handlers_own(place: Place) {
    let inbox = place.inbox().await;
    let insert = |id: &str| place.sql(&format!("INSERT INTO {{s}}.effect VALUES ('{id}')"));
    let acts = |id: &str| {
        vec![
            Act::Nested(insert(&format!("{id} kept")), Ends::Committed),
            Act::Nested(insert(&format!("{id} undone")), Ends::RolledBack),
            place.insert(id),
            // As the last thing, so that its rollback goes with a statement of the inbox.
            Act::Nested(insert(&format!("{id} dropped")), Ends::Dropped),
        ]
    };
    let alone = inbox.handle(vec![place.item("a", acts("a")).await]).await;
    let mut items = Vec::new();
    for id in ["b", "c"] {
        items.push(place.item(id, acts(id)).await);
    }
    // A failure after a nested commit undoes that, too.
    let undone = vec![Act::Nested(insert("d kept"), Ends::Committed), Act::Fail];
    items.push(place.item("d", undone).await);
    let group = inbox.handle(items).await;
    assert!(
        matches!((&alone[..], &group[..]), ([Ok(_)], [Ok(_), Ok(_), Err(Failure::Retry(_))])),
        "{alone:?} {group:?}"
    );
    assert_eq!(place.effects().await, ["a", "a kept", "b", "b kept", "c", "c kept"]);
}

pub(crate) async fn a_claim_taken_over_meanwhile_is_rolled_back(place: Place) {
    let inbox = place.inbox().await;
    let stalled = |id: &'static str| {
        let store = place.store.clone();
        vec![
            place.insert(id),
            // Its lease has ended, and nothing of it is locked.
            Act::wait(move || {
                let store = store.clone();
                async move { drop(acquire(&store, request(id)).await) }
            }),
        ]
    };
    let short = |id| ClaimRequest { lease: Duration::ZERO, ..request(id) };
    let lease = acquire(&place.store, short("one")).await;
    let alone = inbox.handle(vec![item(&lease, stalled("one"))]).await;
    assert!(matches!(&alone[..], [Err(Failure::Fenced)]), "{alone:?}");
    let lease = acquire(&place.store, short("two")).await;
    let items = vec![
        place.item("a", vec![place.insert("a")]).await,
        item(&lease, stalled("two")),
        place.item("b", vec![place.insert("b")]).await,
    ];
    let answers = inbox.handle(items).await;
    let [Err(Failure::Store(error)), Err(Failure::Fenced), Err(Failure::Store(_))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(error.repeat(), Repeat::Safe, "the neighbours run again: {error}");
    assert_eq!(place.count("effect").await, 0);
    // Before the handler runs, too.
    let late = inbox.handle(vec![item(&lease, vec![Act::Panic])]).await;
    assert!(matches!(&late[..], [Err(Failure::Fenced)]), "{late:?}");
}

pub(crate) async fn a_repeated_run_does_not_double(place: Place) {
    let inbox = place.inbox().await;
    let lease = acquire(&place.store, request("a")).await;
    for _ in 0..2 {
        let answers = inbox.handle(vec![item(&lease, vec![place.insert("a")])]).await;
        assert!(answers[0].is_ok(), "{answers:?}");
    }
    assert_eq!(place.effects().await, ["a"]);
}

/// Under the session's other defaults, and with the planner's settings as they were.
pub(crate) async fn handlers_run_read_committed_and_planned_freely(place: Place) {
    let database = format!("drivers_{}_{}", std::process::id(), format!("{:?}", place.driver).to_lowercase());
    let client = place.client().await;
    client.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    for setting in ["default_transaction_isolation = 'serializable'", "synchronous_commit = off"] {
        client.batch_execute(&format!("ALTER DATABASE {database} SET {setting}")).await.unwrap();
    }
    let url = format!("{}/{database}", place.url.rsplit_once('/').unwrap().0);
    let place = Place::at(place.driver, url, place.schema).await;
    let settings = "INSERT INTO {s}.effect SELECT current_setting('transaction_isolation') || ' ' || \
                    current_setting('enable_seqscan') || ' ' || current_setting('synchronous_commit')";
    let answers = place.inbox().await.handle(vec![place.item("a", vec![place.run(settings)]).await]).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(place.effects().await, ["read committed on on"]);
}
