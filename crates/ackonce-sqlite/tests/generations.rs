//! Records are found in each generation, with filters of every size and without them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use ackonce::store::{Claimed, Inspect};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::{Entered, GuardOptions, SqliteGuard, SqliteStore};
use common::{HOUR, Place, fill, key, place, request};
use rusqlite::TransactionBehavior::Immediate;

const RECORDS: u32 = 9000;

/// Generations of three sizes, and one that is open.
async fn many(place: &Place) {
    for (records, first) in [(128, 0), (600, 1500), (2500, 4000)] {
        let store = place.config().with_generation(records).open().unwrap();
        fill(&store, first..if records == 2500 { RECORDS } else { first * 5 / 3 + 1500 }, HOUR).await;
    }
    assert!(place.generations().len() > 10);
}

async fn all_are_remembered(store: &SqliteStore) {
    let requests: Vec<_> = (0..RECORDS).map(request).collect();
    let answers = store.claim(&requests).await.unwrap();
    let missing = answers.iter().position(|answer| !matches!(answer, Claimed::Done(_)));
    assert_eq!(missing, None);
    fill(store, RECORDS..RECORDS + 3000, HOUR).await;
}

/// Neither a guard nor a look has the filters in memory.
async fn guards_and_looks_agree(place: &Place, store: &SqliteStore) {
    let mut conn = place.connection();
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    let enter = |id: u32| SqliteGuard::enter(&tx, &key(id), &GuardOptions::default()).unwrap();
    for id in (0..RECORDS).step_by(7) {
        assert!(matches!(enter(id), Entered::Duplicate(_)), "{id}");
    }
    for id in RECORDS + 3000..RECORDS + 3100 {
        assert!(matches!(enter(id), Entered::First(_)), "{id}");
    }
    drop(tx);
    for id in (0..RECORDS).step_by(500) {
        assert!(store.look(&key(id)).await.unwrap().is_some(), "{id}");
    }
    assert!(store.look(&key("nobody's")).await.unwrap().is_none());
}

#[tokio::test]
async fn in_generations_of_any_size() {
    let place = place();
    many(&place).await;
    let store = place.config().with_generation(600).open().unwrap();
    all_are_remembered(&store).await;
    guards_and_looks_agree(&place, &store).await;
}

/// Taking no news for "not here" would double the message.
#[tokio::test]
async fn without_a_part_of_a_filter_the_table_is_asked() {
    let place = place();
    many(&place).await;
    let mut conn = place.connection();
    assert!(conn.execute("DELETE FROM ackonce_filters WHERE part % 2 = 0", []).unwrap() > 10);
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    for id in 0..500 {
        let entry = SqliteGuard::enter(&tx, &key(id), &GuardOptions::default()).unwrap();
        assert!(matches!(entry, Entered::Duplicate(_)), "{id}");
    }
    drop(tx);
    let store = place.store();
    let error = store.claim(&[request(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "it keeps whole filters: {error}");
}
