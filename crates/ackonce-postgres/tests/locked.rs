//! A record that another transaction holds costs its own message a repeat, and nobody else anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use ackonce::adapter::Mode;
use ackonce::store::{Attempt, Claimed, DeduplicatorExt, Lease, Repeat, Settle, Settled, Settlement};
use ackonce::{Context, Deduplicator, ErrorKind, Failure, Handler};
use ackonce_postgres::tokio_postgres::{Client, Transaction};
use ackonce_postgres::{Entered, GuardOptions, PostgresGuard, PostgresStore};
use common::deliveries::deliver;
use common::{HOUR, Place, acquire, done, is_done, item, key, place, request};

const BATCH: usize = 501;
const HELD: usize = 250;

async fn leases(store: &PostgresStore, name: &str) -> Vec<Lease> {
    let requests: Vec<_> = (0..BATCH).map(|n| request(format!("{name} {n}"))).collect();
    let answers = store.claim(&requests).await.unwrap();
    let lease = |answer| match answer {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    };
    answers.into_iter().map(lease).collect()
}

/// Locks the record of that lease, as a person at a console might.
async fn hold<'c>(client: &'c mut Client, lease: &Lease) -> Transaction<'c> {
    let tx = client.transaction().await.unwrap();
    let fence = i64::try_from(lease.fence).unwrap();
    let held =
        tx.query("SELECT 1 FROM record WHERE fence = $1 ORDER BY key LIMIT 1 FOR UPDATE", &[&fence]).await;
    assert_eq!(held.unwrap().len(), 1);
    tx
}

/// The record of a claim of its own has a fence of its own, by which it is found.
async fn leases_with_one_apart(store: &PostgresStore, name: &str) -> Vec<Lease> {
    let mut all = leases(store, name).await;
    all[HELD] = acquire(store, request(format!("{name} apart"))).await;
    all
}

async fn guarded<'c>(client: &'c mut Client, place: &Place, id: &str) -> Transaction<'c> {
    let tx = client.transaction().await.unwrap();
    let options = GuardOptions::default();
    let entry = PostgresGuard::enter_in(&place.schema, &tx, &key(id), &options).await.unwrap();
    assert!(matches!(entry, Entered::First(_)), "{entry:?}");
    tx
}

/// A guard's claim is not committed: nobody can see it, only wait for it.
#[tokio::test]
async fn one_of_501_keys_is_claimed_by_an_open_transaction() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let mut client = place.client().await;
    let tx = guarded(&mut client, &place, "250").await;
    let requests: Vec<_> = (0..BATCH).map(request).collect();
    for round in 0..3 {
        let answers = store.claim(&requests).await.unwrap();
        for (n, answer) in answers.iter().enumerate() {
            match (n, answer) {
                (HELD, Claimed::Busy { .. }) => {}
                (n, Claimed::Acquired(lease)) if n != HELD => assert_eq!(lease.attempt, 1, "round {round}"),
                (n, other) => panic!("round {round}: {n}: {other:?}"),
            }
        }
    }
    tx.rollback().await.unwrap();
    assert!(matches!(store.claim(&requests).await.unwrap()[HELD], Claimed::Acquired(_)));
}

#[tokio::test]
async fn a_record_that_exists_and_is_locked_is_busy_and_its_repeats_in_the_batch_too() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let released = acquire(&store, request("a")).await;
    let release =
        Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: std::time::Duration::ZERO };
    assert_eq!(store.settle_one(Settlement::new(&released, release)).await.unwrap(), Settled::Yes);
    let mut client = place.client().await;
    let tx = hold(&mut client, &released).await;
    let requests = ["a", "b", "a", "c", "a"].map(request);
    let answers = store.claim(&requests).await.unwrap();
    let busy: Vec<_> = answers.iter().map(|answer| matches!(answer, Claimed::Busy { .. })).collect();
    assert_eq!(busy, [true, false, true, false, true], "{answers:?}");
    tx.rollback().await.unwrap();
    assert_eq!(acquire(&store, request("a")).await.attempt, 2);
}

/// Never `Lost`: the settlement may be repeated, and the lease is still its holder's.
#[tokio::test]
async fn a_locked_record_in_a_settlement_is_its_own_trouble() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let window = HOUR;
    let actions = [
        Settle::Extend { lease: HOUR, window },
        Settle::Release { attempt: Attempt::Counts, window, not_before: HOUR },
        Settle::Bury { window, reason: "a reason".into() },
        done(),
    ];
    for (n, action) in actions.into_iter().enumerate() {
        let leases = leases_with_one_apart(&store, &n.to_string()).await;
        let mut client = place.client().await;
        let tx = hold(&mut client, &leases[HELD]).await;
        let all: Vec<_> = leases.iter().map(|lease| Settlement::new(lease, action.clone())).collect();
        let error = store.settle(&all).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Locked, Repeat::Safe), "{error}");
        assert!(error.to_string().contains("lock_timeout_ms"), "the setting is named: {error}");
        let states = "SELECT count(*) FROM record WHERE tally % 10 = 2 AND free_at IS NOT NULL";
        if !matches!(action, Settle::Extend { .. }) {
            let left = place.value(states).await;
            assert_eq!(left, 2, "the locked one, and the one that gave it its place: {action:?}");
        }
        let others: Vec<_> =
            all.iter().enumerate().filter(|(n, _)| *n != HELD).map(|(_, s)| s.clone()).collect();
        assert!(store.settle(&others).await.unwrap().iter().all(|answer| *answer == Settled::Yes));
        tx.rollback().await.unwrap();
        assert!(store.settle(&all).await.unwrap().iter().all(|answer| *answer == Settled::Yes), "{action:?}");
        let sole = "DELETE FROM record";
        client.batch_execute(sole).await.unwrap();
    }
}

/// The consumer goes on with the others, and with that one once it is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_beside_a_locked_record() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let scope = ackonce::Scope::new("deliveries").unwrap();
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    let options = GuardOptions::default();
    let entry =
        PostgresGuard::enter_in(&place.schema, &tx, &scope.key("7").unwrap(), &options).await.unwrap();
    let Entered::First(guard) = entry else { panic!("{entry:?}") };
    place.client().await.batch_execute("CREATE TABLE effect (n int8)").await.unwrap();
    let insert = place.text("INSERT INTO effect VALUES ($1)");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _: Context, n: i64| {
        let insert = insert.clone();
        Box::pin(async move {
            tx.execute(&insert, &[&n]).await?;
            Ok::<_, Failure>(())
        })
    });
    let others = async {
        while place.value("SELECT count(*) FROM effect").await < 19 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        guard.finish(&tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (counts, ()) = futures_util::future::join(deliver(&store, 0..20, Mode::Batches, inbox), others).await;
    assert_eq!(place.value("SELECT count(*) FROM effect").await, 19, "{counts:?}");
}

/// A COMMIT that takes long after the completion holds the records: their heartbeats are in trouble, no others.
#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_commit_that_takes_long_costs_other_leases_nothing() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let gate = i64::from(std::process::id()) + 1_000_000;
    let slow = format!(
        "CREATE TABLE effect (n int8);
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION wait()"
    );
    let holder = place.client().await;
    holder.batch_execute(&slow).await.unwrap();
    holder.query("SELECT pg_advisory_lock($1)", &[&gate]).await.unwrap();
    let insert = place.text("INSERT INTO effect VALUES (1)");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _: Context, (): ()| {
        let insert = insert.clone();
        Box::pin(async move { Ok::<_, Failure>(tx.batch_execute(&insert).await?) })
    });
    let slow = acquire(&store, request("slow")).await;
    let other = acquire(&store, request("other")).await;
    let commit = inbox.handle(vec![item(&slow, ())]);
    let beats = async {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = {gate}"
        );
        while place.value(&waiting).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let extend = Settle::Extend { lease: HOUR, window: HOUR };
        let both = [&slow, &other].map(|lease| Settlement::new(lease, extend.clone()));
        assert_eq!(store.settle(&both).await.unwrap_err().kind(), ErrorKind::Locked);
        assert_eq!(store.settle(&both[1..]).await.unwrap(), [Settled::Yes]);
        holder.query("SELECT pg_advisory_unlock($1)", &[&gate]).await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(commit, beats).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(is_done(&store, "slow").await);
}

/// The lock ends while the call waits for it. A release that is applied without its save would free an entity whose version
/// took effect and is not known.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_and_a_release_of_one_claim_keep_their_order_beside_a_lock() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let leases = leases_with_one_apart(&store, "ordered").await;
    let lease = &leases[HELD];
    let mut client = place.client().await;
    let tx = hold(&mut client, lease).await;
    let window = HOUR;
    let release =
        Settle::Release { attempt: Attempt::Refunded, window, not_before: std::time::Duration::ZERO };
    let save = Settle::Save { progress: "version 5".into() };
    let both = [save, release].map(|action| Settlement::new(lease, action));
    // Other records, so that the save does not wait alone.
    let others = leases.iter().take(5).map(|other| Settlement::new(other, done()));
    let all: Vec<_> = others.chain(both.clone()).collect();
    let ends = async {
        // The save was sent alone, and was given up.
        while place.value("SELECT count(*) FROM record WHERE tally IS NULL").await < 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        tx.rollback().await.unwrap();
    };
    let (answer, ()) = futures_util::future::join(store.settle(&all), ends).await;
    if let Err(error) = answer {
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        assert_eq!(store.settle(&both).await.unwrap(), [Settled::Yes, Settled::Yes], "nothing overtook it");
    }
    let next = acquire(&store, request("ordered apart")).await;
    assert_eq!(next.progress.as_deref(), Some(&b"version 5"[..]));
}
