//! Newest wins around the inbox: the version commits with the effect.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ackonce::adapter::Mode;
use ackonce::{Context, EntityVersion, Failure, Newest};
use ackonce_postgres::tokio_postgres::Transaction;
use common::deliveries::deliver;
use common::{Place, place};

const ENTITIES: i64 = 4;
const MESSAGES: i64 = 120;

/// The versions of each entity come in a scattered order.
fn entity_and_version(n: i64) -> (i64, i64) {
    let place = n * 47 % MESSAGES;
    (place % ENTITIES, place / ENTITIES)
}

fn version_of(n: &i64) -> Result<EntityVersion, Failure> {
    let (entity, version) = entity_and_version(*n);
    Ok(EntityVersion::integer(entity.to_string(), version))
}

async fn changes(place: &Place) -> Vec<(i64, i64)> {
    let rows =
        place.client().await.query("SELECT entity, version FROM change ORDER BY n", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn prepared(place: &Place) {
    let table = "CREATE TABLE change (n int8 GENERATED ALWAYS AS IDENTITY, entity int8 NOT NULL, version int8 NOT NULL)";
    place.client().await.batch_execute(table).await.unwrap();
}

#[tokio::test]
async fn each_entity_is_written_upwards_and_ends_at_the_newest() {
    for mode in [Mode::Each, Mode::Batches] {
        let Some(place) = place() else { return };
        let store = place.store().await;
        prepared(&place).await;
        let insert = place.text("INSERT INTO change (entity, version) VALUES ($1, $2)");
        let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, n: i64| {
            let insert = insert.clone();
            Box::pin(async move {
                let (entity, version) = entity_and_version(n);
                tx.execute(&insert, &[&entity, &version]).await?;
                if n % 7 == 0 && cx.attempt() == 1 {
                    Err("undone, and run again")?;
                }
                Ok(())
            })
        });
        let counts = deliver(&store, 0..MESSAGES, mode, Newest::new(version_of, inbox)).await;
        let mut last: HashMap<i64, i64> = HashMap::new();
        for (entity, version) in changes(&place).await {
            let before = last.insert(entity, version);
            assert!(before.is_none_or(|before| before < version), "{entity}: {version} after {before:?}");
        }
        assert_eq!(last.len(), 4);
        assert!(last.values().all(|version| *version == MESSAGES / ENTITIES - 1), "{last:?}");
        assert!(counts.stale > 0, "{counts:?}");
    }
}

#[tokio::test]
async fn an_effect_whose_entity_was_taken_over_is_rolled_back() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    prepared(&place).await;
    let insert = place.text("INSERT INTO change (entity, version) VALUES ($1, $2)");
    let (taker, first) = (place.clone(), Arc::new(AtomicBool::new(true)));
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, n: i64| {
        let (insert, place, first) = (insert.clone(), taker.clone(), first.clone());
        Box::pin(async move {
            tx.execute(&insert, &[&0_i64, &n]).await?;
            if first.swap(false, Ordering::SeqCst) {
                // Somebody else claims the entity, and lets it go, while this worker stalls.
                let fence = i64::try_from(cx.entity_fence().unwrap()).unwrap();
                let taken = "UPDATE record SET fence = fence + 1, tally = 15, free_at = 0 WHERE fence = $1";
                assert_eq!(place.client().await.execute(taken, &[&fence]).await.unwrap(), 1);
            }
            Ok(())
        })
    });
    deliver(&store, 1..2, Mode::Each, Newest::new(version_of, inbox)).await;
    assert_eq!(changes(&place).await, [(0, 1)], "the first run left nothing");
}
