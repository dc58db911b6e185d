//! `--on ID=ANSWER`, for all classes: by the webhook example, which needs no broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Process, claimed_in, hmac_sha256, ledger, post, postgres, rows_of, start, wait_until};
use rustix::process::Signal;

fn serve(directory: &Path, args: &[&str]) -> (Process, String) {
    let on = ["infrastructure", "retry", "permanent", "unknown", "panic", "abort", "hang"];
    let on: Vec<String> = on.iter().flat_map(|word| ["--on".into(), format!("evt={word}={word}")]).collect();
    let mut all =
        vec!["--listen", "127.0.0.1:0", "--secret", "whsec_test", "--lease-ms", "10000", "--attempts", "3"];
    all.extend(args.iter().copied().chain(on.iter().map(String::as_str)));
    let mut process = start(env!("CARGO_BIN_EXE_stripe_webhooks"), directory, &all);
    let address = process.address();
    (process, address)
}

fn stripe(address: &str, id: &str) -> Option<u16> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let body = format!(r#"{{"id":"{id}","object":"event","type":"invoice.paid"}}"#);
    let signature = hex::encode(hmac_sha256(b"whsec_test", &[now.as_bytes(), b".", body.as_bytes()]));
    post(address, "/webhooks/stripe", &[("stripe-signature", &format!("t={now},v1={signature}"))], &body)
}

/// On a store in that directory, or anywhere; the effects are lines of the ledger unless the class is inbox.
fn each_answer_is_of_its_message_alone(class: &str, store: impl Fn(&Path) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (process, address) = serve(directory.path(), &["--class", class, "--store", &store]);
    let answer = |id: &str| stripe(&address, id);
    for word in ["infrastructure", "retry", "unknown", "panic"] {
        let status = answer(&format!("evt={word}")).unwrap();
        assert!(status >= 500, "{word}: {status}");
    }
    // Buried is settled: the sender need not send it again.
    assert_eq!(answer("evt=permanent"), Some(200));
    // An infrastructure failure costs no attempt, so it is never buried.
    for _ in 0..5 {
        assert!(answer("evt=infrastructure").unwrap() >= 409);
    }
    let hanging = thread::spawn({
        let address = address.clone();
        move || stripe(&address, "evt=hang")
    });
    wait_until("the handler hangs", || claimed_in(&store).contains("evt=hang"));
    assert_eq!(answer("evt_1"), Some(200));
    assert_eq!(answer("evt=abort"), None);
    assert_eq!(process.ended(), Err(Signal::ABORT.as_raw()));
    assert_eq!(hanging.join().unwrap(), None);
    let effects = if class == "inbox" { rows_of(&store) } else { ledger(directory.path()) };
    assert_eq!(effects.iter().map(|effect| effect.id.as_str()).collect::<Vec<_>>(), ["evt_1"]);
}

fn sqlite(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("app.db").display())
}

#[test]
fn each_answer_is_of_its_message_alone_for_class_leased() {
    each_answer_is_of_its_message_alone("leased", sqlite);
}

#[test]
fn each_answer_is_of_its_message_alone_for_class_keyed() {
    each_answer_is_of_its_message_alone("keyed", sqlite);
}

#[test]
fn each_answer_is_of_its_message_alone_in_an_inbox_on_sqlite() {
    each_answer_is_of_its_message_alone("inbox", sqlite);
}

#[test]
fn each_answer_is_of_its_message_alone_in_an_inbox_on_postgres() {
    let Some(url) = postgres("trouble") else { return };
    each_answer_is_of_its_message_alone("inbox", |_| url.clone());
}
