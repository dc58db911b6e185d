//! The guard's answers in each driver.

use ackonce::ErrorKind;
use ackonce::store::{Claimed, DeduplicatorExt, Fingerprint, GuardOptions, Inspect, Names, State};
use ackonce_tests::drivers::{GuardRun, Guarded};

use crate::place::{Place, acquire, key, request};

fn guard_run(place: &Place, id: &str, statements: &[&str]) -> GuardRun {
    GuardRun {
        url: place.url.clone(),
        schema: place.schema.clone(),
        key: key(id),
        options: GuardOptions::default(),
        statements: statements.iter().map(|text| place.sql(text)).collect(),
    }
}

pub(crate) async fn a_guard_answers_as_the_store_does(place: Place) {
    let print = |bytes: &[u8]| {
        GuardOptions::default().with_fingerprint(Fingerprint::of(bytes)).with_names(Names::Keep)
    };
    let run = GuardRun {
        options: print(b"payload"),
        ..guard_run(&place, "a", &["INSERT INTO {s}.effect VALUES ('a')"])
    };
    let first = place.driver.guard(&run).await;
    assert!(matches!(first, Guarded::Committed), "{first:?}");
    let second = place.driver.guard(&run).await;
    let Guarded::Duplicate(record) = second else { panic!("{second:?}") };
    assert_eq!((record.state, record.outcome.as_deref()), (State::Done, Some(&b"out"[..])));
    let other = place.driver.guard(&GuardRun { options: print(b"another"), ..run }).await;
    assert!(matches!(other, Guarded::Mismatch), "{other:?}");
    assert_eq!(place.effects().await, ["a"]);
    // The store sees it, and the guard sees the store's claims.
    assert!(matches!(place.store.claim_one(request("a")).await.unwrap(), Claimed::Done(_)));
    let kept = place.store.look(&key("a")).await.unwrap();
    assert!(kept.is_some(), "{kept:?}");
    let _lease = acquire(&place.store, request("held")).await;
    let busy = place.driver.guard(&guard_run(&place, "held", &[])).await;
    assert!(matches!(busy, Guarded::Busy), "{busy:?}");
    // Newer tables.
    let text = place.sql("UPDATE {s}.meta SET version = 1000");
    place.client().await.batch_execute(&text).await.unwrap();
    let newer = place.driver.guard(&guard_run(&place, "b", &[])).await;
    assert!(matches!(&newer, Guarded::Refused(e) if e.kind() == ErrorKind::NewerSchema), "{newer:?}");
}

pub(crate) async fn a_guard_refuses_a_broken_transaction(place: Place) {
    let insert = "INSERT INTO {s}.effect VALUES ('x')";
    let broken = [&[insert, "SELECT 1/0", insert][..], &[insert, "ROLLBACK"], &[insert, "ROLLBACK; BEGIN"]];
    for (n, statements) in broken.into_iter().enumerate() {
        let id = format!("broken {n}");
        let refused = place.driver.guard(&guard_run(&place, &id, statements)).await;
        assert!(matches!(&refused, Guarded::Refused(_)), "{statements:?}: {refused:?}");
        assert!(matches!(place.store.claim_one(request(&id)).await.unwrap(), Claimed::Acquired(_)));
    }
    assert_eq!(place.count("effect").await, 0);
}
