//! As the layer's own, with a network between the layer and the handler.
#![allow(dead_code, unreachable_pub, reason = "each file uses its part")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Deduplicator, MemoryStore};
use ackonce_cli::proxy::{Forward, ForwardBody, ProxyArgs};
use ackonce_http::{IdempotencyLayer, Options, Principal};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::any;
use clap::Parser;
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tower::{Layer as _, Service as _, ServiceExt as _};

#[path = "../../../ackonce-http/tests/layer/common.rs"]
mod original;
pub use original::{Answer, Gate, Runs, post, scope};

pub struct Api {
    pub app: Router,
    pub layer: IdempotencyLayer,
    pub runs: Runs,
}

impl Api {
    pub fn new<F, Fut, R>(options: Options, handler: F) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        Self::on(Arc::new(MemoryStore::new()), options, handler)
    }

    pub fn on<F, Fut, R>(store: Arc<dyn Deduplicator>, options: Options, handler: F) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        Self::of(store, Principal::bearer(), options, handler)
    }

    pub fn of<F, Fut, R>(
        store: Arc<dyn Deduplicator>,
        principal: Principal,
        options: Options,
        handler: F,
    ) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let runs = Runs::default();
        let count = runs.clone();
        let service =
            Router::new().fallback(any(move |request: Request<Body>| handler(count.more(), request)));
        let layer = IdempotencyLayer::with(store, &scope(), principal, options).unwrap();
        let app = match is_not_of_networks() {
            true => service.layer(layer.clone()),
            false => proxied(service, &layer),
        };
        Self { app, layer, runs }
    }

    pub fn numbering(options: Options) -> Self {
        Self::numbering_for(Principal::bearer(), options)
    }

    pub fn numbering_for(principal: Principal, options: Options) -> Self {
        let handler = async |run: u32, _| (StatusCode::CREATED, run.to_string());
        Self::of(Arc::new(MemoryStore::new()), principal, options, handler)
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.app.clone().oneshot(request).await.unwrap()).await
    }

    pub async fn post(&self, key: &str, body: impl Into<Body>) -> Answer {
        self.send(post(key).body(body.into()).unwrap()).await
    }
}

/// Tests of a service in the same process, which stay there, and the reason.
const WITHOUT_NETWORK: [(&str, &str); 16] = [
    (
        "replay::a_204_and_a_304_have_no_body_and_no_wrong_length",
        "no server of hyper's gives such an answer: without a body and with the length of one",
    ),
    (
        "keep::a_panic_is_a_500_and_the_next_try_runs",
        "a panic of the service is a broken connection to a proxy: tests/proxy/promise.rs",
    ),
    (
        "keep::an_answer_whose_body_breaks_off_is_a_500_and_the_next_try_runs",
        "to a proxy it is a connection that breaks, a 502 before the head has arrived: tests/proxy/promise.rs",
    ),
    (
        "keep::nothing_is_mended_while_the_first_runs_or_after_it_ended_without_an_answer",
        "its first run panics, as above",
    ),
    (
        "keep::an_irreversible_operation_that_ends_badly_is_kept_as_unknown_and_does_not_run_again",
        "the mark is an extension of the request, and no connection carries it; the proxy's policy for an unknown outcome is \
         --on-unknown: tests/proxy/promise.rs",
    ),
    ("keep::an_irreversible_operation_that_succeeds_is_replayed_like_any_other", "the mark, as above"),
    ("keep::a_run_past_its_time_is_cancelled_and_kept_as_unknown_only_if_marked", "the mark, as above"),
    ("keep::the_mark_of_an_irreversible_operation_survives_the_end_of_a_drain", "the mark, as above"),
    (
        "upload::a_body_that_came_in_chunks_is_whole_inside_with_its_length_and_its_trailers",
        "its own server tells a service of the framing: trailers.rs has the same over a connection",
    ),
    (
        "flight::a_wait_for_the_holder_lasts_as_long_as_it_is_set",
        "its clock stands still, and a network does not: tests/proxy/promise.rs has a repeat that waits",
    ),
    (
        "gate::a_body_that_does_not_come_is_a_408_and_leaves_no_record",
        "its clock, as above; the layer answers before it forwards",
    ),
    (
        "replay::an_answer_is_kept_24_hours_from_its_completion_and_asking_does_not_prolong_it",
        "a day of its clock; the window is the store's, whoever has answered",
    ),
    ("replay::the_window_is_a_setting_of_each_layer", "its clock, and the window, as above"),
    (
        "replay::status_headers_body_fingerprint_and_times_can_be_looked_up",
        "its clock, as above: it asks for times to the second",
    ),
    (
        "streams::an_answer_of_unknown_length_can_be_held_back_and_kept",
        "its clock, as above: tests/proxy/promise.rs has the same over a connection",
    ),
    (
        "streams::an_answer_that_is_not_kept_is_not_held_back",
        "its clock, as above: it asks for no time at all",
    ),
];

fn is_not_of_networks() -> bool {
    let thread = std::thread::current();
    let is_listed = WITHOUT_NETWORK.iter().any(|(test, _)| thread.name() == Some(test));
    assert!(is_listed || !is_paused(), "its clock stands still: give its reason in WITHOUT_NETWORK");
    is_listed
}

/// Time that a test has stopped does not wait for a network.
fn is_paused() -> bool {
    let before = tokio::time::Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    before.elapsed().is_zero()
}

/// Without a `Date` of its own, which the tests do not expect.
async fn serve(listener: tokio::net::TcpListener, service: Router) {
    while let Ok((connection, _)) = listener.accept().await {
        let service = service.clone();
        let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            service.clone().oneshot(request.map(Body::new))
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.auto_date_header(false);
        tokio::spawn(http.serve_connection(TokioIo::new(connection), answer));
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    proxy: ProxyArgs,
}

fn proxied(service: Router, layer: &IdempotencyLayer) -> Router {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(serve(listener, service));
    let flags =
        ["proxy", "--listen=127.0.0.1:0", "--store=memory:", "--principal=bearer", "--upstream", &upstream];
    let forward = Forward::new(&Flags::parse_from(flags).proxy).unwrap();
    let service = layer.layer(forward);
    Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
        let mut service = service.clone();
        async move {
            let answer = service.call(request.map(ForwardBody::passing)).await;
            Ok::<_, Infallible>(match answer {
                Ok(answer) => answer.map(Body::new),
                Err(broken) => (StatusCode::BAD_GATEWAY, broken.to_string()).into_response(),
            })
        }
    }))
}
