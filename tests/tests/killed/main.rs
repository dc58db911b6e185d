//! Steps and versions under `kill -9`, by three processes on one store: a file, Redis, PostgreSQL.
//!
//! `ACKONCE_STEP_KILLS` is the number of random kills of a run: by default 300 with steps and 200 with versions on SQLite, and 60 on
//! the servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod place;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ackonce::Class;
use ackonce_postgres::tokio_postgres::{self, NoTls};
use ackonce_sqlite::rusqlite::Connection;
use ackonce_testkit::audit::audit;
use ackonce_testkit::crash::{Faults, Fleet, History, Progress};
use ackonce_testkit::ledger::Ledger;
use ackonce_testkit::lines;
use ackonce_tests::acceptance::scaled;
use tempfile::TempDir;
use tokio::sync::Mutex;

use place::Place;
use worker::{ENTITIES, MESSAGES, Worker, entity_and_version};

const WORKERS: usize = 3;
const STEPS: [&str; 3] = ["one", "two", "three"];

/// One run at a time: they would take the cores from each other.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn worker() {
    Worker::run_if_asked().await;
}

async fn run(
    place: &Place,
    dir: &Path,
    work: &'static str,
    faults: Faults,
    enough: impl Fn(Progress) -> bool,
) -> History {
    let _alone = ALONE.lock().await;
    // Makes tables or file.
    drop(place.store(dir).await);
    let (home, place) = (dir.to_path_buf(), place.clone());
    let fleet = Fleet::new(dir, WORKERS, move |number| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", worker::TEST, "--nocapture"]);
        place.tell(&mut command);
        command.env(worker::HOME, &home).env(worker::WORK, work).env(worker::WORKER, number.to_string());
        command
    });
    let through = |n: usize| lines::read(dir.join(format!("through-{n}"))).is_ok_and(|all| !all.is_empty());
    let fleet = fleet.with_seed(16).with_faults(faults).with_bound(Duration::from_secs(400));
    let history = fleet
        .run(|progress| {
            let done = (0..WORKERS).all(through);
            let enough = enough(progress);
            async move { done && enough }
        })
        .await
        .unwrap();
    println!("{} kills, crashes at {:?}", history.kills(), history.points());
    history
}

/// Random kills, every 40 to 120 ms.
fn random(kills: usize) -> Faults {
    Faults {
        kill_every: Some(millis(40, 120)),
        restart_after: millis(0, 20),
        at_most: Some(kills),
        ..Faults::default()
    }
}

fn kills(place: &Place, on_sqlite: usize) -> usize {
    scaled("ACKONCE_STEP_KILLS", if matches!(place, Place::Sqlite) { on_sqlite } else { 60 })
}

fn millis(from: u64, to: u64) -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(from)..=Duration::from_millis(to)
}

/// Nothing is lost, each repeat is explained by a death between its effect and its record, and no recorded step runs again.
fn check_steps(dir: &Path, history: &History) {
    let entries = Ledger::read(dir.join("ledger")).unwrap().entries;
    let published = (0..MESSAGES).flat_map(|n| STEPS.map(|step| (format!("{n}/{step}"), 1)));
    let audit = audit(&published.collect(), &entries, history);
    println!("{audit}");
    let mut recorded: BTreeMap<String, u64> = BTreeMap::new();
    for entry in Ledger::read(dir.join("recorded")).unwrap().entries {
        recorded.entry(entry.id).or_insert(entry.at);
    }
    assert_eq!(recorded.len(), usize::try_from(MESSAGES).unwrap() * STEPS.len(), "each step was recorded");
    let again: Vec<_> = entries.iter().filter(|entry| entry.at > recorded[&entry.id]).collect();
    assert!(again.is_empty(), "{} effects after their record, such as {:?}", again.len(), again[0]);
    audit.keeps(Class::Keyed).unwrap();
}

async fn a_kill_at_each_named_point_repeats_no_recorded_step(place: Place) {
    let dir = TempDir::new().unwrap();
    let points = ["before", "effect", "recorded"].map(|at| STEPS.map(|step| format!("{at}-{step}")));
    let faults = Faults {
        crash_points: points.concat(),
        nth: 1..=5,
        restart_after: millis(0, 20),
        at_most: Some(90),
        ..Faults::default()
    };
    let history = run(&place, dir.path(), "steps", faults, |p| p.crashes >= 90).await;
    assert_eq!(history.points().len(), 9, "each point was met: {:?}", history.points());
    check_steps(dir.path(), &history);
}

async fn random_kills_repeat_no_recorded_step(place: Place) {
    let (dir, kills) = (TempDir::new().unwrap(), kills(&place, 300));
    let history = run(&place, dir.path(), "steps", random(kills), |p| p.kills >= kills).await;
    check_steps(dir.path(), &history);
}

async fn random_kills_end_at_the_newest_versions(place: Place) {
    let (dir, kills) = (TempDir::new().unwrap(), kills(&place, 200));
    let points = vec!["before-effect".into(), "after-effect".into()];
    let faults = Faults { crash_points: points, nth: 1..=20, ..random(kills) };
    run(&place, dir.path(), "versions", faults, |p| p.kills + p.crashes >= kills).await;
    let mut last = HashMap::new();
    for entry in Ledger::read(dir.path().join("ledger")).unwrap().entries {
        let (entity, version) = entity_and_version(entry.id.parse().unwrap());
        last.insert(entity, version);
    }
    assert_eq!(last.len(), usize::try_from(ENTITIES).unwrap());
    let newest = MESSAGES / ENTITIES - 1;
    assert!(last.values().all(|version| *version == newest), "{last:?}");
}

/// A test for each store of each function.
macro_rules! suite {
    ($($store:ident: $($case:ident,)*;)*) => {$(
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some(place) = crate::place::Place::$store() else { return };
                crate::$case(place).await;
            })*
        }
    )*};
}

macro_rules! stores {
    ($($store:ident),*) => {
        suite! {$(
            $store:
            a_kill_at_each_named_point_repeats_no_recorded_step,
            random_kills_repeat_no_recorded_step,
            random_kills_end_at_the_newest_versions,;
        )*}
    };
}

stores!(sqlite, redis, postgres);

/// The changes in the order of their commits: each entity goes upwards, to its newest version.
fn check_changes(changes: impl Iterator<Item = (i64, i64)>) {
    let mut last: HashMap<i64, i64> = HashMap::new();
    for (entity, version) in changes {
        let before = last.insert(entity, version);
        assert!(before.is_none_or(|before| before < version), "{entity}: {version} after {before:?}");
    }
    let newest = i64::try_from(MESSAGES / ENTITIES - 1).unwrap();
    assert_eq!(last.len(), usize::try_from(ENTITIES).unwrap());
    assert!(last.values().all(|version| *version == newest), "{last:?}");
}

#[tokio::test]
async fn two_hundred_kills_of_an_inbox_write_each_entity_upwards() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("store.db");
    drop(Place::file(dir.path()));
    let change =
        "CREATE TABLE change (n INTEGER PRIMARY KEY, entity INTEGER NOT NULL, version INTEGER NOT NULL)";
    Connection::open(&file).unwrap().execute_batch(change).unwrap();
    run(&Place::Sqlite, dir.path(), "inbox", random(200), |p| p.kills >= 200).await;
    let conn = Connection::open(&file).unwrap();
    let mut changes = conn.prepare("SELECT entity, version FROM change ORDER BY n").unwrap();
    let changes = changes.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    check_changes(changes.map(|change| change.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_an_inbox_on_postgres_write_each_entity_upwards() {
    let Some(place) = Place::postgres() else { return };
    let Place::Postgres(url) = &place else { return };
    let (dir, kills) = (TempDir::new().unwrap(), kills(&place, 200));
    drop(Place::schema(url).await);
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // The runs of an entity follow each other, so its numbers are in the order of its commits.
    let change = "DROP TABLE IF EXISTS killed.change;
         CREATE TABLE killed.change (n bigserial, entity bigint NOT NULL, version bigint NOT NULL)";
    client.batch_execute(change).await.unwrap();
    run(&place, dir.path(), "inbox", random(kills), |p| p.kills >= kills).await;
    let rows = client.query("SELECT entity, version FROM killed.change ORDER BY n", &[]).await.unwrap();
    check_changes(rows.iter().map(|row| (row.get(0), row.get(1))));
}
