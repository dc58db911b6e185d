//! Failures, attempts, and outcomes that nobody knows.

use super::*;

#[tokio::test]
async fn a_failure_is_retried_with_its_attempt_counted() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let runner = runner(&Scripted::default(), settings(), move |cx: Context, _: u64| {
        seen.lock().unwrap().push((cx.attempt(), cx.fence(), cx.idempotency_key("x")));
        let fail = cx.attempt() < 3;
        async move { if fail { Err("boom".into()) } else { Ok(()) } }
    });
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    let attempts = attempts.lock().unwrap();
    assert_eq!(attempts.iter().map(|a| a.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(
        attempts.is_sorted_by(|a, b| a.1 < b.1 && a.2 == b.2),
        "fences grow, the key stays: {attempts:?}"
    );
    assert_eq!(runner.counts().retried, 2);
}

/// The back-off is the message's: a copy that waits does not run in the place of the one that failed.
#[tokio::test]
async fn copies_of_a_failing_message_share_one_back_off() {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = runs.clone();
    let backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(9) };
    let runner = runner(&Scripted::default(), settings().with_attempts(4).with_backoff(backoff), {
        move |cx: Context, _: u64| {
            seen.lock().unwrap().push((cx.attempt(), Instant::now()));
            async { Err::<(), _>(Failure::from("always")) }
        }
    });
    let all = futures_util::future::join_all((0..4).map(|_| runner.process(job(1)))).await;
    assert_eq!(all.iter().filter(|r| r.as_ref().unwrap().how() == SettledAs::Buried).count(), 1);
    let runs = runs.lock().unwrap();
    assert_eq!(runs.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (n, pair) in runs.windows(2).enumerate() {
        let (waited, least) = (pair[1].1 - pair[0].1, backoff.min * (1 << n));
        assert!(waited >= least, "attempt {} ran {waited:?} after the one before, not {least:?}", n + 2);
    }
}

/// A process that stops does not make the next one wait: a claim that it hands back is granted at once.
#[tokio::test]
async fn a_failure_during_shutdown_is_released_without_a_back_off() {
    let store = Scripted::default();
    let backoff = Backoff { min: Duration::from_secs(600), max: Duration::from_secs(600) };
    let (began, runs) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (told, go_on) = (began.clone(), runs.clone());
    let runner = Arc::new(runner(&store, settings().with_backoff(backoff), move |_: Context, _: u64| {
        let (told, go_on) = (told.clone(), go_on.clone());
        async move {
            told.notify_one();
            go_on.notified().await;
            Err::<(), _>(Failure::from("the pool is closed"))
        }
    }));
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.process(job(1)).await }
    });
    began.notified().await;
    runner.stop();
    runs.notify_one();
    assert!(running.await.unwrap().is_err(), "a failure goes back unsettled");
    let next = store.claim_one(claim_request(1, Duration::from_secs(9))).await.unwrap();
    assert!(matches!(next, Claimed::Acquired(ref lease) if lease.attempt == 2), "{next:?}");
}

#[derive(Default)]
struct Graves(Mutex<Vec<Burial>>, AtomicU32);

#[async_trait]
impl Graveyard<Number> for Graves {
    async fn bury(&self, _: &Number, burial: &Burial) -> Result<Letter, BuryError> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err("closed at first".into());
        }
        self.0.lock().unwrap().push(burial.clone());
        Ok(Letter::Whole)
    }
}

#[tokio::test]
async fn used_up_attempts_and_permanent_failures_are_buried_once_the_graveyard_confirms() {
    let store = Scripted::default();
    let graves = Arc::new(Graves::default());
    let handler = |_: Context, n: u64| async move {
        Err::<(), _>(if n == 1 { Failure::from("always") } else { Failure::permanent("never") })
    };
    let settings = settings().with_attempts(3);
    let runner = Runner::with(Arc::new(store.clone()), &scope(), handler, settings, graves.clone()).unwrap();
    for n in [1, 2] {
        assert_eq!(runner.process(job(n)).await.unwrap().how(), SettledAs::Buried);
        assert_eq!(state(&store, n).await, State::Buried);
    }
    let buried = graves.0.lock().unwrap().clone();
    assert_eq!(buried.iter().map(|b| b.attempts).collect::<Vec<_>>(), [3, 1]);
    assert!(buried[0].reason.contains("always") && buried[1].reason.contains("never"));
    assert!(matches!(runner.process(job(1)).await.unwrap().how(), SettledAs::Duplicate { .. }));
}

#[tokio::test]
async fn infrastructure_failures_do_not_use_up_attempts() {
    let runs = Runs::default();
    let count = runs.clone();
    let handler = move |cx: Context, _: u64| {
        assert_eq!(cx.attempt(), 1);
        let run = count.fetch_add(1, Ordering::SeqCst);
        async move { if run < 9 { Err(Failure::infrastructure("database down")) } else { Ok(()) } }
    };
    let runner = runner(&Scripted::default(), settings().with_attempts(2), handler);
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn a_panic_is_unknown_and_runs_again_or_is_parked_by_policy() {
    let handler = |cx: Context, _: u64| async move {
        assert!(cx.attempt() > 1, "first");
        Ok::<_, Failure>(())
    };
    let store = Scripted::default();
    let again = runner(&store, settings(), handler);
    assert_eq!(again.process(job(1)).await.unwrap().how(), SettledAs::Run);
    let park = runner(&store, settings().with_on_unknown(OnUnknown::Park), handler);
    assert_eq!(park.process(job(2)).await.unwrap().how(), SettledAs::Buried);
}

struct Says(Found);

#[async_trait]
impl Probe for Says {
    async fn probe(&self, cx: &Context) -> Found {
        assert_eq!(cx.previous(), Previous::Vanished);
        self.0
    }
}

#[tokio::test]
async fn after_a_silent_death_the_policy_decides() {
    let cases = [
        (OnUnknown::RunAgain, SettledAs::Run, 1),
        (OnUnknown::Park, SettledAs::Buried, 0),
        (OnUnknown::Ask(Arc::new(Says(Found::Happened))), SettledAs::Run, 0),
        (OnUnknown::Ask(Arc::new(Says(Found::NotHappened))), SettledAs::Run, 1),
        (OnUnknown::Ask(Arc::new(Says(Found::CannotTell))), SettledAs::Buried, 0),
    ];
    for (policy, how, expected) in cases {
        // After two deaths of three attempts it is a suspect: handed back first, then run alone.
        for deaths in 1..=2 {
            let store = Scripted::default();
            for _ in 0..deaths {
                // Somebody claimed it, and died: its lease is over.
                store.claim(&[claim_request(1, Duration::ZERO)]).await.unwrap();
            }
            let (runs, handler) = counting(0);
            let settings = settings().with_attempts(3).with_on_unknown(policy.clone());
            let runner = runner(&store, settings, handler);
            assert_eq!(runner.process(job(1)).await.unwrap().how(), how, "{deaths} deaths");
            assert_eq!(runs.load(Ordering::SeqCst), expected, "{deaths} deaths");
        }
    }
}

#[tokio::test]
async fn a_message_that_kills_its_worker_is_buried_after_its_attempts() {
    let store = Scripted::default();
    for _ in 0..3 {
        assert!(matches!(
            store.claim_one(claim_request(1, Duration::ZERO)).await.unwrap(),
            Claimed::Acquired(_)
        ));
    }
    let (runs, handler) = counting(0);
    let runner = runner(&store, settings().with_attempts(3), handler);
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Buried);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn suspects_run_one_at_a_time_and_are_not_charged_for_waiting() {
    let store = Scripted::default();
    for n in 0..10 {
        store.claim(&[claim_request(n, Duration::ZERO)]).await.unwrap();
    }
    let running = Runs::default();
    let now = running.clone();
    let handler = move |cx: Context, _: u64| {
        let now = now.clone();
        async move {
            assert_eq!(cx.attempt(), 2, "the wait in quarantine was refunded");
            assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0, "alone");
            tokio::time::sleep(Duration::from_millis(2)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Failure>(())
        }
    };
    let runner = runner(&store, settings().with_attempts(2), handler);
    for outcome in futures_util::future::join_all((0..10).map(|n| runner.process(job(n)))).await {
        assert_eq!(outcome.unwrap().how(), SettledAs::Run);
    }
}

/// A sender who was told that nothing happened may mend the payload; nobody else may.
#[tokio::test]
async fn a_payload_may_be_mended_after_a_failure_that_went_back_uncounted() {
    let told = || settings().with_on_failure(OnFailure::HandBack).with_on_mismatch(OnMismatch::HandBack);
    let print = |text: &str| Fingerprint::of(text.as_bytes());
    let failing = |first: fn() -> Failure| {
        let runs = Runs::default();
        move |_: Context, _: u64| {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            async move { if run == 0 { Err(first()) } else { Ok(()) } }
        }
    };
    let uncounted: fn() -> Failure = || Failure::infrastructure("nothing happened");
    let counted: [fn() -> Failure; 2] = [|| Failure::from("failed"), || Failure::unknown("who knows")];

    let store = Scripted::default();
    let mendable = runner(&store, told(), failing(uncounted));
    assert!(mendable.process(job(1).with_fingerprint(print("broken"))).await.is_err());
    let mended = mendable.process(job(1).with_fingerprint(print("mended"))).await.unwrap();
    assert_eq!(mended.how(), SettledAs::Run);
    let other = mendable.process(job(1).with_fingerprint(print("broken"))).await.unwrap_err();
    assert!(matches!(other.why(), Why::Mismatch), "it is the mended one that is done");

    for failure in counted {
        let store = Scripted::default();
        let bound = runner(&store, told(), failing(failure));
        assert!(bound.process(job(1).with_fingerprint(print("a"))).await.is_err());
        let other = bound.process(job(1).with_fingerprint(print("b"))).await.unwrap_err();
        assert!(matches!(other.why(), Why::Mismatch));
    }

    // An attempt before it vanished, so its effect may have happened.
    let store = Scripted::default();
    let vanished =
        ackonce::store::ClaimRequest { fingerprint: Some(print("a")), ..claim_request(1, Duration::ZERO) };
    store.claim(&[vanished]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let bound = runner(&store, told(), failing(uncounted));
    assert!(bound.process(job(1).with_fingerprint(print("a"))).await.is_err());
    let other = bound.process(job(1).with_fingerprint(print("b"))).await.unwrap_err();
    assert!(matches!(other.why(), Why::Mismatch));
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        // As "Cannot drop a runtime in a context where blocking is not allowed" does.
        std::panic::resume_unwind(Box::new("a panic of a drop"));
    }
}

struct StuckProbe;

#[async_trait]
impl Probe for StuckProbe {
    async fn probe(&self, _: &Context) -> Found {
        let _held = PanicsInDrop;
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_dropped_ends_no_other_message() {
    let handler = |cx: Context, n: u64| async move {
        if n == 1 && cx.attempt() == 1 {
            let _held = PanicsInDrop;
            std::future::pending::<()>().await;
        }
        Ok::<_, Failure>(())
    };
    // Probed at its second attempt, by one that panics as well.
    let probe: Arc<dyn Probe> = Arc::new(StuckProbe);
    let settings = settings()
        .with_handler_timeout(Duration::from_secs(5))
        .with_on_unknown(OnUnknown::Ask(probe))
        .with_attempts(3);
    let store = Scripted::default();
    let consumer = common::consumption::consume(&store, settings, ackonce::adapter::Mode::Each, handler);
    consumer.feed((1..=4).map(|n| (None, n))).await;
    let (outcomes, counts) = consumer.end().await;
    assert_eq!((counts.completed, counts.buried), (3, 1), "{outcomes:?}");
}
