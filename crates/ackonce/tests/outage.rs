//! An outage of a dependency, and what its end finds: with a dead-letter place, and without one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter, Mode, NoDeadLetters, SettledAs, Why};
use ackonce::store::{DeduplicatorExt, Fingerprint, Inspect, State};
use ackonce::{Backoff, Context, ErrorKind, Failure, OnFailure, Previous, Runner, Settings};
use async_trait::async_trait;
use common::consumption::consume_with;
use common::{Number, Scripted, claim_request, job, scope, settings};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<Burial>>>);

#[async_trait]
impl Graveyard<Number> for Letters {
    async fn bury(&self, _: &Number, burial: &Burial) -> Result<Letter, BuryError> {
        self.0.lock().unwrap().push(burial.clone());
        Ok(Letter::Whole)
    }
}

/// The documented table is what the defaults come to.
#[test]
fn the_defaults_ride_out_what_the_readme_says() {
    let defaults = Settings::default();
    let secs = |d: Duration| match d.as_secs() {
        s if s < 60 => format!("{s} s"),
        s => format!("{} min {} s", s / 60, s % 60),
    };
    let readme = include_str!("../README.md");
    for attempt in [2, 5, 8, 10, 12, 14, defaults.attempts] {
        let (least, most) = defaults.backoff.before(attempt);
        let line = format!("| {attempt} | {} | {} |", secs(least), secs(most));
        assert!(readme.contains(&line), "README.md lacks {line}");
    }
    assert!(!readme.contains(&format!("| {} |", defaults.attempts + 1)), "the last attempt is the last line");
    let says = format!("**{}**", secs(defaults.rides_out()));
    assert!(readme.contains(&says), "README.md lacks {says}");
    assert!(defaults.rides_out() >= 10 * MINUTE);
    assert_eq!(defaults.with_attempts(1).rides_out(), Duration::ZERO);
    let for_ever = Settings::default().with_attempts(u32::MAX);
    assert!(for_ever.rides_out() > 1000 * Duration::from_secs(24 * 3600), "no loop over each attempt");
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_away_for_twelve_minutes_buries_nothing_under_the_defaults() {
    for feed in [Mode::Each, Mode::Batches] {
        let (letters, store, began) = (Letters::default(), Scripted::default(), Instant::now());
        let handler = move |_: Context, _: u64| async move {
            if began.elapsed() < 12 * MINUTE {
                Err("the database is away")?;
            }
            Ok(())
        };
        let place = Arc::new(letters.clone());
        let consumption = consume_with(&store, Settings::default(), feed, handler, place);
        consumption.feed((0..32).map(|n| (Some(n % 2), n))).await;
        let (outcomes, counts) = consumption.end().await;
        assert!(
            outcomes.len() == 32 && outcomes.iter().all(|o| matches!(o, Ok((_, SettledAs::Run)))),
            "{outcomes:?}"
        );
        assert_eq!((counts.buried, letters.0.lock().unwrap().len()), (0, 0), "{feed:?}");
        // The back-off's last wait is two minutes, and the second message of a lane waits for the first.
        assert!(began.elapsed() < 15 * MINUTE, "{feed:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_place_a_failure_that_may_pass_is_never_buried() {
    for feed in [Mode::Each, Mode::Batches] {
        for panics in [false, true] {
            let (store, began) = (Scripted::default(), Instant::now());
            let handler = move |_: Context, n: u64| async move {
                if n == 0 && began.elapsed() < 60 * MINUTE {
                    assert!(!panics, "a panic's outcome is unknown");
                    Err("away for an hour")?;
                }
                Ok(())
            };
            let consumption =
                consume_with(&store, Settings::default(), feed, handler, Arc::new(NoDeadLetters));
            consumption.feed((0..100).map(|n| (Some(n % 4), n))).await;
            // Its own lane waits for it where order is kept, and nothing else does.
            consumption.ended(if feed == Mode::Each { 75 } else { 99 }).await;
            assert!(began.elapsed() < MINUTE, "{feed:?}: {:?}", began.elapsed());
            let (outcomes, counts) = consumption.end().await;
            assert!(outcomes.len() == 100 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            assert_eq!((counts.buried, counts.buried_without_letter), (0, 0));
            assert!(counts.past_attempts > 20, "every two minutes: {}", counts.past_attempts);
        }
    }
}

/// The same where the delivery goes back to its sender, a retry topic or a delay queue.
#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_place_a_failure_is_handed_back_past_its_attempts() {
    let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::from("away")) };
    let told = settings().with_attempts(2).with_on_failure(OnFailure::HandBack);
    let runner =
        Runner::with(Arc::new(Scripted::default()), &scope(), handler, told, Arc::new(NoDeadLetters))
            .unwrap();
    for n in 1..6 {
        let unsettled = runner.process(job(1)).await.unwrap_err();
        assert!(
            matches!(unsettled.why(), Why::Failed { attempt, .. } if *attempt == n),
            "{n}: {unsettled:?}"
        );
    }
    assert_eq!(runner.counts().past_attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_place_a_permanent_failure_keeps_its_record_and_is_counted() {
    let store = Scripted::default();
    let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent("declined")) };
    let runner = Runner::new(Arc::new(store.clone()), &scope(), handler).unwrap();
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    let counts = runner.counts();
    assert_eq!((counts.run, counts.buried, counts.buried_without_letter), (1, 1, 1));
    let record = store.store.look(&scope().key("1").unwrap()).await.unwrap().unwrap().record;
    let reason = record.reason.unwrap();
    assert!(reason.starts_with("declined; ") && reason.contains("no dead-letter place"), "{reason}");
}

#[tokio::test]
async fn without_a_dead_letter_place_a_second_payload_ends_the_consumer_and_is_not_given_up() {
    let runner =
        Runner::new(Arc::new(Scripted::default()), &scope(), |_: Context, _: u64| async { Ok(()) }).unwrap();
    let with = |payload: &[u8]| job(1).with_fingerprint(Fingerprint::of(payload));
    assert_eq!(runner.process(with(b"a")).await.unwrap().how(), SettledAs::Run);
    let unsettled = runner.process(with(b"b")).await.unwrap_err();
    let Why::Fatal(error) = unsettled.why() else { panic!("{unsettled:?}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("dead-letter place"), "{error}");
    assert_eq!(runner.counts().buried, 0);
}

#[tokio::test]
async fn without_a_dead_letter_place_a_claim_that_the_store_refuses_ends_the_consumer() {
    let store = Scripted { unclaimable: vec![1], ..Scripted::default() };
    let runner = Runner::new(Arc::new(store), &scope(), |_: Context, _: u64| async { Ok(()) }).unwrap();
    let unsettled = runner.process(job(1)).await.unwrap_err();
    assert!(matches!(unsettled.why(), Why::Fatal(e) if e.kind() == ErrorKind::Invalid), "{unsettled:?}");
    assert_eq!(runner.process(job(2)).await.unwrap().how(), SettledAs::Run);
}

/// Workers died with it again and again. It is not buried, and the others have time between two deaths.
#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_place_a_message_that_may_kill_its_worker_runs_alone_and_seldom() {
    for feed in [Mode::Each, Mode::Batches] {
        let store = Scripted::default();
        for _ in 0..6 {
            store.store.claim_one(claim_request(0, Duration::ZERO)).await.unwrap();
        }
        let (ran, began) = (Arc::new(Mutex::new(None)), Instant::now());
        let seen = ran.clone();
        let handler = move |cx: Context, n: u64| {
            if n == 0 {
                assert_eq!(
                    (cx.previous(), cx.attempt()),
                    (Previous::Vanished, 7),
                    "neither wait was charged"
                );
                *seen.lock().unwrap() = Some(began.elapsed());
            }
            async { Ok(()) }
        };
        let told = Settings::default().with_attempts(5);
        let consumption = consume_with(&store, told, feed, handler, Arc::new(NoDeadLetters));
        consumption.feed((0..100).map(|n| (None, n))).await;
        consumption.ended(99).await;
        assert_eq!(*ran.lock().unwrap(), None, "{feed:?}: the others come first");
        let (outcomes, counts) = consumption.end().await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!((counts.run, counts.past_attempts, counts.buried), (100, 1, 0));
        assert!(ran.lock().unwrap().unwrap() >= 2 * MINUTE, "the longest back-off");
    }
}

/// What was chosen is done: [`ackonce::adapter::RecordOnly`] gives up after the attempts, in the record.
#[tokio::test(start_paused = true)]
async fn a_record_that_was_chosen_as_the_place_takes_a_message_after_its_attempts() {
    let (store, runs) = (Scripted::default(), Arc::new(AtomicU32::new(0)));
    let seen = runs.clone();
    let handler = move |_: Context, _: u64| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Failure::from("away")) }
    };
    let told = Settings::default()
        .with_attempts(3)
        .with_backoff(Backoff { min: Duration::from_secs(1), max: Duration::from_secs(1) });
    let place = Arc::new(ackonce::adapter::RecordOnly);
    let runner = Runner::with(Arc::new(store.clone()), &scope(), handler, told, place).unwrap();
    let receipt = runner.process(job(1)).await.unwrap();
    assert_eq!((receipt.how(), runs.load(Ordering::SeqCst)), (SettledAs::Buried, 3));
    let record = store.store.look(&scope().key("1").unwrap()).await.unwrap().unwrap().record;
    assert_eq!(record.state, State::Buried);
}
