//! Deliveries that go back unsettled, and callers who wait for an answer.

use super::*;

#[tokio::test]
async fn stopping_hands_back_what_waits_and_lets_running_handlers_finish() {
    let store = Scripted::default();
    let hold = Arc::new(tokio::sync::Notify::new());
    let (go, started) = (hold.clone(), Arc::new(tokio::sync::Notify::new()));
    let tell = started.clone();
    let runner = runner(&store, settings(), move |_: Context, _: u64| {
        let (go, tell) = (go.clone(), tell.clone());
        async move {
            tell.notify_one();
            go.notified().await;
            Ok::<_, Failure>(())
        }
    });
    let (running, twin) = (runner.clone(), runner.clone());
    let running = tokio::spawn(async move { running.process(job(1)).await });
    started.notified().await;
    let twin = tokio::spawn(async move { twin.process(job(1)).await });
    runner.stop();
    assert!(matches!(twin.await.unwrap().unwrap_err().why(), Why::Stopped), "busy: never acknowledged");
    hold.notify_one();
    assert_eq!(running.await.unwrap().unwrap().how(), SettledAs::Run);
    assert!(matches!(runner.process(job(2)).await.unwrap_err().why(), Why::Stopped));
}

#[tokio::test]
async fn what_is_not_current_is_handed_back_and_can_be_claimed_at_once() {
    let store = Scripted::default();
    let (runs, handler) = counting(0);
    let runner = runner(&store, settings(), handler);
    let revoked = job(1);
    revoked.delivery().current.store(false, Ordering::SeqCst);
    assert!(matches!(runner.process(revoked).await.unwrap_err().why(), Why::NotCurrent));
    assert_eq!(runner.process(job(1)).await.unwrap().how(), SettledAs::Run);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// For callers who can be told: nothing waits, nothing is retried here.
#[tokio::test]
async fn a_caller_who_waits_is_told_at_once() {
    let store = Scripted::default();
    let told = settings()
        .with_busy_timeout(Duration::ZERO)
        .with_store_timeout(Duration::ZERO)
        .with_on_failure(OnFailure::HandBack)
        .with_on_mismatch(OnMismatch::HandBack);
    let handler = |_: Context, n: u64| async move { if n == 1 { Err("no luck".into()) } else { Ok(()) } };
    let runner = runner(&store, told, handler);
    for attempt in 1..=2 {
        let failed = runner.process(job(1)).await.unwrap_err();
        assert!(
            matches!(failed.why(), Why::Failed { reason, attempt: a, infrastructure: false } if reason == "no luck" && *a == attempt)
        );
    }
    store.claim(&[claim_request(2, Duration::from_secs(60))]).await.unwrap();
    let busy = runner.process(job(2)).await.unwrap_err();
    assert!(matches!(busy.why(), Why::Busy { free_in } if *free_in > Duration::from_secs(50)));

    let print = |text: &str| Fingerprint::of(text.as_bytes());
    assert!(runner.process(job(3).with_fingerprint(print("a"))).await.is_ok());
    let other = runner.process(job(3).with_fingerprint(print("b"))).await.unwrap_err();
    assert!(matches!(other.why(), Why::Mismatch));

    store.claims.lock().unwrap().push_back(Fault::ErrorBefore);
    assert!(matches!(runner.process(job(4)).await.unwrap_err().why(), Why::Unavailable(_)));
    store.settles.lock().unwrap().push_back(Fault::ErrorBefore);
    assert!(matches!(runner.process(job(5)).await.unwrap_err().why(), Why::NotRecorded(_)));
    assert_eq!(runner.counts().completed_not_recorded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_uses_up_patience_too() {
    let store = Scripted::default();
    let (runs, handler) = counting(0);
    let runner = runner(&store, settings().with_store_timeout(Duration::ZERO), handler);
    store.claims.lock().unwrap().push_back(Fault::Never);
    assert!(matches!(runner.process(job(1)).await.unwrap_err().why(), Why::Unavailable(_)));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    store.settles.lock().unwrap().push_back(Fault::Never);
    assert!(matches!(runner.process(job(2)).await.unwrap_err().why(), Why::NotRecorded(_)));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_holder_lasts_as_long_as_the_hold() {
    let store = Scripted::default();
    store.claim(&[claim_request(1, Duration::from_secs(60))]).await.unwrap();
    for hold in [1, 400, 3_000, 59_000].map(Duration::from_millis) {
        let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) };
        let runner = runner(&store, settings().with_backoff(backoff).with_busy_timeout(hold), counting(0).1);
        let since = tokio::time::Instant::now();
        assert!(matches!(runner.process(job(1)).await.unwrap_err().why(), Why::Busy { .. }));
        assert!(since.elapsed() >= hold, "a hold of {hold:?} ended after {:?}", since.elapsed());
        tokio::time::advance(Duration::from_secs(60)).await;
        store.claim(&[claim_request(1, Duration::from_secs(60))]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_until_patience_is_over() {
    let store = Scripted::default();
    store.claims.lock().unwrap().extend([Fault::ErrorBefore; 100]);
    for patience in [1, 2_000, 30_000].map(Duration::from_millis) {
        let backoff = Backoff { min: Duration::from_millis(20), max: Duration::from_secs(1) };
        let settings = settings().with_backoff(backoff).with_store_timeout(patience);
        let since = tokio::time::Instant::now();
        let refused = runner(&store, settings, counting(0).1).process(job(1)).await.unwrap_err();
        assert!(matches!(refused.why(), Why::Unavailable(_)));
        assert!(since.elapsed() >= patience, "patience of {patience:?} ended after {:?}", since.elapsed());
    }
}
