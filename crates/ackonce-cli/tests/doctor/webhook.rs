use std::net::TcpListener;

use tempfile::TempDir;

use crate::{Examined, program};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

struct Setting {
    store: String,
    _directory: TempDir,
}

impl Setting {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dedup.db");
        drop(ackonce_sqlite::SqliteStore::open(&path).unwrap());
        crate::own::until("the file is closed", || !path.with_file_name("dedup.db-wal").exists());
        Self { store: format!("sqlite:{}", path.display()), _directory: directory }
    }

    /// An endpoint of that provider at that address, with the secret in a variable; `None` leaves it unset.
    fn look_at(&self, address: &str, provider: &str, secret: Option<&str>, args: &[&str]) -> Examined {
        let mut program = program();
        if let Some(secret) = secret {
            program.env("HOOKS_SECRET", secret);
        }
        let from = format!("webhook://{address}/hooks?provider={provider}&secret-env=HOOKS_SECRET");
        let fixed = ["--store", &self.store, "--from", &from];
        Examined::by(program, &[&fixed, args].concat())
    }

    fn look(&self, provider: &str, args: &[&str]) -> Examined {
        self.look_at("127.0.0.1:0", provider, Some(SECRET), args)
    }
}

#[test]
fn sound_endpoints_are_not_accused() {
    let setting = Setting::new();
    setting.look("stripe", &[]).is_sound();
    setting.look("slack", &["--to", "kafka://localhost/events", "--window", "1h"]).is_sound();
    // The relay that is examined holds the address.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    setting.look_at(&relay.local_addr().unwrap().to_string(), "stripe", Some(SECRET), &[]).is_sound();
    relay.set_nonblocking(true).unwrap();
    assert!(relay.accept().is_err(), "nobody called it");
}

#[test]
fn secrets_that_refuse_every_event_are_found() {
    let setting = Setting::new();
    let look = |provider, secret| setting.look_at("127.0.0.1:0", provider, secret, &[]);
    for (provider, secret, why) in [
        ("stripe", None, "HOOKS_SECRET, which secret-env names, is not set"),
        ("stripe", Some(""), "empty"),
        ("stripe", Some("whsec_8f742231b10e8888abcd99yyyzzz\n"), "white space"),
        ("stripe", Some("\"whsec_8f742231b10e8888abcd99yyyzzz\""), "quotes"),
        ("adyen", Some("no hexadecimal digits"), "hexadecimal"),
        ("standard", Some("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "private key"),
    ] {
        let examined = look(provider, secret);
        examined.finds(&["webhook-secret"], 4);
        let shown = examined.json.to_string();
        assert!(shown.contains(why) && !shown.contains("8f742231b10e"), "{why}: {shown}");
    }
    look("stripe", Some("swordfish")).finds(&["webhook-short-secret"], 1);
}

#[test]
fn addresses_that_nobody_can_listen_at_are_found() {
    let setting = Setting::new();
    // An address for documentation (RFC 5737), and a name that is never resolved (RFC 6761).
    for address in ["192.0.2.1:8080", "relay.invalid:8080"] {
        setting.look_at(address, "stripe", Some(SECRET), &[]).finds(&["webhook-address"], 4);
    }
}

#[test]
fn settings_against_the_providers_schedule_are_found() {
    let setting = Setting::new();
    setting.look("stripe", &["--window", "2d"]).finds(&["webhook-window"], 4);
    setting.look("slack", &["--window", "9m"]).finds(&["webhook-window"], 4);
    setting.look("slack", &["--backoff", "1s..1h"]).finds(&["webhook-backoff"], 1);
    setting.look("github", &[]).finds(&["webhook-retries"], 1);
    setting.look("github", &["--accept", "webhook-retries"]).is_sound();
    let long = ["--accept", "webhook-retries", "--to"];
    let look = |to| setting.look("github", &[&long[..], &[to]].concat());
    look("kafka://localhost/events").finds(&["webhook-body"], 1);
    look("kafka://localhost/events?kafka.message.max.bytes=30000000").is_sound();
    look("http://localhost/events").is_sound();
}

#[test]
fn a_sample_that_cannot_be_taken_is_said() {
    let setting = Setting::new();
    setting.look("stripe", &["--sample", "5"]).leaves_out(&["message-without-id"], "nobody keeps the events");
}
