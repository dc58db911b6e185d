use ackonce_cli::doctor::{DoctorArgs, all_checks};
use ackonce_cli::relay::RelayArgs;
use clap::Args as _;

use crate::{Examined, program};

fn refused(args: &[&str], parts: &[&str]) {
    let examined = Examined::of(args);
    assert_eq!(examined.code, 2, "{args:?}: {}", examined.said);
    for part in parts {
        assert!(examined.said.contains(part), "{args:?} lacks {part:?}: {}", examined.said);
    }
    // Variables of the tests are near some setting's name.
    let sentences =
        examined.said.lines().filter(|line| !line.starts_with("note: ACKONCE_") && !line.is_empty());
    assert!(!examined.said.contains("s3cret") && sentences.count() == 1, "{}", examined.said);
}

#[test]
fn wrong_usage_names_the_setting() {
    refused(&[], &["--store", "ACKONCE_STORE"]);
    refused(&["--store", "mysql://u:s3cret@h"], &["--store", "no store has the scheme"]);
    refused(&["--store", "memory:", "--from", "nats://u:s3cret@h"], &["--from", "no source has that scheme"]);
    refused(&["--store", "memory:", "--accept", "redis-evcition"], &["--accept", "--list"]);
    refused(&["--store", "memory:", "--from", "kafka://h/t?group=g", "--id", "property"], &["--id", "AMQP"]);
    refused(&["--store", "memory:", "--answer-timeout", "3"], &["--answer-timeout"]);
    refused(&["--store", "memory:", "--deepp"], &["--deep"]);
    refused(&["--store", "memory:", "--to", "ftp://u:s3cret@h"], &["--to", "no sink has that scheme"]);
    let webhook = "webhook://127.0.0.1:1/x?provider=square&secret-env=NOT_SET&url=shop.example/hooks";
    refused(&["--store", "memory:", "--from", webhook], &["--from", "https://HOST"]);
}

#[test]
fn the_list_has_every_check_once_and_needs_no_store() {
    let output = program().args(["--list", "--json"]).output().unwrap();
    assert!(output.status.success());
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row["check"].as_str().unwrap()).collect();
    assert_eq!(names.len(), all_checks().count());
    assert!(names.len() >= 60, "{}", names.len());
    let text = String::from_utf8(program().arg("--list").output().unwrap().stdout).unwrap();
    assert!(names.iter().all(|name| text.contains(name)), "{text}");
}

#[test]
fn people_get_a_table_and_a_verdict() {
    let output = program().args(["--store", "memory:"]).env("COLUMNS", "200").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["severity", "broken", "memory-store: memory:", "sqlite:PATH", "broken: 1 check, 1 finding"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(output.status.code(), Some(4));
    let output = program().args(["--store", "memory:", "--accept", "memory-store"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("accepted") && text.contains("sound: "), "{text}");
}

/// The file and the environment of a relay serve here as they are.
#[test]
fn every_setting_of_a_relay_is_taken() {
    let longs = |command: &clap::Command| -> Vec<String> {
        let takes = |arg: &&clap::Arg| arg.get_action().takes_values();
        command.get_arguments().filter(takes).filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
    };
    let doctor = longs(&DoctorArgs::augment_args(clap::Command::new("doctor")));
    for long in longs(&RelayArgs::augment_args(clap::Command::new("relay"))) {
        assert!(doctor.contains(&long), "doctor lacks --{long} of the relay");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.toml");
    std::fs::write(
        &file,
        "store = \"memory:\"\nto = \"stdout:\"\nlease = \"20s\"\norder = \"key\"\nadmin = 9090\n",
    )
    .unwrap();
    Examined::of(&["--config", &file.display().to_string()]).finds(&["memory-store"], 4);
}

/// The page has the table of checks as it is.
#[test]
fn the_page_has_every_check() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- checks -->\n", "<!-- end of checks -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut table = "\n| check | severity | sound | otherwise | fix |\n|---|---|---|---|---|\n".to_owned();
    for check in all_checks() {
        let fields = [check.name, check.severity.word(), check.sound, check.consequence, check.fix];
        table.push_str(&format!("| {} |\n", fields.map(|field| field.replace('|', "\\|")).join(" | ")));
    }
    let expected = format!("{before}{begin}{table}\n{end}{after}");
    if std::env::var_os("ACKONCE_UPDATE").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == expected,
        "ACKONCE_UPDATE=1 rewrites the table of docs/doctor.md"
    );
}
