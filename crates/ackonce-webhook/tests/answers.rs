//! Answers whose body is the effect: a repeat gets that of the first.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ackonce::{MemoryStore, Scope};
use ackonce_webhook::{Event, Slack, Stripe, Twilio, Webhook, WebhookLayer};
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use common::{Signed, now};
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

const SECRET: &str = "whsec_test";

fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

fn stripe_event(body: &str) -> Signed {
    Signed::stripe_at(SECRET, &now().to_string(), body)
}

/// A layer around a handler of axum, on one route.
fn app(layer: &WebhookLayer, handler: axum::routing::MethodRouter) -> Router {
    Router::new().route("/", handler).layer(layer.clone())
}

async fn ask(app: &Router, signed: &Signed) -> (u16, HeaderMap, Bytes) {
    let mut request = Request::post(signed.uri.clone());
    *request.headers_mut().unwrap() = signed.headers.clone();
    let request = request.body(Body::from(signed.body.clone())).unwrap();
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes())
}

fn slack(store: &MemoryStore) -> Webhook {
    Webhook::new(Slack::new([SECRET]).unwrap(), &scope("slack"), Arc::new(store.clone()))
}

fn command(trigger: &str) -> Signed {
    Signed::slack_at(SECRET, &now().to_string(), &format!("command=%2Fweather&trigger_id={trigger}"))
}

#[tokio::test]
async fn a_repeated_slack_command_gets_the_answer_of_the_first() {
    let (store, runs) = (MemoryStore::new(), AtomicU32::new(0));
    let runs = Arc::new(runs);
    let counted = runs.clone();
    let handler = post(move |Extension(_): Extension<Event>| async move {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let headers = [("set-cookie", "a=1"), ("x-request-id", "r1"), ("content-language", "en")];
        (StatusCode::ACCEPTED, headers, axum::Json(serde_json::json!({"text": format!("{}F", 72 + n)})))
    });
    let app = app(&slack(&store).layer().unwrap(), handler);
    let first = ask(&app, &command("1")).await;
    let again = ask(&app, &command("1")).await;
    assert_eq!((first.0, first.2.as_ref()), (202, &br#"{"text":"72F"}"#[..]));
    assert_eq!((again.0, &again.2), (202, &first.2));
    assert_eq!(
        (&again.1["content-type"], &again.1["content-language"]),
        (&"application/json".parse().unwrap(), &"en".parse().unwrap())
    );
    assert!(!again.1.contains_key("set-cookie") && !again.1.contains_key("x-request-id"));
    assert_eq!(
        (&first.1["ackonce-settled"], &again.1["ackonce-settled"]),
        (&"run".parse().unwrap(), &"duplicate".parse().unwrap())
    );
    let other = ask(&app, &command("2")).await;
    assert_eq!((other.2.as_ref(), runs.load(Ordering::SeqCst)), (&br#"{"text":"73F"}"#[..], 2));
}

#[tokio::test]
async fn a_repeated_call_of_twilio_gets_its_twiml() {
    use base64::Engine;
    let store = MemoryStore::new();
    let twilio = Twilio::new([SECRET], "https://h/").unwrap();
    let layer = Webhook::new(twilio, &scope("voice"), Arc::new(store)).layer().unwrap();
    let twiml = "<Response><Say>Hello</Say></Response>";
    let app = app(&layer, post(move || async move { ([("content-type", "text/xml")], twiml) }));
    let mac = common::hmac_sha1(SECRET.as_bytes(), &[b"https://h/CallSidCA1"]);
    let mac = base64::engine::general_purpose::STANDARD.encode(mac);
    let call =
        Signed::new(&[("x-twilio-signature", &mac), ("i-twilio-idempotency-token", "t")], "CallSid=CA1");
    for _ in 0..2 {
        let (status, headers, body) = ask(&app, &call).await;
        assert_eq!((status, body.as_ref()), (200, twiml.as_bytes()));
        assert_eq!(headers["content-type"], "text/xml");
    }
}

#[tokio::test]
async fn what_is_kept_of_answers_is_bounded_and_can_be_chosen() {
    let handler = || {
        post(|Extension(event): Extension<Event>| async move {
            let len: usize = std::str::from_utf8(event.id()).unwrap().parse().unwrap();
            "x".repeat(len)
        })
    };
    let lengths = |app: Router, len: usize| async move {
        let first = ask(&app, &command(&len.to_string())).await;
        let again = ask(&app, &command(&len.to_string())).await;
        assert_eq!((first.0, again.0), (200, 200));
        (first.2.len(), again.2.len())
    };
    let built = |webhook: Webhook| app(&webhook.layer().unwrap(), handler());
    let store = MemoryStore::new;
    assert_eq!(lengths(built(slack(&store())), 65536).await, (65536, 65536));
    assert_eq!(lengths(built(slack(&store())), 65537).await, (65537, 0), "whole to the first, and not kept");
    assert_eq!(lengths(built(slack(&store()).with_kept_answer(7)), 7).await, (7, 7));
    assert_eq!(lengths(built(slack(&store()).with_kept_answer(7)), 8).await, (8, 0));
    assert_eq!(lengths(built(slack(&store()).with_kept_answer(0)), 7).await, (7, 0));
    let stripe = Webhook::new(Stripe::new([SECRET]).unwrap(), &scope("s"), Arc::new(MemoryStore::new()));
    let stripe = app(&stripe.layer().unwrap(), post(|| async { "a body" }));
    let event = stripe_event(r#"{"id":"evt_1"}"#);
    assert_eq!(ask(&stripe, &event).await.2, "a body");
    assert_eq!(ask(&stripe, &event).await.2, "", "nobody reads it there");
}

#[tokio::test(start_paused = true)]
async fn an_answer_made_slowly_is_passed_on_and_not_kept() {
    let handler = post(|| async {
        let parts = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            (n < 3).then(|| (Ok::<_, std::convert::Infallible>(Bytes::from_static(b"part ")), n + 1))
        });
        Body::from_stream(parts).into_response()
    });
    let app = app(&slack(&MemoryStore::new()).layer().unwrap(), handler);
    assert_eq!(ask(&app, &command("1")).await.2, "part part part ");
    assert_eq!(ask(&app, &command("1")).await.2, "");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let handler = post(move || async move {
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Body::from_stream(stream::iter([Ok(Bytes::from_static(b"half")), Err("broken")])),
            _ => Body::from("whole"),
        }
        .into_response()
    });
    let layer = slack(&MemoryStore::new())
        .with_settings(|s| s.with_lease(Duration::from_millis(300)))
        .layer()
        .unwrap();
    let app = app(&layer, handler);
    assert!(ask(&app, &command("1")).await.0 >= 500);
    let answer = loop {
        let answer = ask(&app, &command("1")).await;
        match answer.0 {
            200 => break answer,
            status => assert!(status == 409 || status >= 500, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.2, "whole");
    assert_eq!(ask(&app, &command("1")).await.2, "whole");
}

#[tokio::test]
async fn slacks_check_of_tls_is_answered_and_leaves_no_record() {
    let store = MemoryStore::new();
    let app = app(&slack(&store).layer().unwrap(), post(|| async { StatusCode::IM_A_TEAPOT }));
    assert_eq!(ask(&app, &Signed::new(&[], "ssl_check=1&token=x")).await.0, 200);
    assert!(store.is_empty());
}
