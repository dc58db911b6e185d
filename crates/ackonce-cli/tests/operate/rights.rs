//! A right that a server or a file refuses to an operator: one sentence with the setting and the fix, and exit code 3.

use std::process::Command;

use ackonce_cli::stores::StoreUrl;
use ackonce_tests::rights::{ReadOnly, refuses, roles, users, wrong_password};

use crate::program::output;
use crate::seeded::{Seeded, bury};

const VERBS: [&[&str]; 2] = [&["stats"], &["redrive", "m", "--scope", "billing", "--reason", "x", "--yes"]];

fn ackonce(args: &[&str], words: &[&str]) {
    refuses(Command::new(env!("CARGO_BIN_EXE_ackonce")).args(args), words);
}

fn each_verb(store: &str, words: &[&str]) {
    for verb in VERBS {
        ackonce(&[verb, &["--store", store]].concat(), words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_postgres() {
    let Some(roles) = roles("operate").await else { return };
    each_verb(&roles.no_login, &["--store", "refused the login", "mend the URL's user"]);
    each_verb(&roles.stranger, &["--store", "GRANT it USAGE on the store's schema"]);
    // A role that only reads may look at everything, and changes nothing.
    let store = roles.owner.parse::<StoreUrl>().unwrap().open().await.unwrap();
    Seeded::of(roles.owner.clone(), store).ended("m", bury("the bank is away")).await;
    assert!(
        output(&["show", "m", "--scope", "billing", "--store", &roles.reader]).contains("the bank is away")
    );
    let why = ["--store", &roles.reader, "--reason", "x", "--yes"];
    let message = ["m", "--scope", "billing"];
    for args in [[&["redrive"], &message[..], &why].concat(), [&["redrive", "--all"], &why[..]].concat()] {
        ackonce(&args, &["--store", "lacks a privilege", "UPDATE"]);
    }
    ackonce(&[&["forget"], &message[..], &why].concat(), &["--store", "lacks a privilege", "DELETE"]);
    ackonce(&["outbox", "list", "--store", &roles.no_login], &["--store", "refused the login"]);
}

#[test]
fn of_redis() {
    let Some([lacks_hset, wrong]) = users("operate") else { return };
    each_verb(&lacks_hset, &["--store", "ACL SETUSER", "+hset"]);
    each_verb(&wrong, &["--store", "user or password is not accepted"]);
}

#[test]
fn of_rabbitmq() {
    let Some(rabbit) = wrong_password() else { return };
    let from = format!("{rabbit}?queue=q");
    for verb in [&["list"][..], &["redrive", "--reason", "x", "--yes"]] {
        let words = ["--from", "user or password is not accepted; mend them in the URL"];
        ackonce(&[&["dead-letters"], verb, &["--from", &from]].concat(), &words);
    }
}

#[test]
fn of_a_file() {
    let read_only = ReadOnly::new();
    let words = ["--store", "may not write", "change their permissions"];
    let nobody = || read_only.as_nobody(env!("CARGO_BIN_EXE_ackonce"));
    for verb in VERBS {
        refuses(nobody().args(verb).args(["--store", &read_only.file()]), &words);
    }
    refuses(nobody().args(["schema", "--apply", "--yes", "--store", &read_only.missing()]), &words);
}
