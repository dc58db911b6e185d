//! Repeats while the first request is in flight, and clients that hang up.

use std::time::Duration;

use ackonce_http::{InFlight, Options};
use axum::body::Body;
use futures_util::future::join_all;
use http::StatusCode;
use tower::ServiceExt;

use crate::common::{Answer, Api, Gate, post};

fn gated(options: Options) -> (Api, Gate) {
    let gate = Gate::default();
    let handler = gate.clone();
    let api = Api::new(options, move |run: u32, _| {
        let gate = handler.clone();
        async move {
            gate.pass().await;
            (StatusCode::CREATED, run.to_string())
        }
    });
    (api, gate)
}

/// Sends `POST /payments` as a server does, in a task that is dropped when its client hangs up.
fn connection(api: &Api, key: &str, body: &'static str) -> tokio::task::JoinHandle<Answer> {
    let sent = api.app.clone().oneshot(post(key).body(Body::from(body)).unwrap());
    tokio::spawn(async { Answer::of(sent.await.unwrap()).await })
}

#[tokio::test]
async fn of_50_parallel_requests_one_runs_and_the_others_are_409_with_retry_after() {
    let (api, gate) = gated(Options::default());
    let first = connection(&api, "k", "{}");
    gate.started.notified().await;
    let others = join_all((1..50).map(|_| api.post("k", "{}"))).await;
    for other in others {
        assert_eq!(other.refusal(), (409, "request_in_progress".into()));
        assert_eq!(other.headers["retry-after"], "1");
    }
    gate.go.notify_one();
    assert_eq!(first.await.unwrap().body, "1");
    assert!(api.post("k", "{}").await.is_replay());
    assert_eq!(api.runs.count(), 1);
}

#[tokio::test]
async fn of_50_parallel_requests_one_runs_and_the_others_wait_and_get_its_replay() {
    let (api, gate) = gated(Options::default().with_in_flight(InFlight::Wait(Duration::from_secs(60))));
    let all: Vec<_> = (0..50).map(|_| connection(&api, "k", "{}")).collect();
    gate.started.notified().await;
    gate.go.notify_one();
    let answers = join_all(all).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 49);
    for answer in &answers {
        assert_eq!(answer.plain(), answers[0].plain());
    }
    assert_eq!(api.runs.count(), 1);
}

#[tokio::test]
async fn one_who_has_waited_long_enough_is_a_409() {
    let (api, gate) = gated(Options::default().with_in_flight(InFlight::Wait(Duration::from_millis(100))));
    let first = connection(&api, "k", "{}");
    gate.started.notified().await;
    assert_eq!(api.post("k", "{}").await.refusal(), (409, "request_in_progress".into()));
    gate.go.notify_one();
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test]
async fn another_body_is_a_422_at_once_even_while_the_first_is_in_flight() {
    for in_flight in [InFlight::Conflict, InFlight::Wait(Duration::from_secs(600))] {
        let (api, gate) = gated(Options::default().with_in_flight(in_flight));
        let first = connection(&api, "k", "{}");
        gate.started.notified().await;
        let others = join_all((0..10).map(|_| api.post("k", "[]"))).await;
        for other in others {
            assert_eq!(other.refusal(), (422, "idempotency_key_reused".into()));
        }
        gate.go.notify_one();
        assert_eq!(first.await.unwrap().status, 201);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_and_retries_gets_the_replay_of_the_one_run() {
    let (api, gate) = gated(Options::default());
    let client = connection(&api, "k", "{}");
    gate.started.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(api.post("k", "{}").await.status, 409, "it still runs");
    gate.go.notify_one();
    assert_eq!(api.layer.drain().await, 0, "and is waited for");
    assert_eq!(api.runs.count(), 1);
    assert_eq!(api.layer.counts().completed_not_recorded, 0);
}

#[tokio::test]
async fn a_client_whose_answer_was_lost_gets_the_replay() {
    let (api, gate) = gated(Options::default().with_in_flight(InFlight::Wait(Duration::from_secs(60))));
    let client = connection(&api, "k", "{}");
    gate.started.notified().await;
    client.abort();
    let retry = connection(&api, "k", "{}");
    gate.go.notify_one();
    let answer = retry.await.unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.is_replay()), (201, &b"1"[..], true));
    assert_eq!(api.runs.count(), 1);
}

#[tokio::test]
async fn a_run_longer_than_its_lease_keeps_its_claim() {
    let lease = Duration::from_millis(300);
    let (api, gate) = gated(Options::default().with_settings(Options::settings().with_lease(lease)));
    let first = connection(&api, "k", "{}");
    gate.started.notified().await;
    tokio::time::sleep(4 * lease).await;
    assert_eq!(api.post("k", "{}").await.status, 409, "renewed");
    gate.go.notify_one();
    assert_eq!(first.await.unwrap().body, "1");
    assert_eq!(api.layer.counts().lease_lost, 0);
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_refuses_what_is_new() {
    let (api, gate) = gated(Options::default());
    let running = connection(&api, "k", "{}");
    gate.started.notified().await;
    let layer = api.layer.clone();
    let drained = tokio::spawn(async move { layer.drain().await });
    tokio::task::yield_now().await;
    assert_eq!(api.post("new", "{}").await.refusal(), (503, "shutting_down".into()));
    gate.go.notify_one();
    assert_eq!(running.await.unwrap().status, 201);
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_a_503() {
    let (api, gate) = gated(Options::default().with_max_in_flight(1));
    let first = connection(&api, "k", "{}");
    gate.started.notified().await;
    assert_eq!(api.post("other", "{}").await.refusal(), (503, "overloaded".into()));
    gate.go.notify_one();
    assert_eq!(first.await.unwrap().status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_holder_lasts_as_long_as_it_is_set() {
    for wait in [400, 2_000, 7_000].map(Duration::from_millis) {
        let (api, gate) = gated(Options::default().with_in_flight(InFlight::Wait(wait)));
        let first = connection(&api, "k", "{}");
        gate.started.notified().await;
        let since = tokio::time::Instant::now();
        assert_eq!(api.post("k", "{}").await.refusal(), (409, "request_in_progress".into()));
        assert!(since.elapsed() >= wait, "a wait of {wait:?} ended after {:?}", since.elapsed());
        gate.go.notify_one();
        assert_eq!(first.await.unwrap().status, 201);
    }
}
