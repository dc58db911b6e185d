//! Settlements that fail for one message of a batch, and answers that are lost.

use super::*;

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
                .redrive(RecordTarget::Key(cx.key()), &Note { actor: "tester".into(), reason: "test".into() })
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
