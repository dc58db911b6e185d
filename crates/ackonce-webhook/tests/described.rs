//! Described providers, as their own documentation describes them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{IdSource, MemoryStore, MessageIds, Scope};
use ackonce_webhook::{
    Algorithm, ConfigError, Custom, Encoding, Field, Handshake, IdBound, ReplyValue, Verified, VerifyError,
    Webhook,
};
use common::{NOW, Signed, hmac_sha256};
use http::Response;

const SECRET: &str = "s3cret";

fn first_of(sources: impl IntoIterator<Item = IdSource>) -> MessageIds {
    MessageIds::first_of(sources)
}

fn header(name: &str) -> IdSource {
    IdSource::Header(name.into())
}

fn custom(ids: MessageIds) -> Custom {
    Custom::new("custom", "x-signature", [SECRET], Algorithm::HmacSha256, ids).unwrap()
}

/// A request whose signature is of this text.
fn signed(text: &str, headers: &[(&'static str, &str)], body: &str) -> Signed {
    let signature = hex::encode(hmac_sha256(SECRET.as_bytes(), &[text.as_bytes()]));
    Signed::new(&[headers, &[("x-signature", &signature)]].concat(), body)
}

fn handshake(request: &Signed, provider: &Custom) -> Response<bytes::Bytes> {
    match request.verify(provider).unwrap() {
        Verified::Handshake(answer) => answer,
        Verified::Events(events) => panic!("{events:?}"),
    }
}

/// The example of the documentation.
fn zoom(secrets: &[&str]) -> Custom {
    let ids = first_of([IdSource::Payload]);
    Custom::new("zoom", "x-zm-signature", secrets.iter().copied(), Algorithm::HmacSha256, ids)
        .unwrap()
        .with_prefix("v0=")
        .with_signed("v0:{timestamp:x-zm-request-timestamp}:{body}")
        .unwrap()
        .with_handshake(Handshake::signed(Field::json("/event"), "endpoint.url_validation").json([
            ("plainToken", ReplyValue::echo(Field::json("/payload/plainToken"))),
            ("encryptedToken", ReplyValue::mac(Field::json("/payload/plainToken"))),
        ]))
        .unwrap()
        .with_kind(IdSource::Json("/event".into()))
}

fn from_zoom(secret: &str, body: &str) -> Signed {
    let now = NOW.to_string();
    let mac = hmac_sha256(secret.as_bytes(), &[b"v0:", now.as_bytes(), b":", body.as_bytes()]);
    let signature = format!("v0={}", hex::encode(mac));
    Signed::new(&[("x-zm-signature", &signature), ("x-zm-request-timestamp", &now)], body)
}

#[test]
fn all_that_happens_in_one_zoom_meeting_are_events_of_their_own() {
    let zoom = zoom(&["token"]);
    let participant = |name: &str| {
        format!(
            r#"{{"event":"meeting.participant_joined","event_ts":1626230691572,"payload":{{"object":{{"uuid":"czLF6FFFoQOKgAB99DlDb9g==","participant":{{"user_name":"{name}"}}}}}}}}"#
        )
    };
    let plain = |kind: &str| {
        format!(r#"{{"event":"{kind}","payload":{{"object":{{"uuid":"czLF6FFFoQOKgAB99DlDb9g=="}}}}}}"#)
    };
    let bodies = [
        plain("meeting.started"),
        participant("Ada"),
        participant("Grace"),
        plain("meeting.ended"),
        plain("recording.completed"),
    ];
    let ids: BTreeSet<_> =
        bodies.iter().map(|body| from_zoom("token", body).event(&zoom).id().clone()).collect();
    assert_eq!(ids.len(), bodies.len());
    let event = from_zoom("token", &bodies[0]).event(&zoom);
    assert_eq!((event.kind(), event.id_bound()), (Some("meeting.started"), IdBound::Signed));
    assert!(ids.contains(event.id()), "a repeat is the same event");
}

#[test]
fn zoom_accepts_the_address_of_the_example() {
    let zoom = zoom(&["new", "old"]);
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;
    for secret in ["new", "old"] {
        let answer = handshake(&from_zoom(secret, body), &zoom);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let json: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        let mac = hex::encode(hmac_sha256(secret.as_bytes(), &[b"qgg8vlvZRS6UYooatFL8Aw"]));
        assert_eq!(json, serde_json::json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": mac}));
    }
    assert_eq!(from_zoom("stranger", body).verify(&zoom).unwrap_err(), VerifyError::Signature);
    let without = r#"{"event":"endpoint.url_validation","payload":{}}"#;
    assert_eq!(from_zoom("new", without).verify(&zoom).unwrap_err().status(), 400);
}

#[test]
fn questions_of_other_providers() {
    let payload = || custom(first_of([IdSource::Payload]));
    let twitch = payload()
        .with_handshake(
            Handshake::signed(Field::header("twitch-type"), "verification").echo(Field::json("/challenge")),
        )
        .unwrap();
    let body = r#"{"challenge":"pogchamp"}"#;
    let answer = handshake(&signed(body, &[("twitch-type", "verification")], body), &twitch);
    assert_eq!(
        (answer.body().as_ref(), &answer.headers()["content-type"]),
        (&b"pogchamp"[..], &"text/plain; charset=utf-8".parse().unwrap())
    );
    assert_eq!(signed(body, &[("twitch-type", "notification")], body).event(&twitch).payload(), body);

    let discord = payload()
        .with_handshake(
            Handshake::signed(Field::json("/type"), "1").answer("application/json", "{\"type\":1}"),
        )
        .unwrap();
    let answer = handshake(&signed(r#"{"type":1}"#, &[], r#"{"type":1}"#), &discord);
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &br#"{"type":1}"#[..]));
    assert!(Signed::new(&[], r#"{"type":1}"#).verify(&discord).is_err(), "Discord tests that too");

    let meta = payload()
        .with_handshake(
            Handshake::with_token(Field::query("hub.verify_token"), "tok")
                .echo(Field::query("hub.challenge")),
        )
        .unwrap();
    let get = |query: &str| Signed::new(&[], "").to(&format!("/w?{query}"));
    let answer = handshake(&get("hub.mode=subscribe&hub.verify_token=tok&hub.challenge=115"), &meta);
    assert_eq!(answer.body().as_ref(), b"115");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    for stranger in
        ["hub.verify_token=to&hub.challenge=1", "hub.challenge=1", "hub.verify_token=&hub.challenge=1"]
    {
        assert_eq!(get(stranger).verify(&meta).unwrap_err().status(), 401, "{stranger}");
    }
    assert_eq!(get("hub.verify_token=tok").verify(&meta).unwrap_err().status(), 400, "without a challenge");
    let long = format!("hub.verify_token=tok&hub.challenge={}", "x".repeat(5000));
    assert_eq!(get(&long).verify(&meta).unwrap_err().status(), 400);

    let dropbox = payload()
        .with_handshake(Handshake::unsigned(Field::query("challenge")).echo(Field::query("challenge")))
        .unwrap();
    assert_eq!(handshake(&get("challenge=abc"), &dropbox).body().as_ref(), b"abc");
    let event = Signed::new(&[], "{}").to("/w?challenge=abc");
    assert_eq!(event.verify(&dropbox).unwrap_err().status(), 401, "what has a body has to be signed");
}

#[test]
fn a_question_that_would_sign_for_strangers_is_refused() {
    let ids = || first_of([IdSource::Payload]);
    let mac = |handshake: Handshake| handshake.json([("token", ReplyValue::mac(Field::query("crc_token")))]);
    for open in
        [Handshake::unsigned(Field::query("crc_token")), Handshake::with_token(Field::query("token"), "tok")]
    {
        let refused = custom(ids()).with_handshake(mac(open)).unwrap_err();
        assert!(refused.to_string().contains("strangers"), "{refused}");
    }
    let key = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let ed25519 = Custom::new("c", "x-signature", [key], Algorithm::Ed25519, ids()).unwrap();
    assert!(ed25519.with_handshake(mac(Handshake::signed(Field::json("/a"), "b"))).is_err());
    let empty = Handshake::with_token(Field::query("token"), "");
    assert!(matches!(custom(ids()).with_handshake(empty), Err(ConfigError::Secret { .. })));
}

#[test]
fn an_id_is_joined_of_several_places() {
    let of = |pointer: &str| IdSource::Json(pointer.into());
    let ids = first_of([IdSource::Joined(vec![of("/event"), of("/id"), of("/ts")]), IdSource::Payload]);
    let provider = custom(ids);
    let id = |body: &str| signed(body, &[], body).event(&provider).id().clone();
    assert_eq!(id(r#"{"event":"order.paid","id":7,"ts":17}"#), "order.paid:7:17");
    assert_ne!(id(r#"{"event":"a:b","id":"c","ts":1}"#), id(r#"{"event":"a","id":"b:c","ts":1}"#));
    assert_eq!(id(r#"{"event":"order.paid","id":7}"#).len(), 64, "one is missing: the next source");
}

#[test]
fn an_id_is_signed_only_where_the_scheme_signs_it() {
    let bound = |pattern: &str, ids: MessageIds, id: &str, text: &str| {
        let provider = custom(ids).with_signed(pattern).unwrap();
        let now = NOW.to_string();
        let text = text.replace("NOW", &now);
        signed(&text, &[("x-id", id), ("x-ts", &now)], "{\"id\":1}").event(&provider).id_bound()
    };
    let by_header = || first_of([header("X-Id")]);
    let body = "{\"id\":1}";
    for (pattern, text, expected) in [
        ("{body}", body.to_owned(), IdBound::Unsigned),
        ("{timestamp:x-ts}.{body}", format!("NOW.{body}"), IdBound::Unsigned),
        ("{header:x-id}.{body}", format!("m1.{body}"), IdBound::Signed),
        ("{header:x-id}.{timestamp:x-ts}.{body}", format!("m1.NOW.{body}"), IdBound::Signed),
        ("{timestamp:x-ts}.{header:x-id}.{body}", format!("NOW.m1.{body}"), IdBound::Signed),
        ("{body}.{header:x-id}", format!("{body}.m1"), IdBound::Signed),
        // Its end is not signed: `m1{` would be another ID for the same bytes.
        ("{header:x-id}{body}", format!("m1{body}"), IdBound::Unsigned),
        ("{timestamp:x-ts}{header:x-id}.{body}", format!("NOWm1.{body}"), IdBound::Unsigned),
        ("{header:x-id}{timestamp:x-ts}.{body}", format!("m1NOW.{body}"), IdBound::Unsigned),
    ] {
        assert_eq!(bound(pattern, by_header(), "m1", &text), expected, "{pattern}");
    }
    // The separator is in the value: `m` and `1.{"id":1}` would be signed as well.
    let dotted = bound("{header:x-id}.{body}", by_header(), "m.1", &format!("m.1.{body}"));
    assert_eq!(dotted, IdBound::Unsigned);
    let overlap = bound("{header:x-id}::{body}", by_header(), "m1:", &format!("m1:::{body}"));
    assert_eq!(overlap, IdBound::Unsigned);
    for (ids, expected) in [
        (first_of([IdSource::Json("/id".into())]), IdBound::Signed),
        (first_of([IdSource::Payload]), IdBound::Signed),
        (first_of([header("x-missing"), IdSource::Payload]), IdBound::Signed),
        (first_of([header("x-id"), IdSource::Payload]), IdBound::Unsigned),
        (first_of([IdSource::Joined(vec![IdSource::Payload, header("x-id")])]), IdBound::Unsigned),
    ] {
        assert_eq!(bound("{body}", ids.clone(), "m1", body), expected, "{ids:?}");
    }
}

#[tokio::test]
async fn a_description_that_would_refuse_every_request_is_refused_when_it_is_built() {
    let payload = || custom(first_of([IdSource::Payload]));
    let refused = payload().with_signed("{timestamp:t=}.{body}").unwrap_err().to_string();
    assert!(refused.contains("with_separator"), "{refused}");
    assert!(payload().with_separator(',').with_signed("{timestamp:t=}.{body}").is_ok());
    let build = |custom: Custom| {
        Webhook::new(custom, &Scope::new("s").unwrap(), Arc::new(MemoryStore::new())).layer().map(|_| ())
    };
    assert!(build(payload().with_separator(',')).is_ok());
    for (custom, named) in [
        (payload().with_separator('a'), "with_separator"),
        (payload().with_encoding(Encoding::Base64).with_separator('='), "with_separator"),
        (payload().with_prefix("v1=").with_separator('='), "with_separator"),
        (payload().with_tolerance(Duration::from_secs(60)), "Custom::with_tolerance"),
        (custom(first_of([])), "ids"),
        (custom(first_of([header("no header")])), "ids"),
        (custom(first_of([IdSource::Key])), "ids"),
        (custom(first_of([IdSource::Json("id".into())])), "ids"),
        (custom(first_of([IdSource::Joined(vec![IdSource::Coordinates])])), "ids"),
    ] {
        let refused = build(custom).unwrap_err().to_string();
        assert!(refused.contains(named), "{refused}");
    }
    let terms = payload().with_max_body(7).with_kept_answer(8).with_answer_within(Duration::from_secs(9));
    let terms = ackonce_webhook::Provider::terms(&terms);
    assert_eq!((terms.max_body, terms.kept_answer, terms.answer_within.as_secs()), (7, 8, 9));
}
