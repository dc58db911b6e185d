//! One message holds back itself and its lane, nothing else; each test is named after a fault that was seen. The clock
//! is tokio's and paused: waits cost nothing, and a wait that never ends shows as one that is never over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter, Mode, RecordOnly, SettledAs, Stage, Why};
use ackonce::store::{Claimed, DeduplicatorExt, Inspect, Note, Record, Settle, Settlement, State};
use ackonce::{
    Backoff, Batch, Context, Effect, Error, ErrorKind, Failure, Found, Item, OnFailure, OnUnknown, Previous,
    Probe, Runner, Settings,
};
use async_trait::async_trait;
use bytes::Bytes;
use common::consumption::{consume, consume_with};
use common::{Number, Scripted, claim_request, job, scope, settings};
use tokio::time::Instant;

/// What the dead-letter place answers.
#[derive(Clone, Default)]
struct Place {
    away: Arc<AtomicBool>,
    never: bool,
    reduced: bool,
    letters: Arc<Mutex<Vec<Burial>>>,
}

#[async_trait]
impl Graveyard<Number> for Place {
    async fn bury(&self, _: &Number, burial: &Burial) -> Result<Letter, BuryError> {
        if self.away.load(Ordering::SeqCst) {
            return Err("away".into());
        }
        if self.never {
            return Err(BuryError::Never("the broker's limit is 1 MB".into()));
        }
        self.letters.lock().unwrap().push(burial.clone());
        Ok(if self.reduced { Letter::Reduced("without its body".into()) } else { Letter::Whole })
    }
}

fn place(away: bool) -> Place {
    Place { away: Arc::new(AtomicBool::new(away)), ..Place::default() }
}

async fn record(store: &Scripted, n: u64) -> Record {
    store.store.get(&scope().key(n.to_string()).unwrap()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stuck_message_in_one_of_four_lanes_stops_no_other() {
    for feed in [Mode::Each, Mode::Batches] {
        let handler = |_: Context, n: u64| async move {
            if n == 0 { Err(Failure::infrastructure("down")) } else { Ok(()) }
        };
        let consumption = consume(&Scripted::default(), Settings::default(), feed, handler);
        for chunk in 0..48_u64 {
            consumption.feed((0..500).map(|n| 500 * chunk + n).map(|n| (Some(n % 4), n))).await;
        }
        let others = if feed == Mode::Each { 18_000 } else { 23_999 };
        consumption.ended(others).await;
        consumption.runner.stop();
        let (outcomes, counts) = consumption.end().await;
        let settled: Vec<_> = outcomes.iter().flatten().map(|(n, _)| *n).collect();
        assert_eq!(settled.len(), others, "{feed:?}");
        assert!(feed == Mode::Batches || settled.iter().all(|n| n % 4 != 0), "its own lane waits");
        assert_eq!(counts.buried, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_messages_whose_dead_letter_place_is_away_do_not_slow_the_others() {
    for feed in [Mode::Each, Mode::Batches] {
        let place = place(true);
        let handler = |_: Context, n: u64| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if n < 200 { Err(Failure::permanent("bad")) } else { Ok(()) }
        };
        let store = Scripted::default();
        let consumption = consume_with(&store, Settings::default(), feed, handler, Arc::new(place.clone()));
        let began = Instant::now();
        consumption.feed((0..1000).map(|n| (None, n))).await;
        consumption.ended(800).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{feed:?}: {:?}", began.elapsed());
        assert_eq!(place.letters.lock().unwrap().len(), 0);
        place.away.store(false, Ordering::SeqCst);
        let (outcomes, counts) = consumption.end().await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!((outcomes.len(), counts.buried, counts.run), (1000, 200, 1000), "{feed:?}");
        assert_eq!(place.letters.lock().unwrap().len(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn suspects_in_quarantine_hold_no_slot() {
    let store = Scripted::default();
    for n in 0..100 {
        // Somebody claimed it, and died: its lease is over.
        store.store.claim_one(claim_request(n, Duration::ZERO)).await.unwrap();
    }
    let suspects = Arc::new(AtomicU32::new(0));
    let running = suspects.clone();
    let handler = move |cx: Context, _: u64| {
        let running = running.clone();
        async move {
            if cx.previous() == Previous::Vanished {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "alone");
                tokio::time::sleep(Duration::from_secs(1)).await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
            Ok::<_, Failure>(())
        }
    };
    let consumption = consume(&store, Settings::default().with_attempts(2), Mode::Each, handler);
    consumption.feed((0..100).map(|n| (Some(n), n))).await;
    consumption.feed((100..1000).map(|n| (Some(n), n))).await;
    let began = Instant::now();
    consumption.ended(900).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let (outcomes, counts) = consumption.end().await;
    assert_eq!((outcomes.len(), counts.run), (1000, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_dead_letter_place_takes_is_recorded_alone_and_counted() {
    let cases = [
        (Place { never: true, ..Place::default() }, (1, 0, 1), ["boom", "no dead letter", "1 MB"]),
        (Place { reduced: true, ..Place::default() }, (1, 1, 0), ["boom", "reduced", "without its body"]),
        (Place::default(), (1, 0, 0), ["boom"; 3]),
    ];
    for (place, counted, words) in cases {
        let store = Scripted::default();
        let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent("boom")) };
        let runner =
            Runner::with(Arc::new(store.clone()), &scope(), handler, settings(), Arc::new(place)).unwrap();
        assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
        let counts = runner.counts();
        assert_eq!((counts.buried, counts.letters_reduced, counts.buried_without_letter), counted);
        let reason = record(&store, 1).await.reason.unwrap();
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");

        // Found again, it is no duplicate of an effect.
        assert!(matches!(runner.process(job(1)).await.unwrap().how(), SettledAs::Duplicate { .. }));
        let counts = runner.counts();
        assert_eq!((counts.duplicate, counts.duplicate_of_buried), (0, 1));
    }
}

struct Panics(AtomicU32);

#[async_trait]
impl Graveyard<Number> for Panics {
    async fn bury(&self, _: &Number, _: &Burial) -> Result<Letter, BuryError> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 1, "the dead-letter place panics");
        Ok(Letter::Whole)
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_place_that_panics_is_asked_again() {
    let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent("boom")) };
    let store = Scripted::default();
    let graveyard = Arc::new(Panics(AtomicU32::new(0)));
    let consumption = consume_with(&store, settings(), Mode::Each, handler, graveyard);
    consumption.feed([(None, 1)]).await;
    assert_eq!(consumption.end().await.0, [Ok((1, SettledAs::Buried))]);
}

/// When each run of one message begins.
async fn runs(
    failure: impl Fn(u32) -> Option<Failure> + Send + Sync + 'static,
    settings: Settings,
) -> Vec<Duration> {
    let (began, runs) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let seen = runs.clone();
    let handler = move |_: Context, _: u64| {
        let mut seen = seen.lock().unwrap();
        seen.push(began.elapsed());
        let failure = failure(u32::try_from(seen.len()).unwrap());
        async move { failure.map_or(Ok(()), Err) }
    };
    let runner =
        Runner::with(Arc::new(Scripted::default()), &scope(), handler, settings, Arc::new(RecordOnly))
            .unwrap();
    let _ = runner.process(job(1)).await.unwrap();
    std::mem::take(&mut *runs.lock().unwrap())
}

fn pauses(runs: &[Duration]) -> Vec<Duration> {
    runs.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_down_is_asked_less_and_less_often() {
    let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
    let down: [fn() -> Failure; 2] =
        [|| Failure::infrastructure("down"), || Failure::Store(Error::new(ErrorKind::Unavailable, "down"))];
    for failure in down {
        let failing = move |run| (run < 20).then(failure);
        let told = Settings::default().with_attempts(2).with_backoff(backoff);
        let pauses = pauses(&runs(failing, told).await);
        for (n, pause) in (0..).zip(&pauses) {
            let least = backoff.min.saturating_mul(1 << n.min(15)).min(backoff.max);
            assert!(*pause >= least && *pause <= backoff.max + Duration::from_millis(5), "{n}: {pause:?}");
        }
        assert_eq!(pauses.len(), 19);
    }
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_answer_begins_the_count_anew() {
    let failing = |run| match run {
        1..=6 | 8 => Some(Failure::infrastructure("down")),
        7 => Some(Failure::from("its own fault")),
        _ => None,
    };
    let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
    let pauses = pauses(&runs(failing, Settings::default().with_backoff(backoff)).await);
    assert!(pauses[5] >= Duration::from_millis(3200), "six in a row: {pauses:?}");
    assert!(pauses[6] <= Duration::from_millis(205), "the first attempt: {pauses:?}");
    assert!(pauses[7] <= Duration::from_millis(405), "the second attempt, refunded: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_back_says_whose_fault_it_was() {
    for infrastructure in [true, false] {
        let handler = move |_: Context, _: u64| async move {
            Err::<(), _>(if infrastructure { Failure::infrastructure("x") } else { "x".into() })
        };
        let told = settings().with_on_failure(OnFailure::HandBack);
        let store = Arc::new(Scripted::default());
        let runner = Runner::with(store, &scope(), handler, told, Arc::new(RecordOnly)).unwrap();
        let unsettled = runner.process(job(1)).await.unwrap_err();
        assert!(matches!(unsettled.why(), Why::Failed { infrastructure: i, .. } if *i == infrastructure));
    }
}

#[tokio::test(start_paused = true)]
async fn one_too_long_outcome_in_a_batch_is_that_messages_failure() {
    for feed in [Mode::Batches, Mode::Each] {
        for guilty in [&[37_u64][..], &[0, 1, 99], &[50, 51, 52, 53]] {
            let store = Scripted { longest: Some(5000), ..Scripted::default() };
            let bad = guilty.to_vec();
            let handler = Batch(move |items: Vec<Item<u64>>| {
                let outcome = |n| Bytes::from(vec![1; if bad.contains(&n) { 5001 } else { 3 }]);
                let answers = items.iter().map(|item| Ok(Effect::from(outcome(item.message)))).collect();
                async move { answers }
            });
            let consumption = consume(&store, Settings::default(), feed, handler);
            consumption.feed((0..100).map(|n| (None, n))).await;
            let (outcomes, counts) = consumption.end().await;
            assert!(outcomes.len() == 100 && outcomes.iter().all(Result::is_ok), "{feed:?} {outcomes:?}");
            let buried = u64::try_from(guilty.len()).unwrap();
            assert_eq!((counts.run, counts.buried, counts.completed_not_recorded), (100, buried, buried));
            for n in 0..100 {
                let record = record(&store, n).await;
                let expected = if guilty.contains(&n) { State::Buried } else { State::Done };
                assert_eq!((n, record.state, record.attempt), (n, expected, 1));
                assert!(record.reason.is_none_or(|reason| reason.contains("its effect happened")));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_record_in_a_batch_is_settled_once_it_is_free() {
    for feed in [Mode::Batches, Mode::Each] {
        for early in [1, 7, 8, 20] {
            let store = Scripted { locked: Arc::new(Mutex::new(Some((37, early)))), ..Scripted::default() };
            let handler = |_: Context, _: u64| async { Ok::<_, Failure>(()) };
            let consumption = consume(&store, Settings::default(), feed, handler);
            consumption.feed((0..100).map(|n| (None, n))).await;
            let (outcomes, counts) = consumption.end().await;
            assert!(outcomes.len() == 100 && outcomes.iter().all(Result::is_ok), "{feed:?} {outcomes:?}");
            assert_eq!((counts.run, counts.completed_not_recorded), (100, 0), "{feed:?} {early}");
            for n in 0..100 {
                let record = record(&store, n).await;
                assert_eq!((n, record.state, record.attempt), (n, State::Done, 1));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reason_longer_than_any_store_keeps_is_cut() {
    let store = Scripted { longest: Some(5000), ..Scripted::default() };
    let place = Place::default();
    let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent("é".repeat(1 << 20))) };
    let consumption = consume_with(&store, settings(), Mode::Each, handler, Arc::new(place.clone()));
    consumption.feed([(None, 1)]).await;
    assert_eq!(consumption.end().await.0, [Ok((1, SettledAs::Buried))]);
    assert!(place.letters.lock().unwrap()[0].reason.len() <= 4096, "brokers limit headers");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_store_can_never_claim_is_buried_under_a_key_of_ours() {
    for feed in [Mode::Batches, Mode::Each] {
        let store = Scripted { unclaimable: vec![3, 4, 77], ..Scripted::default() };
        let place = Place::default();
        let handler = |_: Context, _: u64| async { Ok::<_, Failure>(()) };
        let consumption = consume_with(&store, settings(), feed, handler, Arc::new(place.clone()));
        // One of them twice: it is buried once.
        consumption.feed((0..100).chain([77]).map(|n| (None, n))).await;
        let (outcomes, counts) = consumption.end().await;
        assert!(outcomes.len() == 101 && outcomes.iter().all(Result::is_ok), "{feed:?} {outcomes:?}");
        assert_eq!((counts.run, counts.buried, counts.duplicate_of_buried), (97, 3, 1), "{feed:?}");
        let letters = place.letters.lock().unwrap();
        assert!(letters.iter().all(|burial| burial.reason.contains("cannot take its claim")));
    }
}

/// As an inbox whose commit went through, and whose answer was lost.
#[tokio::test(start_paused = true)]
async fn a_redrive_between_a_lost_commit_and_its_repetition_runs_with_a_new_token() {
    let store = Scripted::default();
    let (inbox, runs) = (store.clone(), Arc::new(AtomicU32::new(0)));
    let count = runs.clone();
    let handler = move |cx: Context, _: u64| {
        let (inbox, run) = (inbox.clone(), count.fetch_add(1, Ordering::SeqCst));
        async move {
            if run > 0 {
                return Ok(());
            }
            let done = Settle::Complete { window: Duration::from_secs(3600), outcome: None };
            inbox.store.settle_one(Settlement::new(cx.lease(), done)).await.unwrap();
            inbox
                .store
                .redrive(cx.key(), &Note { actor: "tester".into(), reason: "test".into() })
                .await
                .unwrap();
            Err(Failure::Store(Error::new(ErrorKind::Timeout, "the answer was lost")))
        }
    };
    let runner =
        Runner::with(Arc::new(store), &scope(), handler, Settings::default(), Arc::new(RecordOnly)).unwrap();
    let began = Instant::now();
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((runs.load(Ordering::SeqCst), runner.counts().busy), (2, 1));
}

/// A store that says "busy" without end, and that it is free at once.
#[derive(Debug, Default)]
struct AlwaysBusy(Mutex<HashMap<[u8; 16], u32>>);

#[async_trait]
impl ackonce::Deduplicator for AlwaysBusy {
    async fn claim(&self, requests: &[ackonce::store::ClaimRequest]) -> ackonce::Result<Vec<Claimed>> {
        let mut seen = self.0.lock().unwrap();
        requests.iter().for_each(|request| *seen.entry(request.token.0).or_default() += 1);
        Ok(requests.iter().map(|_| Claimed::Busy { free_in: Duration::ZERO }).collect())
    }
    async fn settle(&self, _: &[Settlement]) -> ackonce::Result<Vec<ackonce::store::Settled>> {
        Ok(Vec::new())
    }
    fn describe(&self) -> ackonce::store::Description {
        ackonce::store::Description { name: "busy".into(), weaknesses: Vec::new() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stays_busy_is_asked_for_with_a_back_off() {
    for feed in [Mode::Each, Mode::Batches] {
        let store = Arc::new(AlwaysBusy::default());
        let handler = |_: Context, _: u64| async { Ok::<_, Failure>(()) };
        let runner =
            Runner::with(store.clone(), &scope(), handler, Settings::default(), Arc::new(RecordOnly))
                .unwrap();
        let (input, receiver) = tokio::sync::mpsc::channel(1);
        let consuming = runner.clone();
        let consuming = tokio::spawn(async move { consuming.consume(receiver, feed, |_| {}).await });
        input.send(vec![ackonce::adapter::Ordered { lane: None, job: job(1) }]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        runner.stop();
        drop(input);
        consuming.await.unwrap().unwrap();
        let seen = store.0.lock().unwrap();
        assert!((50..70).contains(&seen.len()) && seen.values().all(|n| *n == 1), "{feed:?}: {}", seen.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_adapter_can_say_at_each_moment_what_a_delivery_waits_for() {
    use Stage::{Burying, Busy, Claiming, Retrying, Running};
    let store = Scripted::default();
    let place = place(true);
    let handler = |cx: Context, _: u64| async move {
        Err::<(), _>(if cx.attempt() == 1 { "again".into() } else { Failure::permanent("never") })
    };
    // Somebody holds it for a moment.
    store.store.claim_one(claim_request(1, Duration::from_millis(10))).await.unwrap();
    let of = job(1);
    let stages = of.delivery().stages.clone();
    let consumption = consume_with(&store, Settings::default(), Mode::Each, handler, Arc::new(place.clone()));
    consumption.feed_jobs([(Some(1), of)]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*stages.lock().unwrap(), [Claiming, Busy, Claiming, Running, Burying]);
    place.away.store(false, Ordering::SeqCst);
    consumption.ended(1).await;

    let of = job(2);
    let stages = of.delivery().stages.clone();
    consumption.feed_jobs([(Some(1), of)]).await;
    consumption.end().await;
    assert_eq!(*stages.lock().unwrap(), [Claiming, Running, Retrying, Claiming, Running, Burying]);
}

#[tokio::test(start_paused = true)]
async fn a_burial_that_is_interrupted_is_gone_on_with_by_the_next_consumer_at_once() {
    let revoke = |number: &Number| number.current.store(false, Ordering::SeqCst);
    for is_revoked in [true, false] {
        let store = Scripted::default();
        let (place, letters) = (place(true), place(false));
        let handler = |_: Context, _: u64| async { Err::<(), _>(Failure::permanent("bad")) };
        let first = consume_with(&store, Settings::default(), Mode::Each, handler, Arc::new(place));
        let of = job(1);
        let number = of.delivery().clone();
        first.feed_jobs([(Some(1), of)]).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        if is_revoked {
            revoke(&number);
        } else {
            first.runner.stop();
        }
        first.ended(1).await;
        assert_eq!(first.end().await.0, [Err(1)]);

        let next = consume_with(&store, Settings::default(), Mode::Each, handler, Arc::new(letters.clone()));
        let began = Instant::now();
        next.feed([(Some(1), 1)]).await;
        assert_eq!(next.end().await.0, [Ok((1, SettledAs::Buried))]);
        assert!(began.elapsed() < Duration::from_secs(1), "not after the lease");
        assert_eq!(letters.letters.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_message_whose_burial_is_interrupted_is_never_run_again() {
    let store = Scripted::default();
    let runs = Arc::new(AtomicU32::new(0));
    let handler = |runs: Arc<AtomicU32>| {
        move |_: Context, _: u64| {
            runs.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>(Failure::unknown("sent, no answer")) }
        }
    };
    let park = Settings::default().with_on_unknown(OnUnknown::Park);
    let first = consume_with(&store, park.clone(), Mode::Each, handler(runs.clone()), Arc::new(place(true)));
    first.feed([(Some(1), 1)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    first.runner.stop();
    assert_eq!(first.end().await.0, [Err(1)]);
    let next = consume(&store, park, Mode::Each, handler(runs.clone()));
    next.feed([(Some(1), 1)]).await;
    assert_eq!(next.end().await.0, [Ok((1, SettledAs::Buried))]);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// Never answers the first time, panics the second.
struct Silent(AtomicU32);

#[async_trait]
impl Probe for Silent {
    async fn probe(&self, _: &Context) -> Found {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => std::future::pending().await,
            1 => panic!("the probe panics"),
            _ => Found::Happened,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_answers_or_panics_ends_like_a_handler() {
    let store = Scripted::default();
    store.store.claim_one(claim_request(1, Duration::ZERO)).await.unwrap();
    let ask = OnUnknown::Ask(Arc::new(Silent(AtomicU32::new(0))));
    let settings = Settings::default()
        .with_on_unknown(ask)
        .with_attempts(9)
        .with_handler_timeout(Duration::from_secs(60));
    let handler = |_: Context, _: u64| async { Ok::<_, Failure>(()) };
    let consumption = consume(&store, settings, Mode::Each, handler);
    consumption.feed([(Some(1), 1)]).await;
    let (outcomes, counts) = consumption.end().await;
    assert_eq!((outcomes, counts.run), (vec![Ok((1, SettledAs::Run))], 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slot_is_handed_back_when_it_is_revoked() {
    let store = Scripted::default();
    let handler = |_: Context, n: u64| async move {
        if n == 0 {
            std::future::pending::<()>().await;
        }
        Ok::<_, Failure>(())
    };
    let settings = Settings::default().with_concurrency(1).with_handler_timeout(Duration::MAX);
    let runner = Runner::with(Arc::new(store), &scope(), handler, settings, Arc::new(RecordOnly)).unwrap();
    let hanging = runner.clone();
    let hanging = tokio::spawn(async move { hanging.process(job(0)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let of = job(1);
    let number = of.delivery().clone();
    let waiting = runner.clone();
    let waiting = tokio::spawn(async move { waiting.process(of).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    number.current.store(false, Ordering::SeqCst);
    assert!(matches!(waiting.await.unwrap().unwrap_err().why(), Why::NotCurrent));
    let waiting = runner.clone();
    let waiting = tokio::spawn(async move { waiting.process(job(2)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    runner.stop();
    assert!(matches!(waiting.await.unwrap().unwrap_err().why(), Why::Stopped));
    runner.abort();
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn lengths_of_for_ever_are_waited_for_ever() {
    let most = Duration::MAX;
    let settings = Settings::default()
        .with_window(most)
        .with_handler_timeout(most)
        .with_shutdown_timeout(most)
        .with_busy_timeout(most)
        .with_store_timeout(most)
        .with_lease(Duration::from_secs(24 * 3600));
    let store = Scripted::default();
    store.store.claim_one(claim_request(1, Duration::from_secs(60))).await.unwrap();
    let handler = |_: Context, _: u64| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok::<_, Failure>(())
    };
    let consumption = consume(&store, settings, Mode::Each, handler);
    consumption.feed([(Some(1), 1)]).await;
    while consumption.runner.counts().run == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    consumption.runner.stop();
    assert_eq!(consumption.end().await.0, [Ok((1, SettledAs::Run))], "drained, for as long as it takes");
}
