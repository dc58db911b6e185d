//! The client half, against the layer and against servers that misbehave.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::{Backoff, MemoryStore, Scope};
use ackonce_http::client::{AnswerKind, IdempotencyKeys, OperationKey};
use ackonce_http::{IdempotencyLayer, Policy, Principal};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use http::StatusCode;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

type Keys = Arc<Mutex<Vec<Option<String>>>>;

/// A server that answers the n-th request with the result of `respond`, and the keys it was sent.
async fn server<F>(respond: F) -> (SocketAddr, Keys)
where
    F: Fn(usize) -> Response + Clone + Send + Sync + 'static,
{
    let keys = Keys::default();
    let seen = keys.clone();
    let app = Router::new().fallback(any(move |request: Request| {
        let key = request.headers().get("idempotency-key").map(|k| k.to_str().unwrap().to_owned());
        seen.lock().unwrap().push(key);
        std::future::ready(respond(seen.lock().unwrap().len()))
    }));
    (serve(app).await, keys)
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn quick() -> IdempotencyKeys {
    IdempotencyKeys::new()
        .with_backoff(Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) })
}

fn client(middleware: IdempotencyKeys) -> ClientWithMiddleware {
    ClientBuilder::new(reqwest::Client::new()).with(middleware).build()
}

fn one_key(keys: &Keys, attempts: usize) -> String {
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), attempts, "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0] && key.is_some()), "{keys:?}");
    keys[0].clone().unwrap()
}

#[tokio::test]
async fn one_key_is_made_before_the_first_attempt_and_kept_by_every_automatic_retry() {
    let (at, keys) = server(|n| {
        if n < 4 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::CREATED }.into_response()
    })
    .await;
    let response = client(quick()).post(format!("http://{at}/")).body("{}").send().await.unwrap();
    assert_eq!(response.status(), 201);
    let key = one_key(&keys, 4);
    let made = response.extensions().get::<OperationKey>().unwrap();
    assert_eq!(key, format!("\"{made}\""), "the answer tells it");
    assert_eq!(uuid::Uuid::parse_str(made.as_str()).unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn two_operations_have_two_keys() {
    let (at, keys) = server(|_| StatusCode::CREATED.into_response()).await;
    for _ in 0..2 {
        client(quick()).post(format!("http://{at}/")).send().await.unwrap();
    }
    let keys = keys.lock().unwrap();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_manual_retry_keeps_the_key_that_the_caller_holds() {
    let (at, keys) =
        server(|n| if n == 1 { StatusCode::BAD_GATEWAY } else { StatusCode::CREATED }.into_response()).await;
    let (client, key) = (client(quick().with_retries(0)), OperationKey::uuid_v7());
    let send = || client.post(format!("http://{at}/")).with_extension(key.clone()).send();
    assert_eq!(send().await.unwrap().status(), 502);
    assert_eq!(send().await.unwrap().status(), 201);
    assert_eq!(one_key(&keys, 2), format!("\"{key}\""));
}

#[tokio::test]
async fn a_users_own_key_is_never_replaced() {
    let (at, keys) = server(|n| {
        if n == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED }.into_response()
    })
    .await;
    let send = client(quick()).post(format!("http://{at}/")).header("Idempotency-Key", "mine").send();
    assert_eq!(send.await.unwrap().status(), 201);
    assert_eq!(one_key(&keys, 2), "mine");
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_is_retried_with_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            heads.push(String::from_utf8_lossy(&buffer[..read]).to_lowercase());
        }
        heads
    });
    let sent = client(quick().with_retries(2)).post(format!("http://{at}/")).body("{}").send().await;
    assert!(sent.is_err());
    let heads = heads.await.unwrap();
    let key =
        |head: &String| head.lines().find(|line| line.starts_with("idempotency-key: ")).unwrap().to_owned();
    assert!(heads.iter().all(|head| key(head) == key(&heads[0])));
}

#[tokio::test]
async fn what_is_replayed_unprocessable_or_the_clients_fault_is_not_sent_again() {
    let replayed = || (StatusCode::INTERNAL_SERVER_ERROR, [("idempotent-replayed", "true")]).into_response();
    for (respond, answer) in [
        (Arc::new(replayed) as Arc<dyn Fn() -> Response + Send + Sync>, AnswerKind::Replayed),
        (Arc::new(|| StatusCode::UNPROCESSABLE_ENTITY.into_response()), AnswerKind::Unprocessable),
        (Arc::new(|| StatusCode::CONFLICT.into_response()), AnswerKind::Fresh),
        (Arc::new(|| StatusCode::PAYMENT_REQUIRED.into_response()), AnswerKind::Fresh),
    ] {
        let (at, keys) = server(move |_| respond()).await;
        let response = client(quick()).post(format!("http://{at}/")).send().await.unwrap();
        assert_eq!(AnswerKind::of(response.status(), response.headers()), answer);
        one_key(&keys, 1);
    }
}

#[tokio::test]
async fn a_409_with_retry_after_is_waited_for_and_one_too_far_off_is_given_to_the_caller() {
    let busy = |wait: &'static str| move || (StatusCode::CONFLICT, [("retry-after", wait)]).into_response();
    let soon = busy("0");
    let (at, keys) = server(move |n| if n == 1 { soon() } else { StatusCode::CREATED.into_response() }).await;
    assert_eq!(client(quick()).post(format!("http://{at}/")).send().await.unwrap().status(), 201);
    one_key(&keys, 2);
    let late = busy("3600");
    let (at, keys) = server(move |_| late()).await;
    assert_eq!(client(quick()).post(format!("http://{at}/")).send().await.unwrap().status(), 409);
    one_key(&keys, 1);
}

#[tokio::test]
async fn get_put_and_delete_get_no_key_unless_asked_for() {
    let (at, keys) = server(|_| StatusCode::OK.into_response()).await;
    for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE] {
        client(quick()).request(method, format!("http://{at}/")).send().await.unwrap();
    }
    assert_eq!(*keys.lock().unwrap(), [None, None, None]);
    client(quick().with_methods([http::Method::PUT])).put(format!("http://{at}/")).send().await.unwrap();
    assert!(keys.lock().unwrap()[3].is_some());
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_runs_once_behind_the_layer() {
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = runs.clone();
    let options = ackonce_http::Options::default().with_policy(Policy::all());
    let layer = IdempotencyLayer::with(
        Arc::new(MemoryStore::new()),
        &Scope::new("api").unwrap(),
        Principal::single_tenant(),
        options,
    )
    .unwrap();
    let handler = any(move || {
        let run = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { (StatusCode::CREATED, run.to_string()) }
    });
    // Outside of the layer the first answer is lost.
    let lost = std::sync::atomic::AtomicBool::new(false);
    let lost = Arc::new(lost);
    let lose = axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
        let lost = lost.clone();
        async move {
            let response = next.run(request).await;
            match lost.swap(true, std::sync::atomic::Ordering::SeqCst) {
                true => response,
                false => StatusCode::BAD_GATEWAY.into_response(),
            }
        }
    });
    let at = serve(Router::new().fallback(handler).layer(layer).layer(lose)).await;
    let response = client(quick()).post(format!("http://{at}/")).body("{}").send().await.unwrap();
    assert_eq!(AnswerKind::of(response.status(), response.headers()), AnswerKind::Replayed);
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (201, "0".into()));
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 1);
}
