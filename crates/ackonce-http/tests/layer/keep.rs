//! Which answers are kept, which leave the key free, and which leave a tombstone.

use std::sync::Arc;
use std::time::Duration;

use ackonce::MemoryStore;
use ackonce_http::{Operation, Options, Policy};
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::stream;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::common::{Api, Gate, post};

/// Checks that a repeat of an answer of each status is a replay, or not.
async fn replayed(policy: Policy) -> Vec<u16> {
    let mut kept = Vec::new();
    for status in [200, 201, 202, 301, 302, 303, 307, 308, 400, 402, 404, 409, 429, 500, 503] {
        let api = Api::new(Options::default().with_policy(policy.clone()), move |_, _| async move {
            StatusCode::from_u16(status).unwrap()
        });
        let (first, second) = (api.post("k", "").await, api.post("k", "").await);
        assert_eq!((first.status, second.status), (status, status));
        assert_eq!(api.runs.count(), if second.is_replay() { 1 } else { 2 });
        if second.is_replay() {
            kept.push(status);
        }
    }
    kept
}

#[tokio::test]
async fn success_keeps_2xx_so_that_a_500_is_not_stored_and_a_retry_runs_again() {
    let kept = replayed(Policy::success()).await;
    assert_eq!(kept.iter().filter(|status| **status < 300).collect::<Vec<_>>(), [&200, &201, &202]);
    assert!(kept.iter().all(|status| *status < 400));
}

#[tokio::test]
async fn a_302_or_303_after_a_form_is_a_success_and_does_not_run_again() {
    for status in [StatusCode::FOUND, StatusCode::SEE_OTHER] {
        assert!(replayed(Policy::success()).await.contains(&status.as_u16()));
        let api = Api::new(Options::default(), move |run: u32, _| async move {
            (status, [("location", format!("/payments/{run}"))])
        });
        let (first, second) = (api.post("k", "").await, api.post("k", "").await);
        assert_eq!((first.is_replay(), second.is_replay()), (false, true));
        assert_eq!(second.headers["location"], "/payments/1");
    }
}

#[tokio::test]
async fn a_redirect_that_sends_the_same_request_elsewhere_leaves_the_key_free() {
    let kept = replayed(Policy::success()).await;
    assert!(kept.iter().all(|status| ![301, 307, 308].contains(status)), "{kept:?}");
}

#[tokio::test]
async fn not_5xx_keeps_all_but_5xx() {
    assert_eq!(
        replayed(Policy::not_5xx()).await,
        [200, 201, 202, 301, 302, 303, 307, 308, 400, 402, 404, 409, 429]
    );
}

#[tokio::test]
async fn all_keeps_everything() {
    assert_eq!(replayed(Policy::all()).await.len(), 15);
}

#[tokio::test]
async fn a_policy_may_look_at_the_headers() {
    let policy = Policy::by(|status, headers| {
        status.is_success() && headers.get("cache-control").is_none_or(|value| value != "no-store")
    });
    let api = Api::new(Options::default().with_policy(policy), async |run: u32, _| {
        ([("cache-control", if run == 1 { "no-store" } else { "private" })], run.to_string())
    });
    assert_eq!(api.post("k", "").await.body, "1");
    assert_eq!(api.post("k", "").await.body, "2");
    assert!(api.post("k", "").await.is_replay());
}

#[tokio::test]
async fn failures_that_are_not_kept_never_use_up_attempts() {
    let api = Api::new(Options::default(), async |run: u32, _| match run {
        1..=9 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CREATED,
    });
    for _ in 1..=9 {
        assert_eq!(api.post("k", "").await.status, 500);
    }
    assert_eq!(api.post("k", "").await.status, 201);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_try_runs() {
    let api = Api::new(Options::default(), async |run: u32, _| {
        assert!(run > 1, "the first run");
        "done"
    });
    let answer = api.post("k", "").await;
    assert_eq!(answer.refusal(), (500, "handler_failed".into()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("first run"), "no internals");
    assert_eq!(api.post("k", "").await.body, "done");
    assert!(api.post("k", "").await.is_replay());
}

fn operation(request: &Request<Body>) -> Operation {
    request.extensions().get::<Operation>().unwrap().clone()
}

#[tokio::test]
async fn an_irreversible_operation_that_ends_badly_is_kept_as_unknown_and_does_not_run_again() {
    let handler = |panics: bool| {
        move |_: u32, request: Request<Body>| async move {
            operation(&request).mark_irreversible();
            assert!(!panics, "after the charge");
            (StatusCode::BAD_GATEWAY, "true answer")
        }
    };
    for panics in [false, true] {
        let api = Api::new(Options::default(), handler(panics));
        let first = api.post("k", "").await;
        assert_eq!(first.status, if panics { 500 } else { 502 }, "the first client gets the true answer");
        assert!(!first.headers.contains_key("retry-after"), "nobody is told to send again what will not run");
        for _ in 0..2 {
            let repeat = api.post("k", "").await;
            assert_eq!(repeat.refusal(), (409, "outcome_unknown".into()));
            assert!(!repeat.headers.contains_key("retry-after"), "to ask again changes nothing");
        }
        assert_eq!(api.runs.count(), 1);
        assert_eq!(api.post("another", "").await.status, first.status, "other keys are not concerned");
    }
}

#[tokio::test]
async fn an_irreversible_operation_that_succeeds_is_replayed_like_any_other() {
    let api = Api::new(Options::default(), |_: u32, request: Request<Body>| async move {
        operation(&request).mark_irreversible();
        StatusCode::CREATED
    });
    assert_eq!(api.post("k", "").await.status, 201);
    assert!(api.post("k", "").await.is_replay());
}

#[tokio::test]
async fn a_run_past_its_time_is_cancelled_and_kept_as_unknown_only_if_marked() {
    let options = || {
        let settings = Options::settings().with_handler_timeout(Duration::from_millis(50));
        Options::default().with_settings(settings.with_lease(Duration::from_secs(2)))
    };
    let api = Api::new(options(), |run: u32, _: Request<Body>| async move {
        if run == 1 {
            std::future::pending::<()>().await;
        }
        "done"
    });
    assert_eq!(api.post("k", "").await.refusal(), (503, "run_cancelled".into()));
    // A run that was dropped midway may still act, so the claim is left to its lease.
    assert_eq!(api.post("k", "").await.status, 409);
    let answer = loop {
        let answer = api.post("k", "").await;
        if answer.status != 409 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&answer.body[..], api.runs.count()), (&b"done"[..], 2));

    let marked = Api::new(options(), |_: u32, request: Request<Body>| async move {
        operation(&request).mark_irreversible();
        std::future::pending::<()>().await;
    });
    let first = marked.post("k", "").await;
    assert!(!first.headers.contains_key("retry-after"), "nor here");
    assert_eq!(first.refusal(), (503, "run_cancelled".into()));
    assert_eq!(marked.post("k", "").await.refusal(), (409, "outcome_unknown".into()));
    assert_eq!(marked.runs.count(), 1);
}

#[tokio::test]
async fn the_mark_of_an_irreversible_operation_survives_the_end_of_a_drain() {
    for marked in [true, false] {
        let store = MemoryStore::new();
        let settings = Options::settings().with_shutdown_timeout(Duration::ZERO);
        let options = Options::default().with_settings(settings);
        let gate = Gate::default();
        let started = gate.started.clone();
        let handler = move |_: u32, request: Request<Body>| {
            let gate = gate.clone();
            async move {
                if marked {
                    operation(&request).mark_irreversible();
                }
                gate.pass().await;
            }
        };
        let api = Api::on(Arc::new(store.clone()), options, handler);
        let app = api.app.clone();
        let client = tokio::spawn(async move { app.oneshot(post("k").body(Body::empty()).unwrap()).await });
        started.notified().await;
        assert_eq!(api.layer.drain().await, 0);
        assert_eq!(client.await.unwrap().unwrap().status(), 503, "its client may ask again");

        // The next process, with the same records.
        let next = Api::on(Arc::new(store), Options::default(), async |_, _| StatusCode::CREATED);
        let expected = if marked { "outcome_unknown" } else { "request_in_progress" };
        assert_eq!(next.post("k", "").await.refusal(), (409, expected.into()), "marked: {marked}");
        assert_eq!(next.runs.count(), 0);
    }
}

#[tokio::test]
async fn an_answer_whose_body_breaks_off_is_a_500_and_the_next_try_runs() {
    let api = Api::new(Options::default(), async |run: u32, _| match run {
        1 => {
            Body::from_stream(stream::iter([Ok("half"), Err(std::io::Error::other("gone"))])).into_response()
        }
        _ => "whole".into_response(),
    });
    assert_eq!(api.post("k", "").await.status, 500);
    assert_eq!(api.post("k", "").await.body, "whole");
}

#[tokio::test]
async fn a_4xx_can_be_mended_under_the_same_key() {
    let api = Api::new(Options::default(), async |run: u32, request: Request<Body>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        match &body[..] {
            b"declined" => (StatusCode::PAYMENT_REQUIRED, run.to_string()),
            b"broken" => (StatusCode::BAD_REQUEST, run.to_string()),
            _ => (StatusCode::CREATED, run.to_string()),
        }
    });
    assert_eq!(api.post("k", "declined").await.status, 402);
    assert_eq!(api.post("k", "broken").await.status, 400);
    let mended = api.post("k", "mended").await;
    assert_eq!((mended.status, &mended.body[..]), (201, &b"3"[..]));
    // From now on the key belongs to the request that succeeded.
    assert!(api.post("k", "mended").await.is_replay());
    for other in ["declined", "broken", "another"] {
        assert_eq!(api.post("k", other).await.refusal(), (422, "idempotency_key_reused".into()));
    }
    assert_eq!(api.runs.count(), 3);
}

#[tokio::test]
async fn nothing_is_mended_while_the_first_runs_or_after_it_ended_without_an_answer() {
    let gate = Gate::default();
    let handler = gate.clone();
    let api = Api::new(Options::default(), move |run: u32, _: Request<Body>| {
        let gate = handler.clone();
        async move {
            assert!(run > 1, "the first run");
            gate.pass().await;
            StatusCode::BAD_REQUEST
        }
    });
    assert_eq!(api.post("k", "first").await.refusal(), (500, "handler_failed".into()));
    assert_eq!(api.post("k", "mended").await.status, 422, "its effect may have happened");
    let running = tokio::spawn(api.app.clone().oneshot(post("k").body(Body::from("first")).unwrap()));
    gate.started.notified().await;
    assert_eq!(api.post("k", "mended").await.status, 422);
    gate.go.notify_one();
    assert_eq!(running.await.unwrap().unwrap().status(), 400);
    assert_eq!(
        api.post("k", "mended").await.status,
        422,
        "that the second run failed says nothing of the first"
    );
}
