//! `ackonce import`: keys of a `SET NX` scheme, and a CSV; killed and started again.

use std::fmt::Write as _;
use std::time::Duration;

use ackonce::Scope;
use ackonce::store::{Attempt, Settle};
use ackonce_testkit::servers::address;

use crate::program::{command, json, output, refused};
use crate::seeded::{Seeded, WEEK, bury};

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_is_recorded_as_done_and_changes_nothing_that_is_there() {
    let Some(store) = Seeded::sqlite().await else { return };
    store.ended("m3", bury("no")).await;
    store.claim("m4", Duration::from_secs(600), WEEK).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen.csv");
    std::fs::write(&file, "scope,id\nbilling,m1\nbilling,hex:00ff,1h\nbilling,m3\nbilling,m4\nmail,m1\n")
        .unwrap();
    let file = file.display().to_string();
    let args = ["import", "--csv", &file, "--store", &store.url];
    let plan = output(&[&args[..], &["--dry-run"]].concat());
    assert!(plan.starts_with("5 messages would be recorded as done") && plan.contains("hex:00ff"), "{plan}");
    refused(&args, 2, &["5 messages", "add --yes"]);
    let done = json(&[&args[..], &["--yes"]].concat()).remove(0);
    let counts = ["imported", "already_there", "in_flight"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1], "{done}");
    let again = json(&[&args[..], &["--yes", "--skip", "2"]].concat()).remove(0);
    assert_eq!((&again["imported"], &again["already_there"]), (&0.into(), &2.into()), "{again}");
    let show = |id: &str, scope: &str| json(&["show", id, "--scope", scope, "--store", &store.url]).remove(0);
    assert_eq!(show("m3", "billing")["record"]["state"], "buried");
    assert_eq!(show("m4", "billing")["record"]["state"], "claimed");
    assert_eq!(show("m1", "mail")["record"]["state"], "done");
    let window = show("hex:00ff", "billing")["record"]["expires_in_ms"].as_u64().unwrap();
    assert!((3_000_000..=3_600_000).contains(&window), "{window}");

    std::fs::write(&file, "billing,m5\nbilling\n").unwrap();
    refused(&[&args[..], &["--yes"]].concat(), 2, &["--csv", "line 2", "scope,ID"]);
    assert!(show("m5", "billing")["record"].is_null(), "a fault is found before anything is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_repeated_leaves_messages_that_are_to_run_again() {
    let Some(store) = Seeded::sqlite().await else { return };
    let file = csv("billing,redriven\nbilling,failed\nbilling,new\n");
    let import = || {
        let file = file.path().display().to_string();
        json(&["import", "--csv", &file, "--store", &store.url, "--yes"]).remove(0)
    };
    store.ended("redriven", bury("no")).await;
    let released = Settle::Release { attempt: Attempt::Counts, window: WEEK, not_before: Duration::ZERO };
    store.ended("failed", released).await;
    output(&["redrive", "redriven", "--scope", "billing", "--store", &store.url, "--reason", "x", "--yes"]);
    let done = import();
    assert_eq!((&done["imported"], &done["in_flight"]), (&1.into(), &2.into()), "{done}");
    let done = import();
    assert_eq!((&done["already_there"], &done["in_flight"]), (&1.into(), &2.into()), "{done}");
    for id in ["redriven", "failed"] {
        let shown = json(&["show", id, "--scope", "billing", "--store", &store.url]).remove(0);
        assert_eq!(shown["record"]["state"], "released", "{shown}");
    }
}

/// A file of rows.
fn csv(rows: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rows).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_started_again() {
    let Some(store) = Seeded::sqlite().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seen.csv");
    let rows = (0..50_000).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "billing,m{n}");
        text
    });
    std::fs::write(&file, rows).unwrap();
    let file = file.display().to_string();
    let args = ["import", "--csv", &file, "--store", &store.url, "--yes"];
    let mut first = command(&args).spawn().unwrap();
    let inspect = store.store.inspect();
    while inspect.stats().await.unwrap().done < 2000 {
        assert!(first.try_wait().unwrap().is_none(), "it has ended before it was killed");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let second = json(&args).remove(0);
    println!("after the kill: {second}");
    assert_eq!(second["in_flight"], 0, "claims that the kill left are waited for: {second}");
    let stats = inspect.stats().await.unwrap();
    assert_eq!((stats.done, stats.claimed), (50_000, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_redis_are_recorded_for_the_time_that_they_have_left() {
    let Some(redis) = address("ACKONCE_TEST_REDIS") else { return };
    let Some(store) = Seeded::sqlite().await else { return };
    let stem = format!("seen-{}", std::process::id());
    let mut connection = redis::Client::open(redis.as_str()).unwrap().get_connection().unwrap();
    let mut filling = redis::pipe();
    for n in 0..3000 {
        filling.cmd("SET").arg(format!("{stem}:m{n}")).arg("done").arg("NX").arg("EX").arg(3600).ignore();
    }
    filling.cmd("SET").arg(format!("{stem}:under way")).arg("processing").arg("NX").ignore();
    filling.cmd("SET").arg(format!("{stem}:for ever")).arg("done").arg("NX").ignore();
    filling.query::<()>(&mut connection).unwrap();
    let pattern = format!("{stem}:*");
    let args = [
        "import",
        "--from",
        &redis,
        "--pattern",
        &pattern,
        "--value",
        "done",
        "--scope",
        "billing",
        "--store",
        &store.url,
        "--window",
        "2h",
    ];
    let plan = json(&[&args[..], &["--dry-run"]].concat()).remove(0);
    assert_eq!(plan["would_import"], 3001, "{plan}");
    let done = json(&[&args[..], &["--yes"]].concat()).remove(0);
    assert_eq!(done["imported"], 3001, "{done}");
    let scope = Scope::new("billing").unwrap();
    let inspect = store.store.inspect();
    for (id, is_there, hours) in [("m7", true, 1), ("under way", false, 0), ("for ever", true, 2)] {
        let found = inspect.look(&scope.key(id).unwrap()).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{id}");
        let left = found.map_or(0, |entry| entry.expires_in.as_secs());
        assert!(left <= hours * 3600 && left + 600 >= hours * 3600, "{id}: {left}");
    }
    let key = format!("{stem}:m7");
    let whole = json(&[&args[..], &["--yes", "--whole-key"]].concat()).remove(0);
    assert_eq!(whole["imported"], 3001, "{whole}");
    assert!(inspect.look(&scope.key(key).unwrap()).await.unwrap().is_some());
}
