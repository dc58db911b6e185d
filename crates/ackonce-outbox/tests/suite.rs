//! One suite for both databases: order, sharing, parking, outages, kills, shutdowns.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::Failure;
use ackonce::store::Note;
use ackonce_outbox::{OnParked, Outgoing};

use common::{Place, Recorder, Running, assert_in_order, first_copies, messages, options, until};

macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(place) = super::common::sqlite().await { super::$name(place).await }
            }
        )*}
        mod on_postgres {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(place) = super::common::postgres().await { super::$name(place).await }
            }
        )*}
    };
}

on_both! {
    messages_of_a_key_go_out_in_order_and_leave_nothing
    only_commits_publish
    two_relays_share_the_ranges
    a_message_that_cannot_be_sent_holds_back_its_key_alone
    a_discarded_message_frees_its_key
    later_messages_pass_if_told_to
    attempts_end
    an_outage_counts_no_attempt_and_is_asked_by_one_message
    a_silent_or_panicking_publisher_holds_back_one_message
    a_killed_relay_leaves_its_messages_to_the_next
    a_shutdown_drains
    a_hot_key_leaves_room_for_others
    everything_of_a_message_arrives
    random_kills_keep_order
}

fn note() -> Note {
    Note { actor: "test".into(), reason: "mended".into() }
}

async fn until_empty(place: &Place) {
    until("the table is empty", async || place.waiting().await == 0).await;
}

async fn messages_of_a_key_go_out_in_order_and_leave_nothing(place: Place) {
    place.publish(&messages(0..1000, 37)).await;
    let recorder = Recorder::new();
    let relay = Running::start(place.outbox(), &recorder);
    for n in 10..20 {
        place.publish(&messages(n * 100..n * 100 + 100, 37)).await;
        place.outbox().wake();
    }
    until_empty(&place).await;
    let ids = recorder.ids();
    assert_eq!((ids.len(), first_copies(&ids).len()), (2000, 2000));
    assert_in_order(&ids);
    let counts = relay.stop().await;
    assert_eq!((counts.published, counts.failed, counts.parked), (2000, 0, 0));
}

async fn only_commits_publish(place: Place) {
    place.roll_back(&messages(0..5, 2)).await;
    place.publish(&messages(5..6, 2)).await;
    let recorder = Recorder::new();
    // Nobody has told it.
    let relay = Running::start(place.outbox(), &recorder);
    until_empty(&place).await;
    place.publish(&messages(6..7, 2)).await;
    until("it finds the message by itself", async || recorder.len() == 2).await;
    relay.stop().await;
    assert_eq!(recorder.ids(), ["k1:000005", "k0:000006"]);
}

async fn two_relays_share_the_ranges(place: Place) {
    let (one, two) = (Recorder::new(), Recorder::new());
    let (other, kept) = (place.again().await, Running::start(place.outbox(), &one));
    let first = Running::start(&other, &two);
    let mut n = 0;
    until("both publish", async || {
        place.publish(&messages(n..n + 50, 50)).await;
        n += 50;
        one.len() > 100 && two.len() > 100
    })
    .await;
    until_empty(&place).await;
    let before = one.len();
    first.stop().await;
    place.publish(&messages(n..n + 100, 50)).await;
    until("one of them does for both", async || one.len() == before + 100).await;
    kept.stop().await;
    let all: Vec<_> = one.ids().into_iter().chain(two.ids()).collect();
    assert_eq!((all.len(), first_copies(&all).len()), (n + 100, n + 100), "nothing is published twice");
}

fn refuses(id: &'static str, mended: &Arc<AtomicBool>) -> Arc<Recorder> {
    let mended = mended.clone();
    Recorder::that(move |message| match message.id == id && !mended.load(Ordering::SeqCst) {
        true => Err(Failure::permanent("too large")),
        false => Ok(()),
    })
}

async fn a_message_that_cannot_be_sent_holds_back_its_key_alone(place: Place) {
    let mended = Arc::new(AtomicBool::new(false));
    let recorder = refuses("k1:000011", &mended);
    place.publish(&messages(0..100, 10)).await;
    let relay = Running::start(place.outbox(), &recorder);
    until_empty(&place).await;
    place.publish(&messages(100..200, 10)).await;
    until_empty(&place).await;
    // Those of its key from the 11th on are missing: 19 of 200.
    until("the others went out", async || recorder.len() == 181).await;
    let parked = place.outbox().parked(0, 10).await.unwrap();
    let [only] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!((only.message.id.as_str(), only.behind), ("k1:000011", 18));
    assert!(only.reason.contains("too large"), "{}", only.reason);
    assert_eq!(place.outbox().lag().await.unwrap().parked, 19);
    assert!(place.outbox().parked(only.row + 1, 10).await.unwrap().is_empty());
    mended.store(true, Ordering::SeqCst);
    assert_eq!(place.outbox().redrive(&[only.row], &note()).await.unwrap(), 1);
    assert_eq!(place.outbox().redrive(&[only.row], &note()).await.unwrap(), 0, "it is put back once");
    until("all went out", async || recorder.len() == 200).await;
    until_empty(&place).await;
    assert_in_order(&recorder.ids());
    assert_eq!(relay.stop().await.parked, 1);
}

async fn a_discarded_message_frees_its_key(place: Place) {
    let recorder = refuses("k0:000000", &Arc::default());
    place.publish(&messages(0..10, 1)).await;
    let relay = Running::start(place.outbox(), &recorder);
    until("it is parked", async || !place.outbox().parked(0, 1).await.unwrap().is_empty()).await;
    until_empty(&place).await;
    let row = place.outbox().parked(0, 1).await.unwrap()[0].row;
    assert_eq!(place.outbox().discard(&[row], &note()).await.unwrap(), 1);
    until("the others went out", async || recorder.len() == 9).await;
    assert_in_order(&recorder.ids());
    assert_eq!(place.outbox().lag().await.unwrap().parked, 0);
    relay.stop().await;
}

async fn later_messages_pass_if_told_to(place: Place) {
    let mended = Arc::new(AtomicBool::new(false));
    let recorder = refuses("k0:000001", &mended);
    place.publish(&messages(0..10, 1)).await;
    let mut pass = options();
    pass.on_parked = OnParked::Pass;
    let relay = Running::with(place.outbox(), &recorder, pass);
    until("the others went out", async || recorder.len() == 9).await;
    until_empty(&place).await;
    mended.store(true, Ordering::SeqCst);
    let row = place.outbox().parked(0, 1).await.unwrap()[0].row;
    place.outbox().redrive(&[row], &note()).await.unwrap();
    until("it went out, too", async || recorder.len() == 10).await;
    relay.stop().await;
}

async fn attempts_end(place: Place) {
    let recorder = Recorder::that(|message| match message.key.as_deref() == Some(b"k3") {
        true => Err("no such topic".into()),
        false => Ok(()),
    });
    place.publish(&messages(0..100, 10)).await;
    let relay = Running::start(place.outbox(), &recorder);
    until("its key is parked", async || place.outbox().lag().await.unwrap().parked == 10).await;
    until("the others went out", async || recorder.len() == 90).await;
    let parked = place.outbox().parked(0, 10).await.unwrap();
    assert!(parked[0].reason.contains("no such topic (attempt 3)"), "{}", parked[0].reason);
    assert_eq!(relay.stop().await.failed, 3);
}

async fn an_outage_counts_no_attempt_and_is_asked_by_one_message(place: Place) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let recorder = Recorder::that(move |_| match is_up.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Failure::infrastructure("the broker is away")),
    });
    place.publish(&messages(0..200, 100)).await;
    let relay = Running::start(place.outbox(), &recorder);
    until("it has asked some times", async || recorder.calls.load(Ordering::Relaxed) > 104).await;
    assert!(recorder.calls.load(Ordering::Relaxed) < 150, "100 lanes at once, then one at a time");
    up.store(true, Ordering::SeqCst);
    until_empty(&place).await;
    assert_eq!(recorder.len(), 200);
    assert_in_order(&recorder.ids());
    assert_eq!(relay.stop().await.parked, 0);
}

async fn a_silent_or_panicking_publisher_holds_back_one_message(place: Place) {
    let recorder = Recorder::that(|message| match message.key.as_deref() {
        Some(b"k0") => panic!("a bug"),
        _ => Ok(()),
    });
    place.publish(&messages(0..40, 4)).await;
    let relay = Running::start(place.outbox(), &recorder);
    until("it is parked", async || place.outbox().lag().await.unwrap().parked == 10).await;
    until("the others went out", async || recorder.len() == 30).await;
    relay.stop().await;
    let silent = Recorder::silent("k1");
    let mut brief = options();
    (brief.publish_timeout, brief.attempts) = (Duration::from_millis(50), 2);
    place.publish(&messages(41..42, 4)).await;
    let relay = Running::with(place.outbox(), &silent, brief);
    let mut n = 42;
    until("it is parked, too", async || {
        // Without the others it would be the broker that is silent.
        place.publish(&messages(n..n + 1, 1000)).await;
        n += 2;
        place.outbox().parked(0, 10).await.unwrap().len() == 2
    })
    .await;
    until("the others went out", async || silent.len() == (n - 42) / 2).await;
    relay.stop().await;
}

async fn a_killed_relay_leaves_its_messages_to_the_next(place: Place) {
    place.publish(&messages(0..300, 30)).await;
    let recorder = Recorder::slow(Duration::from_millis(5), |_| Ok(()));
    let other = place.again().await;
    let relay = Running::start(&other, &recorder);
    until("it is in the middle", async || recorder.len() > 50).await;
    relay.kill().await;
    let relay = Running::start(place.outbox(), &recorder);
    until_empty(&place).await;
    let ids = recorder.ids();
    assert_eq!(first_copies(&ids).len(), 300);
    assert_in_order(&ids);
    relay.stop().await;
}

async fn a_shutdown_drains(place: Place) {
    place.publish(&messages(0..300, 30)).await;
    let recorder = Recorder::slow(Duration::from_millis(100), |_| Ok(()));
    let relay = Running::start(place.outbox(), &recorder);
    until("some are confirmed", async || recorder.len() > 10).await;
    relay.stop().await;
    let confirmed = recorder.len();
    assert!(confirmed < 300, "it takes nothing more");
    assert_eq!(place.waiting().await, 300 - confirmed as u64, "all that were confirmed are gone");
    // Its ranges are free at once, so a lease of an hour does not matter.
    let mut long = options();
    long.lease = Duration::from_secs(3600);
    let relay = Running::with(&place.again().await, &recorder, long.clone());
    until_empty(&place).await;
    relay.stop().await;
    assert_eq!(recorder.len(), 300, "nothing is published twice");
}

async fn a_hot_key_leaves_room_for_others(place: Place) {
    let mut hot = messages(0..3000, 1);
    hot.extend((0..10).map(|n| Outgoing::new("orders", "").with_key("cold").with_id(format!("cold:{n}"))));
    place.publish(&hot).await;
    let recorder = Recorder::slow(Duration::from_millis(2), |_| Ok(()));
    let mut small = options();
    small.in_flight = 256;
    let relay = Running::with(place.outbox(), &recorder, small);
    until("the others went out", async || {
        recorder.ids().iter().filter(|id| id.starts_with("cold")).count() == 10
    })
    .await;
    assert!(recorder.len() < 1500, "{}", recorder.len());
    relay.stop().await;
    assert_in_order(&recorder.ids());
}

async fn everything_of_a_message_arrives(place: Place) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = seen.clone();
    let recorder = Recorder::that(move |message| {
        kept.lock().unwrap().push(message.clone());
        Ok(())
    });
    let full = Outgoing::new("a/b", vec![0, 255, 1])
        .with_key(vec![0, 159])
        .with_header("h", vec![0, 1])
        .with_header("h", "");
    let bare = Outgoing::new("q", "");
    place.publish(&[full.clone(), bare]).await;
    let relay = Running::start(place.outbox(), &recorder);
    until_empty(&place).await;
    relay.stop().await;
    let seen = seen.lock().unwrap();
    let of = |to: &str| seen.iter().find(|message| message.to == to).unwrap();
    let message = of("a/b");
    assert_eq!((&message.key, &message.headers, &message.payload), (&full.key, &full.headers, &full.payload));
    assert_eq!((of("q").key.as_ref(), of("q").id.len()), (None, 32));
    assert_ne!(of("q").id, message.id);
}

/// Three relays, killed again and again while messages come: no message is missing, first copies are in order.
async fn random_kills_keep_order(place: Place) {
    let recorder = Recorder::slow(Duration::from_millis(3), |message| {
        // Some fail once in a while, by a number that looks random.
        match message.payload.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 23 == 7 && rand() < 0.5 {
            true => Err("once more".into()),
            false => Ok(()),
        }
    });
    let mut patient = options();
    patient.attempts = 1000;
    let start = async || Running::with(&place.again().await, &recorder, patient.clone());
    let mut relays = Vec::new();
    for _ in 0..3 {
        relays.push(start().await);
    }
    for n in 0..12 {
        place.publish(&messages(n * 100..n * 100 + 100, 25)).await;
        place.outbox().wake();
        tokio::time::sleep(Duration::from_millis(100)).await;
        relays.swap_remove(n % 3).kill().await;
        relays.push(start().await);
    }
    until_empty(&place).await;
    let ids = recorder.ids();
    assert_eq!(first_copies(&ids).len(), 1200);
    assert_in_order(&ids);
    for relay in relays {
        relay.stop().await;
    }
}

fn rand() -> f64 {
    f64::from(ackonce::store::Token::random().0[0]) / 256.0
}
