//! Back-offs and time-outs: they grow, and last as long as they are set.

use super::*;

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
