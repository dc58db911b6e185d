//! A right that a server or a file refuses: one sentence with the setting and the fix, and exit code 3.

use std::process::Command;

use ackonce_tests::rights::{ReadOnly, refuses, roles, users, wrong_password};

const AWAY: &str = "amqp://127.0.0.1:1/%2f?queue=q";

fn relay(mut program: Command, from: &str, to: &str, store: Option<&str>, words: &[&str]) {
    program.args(["relay", "--from", from, "--to", to]);
    if let Some(store) = store {
        program.args(["--store", store]);
    }
    refuses(&mut program, words);
}

fn ackonce() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ackonce"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_postgres() {
    let Some(roles) = roles("relay").await else { return };
    for (store, words) in [
        (
            &roles.no_login,
            &["--store", "refused the login", "not permitted to log in", "mend the URL's user"][..],
        ),
        (&roles.stranger, &["--store", "GRANT it USAGE on the store's schema"]),
        (&roles.reader, &["--store", "GRANT it", "INSERT ON record", "UPDATE ON record"]),
    ] {
        relay(ackonce(), AWAY, "stdout:", Some(store), words);
    }
    relay(
        ackonce(),
        &format!("outbox:{}", roles.no_login),
        "http://127.0.0.1:1",
        None,
        &["--from", "refused the login"],
    );
    relay(
        ackonce(),
        &format!("outbox:{}", roles.reader),
        "http://127.0.0.1:1",
        None,
        &["--from", "GRANT it"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_redis() {
    let Some([lacks_hset, wrong]) = users("relay") else { return };
    relay(ackonce(), AWAY, "stdout:", Some(&lacks_hset), &["--store", "ACL SETUSER", "+hset"]);
    relay(ackonce(), AWAY, "stdout:", Some(&wrong), &["--store", "user or password is not accepted"]);
}

#[test]
fn of_rabbitmq() {
    let Some(rabbit) = wrong_password() else { return };
    let (from, to) = (format!("{rabbit}?queue=q"), format!("{rabbit}?routing-key=q"));
    let words = |flag| [flag, "user or password is not accepted; mend them in the URL"];
    relay(ackonce(), &from, "stdout:", Some("memory:"), &words("--from"));
    // Any variable that is set has the form of a secret of GitHub's.
    let webhook = "webhook://127.0.0.1:0/x?provider=github&secret-env=PATH";
    relay(ackonce(), webhook, &to, Some("memory:"), &words("--to"));
}

#[test]
fn of_a_file() {
    let read_only = ReadOnly::new();
    for store in [read_only.file(), read_only.missing()] {
        let nobody = read_only.as_nobody(env!("CARGO_BIN_EXE_ackonce"));
        relay(
            nobody,
            AWAY,
            "stdout:",
            Some(&store),
            &["--store", "may not write", "change their permissions"],
        );
    }
}
