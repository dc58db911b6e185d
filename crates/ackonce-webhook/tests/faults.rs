//! Faults of the presets, a test for each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::BTreeSet;

use ackonce_webhook::{
    Adyen, ConfigError, GitHub, IdBound, Identity, Paddle, Provider, Shopify, ShopifyId, Slack, Square,
    StandardWebhooks, Stripe, Svix, Twilio, Verified, VerifyError,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::{NOW, STANDARD_KEY, Signed, hmac_sha1, hmac_sha256};

const SECRET: &str = "whsec_test";
const ADYEN_KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

fn events(signed: &Signed, provider: &dyn Provider) -> Vec<ackonce_webhook::Event> {
    match signed.verify(provider).unwrap() {
        Verified::Events(events) => events,
        Verified::Handshake(answer) => panic!("{answer:?}"),
    }
}

fn id(signed: &Signed, provider: &dyn Provider) -> Bytes {
    signed.event(provider).id().clone()
}

/// An item with these values, and the signature of that text.
fn adyen_item(signed: &str, [psp, original, account, reference]: [&str; 4], code: &str) -> serde_json::Value {
    let key = hex::decode(ADYEN_KEY).unwrap();
    let hmac = STANDARD.encode(hmac_sha256(&key, &[signed.as_bytes()]));
    serde_json::json!({"NotificationRequestItem": {
        "pspReference": psp, "originalReference": original, "merchantAccountCode": account,
        "merchantReference": reference, "amount": {"value": 0, "currency": "EUR"}, "eventCode": code,
        "success": "true", "additionalData": {"hmacSignature": hmac},
    }})
}

fn adyen(items: &[serde_json::Value]) -> Signed {
    Signed::new(&[], serde_json::json!({"live": "false", "notificationItems": items}).to_string())
}

#[test]
fn a_report_of_adyen_with_colons_and_a_payment_beside_it_are_two_events() {
    let provider = Adyen::new([ADYEN_KEY]).unwrap();
    let report = |day: &str| {
        let psp = format!("threedsecure_authentication_report_{day}T00:00:00_2022-11-02T23:59:59.csv");
        let signed = format!("{psp}::Acct::0:EUR:REPORT_AVAILABLE:true");
        adyen_item(&signed, [&psp, "", "Acct", ""], "REPORT_AVAILABLE")
    };
    let payment = adyen_item(
        "9914073381342284::Acct:order:7:0:EUR:AUTHORISATION:true",
        ["9914073381342284", "", "Acct", "order:7"],
        "AUTHORISATION",
    );
    let both = events(&adyen(&[report("2022-11-01"), payment]), &provider);
    assert_eq!(both[1].id(), "AUTHORISATION:9914073381342284:true");
    assert_eq!(both[0].kind(), Some("REPORT_AVAILABLE"));
    let again = events(&adyen(&[report("2022-11-01"), report("2022-10-31")]), &provider);
    assert_eq!(again[0].id(), both[0].id());
    assert_ne!(again[0].id(), again[1].id());
}

#[test]
fn reports_of_two_merchant_accounts_that_share_a_name_are_two_events() {
    let provider = Adyen::new([ADYEN_KEY]).unwrap();
    let psp = "settlement_detail_report_batch_10.csv";
    let report = |account: &str| {
        let signed = format!("{psp}::{account}::0:EUR:REPORT_AVAILABLE:true");
        adyen_item(&signed, [psp, "", account, ""], "REPORT_AVAILABLE")
    };
    let both = events(&adyen(&[report("ShopNL"), report("ShopDE")]), &provider);
    assert_eq!((both[0].scope(), both[1].scope()), (&["ShopNL".to_owned()][..], &["ShopDE".to_owned()][..]));
    let again = events(&adyen(&[report("ShopNL")]), &provider);
    assert_eq!((again[0].scope(), again[0].id()), (both[0].scope(), both[0].id()));
}

#[test]
fn what_adyen_signed_is_one_event_in_whichever_way_it_is_cut() {
    let provider = Adyen::new([ADYEN_KEY]).unwrap();
    let ids = |signed: &str, readings: &[[&str; 4]]| -> BTreeSet<Bytes> {
        let items: Vec<_> = readings.iter().map(|values| adyen_item(signed, *values, "CAPTURE")).collect();
        events(&adyen(&items), &provider).iter().map(|event| event.id().clone()).collect()
    };
    let signed = "p1:o1:Acct:order:7:0:EUR:CAPTURE:true";
    let readings = [["p1", "o1", "Acct", "order:7"], ["p1:o1", "Acct", "order", "7"]];
    assert_eq!(ids(signed, &readings).len(), 1);
    let signed = "p1::Acct:order:7:0:EUR:CAPTURE:true";
    let readings =
        [["p1", "", "Acct", "order:7"], ["p1", "", "Acct:order", "7"], ["p1", ":Acct", "order", "7"]];
    assert!(ids(signed, &readings[..1]).contains(&b"CAPTURE:p1:true"[..]));
    let other = Signed::adyen(ADYEN_KEY, &[("p1", "a"), ("p:1", "b"), ("p:2", "b")]);
    let other: BTreeSet<_> = events(&other, &provider).iter().map(|event| event.id().clone()).collect();
    assert_eq!(other.len(), 3);
}

#[test]
fn slack_buttons_modals_and_shortcuts_are_identified_by_what_is_inside() {
    let slack = Slack::new([SECRET]).unwrap();
    let form = |json: &str| {
        let body: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("payload", json).finish();
        Signed::slack(SECRET, &body).event(&slack)
    };
    for kind in ["block_actions", "view_submission", "shortcut", "message_action"] {
        let event = form(&format!(r#"{{"type":"{kind}","trigger_id":"12.34.{kind}","token":"x"}}"#));
        assert_eq!((event.id().as_ref(), event.kind()), (format!("12.34.{kind}").as_bytes(), Some(kind)));
        let json: serde_json::Value = event.json().unwrap();
        assert_eq!(json["type"], kind, "Event::json reads what is inside");
    }
    let closed = form(r#"{"type":"view_closed","view":{"id":"V1"}}"#);
    assert_eq!(closed.id(), form(r#"{"type":"view_closed","view":{"id":"V1"}}"#).id());
    assert_ne!(closed.id(), form(r#"{"type":"view_closed","view":{"id":"V2"}}"#).id());
    let command = Signed::slack(SECRET, "command=%2Fdeploy&text=a&trigger_id=13.1").event(&slack);
    assert_eq!((command.id().as_ref(), command.kind()), (&b"13.1"[..], Some("/deploy")));
    for nothing in ["a=b", "payload=%7B%7D", "payload=no", ""] {
        assert_eq!(Signed::slack(SECRET, nothing).verify(&slack).unwrap_err().status(), 400, "{nothing}");
    }
}

#[test]
fn slack_rate_limits_have_no_id_and_repeats_are_recognised() {
    let slack = Slack::new([SECRET]).unwrap();
    let limited = |minute: u32| {
        format!(
            r#"{{"type":"app_rate_limited","team_id":"T1","minute_rate_limited":{minute},"api_app_id":"A1"}}"#
        )
    };
    let event = Signed::slack(SECRET, &limited(7)).event(&slack);
    assert_eq!(event.kind(), Some("app_rate_limited"));
    let later = Signed::slack_at(SECRET, &(NOW + 60).to_string(), &limited(7));
    assert_eq!(later.event(&slack).id(), event.id(), "signed anew");
    assert_ne!(Signed::slack(SECRET, &limited(8)).event(&slack).id(), event.id());
    let callback = Signed::slack(SECRET, r#"{"type":"event_callback"}"#);
    assert!(matches!(callback.verify(&slack), Err(VerifyError::Id(_))), "an event has one");
}

#[test]
fn slacks_check_of_tls_is_unsigned_and_never_an_event() {
    let slack = Slack::new([SECRET]).unwrap();
    let is_check = |request: Signed| matches!(request.verify(&slack), Ok(Verified::Handshake(_)));
    assert!(is_check(Signed::new(&[], "ssl_check=1&token=x")));
    assert!(is_check(Signed::new(&[], "token=x&ssl_check=1")));
    assert!(is_check(Signed::new(&[], "").to("/w?ssl_check=1")));
    for event in
        ["ssl_check=10", "ssl_check=0", "ssl_check=1&ssl_check=0", "text=ssl_check%3D1", "{\"ssl_check\":1}"]
    {
        assert_eq!(Signed::new(&[], event).verify(&slack).unwrap_err().status(), 401, "{event}");
    }
    assert!(!is_check(Signed::new(&[], "text=a").to("/w?ssl_check=1")), "it has a body");
}

#[test]
fn shopifys_newer_headers_are_a_family_of_their_own() {
    let shopify = Shopify::new([SECRET]).unwrap();
    let mac = STANDARD.encode(hmac_sha256(SECRET.as_bytes(), &[b"{}"]));
    let new = Signed::new(
        &[("shopify-hmac-sha256", &mac), ("shopify-webhook-id", "w1"), ("shopify-topic", "Product")],
        "{}",
    );
    let event = new.event(&shopify);
    assert_eq!((event.id().as_ref(), event.kind()), (&b"w1"[..], Some("Product")));
    assert_eq!(event.id_bound(), IdBound::Unsigned);
    let by_event = shopify.clone().with_id(ShopifyId::Event);
    assert_eq!(new.event(&by_event).id(), "w1", "these have no event ID");
    let mixed = Signed::new(&[("shopify-hmac-sha256", &mac), ("x-shopify-webhook-id", "w1")], "{}");
    assert_eq!(mixed.verify(&shopify).unwrap_err().status(), 400);
    let mixed = Signed::new(&[("shopify-hmac-sha256", "AAAA"), ("x-shopify-hmac-sha256", &mac)], "{}");
    assert_eq!(mixed.verify(&shopify).unwrap_err(), VerifyError::Signature, "the newer family decides");
}

fn twilio(signed_url: &str, fields: &str, headers: &[(&'static str, &str)], body: &str, uri: &str) -> Signed {
    let mac = STANDARD.encode(hmac_sha1(SECRET.as_bytes(), &[signed_url.as_bytes(), fields.as_bytes()]));
    Signed::new(&[headers, &[("x-twilio-signature", &mac)]].concat(), body).to(uri)
}

#[test]
fn twilio_signs_with_and_without_the_port_and_without_the_password() {
    let request = |url: &str| twilio(url, "CallSidCA1", &[], "CallSid=CA1", "/v");
    for (configured, signed) in [
        ("https://h.example:8443/v", vec!["https://h.example:8443/v", "https://h.example/v"]),
        ("https://h.example/v", vec!["https://h.example/v", "https://h.example:443/v"]),
        ("http://h.example/v", vec!["http://h.example:80/v"]),
        (
            "https://user:p@ss@h.example/v",
            vec!["https://h.example/v", "https://h.example:443/v", "https://user:p@ss@h.example/v"],
        ),
        ("https://u:p@h.example:8443/v", vec!["https://h.example:8443/v", "https://h.example/v"]),
        ("https://[::1]/v", vec!["https://[::1]/v", "https://[::1]:443/v"]),
        ("https://h.example", vec!["https://h.example", "https://h.example:443"]),
    ] {
        let twilio = Twilio::new([SECRET], configured).unwrap();
        let ids: BTreeSet<_> = signed.iter().map(|url| id(&request(url), &twilio)).collect();
        assert_eq!(ids.len(), 1, "{configured}: one event, however it is signed");
        for other in ["https://h.example:444/v", "https://other.example/v", "http://h.example:443/v"] {
            assert_eq!(
                request(other).verify(&twilio).unwrap_err(),
                VerifyError::Signature,
                "{configured} {other}"
            );
        }
    }
    for none in ["h.example/v", "ftp://h.example/", "https://", "https:///v"] {
        assert!(Twilio::new([SECRET], none).is_err(), "{none}");
    }
}

#[test]
fn twilio_events_without_a_token_are_told_apart_by_all_that_is_signed() {
    let provider = Twilio::new([SECRET], "https://h/t").unwrap();
    let request = |fields: &[(&str, &str)]| {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut sorted = fields.to_vec();
        sorted.sort_unstable();
        let signed: String = sorted.iter().flat_map(|(name, value)| [*name, *value]).collect();
        twilio("https://h/t", &signed, &[], &body, "/t")
    };
    let all = [
        request(&[("CallSid", "CA1"), ("RecordingSid", "RE1"), ("RecordingStatus", "in-progress")]),
        request(&[("CallSid", "CA1"), ("RecordingSid", "RE1"), ("RecordingStatus", "completed")]),
        request(&[("CallSid", "CA1"), ("RecordingSid", "RE2"), ("RecordingStatus", "completed")]),
        request(&[("CallSid", "CA1"), ("CallStatus", "in-progress"), ("Digits", "1")]),
        request(&[("CallSid", "CA1"), ("CallStatus", "in-progress"), ("Digits", "2")]),
        request(&[("MessageSid", "IM1"), ("EventType", "onMessageAdded")]),
        request(&[("MessageSid", "IM1"), ("EventType", "onMessageUpdated")]),
        request(&[("SmsSid", "SM1"), ("SmsStatus", "sent")]),
        request(&[("SmsSid", "SM1"), ("SmsStatus", "delivered")]),
        request(&[("TaskSid", "WT1")]),
    ];
    let ids: BTreeSet<_> = all.iter().map(|request| id(request, &provider)).collect();
    assert_eq!(ids.len(), all.len());
    let get = twilio("https://h/t?CallSid=CA1&Digits=1", "", &[], "", "/t?CallSid=CA1&Digits=1");
    let event = get.event(&provider);
    assert_eq!((event.payload().as_ref(), event.id_bound()), (&b"CallSid=CA1&Digits=1"[..], IdBound::Signed));
}

#[test]
fn twilio_json_that_is_no_cloud_event_is_an_event() {
    use sha2::Digest;
    let provider = Twilio::new([SECRET], "https://h/t").unwrap();
    let json = |body: &str, headers: &[(&'static str, &str)]| {
        let query = format!("bodySHA256={}", hex::encode_upper(sha2::Sha256::digest(body)));
        twilio(&format!("https://h/t?{query}"), "", headers, body, &format!("/t?{query}"))
    };
    let body = r#"{"CallSid":"CA1","Caller":"+1"}"#;
    let bare = id(&json(body, &[]), &provider);
    assert_ne!(bare, id(&json(r#"{"CallSid":"CA2"}"#, &[]), &provider));
    let token = [("i-twilio-idempotency-token", "tok")];
    assert_eq!(id(&json(body, &token), &provider), "tok");
    let signed = provider.clone().with_identity(Identity::Signed);
    assert_eq!(id(&json(body, &token), &signed), bare);
    let batch =
        events(&json(r#"[{"id":"EZ1"},{"type":"x"},{"id":""},"text",{"id":"EZ2"}]"#, &token), &provider);
    let ids: BTreeSet<_> = batch.iter().map(|event| event.id().clone()).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    assert!(ids.contains(&b"EZ1"[..]) && ids.contains(&b"EZ2"[..]));
}

#[test]
fn standard_webhooks_of_svix_are_read_by_the_standard_preset() {
    let signed = Signed::standard("msg_1", &NOW.to_string(), "{}");
    let value = |name: &str| signed.headers[name].to_str().unwrap().to_owned();
    let (timestamp, signature) = (value("webhook-timestamp"), value("webhook-signature"));
    let svix = Signed::new(
        &[("svix-id", "msg_1"), ("svix-timestamp", &timestamp), ("svix-signature", &signature)],
        "{}",
    );
    let standard = StandardWebhooks::new([STANDARD_KEY]).unwrap();
    for provider in [&standard as &dyn Provider, &Svix::new([STANDARD_KEY]).unwrap()] {
        assert_eq!(id(&svix, provider), "msg_1");
        assert_eq!(id(&signed, provider), "msg_1");
    }
    let mixed = Signed::new(
        &[("svix-id", "msg_1"), ("webhook-timestamp", &timestamp), ("svix-signature", &signature)],
        "{}",
    );
    assert_eq!(mixed.verify(&standard).unwrap_err().status(), 401, "one family, never a mixture");
    assert_eq!(signed.event(&standard).id_bound(), IdBound::Signed);
    let dotted = Signed::standard("msg.1", &NOW.to_string(), "{}").event(&standard);
    assert_eq!(dotted.id_bound(), IdBound::Unsigned, "it could be cut at the dot");
}

#[test]
fn signatures_are_of_either_case_and_of_any_number() {
    let now = NOW.to_string();
    let body = r#"{"event_id":"e1"}"#;
    let upper = hex::encode_upper(hmac_sha256(SECRET.as_bytes(), &[now.as_bytes(), b":", body.as_bytes()]));
    let many = vec!["h1=00"; 20].join(";");
    let paddle = Signed::new(&[("paddle-signature", &format!("ts={now};{many};h1={upper}"))], body);
    assert_eq!(id(&paddle, &Paddle::new([SECRET]).unwrap()), "e1");
    let upper = hex::encode_upper(hmac_sha256(SECRET.as_bytes(), &[body.as_bytes()]));
    let github = Signed::new(
        &[("x-hub-signature-256", &format!("sha256={upper}")), ("x-github-delivery", "d1")],
        body,
    );
    assert_eq!(id(&github, &GitHub::new([SECRET]).unwrap()), "d1");
    let mut standard = Signed::standard("msg_1", &now, "{}");
    let good = standard.headers["webhook-signature"].to_str().unwrap().to_owned();
    let nobody = STANDARD.encode([7; 64]);
    let all = format!("{} {good}", vec![format!("v1a,{nobody}"); 20].join(" "));
    standard.headers.insert("webhook-signature", all.parse().unwrap());
    let keys = [STANDARD_KEY, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="];
    assert_eq!(id(&standard, &StandardWebhooks::new(keys).unwrap()), "msg_1");
}

#[test]
fn json_that_is_not_utf8_is_400_behind_a_good_signature() {
    let body: &[u8] = b"{\"id\":\"evt_1\",\"event_id\":\"e1\",\"note\":\"\xff\xfe\"}";
    let now = NOW.to_string();
    let sign = |parts: &[&[u8]]| hmac_sha256(SECRET.as_bytes(), parts);
    let stripe = hex::encode(sign(&[now.as_bytes(), b".", body]));
    let stripe = Signed::new(&[("stripe-signature", &format!("t={now},v1={stripe}"))], body);
    let paddle = hex::encode(sign(&[now.as_bytes(), b":", body]));
    let paddle = Signed::new(&[("paddle-signature", &format!("ts={now};h1={paddle}"))], body);
    let square = STANDARD.encode(sign(&[b"https://h", body]));
    let square = Signed::new(&[("x-square-hmacsha256-signature", &square)], body);
    let slack = format!("v0={}", hex::encode(sign(&[b"v0:", now.as_bytes(), b":", body])));
    let slack = Signed::new(&[("x-slack-signature", &slack), ("x-slack-request-timestamp", &now)], body);
    for (request, provider) in [
        (stripe, &Stripe::new([SECRET]).unwrap() as &dyn Provider),
        (paddle, &Paddle::new([SECRET]).unwrap()),
        (square, &Square::new([SECRET], "https://h").unwrap()),
        (slack, &Slack::new([SECRET]).unwrap()),
        (Signed::new(&[], b"{\"x\":\"\xff\",\"notificationItems\":[]}"), &Adyen::new(["00ff"]).unwrap()),
    ] {
        let refused = request.verify(provider).unwrap_err();
        assert_eq!(refused.to_string(), "malformed body: it is not UTF-8", "{}", provider.name());
        assert_eq!(refused.status(), 400);
    }
}

#[test]
fn a_secret_with_more_around_it_is_refused_by_name() {
    let faults = [
        "whsec_a\n",
        "whsec_a\r\n",
        " whsec_a",
        "whsec_a\t",
        "\u{feff}whsec_a",
        "whsec_a\u{a0}",
        "whsec_a\u{200b}",
        "\u{2060}whsec_a",
        "\u{201c}whsec_a\u{201d}",
        "`whsec_a`",
        "\"whsec_a\"",
        "'whsec_a'",
        "whsec_a\nwhsec_b",
    ];
    for fault in faults {
        for built in [
            Stripe::new(["whsec_good", fault]).map(|_| ()),
            GitHub::new(["whsec_good", fault]).map(|_| ()),
            Slack::new(["whsec_good", fault]).map(|_| ()),
            Shopify::new(["whsec_good", fault]).map(|_| ()),
            Square::new(["whsec_good", fault], "https://h").map(|_| ()),
            Paddle::new(["whsec_good", fault]).map(|_| ()),
            Twilio::new(["whsec_good", fault], "https://h").map(|_| ()),
        ] {
            let Err(ConfigError::Secret { index: 1, why }) = built else { panic!("{fault:?}: {built:?}") };
            assert!(!why.contains("whsec"), "{why}");
        }
    }
    assert!(Stripe::new(["whsec_a\n"]).unwrap_err().to_string().contains("white space"));
    let inside = ["It's a Secret to Everybody", "a\"b", "'"];
    assert!(GitHub::new(inside).is_ok());
    assert!(GitHub::new([vec![0xff, 0x20, 0x80, 0x0a]]).is_ok(), "bytes that are no text may be anything");
}

#[test]
fn a_github_hook_of_content_type_form_is_read_as_json() {
    let github = GitHub::new([SECRET]).unwrap();
    let form = "payload=%7B%22zen%22%3A%22a%2Bb+c%22%7D";
    let event = Signed::github(SECRET, "d1", form).event(&github);
    assert_eq!(event.json::<serde_json::Value>().unwrap()["zen"], "a+b c");
    assert_eq!(event.payload(), form, "what was signed is passed on as it came");
    let json = Signed::github(SECRET, "d2", r#"{"zen":"a"}"#).event(&github);
    assert_eq!(json.json::<serde_json::Value>().unwrap()["zen"], "a");
    let twice = Signed::github(SECRET, "d3", "payload=%7B%7D&payload=%5B%5D").event(&github);
    assert!(twice.json::<serde_json::Value>().is_err());
}
