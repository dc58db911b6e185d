//! Requests signed by hand.
#![allow(dead_code, clippy::panic, reason = "each test file uses a part of it, and may panic")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce_webhook::{Event, Provider, RawRequest, Verified, VerifyError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Uri};

pub(crate) mod server;

/// The moment of the tests that need no real one.
pub(crate) const NOW: u64 = 1_764_000_000;

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The time, for signatures that a running server is to accept.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A request that somebody signed.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) uri: Uri,
}

impl Signed {
    pub(crate) fn new(headers: &[(&'static str, &str)], body: impl AsRef<[u8]>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Self {
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body.as_ref()),
            uri: Uri::from_static("/"),
        }
    }

    pub(crate) fn to(mut self, uri: &str) -> Self {
        self.uri = uri.parse().unwrap();
        self
    }

    pub(crate) fn stripe(secret: &str, body: &str) -> Self {
        Self::stripe_at(secret, &NOW.to_string(), body)
    }

    pub(crate) fn stripe_at(secret: &str, t: &str, body: &str) -> Self {
        let signature = hex::encode(hmac_sha256(secret.as_bytes(), &[t.as_bytes(), b".", body.as_bytes()]));
        Self::new(&[("stripe-signature", &format!("t={t},v1={signature}"))], body)
    }

    /// Standard Webhooks, by its public example key.
    pub(crate) fn standard(id: &str, t: &str, body: impl AsRef<[u8]>) -> Self {
        let key = STANDARD.decode(STANDARD_KEY.strip_prefix("whsec_").unwrap()).unwrap();
        let mac = hmac_sha256(&key, &[id.as_bytes(), b".", t.as_bytes(), b".", body.as_ref()]);
        let signature = format!("v1,{}", STANDARD.encode(mac));
        let headers = [("webhook-id", id), ("webhook-timestamp", t), ("webhook-signature", &signature)];
        Self::new(&headers, body)
    }

    pub(crate) fn github(secret: &str, delivery: &str, body: &str) -> Self {
        let signature = format!("sha256={}", hex::encode(hmac_sha256(secret.as_bytes(), &[body.as_bytes()])));
        Self::new(&[("x-hub-signature-256", &signature), ("x-github-delivery", delivery)], body)
    }

    pub(crate) fn slack(secret: &str, body: &str) -> Self {
        Self::slack_at(secret, &NOW.to_string(), body)
    }

    pub(crate) fn slack_at(secret: &str, t: &str, body: &str) -> Self {
        let mac = hmac_sha256(secret.as_bytes(), &[b"v0:", t.as_bytes(), b":", body.as_bytes()]);
        let signature = format!("v0={}", hex::encode(mac));
        Self::new(&[("x-slack-signature", &signature), ("x-slack-request-timestamp", t)], body)
    }

    /// Items by `pspReference` and `merchantReference`.
    pub(crate) fn adyen(key: &str, items: &[(&str, &str)]) -> Self {
        let key = hex::decode(key).unwrap();
        let item = |(psp, reference): &(&str, &str)| {
            let signed = format!("{psp}::Shop:{reference}:1130:EUR:AUTHORISATION:true");
            let hmac = STANDARD.encode(hmac_sha256(&key, &[signed.as_bytes()]));
            serde_json::json!({"NotificationRequestItem": {
                "pspReference": psp, "merchantAccountCode": "Shop", "merchantReference": reference,
                "amount": {"value": 1130, "currency": "EUR"}, "eventCode": "AUTHORISATION", "success": "true",
                "additionalData": {"hmacSignature": hmac},
            }})
        };
        let items: Vec<_> = items.iter().map(item).collect();
        let body = serde_json::json!({"live": "false", "notificationItems": items});
        Self::new(&[], body.to_string())
    }

    pub(crate) fn verify(&self, provider: &dyn Provider) -> Result<Verified, VerifyError> {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        provider.verify(&RawRequest { headers: &self.headers, body: &self.body, uri: &self.uri, now })
    }

    /// The one event in it.
    pub(crate) fn event(&self, provider: &dyn Provider) -> Event {
        match self.verify(provider).unwrap() {
            Verified::Events(events) if events.len() == 1 => events[0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
