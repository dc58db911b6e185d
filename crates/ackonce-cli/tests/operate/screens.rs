//! `ackonce show` in each state of a key, on each store: the sentence that answers "why was my message skipped?".

use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Settle, Token};

use crate::program::{json, output, refused};
use crate::seeded::{Seeded, WEEK, back_off, bury, complete};

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    each_state(Seeded::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() {
    each_state(Seeded::redis("show").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    each_state(Seeded::postgres("show").await).await;
}

async fn each_state(store: Option<Seeded>) {
    let Some(store) = store else { return };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let outcome = Settle::Complete { window: WEEK, outcome: Some("{\"charge\":1}\u{1b}[2J".into()) };
    store.ended("ran", outcome).await;
    store.ended("skipped", complete()).await;
    let again = ClaimRequest {
        key: ackonce::Scope::new("billing").unwrap().key("skipped").unwrap(),
        token: Token::random(),
        lease: minute,
        window: WEEK,
        fingerprint: None,
    };
    let duplicate = store.store.deduplicator().claim_one(again).await.unwrap();
    assert!(matches!(duplicate, Claimed::Done(_)));
    store.claim("held", minute * 10, WEEK).await;
    store.claim("dead worker", second / 20, WEEK).await;
    store.ended("waits", back_off(minute * 10)).await;
    store.ended("handed back", back_off(Duration::ZERO)).await;
    store.ended("buried", bury("card declined: 402")).await;
    store.ended("redriven", bury("the bank is away")).await;
    store.ended("expired", Settle::Complete { window: second / 20, outcome: None }).await;
    store.ended("forgotten", complete()).await;
    store.ended("hex:00ff", complete()).await;
    let why =
        ["--scope", "billing", "--store", &store.url, "--reason", "ticket 4711", "--actor", "ada", "--yes"];
    output(&[&["redrive", "redriven"], &why[..]].concat());
    output(&[&["forget", "forgotten"], &why[..]].concat());
    refused(&[&["redrive", "held"], &why[..]].concat(), 3, &["in flight", "a worker holds it"]);
    refused(&[&["forget", "held"], &why[..]].concat(), 3, &["in flight"]);
    tokio::time::sleep(second / 10).await;

    for (id, parts) in [
        (
            "ran",
            &["It took effect: attempt 1 began", "{\\\"charge\\\":1}\\x1b[2J", "done (it took effect)"][..],
        ),
        ("skipped", &["Deliveries after that are duplicates", "none kept", "expires      in "]),
        ("held", &["a worker holds it. Attempt 1 began", "lease ends", "in 9 min"]),
        ("dead worker", &["Its lease is over", "Its next delivery runs it again"]),
        ("waits", &["attempt 1 failed, and it waits 9 min", "back-off"]),
        ("handed back", &["handed back after 1 attempt", "runs as attempt 2"]),
        ("buried", &["given up after 1 attempt: card declined: 402", "Its effect did not happen", "reason"]),
        (
            "redriven",
            &["redriven by ada", "ticket 4711", "has not run since", "by hand", "when it was buried"],
        ),
        ("never seen", &["no record of the message", "never claimed", "Its next delivery runs"]),
        ("expired", &["no record of the message", "its window is over"]),
        ("forgotten", &["no record of the message: ada forgot it", "(ticket 4711)"]),
        ("hex:6865783a30306666", &["It took effect"]),
        ("base64:aGV4OjAwZmY=", &["ID           hex:6865783a30306666"]),
    ] {
        let screen = output(&["show", id, "--scope", "billing", "--store", &store.url]);
        let unwrapped = screen.replace('\n', " ");
        for part in parts {
            assert!(unwrapped.contains(part), "{id}: {part:?} is not in\n{screen}");
        }
        assert!(screen.lines().count() <= 24, "more than a screen:\n{screen}");
        assert!(!screen.contains('\u{1b}'), "{screen:?}");
    }
    let shown = json(&["show", "redriven", "--scope", "billing", "--store", &store.url]).remove(0);
    assert_eq!(shown["record"]["state"], "released", "{shown}");
    assert_eq!(
        (&shown["audit"][0]["actor"], &shown["audit"][0]["reason"]),
        (&"ada".into(), &"ticket 4711".into())
    );
    assert!(shown["answer"].as_str().unwrap().starts_with("It was redriven"), "{shown}");
    let none = json(&["show", "redriven", "--scope", "biling", "--store", &store.url]).remove(0);
    assert!(none["record"].is_null(), "{none}");

    lists(&store);
    let run_again = store.claim("redriven", minute, WEEK).await;
    store.settle(&run_again, complete()).await;
    let screen =
        output(&["show", "redriven", "--scope", "billing", "--store", &store.url]).replace('\n', " ");
    assert!(
        screen.contains("It took effect") && screen.contains("Before that it was redriven by ada"),
        "{screen}"
    );
    steps(&store).await;
}

/// Ten steps have finished, one of them in another, before the worker handed the message back.
async fn steps(store: &Seeded) {
    let mut progress = b"\x01\x06charge\x02\x07\"ch\x1b_1\"\x0creceipt/mail\x01\x04null".to_vec();
    (0..8).for_each(|n| progress.extend_from_slice(format!("\x02s{n}\x01\x011").as_bytes()));
    let lease = store.claim("half done", Duration::from_secs(60), WEEK).await;
    store.settle(&lease, Settle::Save { progress: progress.into() }).await;
    store.settle(&lease, back_off(Duration::from_secs(600))).await;
    let show = ["show", "half done", "--scope", "billing", "--store", &store.url];
    let screen = output(&show);
    for line in [
        "steps done   charge: \\\"ch\\x1b_1\\\"",
        "             receipt/mail: null",
        "             s5: 1",
        "             and 2 more: --json has all",
    ] {
        assert!(screen.lines().any(|shown| shown.trim_end() == line), "{line:?} is not in\n{screen}");
    }
    assert!(screen.lines().count() <= 24 && !screen.contains('\u{1b}'), "{screen:?}");
    let steps = json(&show).remove(0)["steps"].take();
    assert_eq!(steps.as_array().unwrap().len(), 10, "{steps}");
    assert_eq!((&steps[0]["name"], &steps[0]["version"]), (&"charge".into(), &2.into()), "{steps}");
    assert_eq!(
        (&steps[1]["name"], &steps[1]["outcome"]),
        (&"receipt/mail".into(), &"null".into()),
        "{steps}"
    );
}

fn lists(store: &Seeded) {
    let buried = json(&["list", "--state", "buried", "--store", &store.url]);
    assert_eq!(buried.len(), 1, "{buried:?}");
    assert_eq!((&buried[0]["scope"], &buried[0]["id"]), (&"billing".into(), &"buried".into()));
    let filters = ["--scope", "billing", "--reason", "declined", "--state", "buried"];
    assert_eq!(json(&[&["list", "--store", &store.url], &filters[..]].concat()).len(), 1);
    assert_eq!(json(&["list", "--store", &store.url, "--state", "buried", "--older-than", "1h"]).len(), 0);
    assert_eq!(json(&["list", "--store", &store.url, "--state", "done", "--limit", "2"]).len(), 2);
    let table = output(&["list", "--state", "buried", "--store", &store.url]);
    assert!(table.contains("card declined: 402") && table.lines().count() == 2, "{table}");
    let stats = json(&["stats", "--store", &store.url]).remove(0);
    assert_eq!((&stats["buried"], &stats["released"]), (&1.into(), &3.into()), "{stats}");
    assert!(output(&["stats", "--store", &store.url]).contains("BURIED"));
    output(&["sweep", "--yes", "--store", &store.url]);
}

/// Names that are not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_what_is_not_kept() {
    let Some(store) = Seeded::sqlite().await else { return };
    store.ended("m", complete()).await;
    let listed = crate::program::run(&["list", "--store", &store.url]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("(not kept)"));
    assert!(String::from_utf8_lossy(&listed.stderr).contains("names=keep"));
    // The store is asked by ID all the same.
    assert!(output(&["show", "m", "--scope", "billing", "--store", &store.url]).contains("It took effect"));
}
