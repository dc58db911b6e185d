//! Each provider's own: the ID of an event, its namespace, and refused requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use ackonce::{IdSource, MessageIds};
use ackonce_webhook::{
    Adyen, Algorithm, ConfigError, Custom, Encoding, GitHub, IdBound, Identity, Paddle, Secret, Shopify,
    ShopifyId, Slack, Square, StandardWebhooks, Stripe, Twilio, Verified, VerifyError,
};
use common::{NOW, Signed, hmac_sha1, hmac_sha256};

const SECRET: &str = "whsec_test";

fn stripe_id(stripe: &Stripe, body: &str) -> (String, Vec<String>) {
    let event = Signed::stripe(SECRET, body).event(stripe);
    (String::from_utf8(event.id().to_vec()).unwrap(), event.scope().to_vec())
}

#[test]
fn stripe_snapshot_thin_and_connect_events() {
    let stripe = Stripe::new([SECRET]).unwrap();
    let snapshot = r#"{"id":"evt_1","object":"event","type":"invoice.paid","account":null,"data":{"object":{"id":"in_1"}}}"#;
    assert_eq!(stripe_id(&stripe, snapshot), ("evt_1".into(), vec![]));
    let connect = r#"{"id":"evt_1","type":"invoice.paid","account":"acct_9"}"#;
    assert_eq!(stripe_id(&stripe, connect), ("evt_1".into(), vec!["acct_9".into()]));
    let thin =
        r#"{"id":"evt_2","object":"v2.core.event","created":"2025-11-24T16:00:00.000Z","context":"acct_7"}"#;
    assert_eq!(stripe_id(&stripe, thin), ("evt_2".into(), vec!["acct_7".into()]));
}

#[test]
fn stripe_events_of_one_change_are_one_where_asked() {
    let stripe = Stripe::new([SECRET]).unwrap().once_per_object(["invoice.paid", "v1.meter.error"]);
    for (body, id) in [
        (r#"{"id":"evt_1","type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#, "invoice.paid:in_1"),
        (r#"{"id":"evt_2","type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#, "invoice.paid:in_1"),
        (r#"{"id":"evt_3","type":"v1.meter.error","related_object":{"id":"mtr_1"}}"#, "v1.meter.error:mtr_1"),
        (r#"{"id":"evt_4","type":"customer.updated","data":{"object":{"id":"cus_1"}}}"#, "evt_4"),
    ] {
        assert_eq!(stripe_id(&stripe, body).0, id);
    }
    let nothing = Signed::stripe(SECRET, r#"{"id":"evt_5","type":"invoice.paid","data":{"object":{}}}"#);
    assert!(matches!(nothing.verify(&stripe), Err(VerifyError::Id(_))));
}

#[test]
fn a_signed_body_that_cannot_be_told_apart_is_refused() {
    let stripe = Stripe::new([SECRET]).unwrap();
    for body in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"id":""}"#,
        r#"{"id":7}"#,
        r#"{"id":"a","id":"b"}"#,
        "{\"id\":\"a\"",
        "\u{feff}{}",
    ] {
        let refused = Signed::stripe(SECRET, body).verify(&stripe).unwrap_err();
        assert_eq!(refused.status(), 400, "{body}: {refused}");
    }
}

#[test]
fn signatures_are_counted_and_their_form_is_exact() {
    let stripe = Stripe::new([SECRET]).unwrap();
    let body = r#"{"id":"evt_1"}"#;
    let good = hmac_sha256(SECRET.as_bytes(), &[NOW.to_string().as_bytes(), b".", body.as_bytes()]);
    let good = hex::encode(good);
    let (wrong, now) = ("0".repeat(64), NOW);
    let header = |text: String| Signed::new(&[("stripe-signature", &text)], body).verify(&stripe);
    let many = |n: usize| vec![format!("v1={wrong}"); n].join(",");
    for before in [1, 8, 40] {
        assert!(header(format!("t={now},{},v1={good}", many(before))).is_ok(), "behind {before} others");
    }
    assert_eq!(header(format!("t={now},{}", many(40))).unwrap_err(), VerifyError::Signature);
    assert!(header(format!("t={now},v1={}", good.to_uppercase())).is_ok(), "the same bytes");
    assert!(header(format!("t={now}, v1={good}")).is_ok(), "a space after the comma");
    for (bad, status) in [
        (format!("t={now},v1={good}="), 401),
        (format!("t={now},v0={good}"), 401),
        (format!("v1={good}"), 401),
        (format!("t={now},t={now},v1={good}"), 400),
        (format!("t=+{now},v1={good}"), 401),
        (format!("t=,v1={good}"), 401),
        (format!("t={now}"), 401),
        ("t".into(), 401),
        ("=".into(), 401),
    ] {
        assert_eq!(header(bad.clone()).unwrap_err().status(), status, "{bad}");
    }
    let signed_nonsense =
        Signed::stripe_at(SECRET, "99999999999999999999", body).verify(&stripe).unwrap_err();
    assert!(matches!(signed_nonsense, VerifyError::Malformed { .. }), "{signed_nonsense}");
}

#[test]
fn the_tolerance_is_symmetric_and_can_be_chosen() {
    let stripe = Stripe::new([SECRET]).unwrap();
    let patient = stripe.clone().with_tolerance(std::time::Duration::from_secs(3600));
    let at = |offset: i64| {
        let t = NOW.checked_add_signed(offset).unwrap().to_string();
        Signed::stripe_at(SECRET, &t, r#"{"id":"evt_1"}"#)
    };
    for inside in [-300, 0, 300] {
        assert!(at(inside).verify(&stripe).is_ok(), "{inside}");
    }
    assert!(matches!(at(-301).verify(&stripe), Err(VerifyError::Expired { .. })));
    assert!(matches!(at(301).verify(&stripe), Err(VerifyError::Early { .. })));
    assert!(at(-3600).verify(&patient).is_ok() && at(3600).verify(&patient).is_ok());
}

#[test]
fn the_slack_handshake_is_answered_only_if_signed() {
    let slack = Slack::new([SECRET]).unwrap();
    let body = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    match Signed::slack(SECRET, body).verify(&slack).unwrap() {
        Verified::Handshake(answer) => assert_eq!(answer.body(), "3eZbrw1aB"),
        Verified::Events(events) => panic!("{events:?}"),
    }
    assert_eq!(Signed::slack("another", body).verify(&slack).unwrap_err(), VerifyError::Signature);
    let event =
        Signed::slack(SECRET, r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#);
    let event = event.event(&slack);
    assert_eq!((event.id().as_ref(), event.kind()), (&b"Ev1"[..], Some("message")));
}

#[test]
fn ids_beside_the_signature_can_be_left_aside() {
    let body = r#"{"action":"opened"}"#;
    let signature = format!("sha256={}", hex::encode(hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()])));
    let delivery = |id, hook| {
        Signed::new(
            &[("x-hub-signature-256", &signature), ("x-github-delivery", id), ("x-github-hook-id", hook)],
            body,
        )
    };
    let github = GitHub::new([SECRET]).unwrap();
    let (one, two) = (delivery("d1", "h1").event(&github), delivery("d2", "h2").event(&github));
    assert!(one.id() != two.id() && one.scope() != two.scope());
    assert_eq!(one.id_bound(), IdBound::Unsigned);
    let signed = github.with_identity(Identity::Signed);
    let (one, two) = (delivery("d1", "h1").event(&signed), delivery("d2", "h2").event(&signed));
    assert_eq!((one.id(), one.scope()), (two.id(), two.scope()), "a captured request under another ID");
    assert_eq!(one.id_bound(), IdBound::Signed);
}

#[test]
fn shopify_by_delivery_or_by_event_within_its_topic() {
    use base64::Engine;
    let body = "{}";
    let signature = hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]);
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let request = Signed::new(
        &[
            ("x-shopify-hmac-sha256", &signature),
            ("x-shopify-webhook-id", "w1"),
            ("x-shopify-event-id", "e1"),
            ("x-shopify-topic", "orders/create"),
        ],
        body,
    );
    let shopify = Shopify::new([SECRET]).unwrap();
    let event = request.event(&shopify);
    assert_eq!((event.id().as_ref(), event.scope().len()), (&b"w1"[..], 0));
    let event = request.event(&shopify.with_id(ShopifyId::Event));
    assert_eq!((event.id().as_ref(), event.scope()), (&b"e1"[..], &["orders/create".to_owned()][..]));
}

#[test]
fn square_and_paddle_by_their_event() {
    use base64::Engine;
    let body = r#"{"event_id":"6a8f5f28","type":"payment.updated","notification_id":"n1"}"#;
    let signature = hmac_sha256(SECRET.as_bytes(), &[b"https://example.com/w", body.as_bytes()]);
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let request = Signed::new(&[("x-square-hmacsha256-signature", &signature)], body);
    let event = request.event(&Square::new([SECRET], "https://example.com/w").unwrap());
    assert_eq!((event.id().as_ref(), event.kind()), (&b"6a8f5f28"[..], Some("payment.updated")));
    let now = NOW.to_string();
    let signature = hex::encode(hmac_sha256(SECRET.as_bytes(), &[now.as_bytes(), b":", body.as_bytes()]));
    let request = Signed::new(&[("paddle-signature", &format!("ts={now};h1=00;h1={signature}"))], body);
    assert_eq!(request.event(&Paddle::new([SECRET]).unwrap()).id(), "6a8f5f28");
}

#[test]
fn twilio_forms_by_token_else_by_what_is_signed() {
    use base64::Engine;
    let url = "https://example.com/t";
    let body = "MessageStatus=sent&MessageSid=SM1&Tag=b&Tag=a&Tag=a";
    let signature =
        hmac_sha1(SECRET.as_bytes(), &[url.as_bytes(), b"MessageSidSM1MessageStatussentTagaTagb"]);
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let twilio = Twilio::new([SECRET], url).unwrap();
    let bare = Signed::new(&[("x-twilio-signature", &signature)], body);
    let token =
        Signed::new(&[("x-twilio-signature", &signature), ("i-twilio-idempotency-token", "tok")], body);
    assert_eq!(
        (token.event(&twilio).id().as_ref(), token.event(&twilio).id_bound()),
        (&b"tok"[..], IdBound::Unsigned)
    );
    let signed = twilio.clone().with_identity(Identity::Signed);
    assert_eq!(token.event(&signed).id(), bare.event(&signed).id());
    assert_eq!(bare.event(&twilio).id(), bare.event(&signed).id());
    assert_eq!(bare.event(&twilio).id_bound(), IdBound::Signed);
}

#[test]
fn twilio_json_is_many_events_whose_body_the_address_covers() {
    use base64::Engine;
    use sha2::Digest;
    let body = r#"[{"id":"EZ1","type":"com.twilio.sent"}, {"id":"EZ2"}]"#;
    let query = format!("bodySHA256={}", hex::encode(sha2::Sha256::digest(body)));
    let url = format!("https://example.com/t?{query}");
    let signature = hmac_sha1(SECRET.as_bytes(), &[url.as_bytes()]);
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let twilio = Twilio::new([SECRET], "https://example.com/t").unwrap();
    let request = |body| Signed::new(&[("x-twilio-signature", &signature)], body).to(&format!("/t?{query}"));
    let Verified::Events(events) = request(body).verify(&twilio).unwrap() else { panic!() };
    let ids: Vec<_> = events.iter().map(|event| (event.id().as_ref(), event.payload().len())).collect();
    assert_eq!(ids, [(&b"EZ1"[..], 37), (&b"EZ2"[..], 12)]);
    assert_eq!(request("[]").verify(&twilio).unwrap_err(), VerifyError::Signature);
}

#[test]
fn adyen_values_with_colons_verify() {
    let key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
    let adyen = Adyen::new([key]).unwrap();
    let event = Signed::adyen(key, &[("p1", "order:7")]).event(&adyen);
    assert_eq!(event.id(), "AUTHORISATION:p1:true");
    let none = Signed::new(&[], r#"{"live":"false","notificationItems":[]}"#).verify(&adyen).unwrap_err();
    assert_eq!(none.status(), 400);
}

#[test]
fn a_set_up_that_cannot_work_is_refused_by_name() {
    let none: [&str; 0] = [];
    assert!(matches!(Stripe::new(none), Err(ConfigError::NoSecret)));
    for empty in ["", " ", "\n"] {
        assert!(matches!(Stripe::new(["whsec_x", empty]), Err(ConfigError::Secret { index: 1, .. })));
        assert!(matches!(StandardWebhooks::new([empty]), Err(ConfigError::Secret { index: 0, .. })));
    }
    let short = StandardWebhooks::new(["whsec_c2hvcnQ="]).unwrap_err();
    assert_eq!(short.to_string(), "secret 0: it is not 24 to 64 bytes long");
    let private = StandardWebhooks::new([format!("whsk_{}", "A".repeat(86) + "==")]).unwrap_err();
    assert!(private.to_string().contains("private"), "{private}");
    assert!(Adyen::new(["not hex"]).is_err());
    assert!(Twilio::new(["t"], "https://example.com/t?x=1").is_err());
    let weak = hex::encode([0; 32]);
    let ids = || MessageIds::first_of([IdSource::Payload]);
    assert!(Custom::new("c", "x-sig", [weak], Algorithm::Ed25519, ids()).is_err());
    let custom = || Custom::new("c", "x-sig", ["s"], Algorithm::HmacSha256, ids()).unwrap();
    for pattern in [
        "",
        "{timestamp:t=}",
        "{body",
        "{bdoy}",
        "{body}{header:}",
        "{body}{timestamp:a b}",
        "{timestamp:t=}{timestamp:t=}{body}",
    ] {
        assert!(custom().with_signed(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let secret = "whsec_very_secret";
    let ids = MessageIds::first_of([IdSource::Payload]);
    let custom = Custom::new("c", "x-sig", [secret], Algorithm::HmacSha256, ids).unwrap();
    let shown = format!(
        "{:?}{:#?}{custom:?}{:?}{:?}",
        Secret::from(secret),
        Stripe::new([secret]).unwrap(),
        Slack::new([secret]).unwrap(),
        Twilio::new([secret], "https://example.com").unwrap(),
    );
    assert!(!shown.contains("very_secret"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", secret.as_bytes()[6..].to_vec())), "{shown}");
}

#[test]
fn hexadecimal_is_of_either_case_unless_told_otherwise() {
    let ids = MessageIds::first_of([IdSource::Payload]);
    let custom = Custom::new("c", "x-sig", ["s"], Algorithm::HmacSha256, ids).unwrap();
    let upper = hex::encode_upper(hmac_sha256(b"s", &[b"body"]));
    let request = Signed::new(&[("x-sig", &upper)], "body");
    assert!(request.verify(&custom).is_ok());
    let strict = custom.with_encoding(Encoding::HexUpper);
    assert!(request.verify(&strict).is_ok());
    let lower = Signed::new(&[("x-sig", &upper.to_lowercase())], "body");
    assert_eq!(lower.verify(&strict).unwrap_err(), VerifyError::Signature);
}
