//! Published and recomputed signatures of every scheme, byte for byte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::time::{Duration, UNIX_EPOCH};

use ackonce::{IdSource, MessageIds};
use ackonce_webhook::{
    Adyen, Algorithm, Custom, Event, GitHub, Identity, Paddle, Provider, RawRequest, Shopify, Slack, Square,
    StandardWebhooks, Stripe, Svix, Twilio, Verified, VerifyError,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use sha2::Digest;

type Headers<'a> = &'a [(&'static str, &'a str)];

fn verify(
    provider: &dyn Provider,
    now: u64,
    uri: &str,
    headers: Headers<'_>,
    body: &[u8],
) -> Result<Vec<Event>, VerifyError> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let body = Bytes::copy_from_slice(body);
    let now = UNIX_EPOCH + Duration::from_secs(now);
    match provider.verify(&RawRequest { headers: &headers, body: &body, uri: &uri.parse().unwrap(), now })? {
        Verified::Events(events) => Ok(events),
        Verified::Handshake(answer) => panic!("a handshake: {answer:?}"),
    }
}

/// The schemes alone, with any body: events are identified by their payload.
fn by_payload(name: &str, header: &str, secret: &str, prefix: &str) -> Custom {
    let ids = MessageIds::first_of([IdSource::Payload]);
    Custom::new(name, header, [secret], Algorithm::HmacSha256, ids).unwrap().with_prefix(prefix)
}

fn accepts(provider: &dyn Provider, now: u64, headers: Headers<'_>, body: &[u8]) {
    let events = verify(provider, now, "/", headers, body).unwrap();
    assert_eq!(events.len(), 1, "{provider:?}");
    let mut changed = body.to_vec();
    changed.push(b' ');
    let refused = verify(provider, now, "/", headers, &changed);
    assert_eq!(refused.unwrap_err(), VerifyError::Signature, "{provider:?}");
}

const NOT_UTF8: &[u8] = b"\xff\xfe\x00{}";
const STRIPE_BODY: &[u8] = br#"{"id":"evt_test_webhook","object":"event"}"#;

#[test]
fn stripe() {
    let scheme = |secret| {
        by_payload("stripe", "stripe-signature", secret, "v1=")
            .with_separator(',')
            .with_signed("{timestamp:t=}.{body}")
            .unwrap()
    };
    let vectors: &[(&str, &[u8], &str)] = &[
        (
            "whsec_test_secret",
            STRIPE_BODY,
            "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990",
        ),
        ("whsec_old_secret", STRIPE_BODY, "e016b64cc4263f90e0336f3975e8d4ac9cc185935edc3ebdd405db64ad0bb1c5"),
        ("whsec_test_secret", b"", "316b9ab98c15bfa039d243f3196acee619cf29749a91a634e6a8154e2f7b6727"),
        (
            "whsec_test_secret",
            "héllo, 🦀 world!".as_bytes(),
            "30d79a01345bc49a3460f5c4c0323dd4a6f8efd5828440954d17fda456e43da5",
        ),
        ("whsec_test_secret", NOT_UTF8, "c544d61b513152cd6eb9eed33069263cc20f47e78889bc5073e2757daa23f78d"),
    ];
    for (secret, body, signature) in vectors {
        let header = format!("t=1700000000,v1={signature},v0=00");
        accepts(&scheme(secret), 1_700_000_000, &[("stripe-signature", &header)], body);
        // The preset verifies the same bytes, and then misses an event in those that are none.
        let preset = Stripe::new([*secret]).unwrap();
        match verify(&preset, 1_700_000_000, "/", &[("stripe-signature", &header)], body) {
            Ok(events) => assert_eq!(events[0].id(), "evt_test_webhook"),
            Err(refused) => assert!(matches!(refused, VerifyError::Malformed { .. }), "{refused}"),
        }
    }
}

#[test]
fn stripe_in_rotation_says_which_secret_matched() {
    let rotation = Stripe::new(["whsec_test_secret", "whsec_old_secret"]).unwrap();
    for (secret, signature) in [
        (0, "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990"),
        (1, "e016b64cc4263f90e0336f3975e8d4ac9cc185935edc3ebdd405db64ad0bb1c5"),
    ] {
        let header = format!("t=1700000000,v1={},v1={signature}", "0".repeat(64));
        let events =
            verify(&rotation, 1_700_000_300, "/", &[("stripe-signature", &header)], STRIPE_BODY).unwrap();
        assert_eq!(events[0].secret(), secret);
        assert_eq!(events[0].timestamp(), Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    }
}

const MSG: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const V1A: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

#[test]
fn standard_webhooks_and_svix() {
    let email = r#"{"email":"test@example.com","username":"test_user"}"#.as_bytes();
    let test = r#"{"test": 2432232314}"#.as_bytes();
    let vectors: &[(&str, &str, &str, &[u8], &str)] = &[
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            "1649367553",
            email,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (STANDARD_KEY, MSG, "1614265330", test, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        (STANDARD_KEY, MSG, "1614265330", NOT_UTF8, "v1,AqSnxDws4x8cqJTgpKdp36Jm+tbqOjwdFeJ56KmWvhU="),
        (STANDARD_KEY, MSG, "1614265330", b"", "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="),
        (PUBLIC_KEY, MSG, "1614265330", test, V1A),
    ];
    for (secret, id, timestamp, body, signature) in vectors {
        let header = format!("v1,AAAA v2,BBBB {signature}");
        let now = timestamp.parse().unwrap();
        let standard =
            [("webhook-id", *id), ("webhook-timestamp", *timestamp), ("webhook-signature", &header)];
        let svix = [("svix-id", *id), ("svix-timestamp", *timestamp), ("svix-signature", &header)];
        accepts(&StandardWebhooks::new([*secret]).unwrap(), now, &standard, body);
        accepts(&Svix::new([*secret]).unwrap(), now, &standard, body);
        accepts(&Svix::new([*secret]).unwrap(), now, &svix, body);
    }
    let both = StandardWebhooks::new([STANDARD_KEY, PUBLIC_KEY]).unwrap();
    let headers = [("webhook-id", MSG), ("webhook-timestamp", "1614265330"), ("webhook-signature", V1A)];
    let events = verify(&both, 1_614_265_330, "/", &headers, test).unwrap();
    assert_eq!((events[0].id().as_ref(), events[0].secret()), (MSG.as_bytes(), 1));
}

#[test]
fn a_signature_of_one_version_is_none_of_another() {
    // The public key is known to all: as the key of an HMAC it would let everybody sign.
    let public = StandardWebhooks::new([PUBLIC_KEY]).unwrap();
    let body = r#"{"test": 2432232314}"#.as_bytes();
    let as_v1 = V1A.replace("v1a,", "v1,");
    let headers =
        [("webhook-id", MSG), ("webhook-timestamp", "1614265330"), ("webhook-signature", as_v1.as_str())];
    assert_eq!(verify(&public, 1_614_265_330, "/", &headers, body).unwrap_err(), VerifyError::Signature);
}

const GITHUB_SECRET: &str = "It's a Secret to Everybody";

#[test]
fn github_and_shopify() {
    let vectors: &[(&[u8], &str)] = &[
        (b"Hello, World!", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        (b"", "66a0c074deaa0f489ead6537e0d32f9a344b90bbeda705b6ed45ecd3b413fb40"),
        (NOT_UTF8, "dd669c752b0e3119d76d90a5270c4e9444527fbde236db3d9d2c9e1429a5d7c5"),
    ];
    let github = GitHub::new([GITHUB_SECRET]).unwrap();
    for (body, signature) in vectors {
        let signature = format!("sha256={signature}");
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-hub-signature", "sha1=00"),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-github-hook-id", "292430182"),
        ];
        accepts(&github, 0, &headers, body);
        let events = verify(&github, 0, "/", &headers, body).unwrap();
        assert_eq!(events[0].id(), "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        assert_eq!(events[0].scope(), ["292430182"]);
        let signed = github.clone().with_identity(Identity::Signed);
        assert_eq!(verify(&signed, 0, "/", &headers[..1], body).unwrap()[0].id().len(), 64);
    }
    let headers = [
        ("x-shopify-hmac-sha256", "dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc="),
        ("x-shopify-webhook-id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    ];
    accepts(&Shopify::new([GITHUB_SECRET]).unwrap(), 0, &headers, b"Hello, World!");
}

#[test]
fn slack() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [
        ("x-slack-request-timestamp", "1531420618"),
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    ];
    let slack = Slack::new(["8f742231b10e8888abcd99yyyzzz85a5"]).unwrap();
    accepts(&slack, 1_531_420_618, &headers, body.as_bytes());
    let events = verify(&slack, 1_531_420_618, "/", &headers, body.as_bytes()).unwrap();
    assert_eq!(events[0].id(), "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c");
}

#[test]
fn twilio() {
    let body =
        "CallSid=CA1234567890ABCDE&To=%2B18005551212&From=%2B14158675310&Caller=%2B14158675310&Digits=1234";
    let twilio = Twilio::new(["12345"], "https://example.com/myapp.php").unwrap();
    let headers = [("x-twilio-signature", "L/OH5YylLD5NRKLltdqwSvS0BnU=")];
    let verify = |uri: &str, body: &str| verify(&twilio, 0, uri, &headers, body.as_bytes());
    let events = verify("/behind/a/proxy?foo=1&bar=2", body).unwrap();
    let all = "https://example.com/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDECaller+14158675310Digits1234\
        From+14158675310To+18005551212";
    assert_eq!(events[0].id(), &hex::encode(sha2::Sha256::digest(all)), "without a token, what is signed");
    assert_eq!(verify("/?foo=1", body).unwrap_err(), VerifyError::Signature);
    assert_eq!(
        verify("/?foo=1&bar=2", &body.replace("Digits=1234", "Digits=1")),
        Err(VerifyError::Signature)
    );
}

#[test]
fn square() {
    let square = Custom::new(
        "square",
        "x-square-hmacsha256-signature",
        ["asdf1234"],
        Algorithm::HmacSha256,
        MessageIds::first_of([IdSource::Payload]),
    );
    let square = square
        .unwrap()
        .with_encoding(ackonce_webhook::Encoding::Base64)
        .with_signed("https://example.com/webhook{body}")
        .unwrap();
    let headers = [("x-square-hmacsha256-signature", "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=")];
    accepts(&square, 0, &headers, br#"{"hello":"world"}"#);
    // The preset gets as far as the event's name, which that body does not have.
    let preset = Square::new(["asdf1234"], "https://example.com/webhook").unwrap();
    let refused = verify(&preset, 0, "/", &headers, br#"{"hello":"world"}"#).unwrap_err();
    assert!(matches!(refused, VerifyError::Id(_)), "{refused}");
    let elsewhere = Square::new(["asdf1234"], "https://example.org/webhook").unwrap();
    assert_eq!(verify(&elsewhere, 0, "/", &headers, br#"{"hello":"world"}"#), Err(VerifyError::Signature));
}

#[test]
fn paddle() {
    let signature = "ts=1671552777;h1=9a62cc502557c2fe7a0d0a6a9d5bd0ae459e6c77d367478d8e845c6450c71b9d";
    let paddle = Paddle::new(["pdl_ntfset_test"]).unwrap();
    accepts(&paddle, 1_671_552_777, &[("paddle-signature", signature)], br#"{"event_id":"evt_1"}"#);
}

#[test]
fn adyen() {
    let item = |psp: &str,
                original: &str,
                account: &str,
                reference: &str,
                value: u32,
                code: &str,
                hmac: &str| {
        format!(
            r#"{{"live":"false","notificationItems":[{{"NotificationRequestItem":{{"pspReference":"{psp}",
            "originalReference":"{original}","merchantAccountCode":"{account}","merchantReference":"{reference}",
            "amount":{{"value":{value},"currency":"EUR"}},"eventCode":"{code}","success":"true",
            "additionalData":{{"hmacSignature":"{hmac}"}}}}}}]}}"#
        )
    };
    let vectors = [
        (
            "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
            item(
                "7914073381342284",
                "",
                "TestMerchant",
                "TestPayment-1407325143704",
                1130,
                "AUTHORISATION",
                "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=",
            ),
            "AUTHORISATION:7914073381342284:true",
        ),
        (
            "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
            item(
                "pspReference",
                "originalReference",
                "merchantAccount",
                "reference",
                1000,
                "CAPTURE",
                "xhpHvYq2u2Np0rstbZ6QjLGu7JWhvf7Iwaa6EviJSX0=",
            ),
            "CAPTURE:pspReference:true",
        ),
    ];
    for (key, body, id) in vectors {
        let adyen = Adyen::new([key]).unwrap();
        let events = verify(&adyen, 0, "/", &[], body.as_bytes()).unwrap();
        assert_eq!(events[0].id(), id);
        assert!(events[0].payload().starts_with(br#"{"pspReference""#), "the item, as it came");
        let more = body.replace("\"value\":1", "\"value\":9");
        assert_eq!(verify(&adyen, 0, "/", &[], more.as_bytes()), Err(VerifyError::Signature));
        // One forged item spoils the whole request.
        let both = body.replace("]}", &format!(",{}]}}", &more[more.find('[').unwrap() + 1..more.len() - 2]));
        assert_eq!(verify(&adyen, 0, "/", &[], both.as_bytes()), Err(VerifyError::Signature));
    }
}

#[test]
fn described_zoom_and_linear() {
    let zoom = by_payload("zoom", "x-zm-signature", "zoom_webhook_secret", "v0=")
        .with_signed("v0:{timestamp:x-zm-request-timestamp}:{body}")
        .unwrap();
    let headers = [
        ("x-zm-request-timestamp", "1739923528"),
        ("x-zm-signature", "v0=71276689c37d865ee24535dab72c05883e9d083978e8d3161202634051b15404"),
    ];
    let body = r#"{"event":"meeting.started","event_ts":1626230691572}"#;
    accepts(&zoom, 1_739_923_528, &headers, body.as_bytes());
    let linear = by_payload("linear", "linear-signature", "test_secret_key", "");
    let headers = [("linear-signature", "d6fe7d87e27be0fa47a19aad05513445b414caae226a30677d7bdb9d78b836a0")];
    accepts(&linear, 0, &headers, br#"{"action":"create","type":"Issue"}"#);
}

#[test]
fn described_ed25519_in_the_manner_of_discord() {
    let signature = STANDARD.decode(V1A.strip_prefix("v1a,").unwrap()).unwrap();
    let ids = MessageIds::first_of([IdSource::Payload]);
    let key = PUBLIC_KEY.strip_prefix("whpk_").unwrap();
    let custom = Custom::new("d", "x-signature-ed25519", [key], Algorithm::Ed25519, ids).unwrap();
    let custom = custom.with_signed(&format!("{MSG}.{{timestamp:x-signature-timestamp}}.{{body}}")).unwrap();
    let headers =
        [("x-signature-ed25519", &*hex::encode(signature)), ("x-signature-timestamp", "1614265330")];
    accepts(&custom, 1_614_265_330, &headers, br#"{"test": 2432232314}"#);
}
