//! What is signed need not make sense: every reader of a body gets it, past the signature.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use ackonce_webhook::{
    Adyen, Paddle, Provider, RawRequest, Slack, Square, Stripe, Twilio, Verified, VerifyError,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use sha2::Digest;

const NOW: &str = "1764000000";
const URL: &str = "https://example.com";

static STRIPE: LazyLock<Stripe> =
    LazyLock::new(|| Stripe::new(["s3cret"]).unwrap().once_per_object(["invoice.paid"]));
static SLACK: LazyLock<Slack> = LazyLock::new(|| Slack::new(["s3cret"]).unwrap());
static PADDLE: LazyLock<Paddle> = LazyLock::new(|| Paddle::new(["s3cret"]).unwrap());
static SQUARE: LazyLock<Square> = LazyLock::new(|| Square::new(["s3cret"], URL).unwrap());
static TWILIO: LazyLock<Twilio> = LazyLock::new(|| Twilio::new(["s3cret"], URL).unwrap());
static ADYEN: LazyLock<Adyen> = LazyLock::new(|| Adyen::new(["00ff"]).unwrap());

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn verify(provider: &dyn Provider, uri: &str, headers: &[(&'static str, String)], body: &Bytes) {
    let header = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    let headers: HeaderMap = headers.iter().map(header).collect();
    let uri: Uri = uri.parse().unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    match provider.verify(&RawRequest { headers: &headers, body, uri: &uri, now }) {
        Ok(Verified::Events(events)) => assert!(events.iter().all(|event| !event.id().is_empty())),
        Ok(Verified::Handshake(_)) => {}
        Err(refused) => {
            // An item of Adyen's is signed inside of the body.
            assert!(provider.name() == "adyen" || !matches!(refused, VerifyError::Signature), "{refused}");
        }
    }
}

pub fn run(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let hex = |parts: &[&[u8]]| hex::encode(sha256(parts));
    let stripe = format!("t={NOW},v1={}", hex(&[NOW.as_bytes(), b".", data]));
    verify(&*STRIPE, "/", &[("stripe-signature", stripe)], &body);
    let slack = format!("v0={}", hex(&[b"v0:", NOW.as_bytes(), b":", data]));
    verify(
        &*SLACK,
        "/",
        &[("x-slack-signature", slack), ("x-slack-request-timestamp", NOW.to_owned())],
        &body,
    );
    let paddle = format!("ts={NOW};h1={}", hex(&[NOW.as_bytes(), b":", data]));
    verify(&*PADDLE, "/", &[("paddle-signature", paddle)], &body);
    let square = STANDARD.encode(sha256(&[URL.as_bytes(), data]));
    verify(&*SQUARE, "/", &[("x-square-hmacsha256-signature", square)], &body);
    let query = format!("bodySHA256={}", hex::encode(sha2::Sha256::digest(data)));
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"s3cret").unwrap();
    mac.update(format!("{URL}?{query}").as_bytes());
    let twilio = STANDARD.encode(mac.finalize().into_bytes());
    verify(&*TWILIO, &format!("/?{query}"), &[("x-twilio-signature", twilio)], &body);
    verify(&*ADYEN, "/", &[], &body);
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"id":"evt_1","type":"invoice.paid","data":{"object":{"id":"in_1"}}}"#,
        r#"{"type":"event_callback","event_id":"Ev1","challenge":"x"}"#,
        r#"{"event_id":"ntf_1","notification_id":"a","occurred_at":"2024"}"#,
        r#"{"live":"false","notificationItems":[{"NotificationRequestItem":{"pspReference":"7","eventCode":"AUTHORISATION"}}]}"#,
        "MessageSid=SM1&SmsStatus=sent&CallSid=CA1",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
