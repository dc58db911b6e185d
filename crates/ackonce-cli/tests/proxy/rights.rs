//! A right that a store refuses: one sentence with the setting and the fix, and exit code 3.

use std::process::Command;

use ackonce_tests::rights::{ReadOnly, refuses, roles, users};

const FLAGS: [&str; 7] =
    ["proxy", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9", "--principal", "none"];

fn proxy(mut program: Command, store: &str, words: &[&str]) {
    refuses(program.args(FLAGS).args(["--store", store]), words);
}

fn ackonce() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ackonce"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_postgres() {
    let Some(roles) = roles("proxy").await else { return };
    proxy(ackonce(), &roles.no_login, &["--store", "refused the login", "mend the URL's user"]);
    proxy(ackonce(), &roles.stranger, &["--store", "GRANT it USAGE on the store's schema"]);
    proxy(ackonce(), &roles.reader, &["--store", "GRANT it", "INSERT ON record", "UPDATE ON record"]);
}

#[test]
fn of_redis() {
    let Some([lacks_hset, wrong]) = users("proxy") else { return };
    proxy(ackonce(), &lacks_hset, &["--store", "ACL SETUSER", "+hset"]);
    proxy(ackonce(), &wrong, &["--store", "user or password is not accepted"]);
}

#[test]
fn of_a_file() {
    let read_only = ReadOnly::new();
    for store in [read_only.file(), read_only.missing()] {
        let nobody = read_only.as_nobody(env!("CARGO_BIN_EXE_ackonce"));
        proxy(nobody, &store, &["--store", "may not write", "change their permissions"]);
    }
}
