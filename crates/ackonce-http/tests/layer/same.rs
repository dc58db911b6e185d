//! When two requests with one key are the same.

use ackonce_http::{Options, Payload};
use axum::body::Body;

use crate::common::{Api, post};

#[tokio::test]
async fn another_body_under_the_same_key_is_a_422_and_the_first_answer_stays() {
    let api = Api::numbering(Options::default());
    api.post("k", r#"{"amount":1}"#).await;
    assert_eq!(api.post("k", r#"{"amount":2}"#).await.refusal(), (422, "idempotency_key_reused".into()));
    let other_query = post("k").uri("/payments?dry_run=1").body(Body::from(r#"{"amount":1}"#)).unwrap();
    assert_eq!(api.send(other_query).await.status, 422, "the query is part of what is asked");
    assert_eq!(api.post("k", r#"{"amount":1}"#).await.body, "1");
    assert_eq!(api.layer.counts().mismatch, 2);
}

#[tokio::test]
async fn canonical_json_is_one_payload_in_any_order_of_members() {
    let api = Api::numbering(Options::default().with_payload(Payload::CanonicalJson));
    api.post("k", r#"{"amount":1,"currency":"eur"}"#).await;
    assert!(api.post("k", r#"{ "currency": "eur", "amount": 1 }"#).await.is_replay());
    assert_eq!(api.post("k", r#"{ "currency": "eur", "amount": 2 }"#).await.status, 422);
}

/// True if the second of these requests, as content type, target and body, is a replay of the first; else it is a 422.
async fn is_repeat(payload: Payload, requests: [(&str, &str, &str); 2]) -> bool {
    let api = Api::numbering(Options::default().with_payload(payload));
    let mut answers = Vec::new();
    for (content_type, target, body) in requests {
        let request = post("k").uri(target).header("content-type", content_type);
        answers.push(api.send(request.body(Body::from(body.to_owned())).unwrap()).await);
    }
    assert_eq!(answers[0].status, 201);
    assert!(answers[1].is_replay() || answers[1].refusal() == (422, "idempotency_key_reused".into()));
    answers[1].is_replay()
}

#[tokio::test]
async fn a_multipart_body_with_a_new_boundary_is_a_repeat() {
    let form = |boundary: &str, file: &str| {
        let head = "content-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
        let content_type = format!("multipart/form-data; boundary={boundary}");
        (content_type, format!("--{boundary}\r\n{head}{file}\r\n--{boundary}--\r\n"))
    };
    fn request((content_type, body): &(String, String)) -> (&str, &str, &str) {
        (content_type, "/payments", body)
    }
    let (first, again, other) = (form("----aB1", "1;2"), form("----cD2", "1;2"), form("----eF3", "1;3"));
    assert!(is_repeat(Payload::default(), [&first, &again].map(request)).await);
    assert!(!is_repeat(Payload::default(), [&first, &other].map(request)).await);
    assert!(!is_repeat(Payload::Bytes, [&first, &again].map(request)).await);
}

#[tokio::test]
async fn a_reordered_query_json_or_form_is_a_repeat() {
    let json = "application/json";
    let (a, b) = (r#"{"amount":1,"currency":"eur"}"#, r#"{ "currency": "eur", "amount": 1 }"#);
    assert!(is_repeat(Payload::default(), [(json, "/p?x=1&y=2", a), (json, "/p?y=2&x=1", b)]).await);
    assert!(!is_repeat(Payload::default(), [(json, "/p?x=1&y=2", a), (json, "/p?x=1&y=3", b)]).await);
    assert!(!is_repeat(Payload::Bytes, [(json, "/p", a), (json, "/p", b)]).await);
    let form = "application/x-www-form-urlencoded";
    assert!(is_repeat(Payload::default(), [(form, "/p", "a=1&b=2"), (form, "/p", "b=2&a=1")]).await);
    assert!(!is_repeat(Payload::default(), [(form, "/p", "a=1&a=2"), (form, "/p", "a=2&a=1")]).await);
}

#[tokio::test]
async fn a_time_stamp_of_the_client_can_be_left_out_by_a_fingerprint_of_ones_own() {
    let timeless = Payload::by(|parts, body| {
        let mut order: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        order.as_object_mut().map(|order| order.remove("sent_at"));
        ackonce::store::Fingerprint::of(format!("{}{order}", parts.uri.path()).as_bytes())
    });
    let json = "application/json";
    let [first, again, other] = [
        r#"{"amount":1,"sent_at":"10:00:00"}"#,
        r#"{"amount":1,"sent_at":"10:00:02"}"#,
        r#"{"amount":2,"sent_at":"10:00:02"}"#,
    ]
    .map(|body| (json, "/p", body));
    assert!(is_repeat(timeless.clone(), [first, again]).await);
    assert!(!is_repeat(timeless, [first, other]).await);
    assert!(!is_repeat(Payload::default(), [first, again]).await);
}
