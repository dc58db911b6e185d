//! A stranger's request: every provider refuses it, and none breaks.
//!
//! Input: lines `N value`, N the header by its place below, an empty line, the body.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use ackonce_webhook::{
    Adyen, GitHub, Paddle, Provider, RawRequest, Shopify, Slack, Square, StandardWebhooks, Stripe, Svix,
    Twilio, Verified,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

const NAMES: &[&str] = &[
    "stripe-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
    "x-hub-signature-256",
    "x-github-delivery",
    "x-shopify-hmac-sha256",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "x-square-hmacsha256-signature",
    "paddle-signature",
    "x-twilio-signature",
];

static PROVIDERS: LazyLock<Vec<Box<dyn Provider>>> = LazyLock::new(|| {
    let standard = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    vec![
        Box::new(Stripe::new(["s3cret"]).unwrap()),
        Box::new(StandardWebhooks::new([standard]).unwrap()),
        Box::new(Svix::new([standard]).unwrap()),
        Box::new(GitHub::new(["s3cret"]).unwrap()),
        Box::new(Shopify::new(["s3cret"]).unwrap()),
        Box::new(Slack::new(["s3cret"]).unwrap()),
        Box::new(Square::new(["s3cret"], "https://example.com").unwrap()),
        Box::new(Paddle::new(["s3cret"]).unwrap()),
        Box::new(Twilio::new(["s3cret"], "https://example.com").unwrap()),
        Box::new(Adyen::new(["00ff"]).unwrap()),
    ]
});

pub fn run(data: &[u8]) {
    let (mut headers, mut rest) = (HeaderMap::new(), data);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let [name, b' ', value @ ..] = line else { break };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]), value);
        }
    }
    let body = Bytes::copy_from_slice(rest);
    let uri = std::str::from_utf8(rest).ok().and_then(|text| format!("/?{text}").parse().ok());
    let uri: Uri = uri.unwrap_or_default();
    let now = UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    for provider in PROVIDERS.iter() {
        match provider.verify(&RawRequest { headers: &headers, body: &body, uri: &uri, now }) {
            Err(refused) => assert!(refused.status().is_client_error()),
            // Slack asks whether there is TLS without a signature.
            Ok(Verified::Handshake(answer)) => {
                assert!(provider.name() == "slack" && answer.body().is_empty())
            }
            Ok(Verified::Events(events)) => panic!("{events:?}"),
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "\0 t=1764000000,v1=00ff\n\n{\"id\":\"evt_1\"}",
        "\u{1} msg_1\n\u{2} 1764000000\n\u{3} v1,AAAA v1a,BBBB\n\n{}",
        "\u{4} msg_1\n\u{5} 1764000000\n\u{6} v1,AAAA\n\n{}",
        "\u{7} sha256=00\n\u{8} 72d3162e\n\n{}",
        "\u{b} 1764000000\n\u{a} v0=00\n\n{\"type\":\"url_verification\"}\nssl_check=1",
        "\r ts=1764000000;h1=00\n\u{e} AAAA\n\nbodySHA256=00",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
