//! Which requests are guarded, which pass, which are refused before anything is claimed.

use ackonce::MemoryStore;
use ackonce::store::Inspect;
use std::sync::Arc;

use ackonce_http::body::Limits;
use ackonce_http::{Gate, IdempotencyLayer, Need, Options, Principal};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use proptest::prelude::*;

use crate::common::{Api, Runs, post, scope};

fn request(method: Method) -> http::request::Builder {
    Request::builder().method(method).uri("/payments").header("authorization", "Bearer sk_1")
}

#[tokio::test]
async fn a_missing_key_is_a_400_with_a_name_and_a_sentence() {
    let api = Api::numbering(Options::default());
    for method in [Method::POST, Method::PATCH] {
        let answer = api.send(request(method).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.refusal(), (400, "missing_idempotency_key".into()));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("UUID"));
    }
    assert_eq!(api.runs.count(), 0);
}

#[tokio::test]
async fn an_empty_key_counts_as_missing() {
    let api = Api::numbering(Options::default());
    for empty in ["", " ", "\"\""] {
        assert_eq!(api.post(empty, "").await.refusal(), (400, "missing_idempotency_key".into()));
    }
}

#[tokio::test]
async fn a_malformed_overlong_or_repeated_key_is_a_400() {
    let api = Api::numbering(Options::default());
    assert_eq!(api.post("a, b", "").await.refusal(), (400, "malformed_idempotency_key".into()));
    assert_eq!(api.post(&"x".repeat(256), "").await.refusal(), (400, "idempotency_key_too_long".into()));
    let twice = post("a").header("idempotency-key", "b").body(Body::empty()).unwrap();
    assert_eq!(api.send(twice).await.refusal(), (400, "conflicting_idempotency_keys".into()));
    assert_eq!(api.runs.count(), 0);
}

#[tokio::test]
async fn quoted_and_bare_are_one_key_and_it_is_echoed_as_it_was_sent() {
    let api = Api::numbering(Options::default());
    let bare = api.post("abc123", "{}").await;
    let quoted = api.post("\"abc123\"", "{}").await;
    assert_eq!((bare.status, &bare.body[..]), (201, &b"1"[..]));
    assert!(!bare.is_replay() && quoted.is_replay());
    assert_eq!(quoted.body, bare.body);
    assert_eq!(bare.headers["idempotency-key"], "abc123");
    assert_eq!(quoted.headers["idempotency-key"], "\"abc123\"");
    let refused = api.post("abc123", "other").await;
    assert_eq!(refused.headers["idempotency-key"], "abc123", "on a problem, too");
}

#[tokio::test]
async fn a_key_may_be_optional() {
    let api = Api::numbering(Options::default().with_need(Need::Optional));
    for run in ["1", "2"] {
        let answer = api.send(request(Method::POST).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, &answer.body[..]), (201, run.as_bytes()));
    }
    assert_eq!(api.post("k", "").await.body, "3");
    assert!(api.post("k", "").await.is_replay());
    assert_eq!(api.post("a, b", "").await.status, 400, "what is there has to be right");
}

#[tokio::test]
async fn need_is_a_matter_of_route_and_method() {
    let gate = Gate::by(|parts| match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/payments") => Need::Required,
        (&Method::PUT, _) => Need::Optional,
        _ => Need::Untouched,
    });
    let api = Api::numbering(Options::default().with_gate(gate));
    let status = async |method: Method, path: &str, key: Option<&str>| {
        let mut request = request(method).uri(path);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        (answer.status, answer.is_replay())
    };
    assert_eq!(status(Method::POST, "/payments", None).await, (400, false));
    assert_eq!(status(Method::POST, "/searches", None).await, (201, false));
    assert_eq!(status(Method::PUT, "/payments", None).await, (201, false));
    assert_eq!(status(Method::PUT, "/payments", Some("k")).await, (201, false));
    assert_eq!(status(Method::PUT, "/payments", Some("k")).await, (201, true));
}

#[tokio::test]
async fn get_head_options_put_and_delete_pass_untouched() {
    let store = MemoryStore::new();
    let api = Api::on(Arc::new(store.clone()), Options::default(), async |run: u32, _| run.to_string());
    for (n, method) in
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].into_iter().enumerate()
    {
        for repeat in 1..=2 {
            let answer = api
                .send(request(method.clone()).header("idempotency-key", "a, b").body(Body::empty()).unwrap())
                .await;
            assert_eq!(answer.status, 200);
            assert!(!answer.headers.contains_key("idempotency-key"), "not even the header is looked at");
            assert_eq!(api.runs.count() as usize, 2 * n + repeat);
        }
    }
    assert!(store.is_empty());
}

#[tokio::test]
async fn principals_methods_and_paths_do_not_share_a_key() {
    let api = Api::numbering(Options::default());
    let send = async |method: &str, path: &str, token: &str| {
        let request = Request::builder().method(method).uri(path);
        let request =
            request.header("authorization", format!("Bearer {token}")).header("idempotency-key", "k");
        api.send(request.body(Body::from("{}")).unwrap()).await
    };
    for repeat in 0..2 {
        for (n, (method, path, token)) in [
            ("POST", "/payments", "a"),
            ("POST", "/payments", "b"),
            ("PATCH", "/payments", "a"),
            ("POST", "/refunds", "a"),
            ("POST", "/payments/a", "a"),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = send(method, path, token).await;
            assert_eq!(answer.body, (n + 1).to_string());
            assert_eq!(answer.is_replay(), repeat == 1);
        }
    }
    assert_eq!(api.runs.count(), 5);
    let other_query =
        post("k").uri("/payments?dry_run=1").header("authorization", "").body(Body::from("{}")).unwrap();
    assert_eq!(api.send(other_query).await.status, 401, "two principals are nobody's");
}

#[tokio::test]
async fn anonymous_callers_are_refused_unless_they_are_asked_for() {
    let api = Api::numbering(Options::default());
    let anonymous = || Request::post("/payments").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let answer = api.send(anonymous()).await;
    assert_eq!(answer.refusal(), (401, "anonymous_caller".into()));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");

    for principal in [Principal::bearer().or_anonymous(), Principal::single_tenant()] {
        let runs = Runs::default();
        let count = runs.clone();
        let handler = axum::routing::any(async move || (StatusCode::CREATED, count.more().to_string()));
        let layer = IdempotencyLayer::new(Arc::new(MemoryStore::new()), &scope(), principal).unwrap();
        let app = axum::Router::new().fallback(handler).layer(layer.clone());
        let api = Api { app, layer, runs };
        assert_eq!(api.send(anonymous()).await.body, "1");
        assert!(api.send(anonymous()).await.is_replay());
    }
}

#[tokio::test]
async fn a_principal_is_not_written_down() {
    let store = MemoryStore::new();
    let api = Api::on(Arc::new(store.clone()), Options::default(), async |_, _| "ok");
    api.post("k", "").await;
    let key = api.layer.key(Some(b"sk_1"), &Method::POST, "/payments", b"k").unwrap();
    assert!(store.look(&key).await.unwrap().is_some(), "it is found by its parts");
    let id = String::from_utf8(key.id().to_vec()).unwrap();
    assert!(id.starts_with("POST /payments ") && id.ends_with(" k") && !id.contains("sk_1"), "{id}");
    assert!(!format!("{:?}", api.layer).contains("sk_1"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_chunked_too_and_leaves_no_record() {
    let store = MemoryStore::new();
    let options = Options::default().with_body(Limits { max_len: 10, ..Limits::default() });
    let api = Api::on(Arc::new(store.clone()), options, async |_, _| "ok");
    let chunks = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("12345")));
    for body in [Body::from("12345678901"), Body::from_stream(chunks)] {
        assert_eq!(api.post("k", body).await.refusal(), (413, "body_too_large".into()));
    }
    assert!(store.is_empty());
    assert_eq!(api.post("k", "1234567890").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_a_408_and_leaves_no_record() {
    let store = MemoryStore::new();
    let api = Api::on(Arc::new(store.clone()), Options::default(), async |_, _| "ok");
    let body = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    assert_eq!(api.post("k", body).await.refusal(), (408, "body_timed_out".into()));
    assert!(store.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn no_head_and_no_body_panics_or_makes_a_5xx_and_refusals_leave_no_record(
        keys in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\,;= a".to_vec())], 0..24), 0..3),
        token in prop::collection::vec(any::<u8>(), 0..12),
        path in "/[a-z%?=&/]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let options = Options::default().with_payload(ackonce_http::Payload::CanonicalJson);
            let api = Api::on(Arc::new(store.clone()), options, async |_, _| "ok");
            let mut request = Request::post(path);
            for key in keys {
                if let Ok(key) = http::HeaderValue::from_bytes(&key) {
                    request = request.header("idempotency-key", key);
                }
            }
            if let Ok(token) = http::HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat()) {
                request = request.header("authorization", token);
            }
            let Ok(request) = request.body(Body::from(body)) else { return };
            let answer = api.send(request).await;
            assert!(answer.status < 500, "{answer:?}");
            assert_eq!(store.is_empty(), answer.status != 200, "{answer:?}");
        });
    }
}
