//! Connections that are cut without end, and a server that is killed: nothing is lost, nothing doubled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::Mode;
use ackonce::{Context, Counts, Failure, Keyed};
use ackonce_postgres::PostgresStore;
use ackonce_postgres::tokio_postgres::{self, NoTls, Transaction};
use common::deliveries::deliver;
use common::own::Own;

const WAVE: i64 = 120;
const TERMINATIONS: usize = 150;
const RESTARTS: usize = 3;

/// Ends every connection but its own, again and again, and kills the server in between.
async fn disturb(own: &Own) {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let (mut ended, mut killed) = (0, 0);
    while ended < TERMINATIONS || killed < RESTARTS {
        tokio::time::sleep(Duration::from_millis(7)).await;
        if let Ok((client, connection)) = tokio_postgres::connect(&own.url, NoTls).await {
            let connection = tokio::spawn(connection);
            ended += client
                .query_one(end, &[])
                .await
                .map_or(0, |row| usize::try_from(row.get::<_, i64>(0)).unwrap());
            connection.abort();
        }
        if ended >= (killed + 1) * TERMINATIONS / (RESTARTS + 1) && killed < RESTARTS {
            tokio::task::block_in_place(|| {
                own.control("kill");
                own.control("start");
            });
            killed += 1;
        }
    }
}

/// Waves of messages until the disturbance is over, each with half of the one before delivered once more.
async fn storm(own: &Own, wave: impl AsyncFn(std::ops::Range<i64>) -> Counts) -> i64 {
    let over = AtomicBool::new(false);
    let disturbance = async {
        disturb(own).await;
        over.store(true, Ordering::SeqCst);
    };
    let deliveries = async {
        let (mut to, mut duplicates) = (0, 0);
        while to < 2 * WAVE || !over.load(Ordering::SeqCst) {
            to += WAVE;
            duplicates += wave((to - WAVE - WAVE / 2).max(0)..to).await.duplicate;
        }
        assert!(duplicates > 0, "what was delivered again was found");
        to
    };
    futures_util::future::join(disturbance, deliveries).await.1
}

async fn store(own: &Own) -> PostgresStore {
    let store = own.place("outages").store().await;
    let table = "CREATE TABLE effect (n int8 NOT NULL)";
    own.place("outages").client().await.batch_execute(table).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_loses_and_doubles_nothing() {
    let Some(own) = Own::start() else { return };
    for feed in [Mode::Each, Mode::Batches] {
        let place = own.place("outages");
        let store = store(&own).await;
        let insert = place.text("INSERT INTO effect VALUES ($1)");
        let last = storm(&own, async |numbers| {
            let insert = insert.clone();
            let inbox = store.inbox(move |tx: &Transaction<'_>, _: Context, n: i64| {
                let insert = insert.clone();
                Box::pin(async move {
                    tx.execute(&insert, &[&n]).await?;
                    Ok::<_, Failure>(())
                })
            });
            deliver(&store, numbers, feed, inbox).await
        })
        .await;
        let client = place.client().await;
        let rows = client.query("SELECT n, count(*) FROM effect GROUP BY n", &[]).await.unwrap();
        let effects: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(effects, (0..last).map(|n| (n, 1)).collect(), "lost or doubled");
        client.batch_execute("DROP SCHEMA outages CASCADE").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_effect_keeps_its_key() {
    let Some(own) = Own::start() else { return };
    let store = store(&own).await;
    let keys: Arc<Mutex<BTreeMap<i64, BTreeSet<String>>>> = Arc::default();
    let last = storm(&own, async |numbers| {
        let keys = Arc::clone(&keys);
        let handler = Keyed(move |cx: Context, n: i64| {
            keys.lock().unwrap().entry(n).or_default().insert(cx.idempotency_key("step"));
            async { Ok::<_, Failure>(()) }
        });
        deliver(&store, numbers, Mode::Each, handler).await
    })
    .await;
    let keys = keys.lock().unwrap();
    assert!(keys.keys().copied().eq(0..last), "lost");
    assert!(keys.values().all(|keys| keys.len() == 1), "doubled at the target: {keys:?}");
}
