//! Processes on one file are killed while generations are opened, sealed and dropped, between the statements of
//! one transaction and at random moments: no record is lost, none is there twice.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Inspect, Settle, Settled, Settlement};
use ackonce::{Context, Deduplicator, Failure, Handler};
use ackonce_sqlite::{InboxTx, SqliteConfig, SqliteStore};
use ackonce_testkit::crash::{Faults, Fleet, Progress, point};
use common::{Place, item, place, request};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

/// Set in the child, which then plays its part in the test.
const FILE: &str = "ACKONCE_TEST_ROTATION_FILE";
const WORKERS: usize = 2;
/// Messages that must take effect once, all of them everybody's.
const IDS: u32 = 1500;
const BATCH: u32 = 25;
/// Long enough to be completed, short enough to be dropped within the test.
const SHORT: Duration = Duration::from_millis(20);

/// Triggers stand between the statements of the store's own transactions.
fn with_points(conn: &Connection) -> rusqlite::Result<()> {
    conn.create_scalar_function("crash_point", 1, FunctionFlags::SQLITE_UTF8, |context| {
        point(&context.get::<String>(0)?);
        Ok(0)
    })?;
    conn.execute_batch(
        "CREATE TEMP TRIGGER opened AFTER INSERT ON main.ackonce_generations BEGIN SELECT crash_point('opened'); END;
         CREATE TEMP TRIGGER sealed AFTER UPDATE OF sealed ON main.ackonce_generations
             BEGIN SELECT crash_point('sealed'); END;
         CREATE TEMP TRIGGER dropped AFTER DELETE ON main.ackonce_generations
             BEGIN SELECT crash_point('dropped'); END;
         CREATE TEMP TRIGGER filtered AFTER INSERT ON main.ackonce_filters BEGIN SELECT crash_point('filtered'); END;
         CREATE TEMP TRIGGER unfiltered AFTER DELETE ON main.ackonce_filters
             BEGIN SELECT crash_point('unfiltered'); END;
         CREATE TEMP TRIGGER counted AFTER UPDATE ON main.ackonce_meta BEGIN SELECT crash_point('counted'); END",
    )
}

/// Goes through all messages until a round finds each of them done, beside others that expire soon.
async fn work(file: &Path) {
    let store = SqliteConfig::new(file).with_generation(128).with_setup(with_points).open().unwrap();
    let inbox = store.inbox(|tx: &InboxTx<'_>, _: &Context, id: &String| {
        tx.execute("INSERT INTO effect VALUES (?1)", [id])?;
        Ok::<_, Failure>(())
    });
    let mut passing = 0_u64;
    loop {
        for first in (0..IDS).step_by(BATCH as usize) {
            let lease = Duration::from_millis(200);
            let claims: Vec<_> =
                (first..first + BATCH).map(|n| ClaimRequest { lease, ..request(n) }).collect();
            let answers = store.claim(&claims).await.unwrap();
            let items = answers.into_iter().filter_map(|answer| match answer {
                Claimed::Acquired(lease) => {
                    Some(item(&lease, String::from_utf8(lease.key.id().to_vec()).unwrap()))
                }
                _ => None,
            });
            // Another worker may have taken some over meanwhile.
            for answer in inbox.handle(items.collect()).await {
                assert!(matches!(answer, Ok(_) | Err(Failure::Fenced)), "{answer:?}");
            }
            point("committed");
            pass(&store, &mut passing).await;
        }
    }
}

/// Fills a generation that goes soon.
async fn pass(store: &SqliteStore, passing: &mut u64) {
    let ids = *passing..*passing + 40;
    *passing = ids.end;
    let claims: Vec<_> = ids.map(|n| request(format!("{} {n}", std::process::id()))).collect();
    let mut done = Vec::new();
    for answer in store.claim(&claims).await.unwrap() {
        let Claimed::Acquired(lease) = answer else { panic!("{answer:?}") };
        done.push(Settlement::new(&lease, Settle::Complete { window: SHORT, outcome: None }));
    }
    let settled = store.settle(&done).await.unwrap();
    assert!(settled.iter().all(|s| *s == Settled::Yes));
}

fn effects(place: &Place) -> (i64, i64) {
    let sql = "SELECT count(*), count(DISTINCT id) FROM effect";
    place.connection().query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
}

/// Runs two workers under these faults until all messages have had their effect and enough has happened.
async fn survive(
    test: &'static str,
    faults: Faults,
    enough: impl Fn(Progress) -> bool + Copy,
) -> Vec<String> {
    let place = place();
    drop(place.store());
    // No uniqueness of its own: it is the records that keep an effect from happening twice.
    place.connection().execute_batch("CREATE TABLE effect (id TEXT NOT NULL)").unwrap();
    let file = place.file.clone();
    let fleet = Fleet::new(place.directory.path().join("fleet"), WORKERS, move |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(FILE, &file);
        command
    });
    let seen = &place;
    let history = fleet
        .with_seed(5)
        .with_faults(faults)
        .with_bound(Duration::from_secs(300))
        .with_grace(Duration::ZERO)
        .run(|progress| async move { effects(seen).1 == i64::from(IDS) && enough(progress) })
        .await
        .unwrap();
    assert_eq!(effects(&place), (i64::from(IDS), i64::from(IDS)), "each once");
    whole(&place).await;
    history.points().into_keys().map(str::to_owned).collect()
}

/// Every record is there, in one table, and the list of generations agrees with the tables.
async fn whole(place: &Place) {
    let store = place.config().with_generation(128).open().unwrap();
    for n in 0..IDS {
        let record = store.look(&common::key(n)).await.unwrap().map(|entry| entry.record);
        assert!(record.is_some(), "{n} has had its effect and no record");
        assert!(common::is_done(&store, n).await, "{n}, as its filters say");
    }
    let conn = place.connection();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(check, "ok");
    let tables = place.generations();
    let known: i64 = conn.query_row("SELECT count(*) FROM ackonce_generations", [], |r| r.get(0)).unwrap();
    assert_eq!(known, i64::try_from(tables.len()).unwrap(), "a row for each table, and no other");
    let filters = "SELECT count(*) = 0 FROM (SELECT generation FROM ackonce_filters EXCEPT SELECT id FROM \
                   ackonce_generations WHERE sealed) UNION ALL SELECT count(*) = 0 FROM (SELECT id FROM \
                   ackonce_generations WHERE sealed EXCEPT SELECT generation FROM ackonce_filters)";
    let mut statement = conn.prepare(filters).unwrap();
    let alike: Vec<bool> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(alike, [true, true], "a filter for each sealed one, and no other");
    let mut everywhere = vec!["SELECT key FROM ackonce_claims".to_owned()];
    for table in &tables {
        everywhere.push(format!("SELECT key FROM {table}"));
        let id = table.rsplit_once('_').unwrap().1;
        let counted = format!(
            "SELECT sealed = 0 OR rows = (SELECT count(*) FROM {table}) FROM ackonce_generations WHERE id = {id}"
        );
        assert!(conn.query_row(&counted, [], |r| r.get::<_, bool>(0)).unwrap(), "{table}");
    }
    let twice = format!("SELECT count(*) - count(DISTINCT key) FROM ({})", everywhere.join(" UNION ALL "));
    assert_eq!(conn.query_row(&twice, [], |r| r.get::<_, i64>(0)).unwrap(), 0, "a key in two places");
    tokio::time::sleep(SHORT).await;
    store.sweep().await.unwrap();
    assert!(place.rows() >= i64::from(IDS), "a sweep leaves what lives");
    assert!(common::is_done(&store, 0).await);
}

#[tokio::test]
async fn killed_between_the_statements_of_a_rotation() {
    if let Some(file) = std::env::var_os(FILE) {
        return work(file.as_ref()).await;
    }
    let points = ["opened", "sealed", "filtered", "dropped", "unfiltered", "counted", "committed"];
    let faults = Faults {
        crash_points: points.iter().map(|&p| p.to_owned()).collect(),
        nth: 1..=6,
        restart_after: Duration::ZERO..=Duration::from_millis(5),
        at_most: Some(60),
        ..Faults::default()
    };
    let enough = |p: Progress| p.crashes >= 60;
    let struck = survive("killed_between_the_statements_of_a_rotation", faults, enough).await;
    assert!(points.iter().all(|p| struck.iter().any(|s| s == p)), "all of them struck: {struck:?}");
}

#[tokio::test]
async fn killed_at_any_moment_of_it() {
    if let Some(file) = std::env::var_os(FILE) {
        return work(file.as_ref()).await;
    }
    let every = Some(Duration::from_millis(5)..=Duration::from_millis(120));
    let faults = Faults { kill_every: every, at_most: Some(60), ..Faults::default() };
    survive("killed_at_any_moment_of_it", faults, |p| p.kills >= 60).await;
}
