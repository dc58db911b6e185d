//! Answers that are too long or too slow to be kept: their first client has them, and their repeats are told.

use std::time::Duration;

use ackonce_http::{Options, Streams};
use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::common::{Api, Gate, post};

#[tokio::test]
async fn an_oversize_answer_reaches_its_client_whole_and_leaves_a_tombstone() {
    let big = "x".repeat(1000);
    let body = big.clone();
    let api = Api::new(Options::default().with_max_response(999), move |_, _| {
        std::future::ready((StatusCode::CREATED, body.clone()))
    });
    let first = api.post("k", "").await;
    assert_eq!((first.status, first.body), (201, big.into()));
    let second = api.post("k", "").await;
    assert_eq!(second.refusal(), (410, "response_not_kept".into()));
    assert_eq!(second.headers["idempotency-replay-unavailable"], "too-large");
    assert_eq!(api.runs.count(), 1, "never a silent second run");
}

#[tokio::test]
async fn a_stream_reaches_its_client_chunk_by_chunk_and_leaves_a_tombstone() {
    for content_type in ["text/event-stream", "application/x-ndjson"] {
        let gate = Gate::default();
        let go = gate.go.clone();
        let api = Api::new(Options::default(), move |_, _| {
            let go = go.clone();
            let chunks = stream::iter(0..3).then(move |n| {
                let go = go.clone();
                async move {
                    go.notified().await;
                    Ok::<_, std::io::Error>(format!("data: {n}\n\n"))
                }
            });
            async move { ([("content-type", content_type)], Body::from_stream(chunks)).into_response() }
        });
        // The head comes before the first chunk is made, and each chunk before the next.
        let response = api.app.clone().oneshot(post("k").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(
            api.post("k", "").await.refusal(),
            (410, "response_not_kept".into()),
            "also while it is sent"
        );
        let mut body = response.into_body();
        for n in 0..3 {
            gate.go.notify_one();
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(chunk, format!("data: {n}\n\n"));
        }
        assert!(body.frame().await.is_none());
        let second = api.post("k", "").await;
        assert_eq!(second.headers["idempotency-replay-unavailable"], "streamed");
        assert_eq!(api.runs.count(), 1, "never a silent second run");
    }
}

#[tokio::test]
async fn a_stream_of_a_status_that_is_not_kept_leaves_the_key_free() {
    let api = Api::new(Options::default(), async |_, _| {
        let never = stream::pending::<Result<&str, std::io::Error>>();
        (StatusCode::SERVICE_UNAVAILABLE, Body::from_stream(stream::iter([Ok("x")]).chain(never)))
            .into_response()
    });
    for run in 1..=2 {
        let response = api.app.clone().oneshot(post("k").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(api.runs.count(), run);
    }
}

#[tokio::test]
async fn the_first_client_of_an_answer_that_is_not_kept_is_told_by_a_header() {
    let never = || stream::iter([Ok::<_, std::io::Error>("x")]).chain(stream::pending());
    let streams = Api::new(Options::default(), move |_, _| {
        let spoofed = [("idempotency-replay-unavailable", "of the handler")];
        std::future::ready((spoofed, Body::from_stream(never())).into_response())
    });
    let too_large = Api::new(Options::default().with_max_response(3), async |_, _| "four");
    let kept = Api::new(Options::default(), async |_, _| {
        ([("idempotency-replay-unavailable", "of the handler")], "kept")
    });
    let not_kept = Api::new(Options::default(), move |_, _| {
        std::future::ready((StatusCode::BAD_GATEWAY, Body::from_stream(never())).into_response())
    });
    for (api, told) in
        [(streams, Some("streamed")), (too_large, Some("too-large")), (kept, None), (not_kept, None)]
    {
        let first = api.app.clone().oneshot(post("k").body(Body::empty()).unwrap()).await.unwrap();
        let told_by =
            first.headers().get("idempotency-replay-unavailable").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(told_by.as_deref(), told);
    }
}

/// Two chunks, the second of which has to be waited for.
fn in_two_chunks(content_type: &'static str) -> Response<Body> {
    let chunks = stream::iter(["now ", "later"]).then(|text| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(text)
    });
    ([("content-type", content_type)], Body::from_stream(chunks)).into_response()
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_unknown_length_can_be_held_back_and_kept() {
    for (wait, content_type, is_kept) in
        [(10, "application/json", true), (1, "application/json", false), (10, "text/event-stream", false)]
    {
        let options = Options::default().with_streams(Streams::Collect(Duration::from_secs(wait)));
        let api = Api::new(options, move |_, _| std::future::ready(in_two_chunks(content_type)));
        assert_eq!(api.post("k", "").await.body, "now later", "{wait} {content_type}");
        let second = api.post("k", "").await;
        match is_kept {
            true => assert_eq!((second.is_replay(), &second.body[..]), (true, &b"now later"[..])),
            false => assert_eq!(second.refusal(), (410, "response_not_kept".into())),
        }
        assert_eq!(api.runs.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_kept_is_not_held_back() {
    let options = Options::default().with_streams(Streams::Collect(Duration::from_secs(600)));
    let api = Api::new(options, async |_, _| {
        (StatusCode::BAD_GATEWAY, in_two_chunks("application/json")).into_response()
    });
    let since = tokio::time::Instant::now();
    let first = api.app.clone().oneshot(post("k").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((first.status().as_u16(), since.elapsed()), (502, Duration::ZERO));
}
