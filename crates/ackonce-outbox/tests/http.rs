//! The publisher for HTTP, against a service.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_outbox::{HttpPublisher, Outbox, Outgoing};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::common::{options, sqlite, until};

/// A request that the service got.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: String,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// Answers the first request to a path `/NNN` with that status, and every other one with 200; but 404 is for ever.
async fn answer(State(log): State<Log>, uri: Uri, headers: HeaderMap, body: String) -> Response {
    let path = uri.path().to_owned();
    let is_first = {
        let mut log = log.lock().unwrap();
        let is_first = log.iter().all(|seen| seen.path != path);
        log.push(Seen { path: path.clone(), headers, body });
        is_first
    };
    let status = path.rsplit('/').next().and_then(|last| last.parse().ok());
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if is_first || status == StatusCode::NOT_FOUND => {
            (status, [(header::RETRY_AFTER, "0")], "no").into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

async fn serve(address: &str, log: &Log) -> String {
    serve_on(TcpListener::bind(address).await.unwrap(), log)
}

fn serve_on(listener: TcpListener, log: &Log) -> String {
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(answer).with_state(log.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn relay(outbox: &Outbox, publisher: HttpPublisher) -> (JoinHandle<()>, CancellationToken) {
    let shutdown = CancellationToken::new();
    let outbox = outbox.with_options(options()).with_shutdown(shutdown.clone());
    let task = tokio::spawn(async move {
        outbox.run(publisher).await.unwrap();
    });
    (task, shutdown)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_next_step_and_each_row_its_key() {
    let (place, log) = (sqlite().await.unwrap(), Log::default());
    let address = serve("127.0.0.1:0", &log).await;
    let again = ["302", "408", "409", "425", "429", "500", "502", "503", "504"];
    let paths = again.iter().chain(&["200", "404"]);
    let all: Vec<_> = paths.map(|path| Outgoing::new(*path, *path).with_id(format!("id {path}\n"))).collect();
    place.publish(&all).await;
    let publisher = HttpPublisher::beneath(&format!("http://app:s%20x@{address}/base")).unwrap();
    let (task, shutdown) = relay(place.outbox(), publisher);
    until("all but one went out", async || place.waiting().await == 0).await;
    let parked = place.outbox().parked(0, 10).await.unwrap();
    assert_eq!(parked.iter().map(|one| one.message.to.as_str()).collect::<Vec<_>>(), ["404"]);
    assert!(parked[0].reason.contains("404"), "{}", parked[0].reason);
    shutdown.cancel();
    task.await.unwrap();
    let mut requests: HashMap<String, Vec<Seen>> = HashMap::new();
    for seen in log.lock().unwrap().iter() {
        requests.entry(seen.path.clone()).or_default().push(seen.clone());
    }
    for path in again.into_iter().chain(["200", "404"]) {
        let seen = &requests[&format!("/base/{path}")];
        assert_eq!(seen.len(), if again.contains(&path) { 2 } else { 1 }, "{path}");
        for seen in seen {
            assert_eq!(seen.headers["idempotency-key"], format!("id {path}%0A"));
            assert_eq!(
                (&*seen.body, &seen.headers["authorization"]),
                (path, &"Basic YXBwOnMgeA==".parse().unwrap())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_holds_back_its_messages_alone() {
    let (place, log) = (sqlite().await.unwrap(), Log::default());
    let here = serve("127.0.0.1:0", &log).await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let to = |host: &str, n: usize| Outgoing::new(format!("http://{host}/x"), n.to_string()).with_key("k");
    let all: Vec<_> = (0..20).map(|n| to(if n % 2 == 0 { &here } else { &away }, n)).collect();
    place.publish(&all).await;
    let (task, shutdown) = relay(place.outbox(), HttpPublisher::anywhere().unwrap());
    until("the others went out", async || log.lock().unwrap().len() == 10).await;
    // More failures than there are attempts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(place.outbox().lag().await.unwrap().parked, 0);
    serve(&away, &log).await;
    until("all went out", async || place.waiting().await == 0).await;
    let bodies: Vec<usize> = log.lock().unwrap().iter().map(|seen| seen.body.parse().unwrap()).collect();
    let (first, then) = bodies.split_at(10);
    assert!(first.iter().eq(&[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]), "{first:?}");
    assert!(then.iter().eq(&[1, 3, 5, 7, 9, 11, 13, 15, 17, 19]), "{then:?}");
    shutdown.cancel();
    task.await.unwrap();
}

/// A host that takes no further connection: one to it hangs, as one to a host behind a firewall does. It does while the
/// connections are kept that fill its queue.
async fn unreachable() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, mut queue) = (listener.local_addr().unwrap(), Vec::new());
    while let Ok(connected) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await
    {
        queue.push(connected.unwrap());
    }
    (listener, queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host_counts_no_attempt_under_a_short_limit() {
    let (place, log) = (sqlite().await.unwrap(), Log::default());
    let (listener, queue) = unreachable().await;
    place.publish(&[Outgoing::new(format!("http://{}/x", listener.local_addr().unwrap()), "x")]).await;
    let publisher = HttpPublisher::anywhere().unwrap().with_limits(Duration::from_millis(200), 8).unwrap();
    let (task, shutdown) = relay(place.outbox(), publisher);
    // More failures than there are attempts.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(place.outbox().lag().await.unwrap().parked, 0);
    drop(queue);
    serve_on(listener, &log);
    until("it went out", async || place.waiting().await == 0).await;
    assert_eq!(place.outbox().lag().await.unwrap().parked, 0);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_counts_though_its_body_never_ends() {
    let place = sqlite().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let len = connection.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            let status = if request.contains("/taken") { "202 Accepted" } else { "422 No" };
            seen.lock().unwrap().push(request);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 100\r\n\r\nhalf of it");
            connection.write_all(answer.as_bytes()).await.unwrap();
            open.push(connection);
        }
    });
    let to = |path: &str| Outgoing::new(format!("http://{address}/{path}"), "x");
    place.publish(&[to("taken"), to("refused")]).await;
    let publisher = HttpPublisher::anywhere().unwrap().with_limits(Duration::from_secs(1), 8).unwrap();
    let (task, shutdown) = relay(place.outbox(), publisher);
    until("nothing waits", async || place.waiting().await == 0).await;
    let parked = place.outbox().parked(0, 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.contains("half of it"), "{}", parked[0].reason);
    assert_eq!(requests.lock().unwrap().len(), 2, "each was sent once");
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_http_cannot_carry_is_parked_with_its_reason() {
    let (place, log) = (sqlite().await.unwrap(), Log::default());
    let address = serve("127.0.0.1:0", &log).await;
    let at = |path: &str| Outgoing::new(format!("http://{address}/{path}"), "x");
    let cases = [
        (Outgoing::new("orders", "x"), "no http:// URL"),
        (Outgoing::new(format!("http://u:s3cret@{address}/x"), "x"), "has a user"),
        (at("x").with_header("host", "h"), "is set by the publisher"),
        (at("x").with_header("Idempotency-Key", "h"), "is set by the publisher"),
        (at("x").with_header("a b", "h"), "no name"),
        (at("x").with_header("a", "b\nc"), "control character"),
        (at("ok").with_header("content-type", "text/plain").with_key("k"), ""),
    ];
    place.publish(&cases.iter().map(|(outgoing, _)| outgoing.clone()).collect::<Vec<_>>()).await;
    let (task, shutdown) = relay(place.outbox(), HttpPublisher::anywhere().unwrap());
    until("nothing waits", async || place.waiting().await == 0).await;
    let parked = place.outbox().parked(0, 10).await.unwrap();
    assert_eq!(parked.len(), 6);
    for (one, (outgoing, reason)) in parked.iter().zip(&cases) {
        assert!(one.message.to == outgoing.to && one.reason.contains(reason), "{}", one.reason);
        assert!(!one.reason.contains("s3cret"));
    }
    let seen = log.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0].headers["content-type"], &seen[0].headers["ackonce-key"]),
        (&"text/plain".parse().unwrap(), &"k".parse().unwrap())
    );
    shutdown.cancel();
    task.await.unwrap();
    for wrong in ["orders", "http://", "http://h/?a=b", "ftp://h"] {
        assert!(HttpPublisher::beneath(wrong).is_err(), "{wrong}");
    }
}
