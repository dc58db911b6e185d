//! Requests signed by the providers' own libraries are accepted, and refused once anything about them is changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use ackonce_webhook::{
    Event, GitHub, Provider, RawRequest, StandardWebhooks, Stripe, Svix, Verified, VerifyError,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
struct Vector {
    secret: String,
    now: u64,
    id: String,
    headers: BTreeMap<String, String>,
    #[serde(rename = "body")]
    text: String,
    #[serde(skip)]
    more: Vec<(String, String)>,
}

impl Vector {
    fn verify(&self, provider: &dyn Provider) -> Result<Vec<Event>, VerifyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().chain(self.more.iter().map(|(n, v)| (n, v))) {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let body = Bytes::from(self.text.clone());
        let now = UNIX_EPOCH + Duration::from_secs(self.now);
        let uri = "/".parse().unwrap();
        match provider.verify(&RawRequest { headers: &headers, body: &body, uri: &uri, now })? {
            Verified::Events(events) => Ok(events),
            Verified::Handshake(_) => panic!("a handshake"),
        }
    }

    fn signature(&mut self, header: &str) -> &mut String {
        self.headers.get_mut(header).unwrap()
    }
}

/// A way to change a request: its name, and the change.
type Tampering = (&'static str, fn(&mut Vector, &str));

const TAMPERINGS: &[Tampering] = &[
    ("a byte more", |v, _| v.text.push(' ')),
    ("a byte before", |v, _| v.text.insert(0, '\n')),
    ("a byte changed", |v, _| {
        let at = v.text.char_indices().nth(v.text.chars().count() / 2).map_or(0, |(at, _)| at);
        match v.text[at..].chars().next() {
            Some(c) => v.text.replace_range(at..at + c.len_utf8(), if c == 'x' { "y" } else { "x" }),
            None => v.text.push('x'),
        }
    }),
    ("another body", |v, _| v.text = r#"{"id":"evt_forged"}"#.into()),
    ("a digit of the signature changed", |v, header| {
        let signature = v.signature(header);
        // The last character of base64 may have bits that mean nothing: change one in the middle.
        let at = signature.len() - 10;
        let other = if &signature[at..=at] == "0" { "1" } else { "0" };
        signature.replace_range(at..=at, other);
    }),
    ("a signature cut short", |v, header| {
        let signature = v.signature(header);
        signature.truncate(signature.len() - 4);
    }),
    ("a signature made longer", |v, header| v.signature(header).push_str("00")),
    ("no signature", |v, header| drop(v.headers.remove(header))),
    ("an empty signature", |v, header| v.signature(header).clear()),
    ("two signature headers", |v, header| {
        let copy = v.signature(header).clone();
        v.more.push((header.to_owned(), copy));
    }),
    ("a signature of another scheme", |v, header| {
        let signature = v.signature(header);
        *signature = signature.replace("v1", "v0").replace("sha256", "sha1");
    }),
];

/// Changes that mean something only where a time is signed.
const OF_TIME: &[Tampering] = &[
    ("replayed late", |v, _| v.now += 301),
    ("sent early", |v, _| v.now -= 301),
    ("a later time", |v, _| {
        let (old, new) = (v.now.to_string(), (v.now + 1).to_string());
        v.headers.values_mut().for_each(|value| *value = value.replace(&old, &new));
    }),
];

fn vectors(file: &str) -> Vec<Vector> {
    let vectors: Vec<_> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(vectors.len() >= 10);
    vectors
}

fn check(
    file: &str,
    signature: &str,
    tamperings: &[&[Tampering]],
    provider: impl Fn(&str) -> Box<dyn Provider>,
) {
    for vector in vectors(file) {
        let own = provider(&vector.secret);
        let events = vector.verify(own.as_ref()).unwrap();
        assert_eq!((events.len(), events[0].id()), (1, &Bytes::from(vector.id.clone())));
        assert_eq!(events[0].payload(), vector.text.as_bytes());
        for (name, change) in tamperings.iter().copied().flatten() {
            let mut changed = vector.clone();
            change(&mut changed, signature);
            let refused = changed.verify(own.as_ref()).expect_err(name);
            assert!(refused.status().is_client_error(), "{name}: {refused}");
            assert!(!refused.to_string().contains(&vector.secret), "{name}");
        }
        let mut other = vector.secret.clone().into_bytes();
        other.swap(7, 8);
        other[9] = if other[9] == b'A' { b'B' } else { b'A' };
        let other = provider(std::str::from_utf8(&other).unwrap());
        assert_eq!(vector.verify(other.as_ref()), Err(VerifyError::Signature), "another secret");
    }
}

#[test]
fn stripe() {
    check(include_str!("vectors/stripe.jsonl"), "stripe-signature", &[TAMPERINGS, OF_TIME], |secret| {
        Box::new(Stripe::new([secret]).unwrap())
    });
}

#[test]
fn standard_webhooks() {
    let file = include_str!("vectors/standard-webhooks.jsonl");
    check(file, "webhook-signature", &[TAMPERINGS, OF_TIME], |secret| {
        Box::new(StandardWebhooks::new([secret]).unwrap())
    });
    check(file, "webhook-signature", &[TAMPERINGS, OF_TIME], |secret| Box::new(Svix::new([secret]).unwrap()));
    for mut vector in vectors(file) {
        let standard = StandardWebhooks::new([vector.secret.as_str()]).unwrap();
        vector.headers.insert("webhook-id".into(), "msg_other".into());
        assert_eq!(vector.verify(&standard), Err(VerifyError::Signature), "the ID is signed");
    }
}

#[test]
fn github() {
    check(include_str!("vectors/github.jsonl"), "x-hub-signature-256", &[TAMPERINGS], |secret| {
        Box::new(GitHub::new([secret]).unwrap())
    });
}
