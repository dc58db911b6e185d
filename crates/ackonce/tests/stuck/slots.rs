//! Deliveries that wait hold no slot and no lane but their own.

use super::*;

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
