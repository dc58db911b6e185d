//! Misuse: one sentence with the setting and the fix, exit code 2 or 3, and no secret.

use crate::program::refused;

const AMQP: &str = "amqp://u:s3cret@127.0.0.1:1/%2f?queue=q";
const KAFKA: &str = "kafka://127.0.0.1:1/t";

#[test]
fn wrong_usage_names_the_setting_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dedup.db");
    let url = format!("sqlite:{}", file.display());
    crate::program::output(&["schema", "--apply", "--yes", "--store", &url]);
    let store = ["--store", url.as_str()];
    let with = |args: &[&'static str]| [args, &store[..]].concat();
    let reason = |args: &[&'static str]| [args, &store[..], &["--reason", "x"]].concat();
    for (args, parts) in [
        (vec!["list"], &["--store", "ACKONCE_"][..]),
        (with(&["list", "--stat", "done"]), &["--stat", "--state"]),
        (with(&["list", "--state", "dead"]), &["--state", "claimed, released, done, buried"]),
        (with(&["list", "--older-than", "1"]), &["--older-than", "time unit"]),
        (with(&["list", "--limit", "x"]), &["--limit"]),
        (with(&["list", "--scope", ""]), &["--scope", "empty"]),
        (vec!["list", "--store", "mysql://u:s3cret@h"], &["--store", "no store has the scheme"]),
        (vec!["list", "--store", "memory:"], &["--store", "memory:", "consumers"]),
        (with(&["stats", "--scope", "s"]), &["--scope"]),
        (with(&["show", "m"]), &["--scope"]),
        (with(&["show", "--scope", "s"]), &["<ID>"]),
        (with(&["show", "hex:0", "--scope", "s"]), &["ID", "hexadecimal"]),
        (with(&["show", "base64:*", "--scope", "s"]), &["ID", "base64"]),
        (with(&["show", "", "--scope", "s"]), &["ID", "empty"]),
        (with(&["forget", "m", "--scope", "s"]), &["--reason", "audit"]),
        (with(&["forget", "m", "--scope", "s", "--reason", " "]), &["--reason", "audit"]),
        (with(&["redrive"]), &["--all", "--reason-contains"]),
        (reason(&["redrive", "m"]), &["--scope"]),
        (reason(&["redrive", "m", "--all"]), &["--all"]),
        (reason(&["redrive", "--state", "claimed"]), &["--state", "lease"]),
        (with(&["redrive", "--all"]), &["--reason"]),
        (with(&["sweep"]), &["--yes"]),
        (with(&["schema", "--apply"]), &["--yes"]),
        (vec!["schema", "--store", "redis://u:s3cret@h"], &["--store", "no tables"]),
        (with(&["import"]), &["--from", "--csv"]),
        (with(&["import", "--csv", "-", "--pattern", "x"]), &["--from"]),
        (with(&["import", "--from", "redis://u:s3cret@h", "--scope", "s"]), &["--pattern"]),
        (with(&["import", "--from", "redis://u:s3cret@h", "--pattern", "x*"]), &["--scope"]),
        (
            with(&["import", "--from", "http://u:s3cret@h", "--pattern", "x*", "--scope", "s"]),
            &["--from", "redis://"],
        ),
        (with(&["import", "--from", "redis://u:s3cret@:x", "--pattern", "x*", "--scope", "s"]), &["--from"]),
        (vec!["dead-letters", "list"], &["--from"]),
        (vec!["dead-letters", "move", "--from", KAFKA], &["move", "list, redrive"]),
        (
            vec!["dead-letters", "list", "--from", "nats://h"],
            &["--from", "no dead-letter place has that scheme"],
        ),
        (vec!["dead-letters", "list", "--from", "amqp://u:s3cret@h/v"], &["--from", "queue=Q"]),
        (vec!["dead-letters", "list", "--from", "kafka://h/a,b"], &["--from", "one topic"]),
        (vec!["dead-letters", "redrive", "--from", AMQP], &["--reason", "audit"]),
        (with(&["import", "--csv", "-", "--window", "0s"]), &["--window", "no message is remembered"]),
        (vec!["stats", "--store", "redis://u:s3cret@h/x"], &["--store", "database number"]),
        (vec!["stats", "--store", "redis+cluster://u:s3cret@h/1"], &["--store", "databases"]),
        (vec!["stats", "--store", "redis://h?prefix={a}"], &["--store", "prefix"]),
        (vec!["outbox", "list", "--store", "redis://u:s3cret@127.0.0.1:1"], &["--store", "an outbox is in"]),
        (
            vec!["dead-letters", "redrive", "--from", AMQP, "--reason", "x", "--limit", "0"],
            &["--limit 0", "leave it out"],
        ),
        (vec!["lst"], &["lst", "the nearest one is list"]),
        (vec!["completions", "cmd"], &["cmd", "bash"]),
        (vec!["man", "nothing"], &["no command nothing", "dead-letters"]),
    ] {
        refused(&args, 2, parts);
    }
}

#[test]
fn a_missing_server_file_or_right_names_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("dedup.db").display());
    let csv = dir.path().join("none.csv").display().to_string();
    let missing = format!("sqlite:{}", dir.path().join("missing/dedup.db").display());
    let no_database = dir.path().join("no-database.db");
    std::fs::write(&no_database, vec![b'x'; 4096]).unwrap();
    let no_database = format!("sqlite:{}", no_database.display());
    for (args, parts) in [
        (vec!["list", "--store", &url], &["--store", "there is no file", "schema --apply"][..]),
        (vec!["list", "--store", &no_database], &["--store"]),
        (vec!["schema", "--apply", "--yes", "--store", &missing], &["--store", "create it first"]),
        (vec!["stats", "--store", "redis://u:s3cret@127.0.0.1:1"], &["--store", "127.0.0.1:1"]),
        (vec!["stats", "--store", "postgres://u:s3cret@127.0.0.1:1/d"], &["--store", "refused"]),
        (vec!["import", "--csv", &csv, "--store", &url, "--yes"], &["--csv", "none.csv"]),
        (
            vec![
                "import",
                "--from",
                "redis://u:s3cret@127.0.0.1:1",
                "--pattern",
                "x*",
                "--scope",
                "s",
                "--store",
                &url,
            ],
            &["--from", "Redis"],
        ),
        (vec!["dead-letters", "list", "--from", AMQP], &["--from", "RabbitMQ"]),
        (vec!["dead-letters", "list", "--from", KAFKA], &["--from", "topic t"]),
        (vec!["man", "--dir", "/nowhere/at/all"], &["--dir", "/nowhere/at/all"]),
    ] {
        refused(&args, 3, parts);
    }
}
