//! The webhook example as its page runs it, and killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Process, claimed, hmac_sha256, ledger, post, start, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stripe_webhooks");

fn serve(directory: &Path, args: &[&str]) -> (Process, String) {
    let args =
        [&["--listen", "127.0.0.1:0", "--secret", "whsec_old", "--secret", "whsec_test"], args].concat();
    let mut process = start(PROGRAM, directory, &args);
    let address = process.address();
    (process, address)
}

fn stripe(address: &str, id: &str) -> Option<u16> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let body = format!(r#"{{"id":"{id}","object":"event","type":"invoice.paid"}}"#);
    let signature = hex::encode(hmac_sha256(b"whsec_test", &[now.as_bytes(), b".", body.as_bytes()]));
    post(address, "/webhooks/stripe", &[("stripe-signature", &format!("t={now},v1={signature}"))], &body)
}

#[test]
fn each_event_has_one_line_and_strangers_none() {
    let directory = tempfile::tempdir().unwrap();
    let (process, address) = serve(directory.path(), &["--github-secret", "s3cret", "--class", "keyed"]);
    let body = r#"{"zen":"Keep it logically awesome."}"#;
    let signature = format!("sha256={}", hex::encode(hmac_sha256(b"s3cret", &[body.as_bytes()])));
    let github = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "d1")];
    for _ in 0..3 {
        assert_eq!(stripe(&address, "evt_1"), Some(200));
        assert_eq!(post(&address, "/webhooks/github", &github, body), Some(200));
    }
    assert_eq!(post(&address, "/webhooks/github", &github, "{}"), Some(401));
    assert_eq!(post(&address, "/webhooks/stripe", &[], r#"{"id":"evt_2"}"#), Some(401));
    assert_eq!(post(&address, "/webhooks/standard", &[], "{}"), Some(404), "no secret, no endpoint");
    process.end();
    let mut ids: Vec<_> = ledger(directory.path()).into_iter().map(|line| line.id).collect();
    ids.sort();
    assert_eq!(ids, ["d1", "evt_1"]);
}

fn github(address: &str, delivery: &str, content_type: &str, body: &str) -> Option<u16> {
    let signature = format!("sha256={}", hex::encode(hmac_sha256(b"s3cret", &[body.as_bytes()])));
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-delivery", delivery),
        ("content-type", content_type),
    ];
    post(address, "/webhooks/github", &headers, body)
}

#[test]
fn a_push_of_two_mebibytes_and_a_form_are_a_line_each() {
    let directory = tempfile::tempdir().unwrap();
    let (process, address) = serve(directory.path(), &["--github-secret", "s3cret"]);
    let push = format!(r#"{{"zen":"{}"}}"#, "x".repeat(2 << 20));
    let form = "payload=%7B%22zen%22%3A%22x%22%7D";
    for _ in 0..2 {
        assert_eq!(github(&address, "large", "application/json", &push), Some(200));
        assert_eq!(github(&address, "form", "application/x-www-form-urlencoded", form), Some(200));
    }
    process.end();
    let mut ids: Vec<_> = ledger(directory.path()).into_iter().map(|line| line.id).collect();
    ids.sort();
    assert_eq!(ids, ["form", "large"]);
}

#[test]
fn an_id_that_two_providers_gave_is_two_lines() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--github-secret", "s3cret", "--scope", "hooks"];
    let (process, address) = serve(directory.path(), &args);
    for _ in 0..2 {
        assert_eq!(stripe(&address, "evt_1"), Some(200));
        assert_eq!(github(&address, "evt_1", "application/json", "{}"), Some(200));
    }
    process.end();
    assert_eq!(ledger(directory.path()).len(), 2);
}

#[test]
fn a_secret_with_a_newline_ends_it_at_start_and_names_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    for flag in ["--secret", "--github-secret", "--standard-secret"] {
        let output = std::process::Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", flag, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{flag}: secret 0: it has white space")), "{said}");
        assert!(!said.contains("C2FV"), "{said}");
    }
}

#[test]
fn a_panic_and_a_failure_are_5xx_and_the_redelivery_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (process, address) = serve(directory.path(), &["--panic-first", "1", "--fail-first", "2"]);
    let statuses: Vec<_> = (0..4).map(|_| stripe(&address, "evt_1").unwrap()).collect();
    assert_eq!(statuses, [500, 500, 200, 200]);
    process.end();
    let lines = ledger(directory.path());
    assert_eq!((lines.len(), lines[0].attempt), (1, 3));
}

#[test]
fn an_inbox_writes_one_row_per_event_and_none_for_a_run_that_panicked() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--store", "sqlite:app.db", "--class", "inbox", "--panic-first", "1"];
    let (process, address) = serve(directory.path(), &args);
    let statuses: Vec<_> = (0..3).map(|_| stripe(&address, "evt_1").unwrap()).collect();
    assert_eq!(statuses, [500, 200, 200]);
    process.end();
    let rows = ackonce_cli::ledger::sqlite::read(&directory.path().join("app.db"), 0).unwrap();
    assert_eq!(rows.iter().map(|row| (row.id.as_str(), row.attempt)).collect::<Vec<_>>(), [("evt_1", 2)]);
    assert!(!directory.path().join("ledger.jsonl").exists());
}

#[test]
fn fifty_deliveries_to_two_processes_are_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let (one, first) = serve(directory.path(), &["--delay-ms", "100"]);
    let (two, second) = serve(directory.path(), &["--delay-ms", "100"]);
    let deliveries: Vec<_> = (0..50)
        .map(|n| {
            let address = if n % 2 == 0 { first.clone() } else { second.clone() };
            thread::spawn(move || stripe(&address, "evt_1").unwrap())
        })
        .collect();
    let statuses: Vec<_> = deliveries.into_iter().map(|delivery| delivery.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200));
    one.end();
    two.end();
    assert_eq!(ledger(directory.path()).len(), 1);
}

#[test]
fn killed_in_the_middle_it_is_409_until_the_lease_ends_and_then_runs_once() {
    let directory = tempfile::tempdir().unwrap();
    let lease = ["--lease-ms", "1000"];
    let (process, address) = serve(directory.path(), &[&lease[..], &["--delay-ms", "600000"]].concat());
    let broken = thread::spawn({
        let address = address.clone();
        move || stripe(&address, "evt_1")
    });
    wait_until("its handler runs", || claimed(directory.path()).contains("evt_1"));
    assert_eq!(stripe(&address, "evt_1"), Some(409));
    process.kill();
    assert_eq!(broken.join().unwrap(), None, "no answer, least of all a 2xx");

    let (process, address) = serve(directory.path(), &lease);
    wait_until("the lease ends", || match stripe(&address, "evt_1").unwrap() {
        200 => true,
        status => {
            assert_eq!(status, 409);
            false
        }
    });
    assert_eq!(stripe(&address, "evt_1"), Some(200));
    process.end();
    let lines = ledger(directory.path());
    assert_eq!((lines.len(), lines[0].attempt), (1, 2));
}
