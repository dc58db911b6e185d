//! Requests of a stranger: no panic, no 5xx, no record.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::{Arc, LazyLock};

use ackonce::{Context, Failure, IdSource, MemoryStore, MessageIds, Scope};
use ackonce_webhook::{
    Adyen, Algorithm, Custom, Event, Field, GitHub, Handshake, Paddle, Shopify, Slack, Square,
    StandardWebhooks, Stripe, Svix, Twilio, Webhook, WebhookService,
};
use bytes::Bytes;
use common::{STANDARD_KEY, Signed, now};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tower::ServiceExt;

const SECRET: &str = "whsec_test";
const HEX_KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

fn services(store: &MemoryStore) -> Vec<WebhookService> {
    let endpoint = |webhook: fn(&Scope, Arc<MemoryStore>) -> Webhook| {
        let handler = |_: Context, _: Event| async { Ok::<(), Failure>(()) };
        webhook(&Scope::new("test").unwrap(), Arc::new(store.clone())).handle(handler).unwrap()
    };
    vec![
        endpoint(|scope, store| Webhook::new(Stripe::new([SECRET]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(StandardWebhooks::new([STANDARD_KEY]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(Slack::new([SECRET]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(Svix::new([STANDARD_KEY]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(GitHub::new([SECRET]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(Shopify::new([SECRET]).unwrap(), scope, store)),
        endpoint(|scope, store| {
            Webhook::new(Square::new([SECRET], "https://example.com").unwrap(), scope, store)
        }),
        endpoint(|scope, store| Webhook::new(Paddle::new([SECRET]).unwrap(), scope, store)),
        endpoint(|scope, store| {
            Webhook::new(Twilio::new([SECRET], "https://example.com").unwrap(), scope, store)
        }),
        endpoint(|scope, store| Webhook::new(Adyen::new([HEX_KEY]).unwrap(), scope, store)),
        endpoint(|scope, store| Webhook::new(custom(), scope, store)),
    ]
}

fn custom() -> Custom {
    let ids = MessageIds::first_of([IdSource::Header("webhook-id".into()), IdSource::Json("/id".into())]);
    let custom = Custom::new("custom", "signature", [SECRET], Algorithm::HmacSha256, ids).unwrap();
    let custom = custom.with_separator(',').with_signed("{header:webhook-id}.{timestamp:t=}.{body}").unwrap();
    let signed = Handshake::signed(Field::json("/type"), "url_verification").echo(Field::json("/challenge"));
    let token = Handshake::with_token(Field::query("token"), SECRET).echo(Field::query("challenge"));
    custom.with_handshake(signed).unwrap().with_handshake(token).unwrap()
}

static NAMES: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let names = "stripe-signature webhook-id webhook-timestamp webhook-signature svix-id svix-timestamp svix-signature \
        x-hub-signature-256 x-github-delivery x-github-hook-id x-github-event x-shopify-hmac-sha256 x-shopify-webhook-id \
        x-shopify-event-id x-shopify-topic shopify-hmac-sha256 shopify-webhook-id shopify-event-id shopify-topic x-slack-signature x-slack-request-timestamp x-square-hmacsha256-signature \
        paddle-signature x-twilio-signature i-twilio-idempotency-token signature content-type content-length";
    names.split_whitespace().map(|name| name.parse().unwrap()).collect()
});

/// Values with the right words in the wrong order, and bytes that are no text.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("t=".to_owned()),
        Just("v1=".to_owned()),
        Just("v1,".to_owned()),
        Just("v1a,".to_owned()),
        Just("sha256=".to_owned()),
        Just("v0=".to_owned()),
        Just("ts=".to_owned()),
        Just(";h1=".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        Just(now().to_string()),
        Just("-1".to_owned()),
        Just("18446744073709551616".to_owned()),
        "[0-9a-f]{64}",
        "[A-Za-z0-9+/]{43}=",
        "\\PC{0,8}",
    ];
    prop_oneof![
        4 => vec(word, 0..6).prop_map(|words| words.concat().into_bytes()),
        1 => vec(any::<u8>(), 0..40),
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just(r#"{"id":"evt_1"}"#.to_owned()),
        Just(r#"{"notificationItems":[{"NotificationRequestItem":{"success":true}}]}"#.to_owned()),
        Just(r#"{"type":"url_verification","challenge":"x"}"#.to_owned()),
        Just("[".repeat(1000)),
        Just(r#"{"a":"#.repeat(1000)),
        Just("trigger_id=1&%ff=%zz&=&&a".to_owned()),
        "payload=(%7B|%22|%ff|trigger_id|%3A|[a-z]){0,8}",
        Just(r#"{"type":"app_rate_limited"}"#.to_owned()),
        r#"\{"(id|event_id|type|data|notificationItems)":("\PC{0,5}"|[0-9]{1,30}|null|\[\]|\{\})\}"#,
    ];
    prop_oneof![json.prop_map(String::into_bytes), vec(any::<u8>(), 0..300)]
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        "/[a-z]{0,3}\\?bodySHA256=[0-9a-f]{0,64}(&[a-z%=&]{0,9})?",
        "/\\?[a-zA-Z0-9%=&]{0,20}"
    ]
}

fn request(headers: Vec<(usize, Vec<u8>)>, body: Vec<u8>, uri: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post(uri.parse::<http::Uri>().unwrap_or_default());
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            request = request.header(&NAMES[name % NAMES.len()], value);
        }
    }
    request.body(Full::new(Bytes::from(body))).unwrap()
}

#[test]
fn nothing_a_stranger_sends_is_taken() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let store = MemoryStore::new();
    let services = services(&store);
    let strategy = (vec((any::<usize>(), value()), 0..8), body(), uri());
    TestRunner::new(Config::with_cases(1000))
        .run(&strategy, |(headers, body, uri)| {
            for service in &services {
                let request = request(headers.clone(), body.clone(), &uri);
                let answer = runtime.block_on(service.clone().oneshot(request)).unwrap();
                prop_assert!(answer.status().is_client_error(), "{service:?}: {}", answer.status());
            }
            prop_assert!(store.is_empty());
            Ok(())
        })
        .unwrap();
}

/// A signed body need not make sense either.
#[test]
fn nothing_that_is_signed_breaks_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let store = MemoryStore::new();
    let services = services(&store);
    let [stripe, standard, slack, ..] = services.as_slice() else { panic!() };
    TestRunner::new(Config::with_cases(1000))
        .run(&body(), |body| {
            let now = now().to_string();
            let text = String::from_utf8_lossy(&body).into_owned();
            for (service, signed) in [
                (stripe, Signed::stripe_at(SECRET, &now, &text)),
                (standard, Signed::standard("msg_1", &now, &body)),
                (slack, Signed::slack_at(SECRET, &now, &text)),
            ] {
                let mut request = Request::post("/");
                *request.headers_mut().unwrap() = signed.headers;
                let request = request.body(Full::new(signed.body)).unwrap();
                let answer = runtime.block_on(service.clone().oneshot(request)).unwrap();
                prop_assert!(!answer.status().is_server_error(), "{}", answer.status());
            }
            Ok(())
        })
        .unwrap();
}
