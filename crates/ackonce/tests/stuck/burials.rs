//! Burials that no place takes, that are interrupted, or that the store refuses.

use super::*;

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
