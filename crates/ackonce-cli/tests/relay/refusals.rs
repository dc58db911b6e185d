//! Misuse: one sentence with the setting and the fix, exit code 2 or 3, and no secret.

use std::process::{Command, Output};

fn ackonce(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.arg("relay").args(args).env("RUST_BACKTRACE", "1").env("RUST_LOG", "off").output().unwrap()
}

/// A relay with this source and sink, and a store in memory.
fn between<'a>(from: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--from", from, "--to", to, "--store", "memory:"], more].concat()
}

const KAFKA: &str = "kafka://127.0.0.1:1/t?group=g";
const AMQP: &str = "amqp://u:s3cret@127.0.0.1:1/%2f?queue=q";

fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = ackonce(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{args:?} lacks {part:?}: {said}");
    }
    assert!(
        !said.contains("s3cret") && !said.contains("panicked") && !said.contains("backtrace"),
        "{args:?}: {said}"
    );
    assert!(said.trim_end().lines().count() <= 2, "{args:?}: {said}");
}

#[test]
fn wrong_usage_names_the_setting() {
    let http = "http://127.0.0.1:1";
    for (args, parts) in [
        (between("nats://h", http, &[]), &["--from", "no source has that scheme"][..]),
        (between("amqp://u:s3cret@h:x/v?queue=q", http, &[]), &["--from", "AMQP URL"]),
        (between(KAFKA, "ftp://u:s3cret@h", &[]), &["--to", "no sink has that scheme"]),
        (between(KAFKA, http, &["--class", "inbox"]), &["--class", "leased and keyed"]),
        (between(KAFKA, http, &["--lease", "30"]), &["--lease"]),
        (between(KAFKA, http, &["--lease", "1ms"]), &["--lease", "50 ms"]),
        (between(KAFKA, http, &["--backoff", "1s"]), &["--backoff", "MIN..MAX"]),
        (between(KAFKA, http, &["--backoff", "2s..1s"]), &["--backoff"]),
        (between(KAFKA, http, &["--id", "property"]), &["--id", "AMQP"]),
        (between(KAFKA, http, &["--id", "jason:/id"]), &["--id"]),
        (between(KAFKA, "stdout:", &["--class", "keyed"]), &["--class", "stdout:"]),
        (between(AMQP, http, &["--retry-topics", "a=1m"]), &["--retry-topics", "Kafka"]),
        (between(AMQP, http, &["--order", "queue"]), &["--order"]),
        (between(AMQP, http, &["--concurency", "1"]), &["--concurency"]),
        (between(KAFKA, http, &["--dead-letter", "^t.*"]), &["--from", "--dead-letter", "name of a topic"]),
        (between(KAFKA, http, &["--retry-topics", "a=1m,a=2m"]), &["--retry-topics", "twice"]),
        (
            between(KAFKA, http, &["--retry-topics", "a=1m", "--dead-letter", "a"]),
            &["--dead-letter", "retry topic"],
        ),
        (
            between("kafka://127.0.0.1:1/t?group=g&kafka.enable.auto.commit=true", http, &[]),
            &["--from", "enable.auto.commit"],
        ),
    ] {
        refused(&args, 2, parts);
    }
    refused(
        &["--from", KAFKA, "--to", http, "--store", "mysql://u:s3cret@h"],
        2,
        &["--store", "no store has the scheme"],
    );
    refused(&["--from", KAFKA, "--to", http], 2, &["--store"]);
    let webhook = "webhook://127.0.0.1:1/x?provider=stripe&secret-env=NOT_SET";
    refused(
        &between(webhook, "stdout:", &[]),
        2,
        &["--from: the source webhook:", "the environment variable NOT_SET", "secret-env"],
    );
    // Any variable that is set has text of a form that Stripe's secrets may have.
    let webhook = |more: &str| format!("webhook://127.0.0.1:1/x?secret-env=PATH&provider={more}");
    refused(&between(&webhook("stripe"), "stdout:", &["--window", "10m"]), 2, &["--from", "--window"]);
    refused(&between(&webhook("twilio&url=ftp://h"), "stdout:", &[]), 2, &["`url`", "https://HOST"]);
    refused(&between(&webhook("standard"), "stdout:", &[]), 2, &["variable PATH", "secret-env", "base64"]);
}

#[test]
fn a_missing_server_names_the_setting() {
    let at_once = ["--start-timeout", "0s"];
    for (args, parts) in [
        (between(AMQP, "stdout:", &at_once), &["--from", "127.0.0.1:1"][..]),
        (between(KAFKA, "kafka://127.0.0.1:1/u", &at_once), &["--to"]),
        (between(KAFKA, "exec:./no-such-program", &at_once), &["--to", "no-such-program"]),
        (between(KAFKA, "stdout:", &at_once), &["--from", "127.0.0.1:1"]),
    ] {
        refused(&args, 3, parts);
    }
    let args = [
        "--from",
        KAFKA,
        "--to",
        "stdout:",
        "--store",
        "redis://u:s3cret@127.0.0.1:1",
        "--start-timeout",
        "0s",
    ];
    refused(&args, 3, &["--store"]);
}

#[test]
fn a_relay_of_an_outbox_refuses_settings_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.db").display().to_string();
    let (from, http) = (format!("outbox:sqlite:{file}"), "http://127.0.0.1:1");
    let outbox = |more: &[&'static str]| -> Vec<String> {
        let all = ["--from", &from, "--to", http].into_iter().map(str::to_owned);
        all.chain(more.iter().map(|arg| (*arg).to_owned())).collect()
    };
    for (more, parts) in [
        (&["--store", "memory:"][..], &["--store", "leave it out"][..]),
        (&["--dead-letter", "orders.dead"], &["--dead-letter", "parked"]),
        (&["--order", "key"], &["--order", "per key"]),
        (&["--lease", "1ms"], &["--lease"]),
        (&["--concurrency", "0"], &["--concurrency"]),
        (&["--timeout", "0s"], &["--timeout"]),
    ] {
        let args = outbox(more);
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), 2, parts);
    }
    refused(&["--from", &from, "--to", http], 3, &["--from", "no file"]);
    assert!(!std::path::Path::new(&file).exists(), "it was not made");
    refused(&["--from", "outbox:redis://u:s3cret@h", "--to", http], 2, &["--from", "outbox:sqlite:PATH"]);
    refused(&["--from", "outbox:sqlite:a.db", "--to", "stdout:"], 2, &["--to", "no sink of an outbox"]);
    let away = "outbox:postgres://u:s3cret@127.0.0.1:1/db";
    refused(&["--from", away, "--to", http, "--start-timeout", "0s"], 3, &["--from"]);
}

#[test]
fn a_check_of_an_outbox_shows_its_settings_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.db");
    drop(ackonce_sqlite::SqliteStore::open(&file).unwrap());
    let from = format!("outbox:sqlite:{}", file.display());
    let output = ackonce(&["--from", &from, "--to", "amqp://u:s3cret@h", "--lease", "3s", "--check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["u:***@h", "lease", "3s", "2048", "order of its key"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    let conn = ackonce_sqlite::rusqlite::Connection::open(&file).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'ackonce_outbox%'";
    assert_eq!(conn.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_check_shows_settings_with_their_origin_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, "window = \"1day\"\nid = [\"payload\"]\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    let config = file.display().to_string();
    command.arg("relay").args(between(AMQP, "exec:./pay --token s3cret", &["--check", "--config", &config]));
    let output = command.env("ACKONCE_LEASE", "30s").output().unwrap();
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let row = |name: &str| {
        text.lines()
            .find(|line| line.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert!(row("lease").contains("30s") && row("lease").contains("ACKONCE_LEASE"), "{text}");
    assert!(row("window").contains("1day") && row("window").contains("relay.toml"), "{text}");
    assert!(row("from").contains("u:***@") && row("from").ends_with("flag"), "{text}");
    assert!(row("attempts").contains("15") && row("attempts").ends_with("default"), "{text}");
    for part in
        ["class keyed: lost: never", "weakened: id payload", "weakened: records live in this process alone"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}
