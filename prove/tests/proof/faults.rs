//! Each fault that a run does not meet by itself: it strikes, and the promise is kept, or the loss is measured.

use std::path::Path;
use std::process::Command;

use ackonce_testkit::servers::not_tested;

use crate::{Ran, Setting, has_servers, run};

/// Runs with these faults, each of which has to strike. `None`, said loudly, if a server or a tool is missing.
fn meets(setting: &Setting<'_>) -> Option<Ran> {
    if !has_servers(setting.store, setting.broker) || !has_tools(setting) {
        return None;
    }
    let ran = run(setting);
    assert!(ran.kept, "{:#}", ran.verdict);
    for fault in setting.faults.split(',').filter(|fault| !["kill", "lag", "short-window"].contains(fault)) {
        assert!(ran.verdict["faults"][fault].as_u64() > Some(0), "{fault} did not strike: {:#}", ran.verdict);
    }
    Some(ran)
}

fn has_tools(setting: &Setting<'_>) -> bool {
    let answers = |program: &str, words: &[&str]| {
        Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
    };
    let has = |fault| setting.faults.split(',').any(|named| named == fault);
    let library = || {
        let mut folders = std::fs::read_dir("/usr/lib").unwrap();
        folders.any(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1").exists())
    };
    let missing = match () {
        () if has("store-fsync") && !answers("strace", &["-V"]) => "a disk that fails to flush needs strace",
        () if has("clock") && !library() => "clocks that jump need libfaketime",
        () if has("store-restore") && !answers("python3", &["--version"]) => {
            "a restored backup needs python3"
        }
        () if has("store-full") && setting.store == "sqlite" && !mounts() => {
            "a full disk needs mounts of its own"
        }
        () => return true,
    };
    not_tested(missing);
    false
}

fn mounts() -> bool {
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
    let mut trial = Command::new("unshare");
    trial.arg("--mount").args(if root { &[][..] } else { &["--map-root-user"] });
    trial.args(["mount", "-t", "tmpfs", "none"]).arg(Path::new("/mnt"));
    trial.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_under_sqlite_stops_the_messages_and_loses_none() {
    let setting = Setting {
        store: "sqlite",
        broker: "feed",
        class: "keyed",
        minutes: "0.15",
        seed: "11",
        faults: "kill,store-full",
    };
    if let Some(ran) = meets(&setting) {
        assert!(ran.said.contains("full"), "a worker noticed: {}", ran.said);
    }
}

#[test]
fn a_disk_that_fails_to_flush_loses_nothing_of_the_inbox_on_sqlite() {
    let setting = Setting {
        store: "sqlite",
        broker: "feed",
        class: "inbox",
        minutes: "0.15",
        seed: "12",
        faults: "store-fsync",
    };
    meets(&setting);
}

#[test]
fn redis_that_is_full_or_fails_to_flush_doubles_no_key() {
    let setting = Setting {
        store: "redis",
        broker: "feed",
        class: "keyed",
        minutes: "0.2",
        seed: "13",
        faults: "kill,store-full,store-fsync",
    };
    meets(&setting);
}

#[test]
fn postgres_that_is_read_only_or_fails_to_flush_takes_effect_once() {
    let setting = Setting {
        store: "postgres",
        broker: "feed",
        class: "inbox",
        minutes: "0.2",
        seed: "14",
        faults: "kill,store-full,store-fsync",
    };
    meets(&setting);
}

#[test]
fn handlers_that_are_slow_or_stuck_or_block_their_thread_hold_up_nobody_else() {
    let faults = "slow-handler,stuck-handler,blocked-thread";
    let setting =
        Setting { store: "sqlite", broker: "feed", class: "leased", minutes: "0.15", seed: "15", faults };
    meets(&setting);
}

#[test]
fn clocks_that_jump_cost_repeats_and_lose_nothing() {
    for (store, seed) in [("sqlite", "16"), ("redis", "17")] {
        let setting =
            Setting { store, broker: "feed", class: "keyed", minutes: "0.15", seed, faults: "kill,clock" };
        meets(&setting);
    }
}

#[test]
fn kafka_survives_long_handlers_old_and_odd_records_and_a_topic_that_is_created_again() {
    let faults = "kill,poll-overrun,lag,unreadable,recreate";
    let setting =
        Setting { store: "sqlite", broker: "kafka", class: "keyed", minutes: "0.3", seed: "18", faults };
    meets(&setting);
}

#[test]
fn rabbitmq_survives_ack_timeouts_and_a_queue_that_is_created_again() {
    let faults = "kill,ack-timeout,recreate";
    let setting =
        Setting { store: "sqlite", broker: "rabbitmq", class: "keyed", minutes: "0.2", seed: "19", faults };
    meets(&setting);
}

/// Only stuck messages would fail these: the rest is not promised.
#[test]
fn stores_that_forget_are_measured() {
    let runs = [
        ("sqlite", "kill,store-restore", "20"),
        ("sqlite", "short-window", "21"),
        ("redis", "kill,store-eviction", "22"),
        // Each takes several seconds: Redis waits before it serves a replica.
        ("redis", "kill,store-failover", "23"),
    ];
    for (store, faults, seed) in runs {
        meets(&Setting { store, broker: "feed", class: "keyed", minutes: "0.2", seed, faults });
    }
}
