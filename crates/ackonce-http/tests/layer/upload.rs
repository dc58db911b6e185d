//! Bodies on their way in: the memory that they take, the request that the service sees, the rest of a refused one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ackonce::{ErrorKind, MemoryStore};
use ackonce_http::body::{Limits, Trailers};
use ackonce_http::{IdempotencyLayer, Need, Options, Principal};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Answer, Api, Gate, post, scope};

const KIB: usize = 1024;

fn limits(max_len: usize) -> Limits {
    Limits { max_len, ..Limits::default() }
}

/// A body in pieces of 1 KiB that counts the pieces that were taken.
fn counted(pieces: usize, taken: &Arc<AtomicUsize>) -> Body {
    let taken = taken.clone();
    Body::from_stream(stream::iter(0..pieces).then(move |_| {
        let taken = taken.clone();
        async move {
            tokio::task::yield_now().await;
            taken.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(vec![b'x'; KIB])
        }
    }))
}

#[tokio::test]
async fn the_bodies_of_all_requests_together_keep_to_their_budget() {
    let gate = Gate::default();
    let handler = gate.clone();
    let options = Options::default().with_body(limits(100 * KIB)).with_body_budget(100 * KIB);
    let api = Api::new(options, move |_, _| {
        let gate = handler.clone();
        async move { gate.pass().await }
    });
    // One that runs holds 60 KiB until it has ended.
    let app = api.app.clone();
    let request = post("first").body(Body::from(vec![0; 60 * KIB])).unwrap();
    let first = tokio::spawn(async move { tower::ServiceExt::oneshot(app, request).await.unwrap().status() });
    gate.started.notified().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let keys: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    let sent = keys.iter().map(|key| api.post(key, counted(50, &taken)));
    for answer in join_all(sent).await {
        assert_eq!(answer.refusal(), (503, "overloaded".into()));
        assert_eq!(answer.headers["retry-after"], "1");
    }
    // One that announces too much is refused unread.
    assert_eq!(api.post("announced", vec![0; 50 * KIB]).await.refusal(), (503, "overloaded".into()));
    let small = api.app.clone();
    let request = post("small").body(Body::from(vec![0; 40 * KIB])).unwrap();
    let small =
        tokio::spawn(async move { tower::ServiceExt::oneshot(small, request).await.unwrap().status() });
    gate.started.notified().await;
    gate.go.notify_one();
    gate.go.notify_one();
    assert_eq!((first.await.unwrap(), small.await.unwrap()), (StatusCode::OK, StatusCode::OK));
    gate.go.notify_one();
    assert_eq!(api.post("again", vec![0; 100 * KIB]).await.status, 200, "all of it is free again");
}

#[tokio::test]
async fn a_budget_that_is_too_small_for_one_body_is_refused_by_its_name() {
    let options = Options::default().with_body(limits(11)).with_body_budget(10);
    let error = IdempotencyLayer::with(Arc::new(MemoryStore::new()), &scope(), Principal::bearer(), options)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("body_budget") && error.to_string().contains("max_len"), "{error}");
}

/// Head and trailers of a request as the service behind the layer sees them.
async fn seen(request: Request<Body>) -> (HeaderMap, Option<Trailers>) {
    let (told, seen) = tokio::sync::oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(told)));
    let api = Api::new(Options::default().with_need(Need::Optional), move |_, request: Request<Body>| {
        let told = told.lock().unwrap().take().unwrap();
        async move {
            let (head, body) = request.into_parts();
            assert_eq!(body.collect().await.unwrap().to_bytes(), "12345");
            told.send((head.headers, head.extensions.get::<Trailers>().cloned())).unwrap();
        }
    });
    assert_eq!(api.send(request).await.status, 200);
    seen.await.unwrap()
}

#[tokio::test]
async fn a_body_that_came_in_chunks_is_whole_inside_with_its_length_and_its_trailers() {
    for key in [Some("k"), None] {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"e\""))]);
        let frames =
            ["12", "345"].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
        let frames = frames.into_iter().chain([Ok(Frame::trailers(trailers.clone()))]);
        let mut request = Request::post("/payments").header("authorization", "Bearer a");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.header("transfer-encoding", "chunked").header("trailer", "etag");
        let request = request.header("expect", "100-continue");
        let (head, seen) =
            seen(request.body(Body::new(StreamBody::new(stream::iter(frames)))).unwrap()).await;
        for name in ["transfer-encoding", "trailer", "expect"] {
            assert!(!head.contains_key(name), "{name}");
        }
        assert_eq!(head["content-length"], "5");
        assert_eq!(seen, Some(Trailers(trailers)));
    }
}

#[tokio::test]
async fn a_length_that_an_outer_layer_has_left_behind_is_set_right() {
    let request = post("k").header("content-length", "77").body(Body::from("12345")).unwrap();
    let (head, trailers) = seen(request).await;
    assert_eq!((head["content-length"].as_bytes(), trailers), (&b"5"[..], None));
}

#[tokio::test]
async fn the_body_limit_holds_on_an_optional_route_without_a_key() {
    let options = Options::default().with_need(Need::Optional).with_body(limits(10));
    let api = Api::new(options, async |_, request: Request<Body>| {
        request.into_body().collect().await.unwrap().to_bytes()
    });
    let chunks = || Body::from_stream(stream::iter((0..3).map(|_| Ok::<_, Infallible>("12345"))));
    for body in [Body::from("12345678901"), chunks()] {
        let answer = api.send(Request::post("/payments").body(body).unwrap()).await;
        assert_eq!(answer.refusal(), (413, "body_too_large".into()));
    }
    assert_eq!(api.runs.count(), 0);
    let whole = api.send(Request::post("/payments").body(Body::from("1234567890")).unwrap()).await;
    assert_eq!((whole.status, &whole.body[..], api.runs.count()), (200, &b"1234567890"[..], 1));
}

/// A body of which nothing may be read.
struct Untouchable;

impl http_body::Body for Untouchable {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("it is read")
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(5)
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_not_made_to_send() {
    let api = Api::numbering(Options::default().with_body(limits(4)));
    for key in ["k", "a, b"] {
        let request = post(key).header("expect", "100-continue").header("content-length", "5");
        assert!(api.send(request.body(Body::new(Untouchable)).unwrap()).await.status >= 400);
    }
    let budget = Options::default().with_body(limits(4)).with_body_budget(4);
    let api = Api::numbering(budget);
    let request = post("k").header("expect", "100-continue").body(Body::new(Untouchable)).unwrap();
    assert_eq!(api.send(request).await.status, 413);
    tokio::task::yield_now().await;
}

/// Writes all of a body before it reads the answer, as many clients do.
async fn upload(
    address: std::net::SocketAddr,
    head: &str,
    len: usize,
    chunked: bool,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let framing = match chunked {
        true => "transfer-encoding: chunked".into(),
        false => format!("content-length: {len}"),
    };
    let head =
        format!("POST /payments HTTP/1.1\r\nhost: api\r\nauthorization: Bearer a\r\n{head}{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![b'x'; 64 * KIB];
    for _ in 0..len / piece.len() {
        if chunked {
            stream.write_all(b"10000\r\n").await?;
        }
        stream.write_all(&piece).await?;
        if chunked {
            stream.write_all(b"\r\n").await?;
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn a_client_that_writes_a_large_body_before_it_reads_gets_its_413_or_400() {
    let api = Api::numbering(Options::default());
    let address = serve(api.app.clone()).await;
    for len in [2, 5, 10].map(|mib| mib * KIB * KIB) {
        for chunked in [false, true] {
            for (key, status) in
                [("idempotency-key: k\r\n", "413"), ("", "400"), ("idempotency-key: a, b\r\n", "400")]
            {
                let answer = upload(address, key, len, chunked).await;
                let answer = answer.unwrap_or_else(|error| panic!("{len} {chunked} {key:?}: {error}"));
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            }
        }
    }
    assert_eq!(api.runs.count(), 0);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_a_refused_body() {
    let api = Api::numbering(Options::default().with_body(limits(10)));
    let mut client = TcpStream::connect(serve(api.app.clone()).await).await.unwrap();
    let head = "POST /payments HTTP/1.1\r\nhost: api\r\nauthorization: Bearer a\r\nidempotency-key: k\r\n";
    client.write_all(format!("{head}content-length: 11\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(20), client.read_exact(&mut answer)).await;
    read.expect("it is answered at once").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn no_more_of_a_refused_body_is_read_than_its_limit() {
    let taken = Arc::new(AtomicUsize::new(0));
    let rest = Limits { max_len: 10 * KIB, max_rest: 20 * KIB, ..Limits::default() };
    let api = Api::numbering(Options::default().with_body(rest));
    let answer: Answer = api.post("k", counted(1000, &taken)).await;
    assert_eq!(answer.refusal(), (413, "body_too_large".into()));
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    // One piece more than the limit tells that it was passed, each time.
    assert!((30..=32).contains(&taken.load(Ordering::SeqCst)), "{taken:?}");
}
