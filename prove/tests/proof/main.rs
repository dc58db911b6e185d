//! Short runs of the proof: each store and broker once, with all usual faults that they can meet, and the controls; and
//! in `faults` each other fault.
//!
//! The suite stops and kills its servers, so scripts/lane gives it servers of its own. The long runs are
//! `prove campaign`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod faults;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ackonce_testkit::servers::{address, not_tested};

/// One run at a time: each takes both cores, and stops servers that another would need.
static ALONE: Mutex<()> = Mutex::new(());

/// One run.
struct Setting<'a> {
    store: &'a str,
    broker: &'a str,
    class: &'a str,
    minutes: &'a str,
    seed: &'a str,
    /// By commas; the usual ones if it is empty.
    faults: &'a str,
}

struct Ran {
    kept: bool,
    verdict: serde_json::Value,
    /// Everything that the workers have logged.
    said: String,
}

/// Runs, and asks the second audit, too.
fn run(setting: &Setting<'_>) -> Ran {
    let Setting { store, broker, class, minutes, seed, faults } = setting;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let mut prove = Command::new(env!("CARGO_BIN_EXE_prove"));
    prove.args([
        "--store",
        store,
        "--broker",
        broker,
        "--class",
        class,
        "--minutes",
        minutes,
        "--seed",
        seed,
    ]);
    if !faults.is_empty() {
        // Often enough that each of them strikes in a short run.
        prove.args(["--faults", faults, "--fault-every-ms", "1500"]);
    }
    let output = prove.args(["--json", "--keep"]).arg(dir.path()).stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{} {said}", output.status);
    let verdict: serde_json::Value = serde_json::from_str(&said).unwrap();
    println!("{store} {broker} {class} {faults}: {}", verdict["verdict"]);
    second_audit(dir.path(), &said);
    let said = (0..3).map(|n| std::fs::read(dir.path().join(format!("workers/worker-{n}.log"))).unwrap());
    let said = said.map(|log| String::from_utf8_lossy(&log).into_owned()).collect();
    Ran { kept: output.status.success(), verdict: verdict["verdict"].clone(), said }
}

fn second_audit(dir: &Path, first: &str) {
    if Command::new("python3").arg("--version").output().is_err() {
        return not_tested("the second audit needs python3");
    }
    let verdict = dir.join("verdict.json");
    std::fs::write(&verdict, first).unwrap();
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/checker.py");
    let mut second = Command::new("python3");
    second.arg(checker).arg(dir).arg("--compare").stdin(std::fs::File::open(verdict).unwrap());
    assert!(second.status().unwrap().success(), "the audits agree");
}

/// False, said loudly, if a server of the run is missing.
fn has_servers(store: &str, broker: &str) -> bool {
    let servers = [
        ("redis", "ACKONCE_TEST_REDIS"),
        ("postgres", "ACKONCE_TEST_POSTGRES"),
        ("kafka", "ACKONCE_TEST_KAFKA"),
        ("rabbitmq", "ACKONCE_TEST_AMQP"),
    ];
    servers.iter().all(|(name, variable)| ![store, broker].contains(name) || address(variable).is_some())
}

fn keeps(store: &str, broker: &str, class: &str, minutes: &str, seed: &str) {
    if !has_servers(store, broker) {
        return;
    }
    let Ran { kept, verdict, .. } = run(&Setting { store, broker, class, minutes, seed, faults: "" });
    assert!(kept, "{verdict:#}");
    assert!(
        verdict["kills"].as_u64().unwrap() > 0 && verdict["effects"].as_u64().unwrap() > 0,
        "{verdict:#}"
    );
}

#[test]
fn leased_on_sqlite_loses_nothing_and_explains_each_double() {
    keeps("sqlite", "feed", "leased", "0.3", "1");
}

#[test]
fn the_inbox_on_sqlite_takes_effect_once() {
    keeps("sqlite", "feed", "inbox", "0.3", "2");
}

#[test]
fn keyed_on_redis_doubles_no_key_through_outages_of_the_server() {
    keeps("redis", "feed", "keyed", "0.5", "3");
}

#[test]
fn the_inbox_on_postgres_takes_effect_once_through_outages_of_the_server() {
    keeps("postgres", "feed", "inbox", "0.5", "4");
}

#[test]
fn kafka_keeps_order_and_commits_past_no_hole_through_rebalances_and_outages() {
    keeps("sqlite", "kafka", "keyed", "0.6", "5");
}

#[test]
fn rabbitmq_loses_nothing_through_its_outages() {
    keeps("postgres", "rabbitmq", "inbox", "0.6", "6");
}

/// The harness bites.
#[test]
fn the_loops_that_most_teams_write_are_found_out() {
    let by_hand = |class, seed| {
        run(&Setting { store: "sqlite", broker: "feed", class, minutes: "0.15", seed, faults: "" })
    };
    let loses = by_hand("record-then-run", "7");
    assert!(!loses.kept && loses.verdict["lost"].as_u64() > Some(0), "{:#}", loses.verdict);
    let doubles = by_hand("run-then-record", "8");
    assert!(!doubles.kept && doubles.verdict["doubled"].as_u64() > Some(0), "{:#}", doubles.verdict);
}
