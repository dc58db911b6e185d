//! The program as a user runs it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output};

use ackonce_testkit::servers::address;
use serde_json::Value;

fn ackonce(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.args(args).env("RUST_BACKTRACE", "1").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn nothing_is_lost_or_doubled_under_kill_9() {
    nothing_is_lost_or_doubled(&[]);
}

#[test]
fn nor_on_rabbitmq() {
    let Some(url) = address("ACKONCE_TEST_AMQP") else { return };
    nothing_is_lost_or_doubled(&["--broker", "amqp", "--url", &url]);
}

#[test]
fn nor_with_an_inbox_on_postgres() {
    let Some(url) = address("ACKONCE_TEST_POSTGRES") else { return };
    // Records and effects in a schema of this run's own.
    let schema = format!("demo_{}", std::process::id());
    let url = format!("{url}?tables=create&schema={schema}&options=-c%20search_path%3D{schema}");
    nothing_is_lost_or_doubled(&["--store", &url]);
}

fn nothing_is_lost_or_doubled(broker: &[&str]) {
    let args = ["demo", "--messages", "300", "--kills", "2", "--pauses", "0", "--seed", "7", "--json"];
    let output = ackonce(&[&args[..], broker].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["class"].as_str(), report["seed"].as_u64()), (Some("inbox"), Some(7)));
    for arm in ["ackonce", "record_then_run", "run_then_record"] {
        let number =
            |name: &str| report[arm][name].as_u64().unwrap_or_else(|| panic!("{arm}.{name}: {report}"));
        assert_eq!((number("published"), number("unique"), number("kills")), (300, 240, 2), "{arm}");
        // Two of one ID may run side by side in the loops written by hand, where no key keeps them apart.
        let repeats = number("suppressed") + number("doubled");
        assert!(number("delivered") >= 300 && repeats >= 60, "{arm}: {report}");
        assert_eq!(
            number("effects"),
            number("unique") - number("lost") + number("doubled"),
            "{arm}: {report}"
        );
        let parts = ["recorded", "suppressed", "buried", "handed_back", "cut_off"].map(number);
        assert_eq!(number("delivered"), parts.iter().sum::<u64>(), "{arm}: {report}");
        assert!(number("messages_per_second") > 0 && number("buried") == 0, "{arm}: {report}");
    }
    assert_eq!((&report["ackonce"]["lost"], &report["ackonce"]["doubled"]), (&0.into(), &0.into()));
}

#[test]
fn without_a_kill_every_delivery_has_an_end() {
    let args = ["demo", "--messages", "200", "--kills", "0", "--pauses", "0", "--seed", "7", "--json"];
    let output = ackonce(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for arm in ["ackonce", "record_then_run", "run_then_record"] {
        assert_eq!(report[arm]["cut_off"], 0, "{arm}: {report}");
    }
    assert_eq!(report["ackonce"]["recorded"], report["ackonce"]["effects"], "{report}");
}

#[test]
fn wrong_usage_names_what_to_change() {
    let cases: [(&[&str], &str); 13] = [
        (&["demo", "--store", "dedup.db"], "does not begin with a scheme"),
        (&["demo", "--store", "mysql:x"], "no store has the scheme `mysql:`"),
        (&["demo", "--store", "sqlite:"], "needs the path of a file"),
        (&["demo", "--store", "sqlite:a.db?sync=off"], "the option `sync` is unknown"),
        (&["demo", "--store", "memory:"], "use sqlite:PATH"),
        (&["demo", "--store", "redis://localhost"], "use --store sqlite:PATH or postgres://"),
        (&["demo", "--messages", "0"], "--messages"),
        (&["demo", "--duplicates", "100"], "--duplicates"),
        (&["demo", "--broker", "amqp"], "needs --url"),
        (&["demo", "--url", "amqp://localhost"], "--url is of --broker amqp"),
        (
            &["demo", "--broker", "amqp", "--url", "amqp://localhost", "--brokers", "h:1"],
            "RabbitMQ is at --url",
        ),
        (&["demo", "--broker", "amqp", "--url", "localhost"], "invalid value 'localhost' for '--url"),
        (&["demo", "--class", "exactly-once"], "possible values: inbox, leased, keyed, at-most-once"),
    ];
    for (args, says) in cases {
        let output = ackonce(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_no_verdict() {
    let output = ackonce(&["demo", "--store", "sqlite:missing-directory/dedup.db"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("create it first") && text.contains("opening --store sqlite:missing"), "{text}");
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
    assert_eq!(
        (text.lines().count(), output.stdout.len()),
        (1, 0),
        "no stack, whatever RUST_BACKTRACE says: {text}"
    );
}

#[test]
fn help_and_version_are_there_and_the_worker_is_not() {
    let help = ackonce(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success() && text.contains("demo") && !text.contains("demo-worker"), "{text}");
    let version = ackonce(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("ackonce {}\n", env!("CARGO_PKG_VERSION")));
}
