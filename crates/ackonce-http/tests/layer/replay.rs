//! A repeat is answered as the first request was, to the byte.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ackonce::MemoryStore;
use ackonce::store::{Filter, Inspect, Query, State};
use ackonce_http::{Cookies, Gate, Headers, Need, Options, Policy, StoredResponse};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use proptest::prelude::*;

use crate::common::{Answer, Api, post};

/// The first answer and its replay.
async fn twice(api: &Api) -> (Answer, Answer) {
    let first = api.post("k", "{}").await;
    let second = api.post("k", "{}").await;
    assert_eq!(api.runs.count(), 1);
    assert!(!first.is_replay() && second.is_replay());
    (first, second)
}

fn answering(options: Options, response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static) -> Api {
    Api::new(options, move |_, _| std::future::ready(response()))
}

#[tokio::test]
async fn a_repeat_gets_the_stored_status_headers_and_body_and_the_handler_is_not_called() {
    let api = answering(Options::default(), || {
        let response =
            Response::builder().status(201).header("location", "/payments/pay_1").header("x-custom", "1");
        response.header("content-type", "application/json").body(Body::from(r#"{"id":"pay_1"}"#)).unwrap()
    });
    let (first, second) = twice(&api).await;
    assert_eq!((second.status, &second.body[..]), (201, &br#"{"id":"pay_1"}"#[..]), "201 again, not 200");
    assert_eq!(second.headers["location"], "/payments/pay_1");
    assert_eq!(first.plain(), second.plain());
    for answer in [first, second] {
        assert_eq!(answer.headers["idempotency-key"], "k");
    }
}

#[tokio::test]
async fn repeated_headers_keep_their_order_and_bytes_above_0x7f_survive() {
    let values: [&[u8]; 4] = [b"b, a", b"caf\xe9", b"\xff\x80", b""];
    let api = answering(Options::default(), move || {
        let mut response = Response::new(Body::from("x"));
        for value in values {
            response.headers_mut().append("x-many", HeaderValue::from_bytes(value).unwrap());
        }
        response.headers_mut().append("a-last", HeaderValue::from_static("1"));
        response
    });
    let (first, second) = twice(&api).await;
    let many: Vec<_> = second.headers.get_all("x-many").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(many, values);
    let names = |answer: &Answer| answer.plain().headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second));
}

#[tokio::test]
async fn two_cookies_are_replayed_whole_if_asked_for_and_not_at_all_otherwise() {
    let respond = || {
        let response = Response::builder().header("set-cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT");
        response.header("set-cookie", "b=2").body(Body::empty()).unwrap()
    };
    let (first, second) = twice(&answering(Options::default(), respond)).await;
    assert_eq!(first.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(second.headers.get_all("set-cookie").iter().count(), 0);
    let (first, second) = twice(&answering(Options::default().with_cookies(Cookies::Kept), respond)).await;
    let cookies = |answer: &Answer| answer.headers.get_all("set-cookie").iter().cloned().collect::<Vec<_>>();
    assert_eq!(cookies(&first), cookies(&second));
    assert_eq!(cookies(&second).len(), 2);
}

#[tokio::test]
async fn hop_by_hop_headers_and_the_date_are_of_their_own_answer() {
    let api = answering(Options::default(), || {
        let response = Response::builder().header("connection", "close, x-hop").header("x-hop", "1");
        response
            .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .header("etag", "\"1\"")
            .body(Body::empty())
            .unwrap()
    });
    let (_, second) = twice(&api).await;
    for name in ["connection", "x-hop", "date"] {
        assert!(!second.headers.contains_key(name), "{name}");
    }
    assert_eq!(second.headers["etag"], "\"1\"");
}

#[tokio::test]
async fn the_mark_of_a_replay_is_the_layers_own() {
    let api = answering(Options::default(), || {
        Response::builder().header("idempotent-replayed", "true").body(Body::from("of an upstream")).unwrap()
    });
    let faked = post("k").header("idempotent-replayed", "true").body(Body::from("{}")).unwrap();
    let first = api.send(faked).await;
    assert!(!first.is_replay(), "neither the client nor the handler can claim a replay");
    assert!(api.post("k", "{}").await.is_replay());
}

#[tokio::test]
async fn gzip_bodies_come_back_to_the_byte() {
    // A gzip member with a stored block, as any encoder may write it.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 5, 0, 0xfa, 0xff];
    gzip.write_all(b"hello").unwrap();
    gzip.extend([0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0]);
    let bytes = Bytes::from(gzip);
    let body = bytes.clone();
    let api = answering(Options::default(), move || {
        Response::builder().header("content-encoding", "gzip").body(Body::from(body.clone())).unwrap()
    });
    let (_, second) = twice(&api).await;
    assert_eq!(second.body, bytes);
    assert_eq!(second.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_204_and_a_304_have_no_body_and_no_wrong_length() {
    let api = answering(Options::default(), || Response::builder().status(204).body(Body::empty()).unwrap());
    let (first, second) = twice(&api).await;
    assert_eq!((second.status, second.body.len()), (204, 0));
    assert_eq!(second.headers.get("content-length"), first.headers.get("content-length"));

    let not_modified = || {
        let response = Response::builder().status(304).header("etag", "\"1\"").header("content-length", "27");
        response.body(Body::empty()).unwrap()
    };
    let (first, second) =
        twice(&answering(Options::default().with_policy(Policy::all()), not_modified)).await;
    assert_eq!((second.status, second.body.len()), (304, 0));
    assert_eq!(second.headers["content-length"], first.headers["content-length"]);
}

#[tokio::test]
async fn an_answer_to_head_keeps_the_length_of_the_body_that_it_has_not() {
    let options = Options::default().with_gate(Gate::by(|_| Need::Required));
    let api = answering(options, || {
        Response::builder().header("content-length", "27").body(Body::empty()).unwrap()
    });
    let head = || {
        let request =
            Request::head("/payments").header("authorization", "Bearer a").header("idempotency-key", "k");
        request.body(Body::empty()).unwrap()
    };
    let (first, second) = (api.send(head()).await, api.send(head()).await);
    assert!(second.is_replay());
    for answer in [first, second] {
        assert_eq!((answer.headers["content-length"].as_bytes(), answer.body.len()), (&b"27"[..], 0));
    }
}

#[tokio::test]
async fn request_ids_traces_and_rate_limits_are_of_their_own_answer() {
    let names = ["x-request-id", "traceparent", "ratelimit-remaining", "x-ratelimit-reset", "server-timing"];
    let respond = move || {
        let response = names.iter().fold(Response::builder(), |response, name| response.header(*name, "1"));
        response.header("location", "/payments/1").body(Body::from("paid")).unwrap()
    };
    let (first, second) = twice(&answering(Options::default(), respond)).await;
    for name in names {
        assert!(first.headers.contains_key(name) && !second.headers.contains_key(name), "{name}");
    }
    assert_eq!(second.headers["location"], "/payments/1");
    let (_, all) = twice(&answering(Options::default().with_headers(Headers::all()), respond)).await;
    assert!(names.iter().all(|name| all.headers.contains_key(*name)));
    let some = Headers::by(|name| name == "traceparent");
    let (_, some) = twice(&answering(Options::default().with_headers(some), respond)).await;
    assert!(some.headers.contains_key("traceparent") && !some.headers.contains_key("location"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_24_hours_from_its_completion_and_asking_does_not_prolong_it() {
    let api = Api::new(Options::default(), async |run: u32, _| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        run.to_string()
    });
    assert_eq!(api.post("k", "").await.body, "1");
    let day = Duration::from_secs(24 * 3600);
    tokio::time::sleep(day / 2).await;
    assert!(api.post("k", "").await.is_replay());
    tokio::time::sleep(day / 2 - Duration::from_secs(1)).await;
    assert!(api.post("k", "").await.is_replay());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let afresh = api.post("k", "another body, even").await;
    assert!(!afresh.is_replay());
    assert_eq!(afresh.body, "2");
}

#[tokio::test(start_paused = true)]
async fn the_window_is_a_setting_of_each_layer() {
    let api = Api::numbering(Options::default().with_window(Duration::from_secs(100)));
    api.post("k", "").await;
    tokio::time::sleep(Duration::from_secs(99)).await;
    assert!(api.post("k", "").await.is_replay());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(api.post("k", "").await.body, "2");
}

#[tokio::test(start_paused = true)]
async fn status_headers_body_fingerprint_and_times_can_be_looked_up() {
    let store = MemoryStore::new();
    let api = Api::on(Arc::new(store.clone()), Options::default(), async |_, _| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        (StatusCode::CREATED, [("location", "/payments/1")], "body")
    });
    api.post("k", "{}").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let key = api.layer.key(Some(b"sk_1"), &Method::POST, "/payments", b"k").unwrap();
    let record = store.look(&key).await.unwrap().unwrap().record;
    assert_eq!(
        (record.state, record.fingerprint),
        (State::Done, Some(ackonce::store::Fingerprint::of(b"{}")))
    );
    let stored = StoredResponse::decode(record.outcome.as_ref().unwrap()).unwrap();
    assert_eq!(stored.status, 201);
    assert_eq!(stored.headers["location"], "/payments/1");
    assert_eq!(stored.body, ackonce_http::Kept::Whole(Bytes::from_static(b"body")));

    let page = store.list(&Query { filter: Filter::default(), limit: 9, after: None }).await.unwrap();
    let entry = &page.entries[0];
    let seconds = |d: Duration| (d.as_secs_f64()).round();
    assert_eq!(seconds(entry.record.age), 15.0, "created");
    assert_eq!(seconds(stored.window - entry.expires_in), 10.0, "completed");
}

#[tokio::test]
async fn a_record_of_a_newer_version_or_a_damaged_one_is_a_clear_answer_and_never_a_run() {
    use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Fingerprint, Settle, Settlement, Token};
    let cases = [
        (&b"{\"ackonce-http\":2,\"status\":201}\n"[..], (503, "record_from_newer_version")),
        (b"{\"ackonce-http\":1,\"status\":201}\n", (500, "record_unreadable")),
        (b"", (500, "record_unreadable")),
    ];
    for (outcome, (status, name)) in cases {
        let store = MemoryStore::new();
        let api = Api::on(Arc::new(store.clone()), Options::default(), async |_, _| "ran");
        let (lease, window) = (Duration::from_secs(9), Duration::from_secs(99));
        let key = api.layer.key(Some(b"sk_1"), &Method::POST, "/payments", b"k").unwrap();
        let fingerprint = Some(Fingerprint::of(b"{}"));
        let request = ClaimRequest { key, token: Token::random(), lease, window, fingerprint };
        let Claimed::Acquired(lease) = store.claim_one(request).await.unwrap() else { panic!() };
        let complete = Settle::Complete { window, outcome: Some(Bytes::from_static(outcome)) };
        store.settle_one(Settlement::new(&lease, complete)).await.unwrap();
        assert_eq!(api.post("k", "{}").await.refusal(), (status, name.into()));
        assert_eq!(api.runs.count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_answer_is_replayed_to_the_byte(
        status in 200_u16..600,
        headers in prop::collection::vec(("x-[a-c]", prop::collection::vec(any::<u8>(), 0..12)), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            let api = answering(Options::default().with_policy(Policy::all()), move || {
                let mut response = Response::new(Body::from(body.clone()));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                *response.headers_mut() = map.clone();
                response
            });
            let (first, second) = twice(&api).await;
            assert_eq!((first.status, &first.body), (second.status, &second.body));
            let plain = |answer: &Answer| answer.plain().headers.into_iter().collect::<Vec<_>>();
            assert_eq!(plain(&first), plain(&second));
        });
    }
}
