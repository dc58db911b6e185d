//! Twilio: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>, <https://www.twilio.com/docs/events/webhook-quickstart>.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::event::IdBound;
use crate::provider::{DAY, KIB, MIB};
use crate::signature::{Algorithm, Encoding, Proof, SignatureKey, as_is, checked, header, keys, signer};
use crate::{ConfigError, Event, Identity, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{digest, name, option, parse};

const SIGNATURE: &str = "x-twilio-signature";

/// Twilio: `X-Twilio-Signature` over the public address and the fields of the form; of JSON, over the address whose
/// `bodySHA256` covers the body.
///
/// The message ID is `I-Twilio-Idempotency-Token`, which is not signed ([`Identity`]); without it, SHA-256 of the signed
/// text: a message or a call has many events, and no field tells them apart in all products. JSON in the form of
/// CloudEvents (Event Streams) is an event each, by its `id`. The payload of a GET is its query.
///
/// The answer to a call or a message is TwiML, so it is kept, up to 64 KiB (Twilio's own limit for TwiML), and a repeat
/// is given it again. A body has up to 4 MiB, that of a batch of Event Streams.
///
/// ```
/// // The public address as Twilio calls it, without its query.
/// let twilio = ackonce_webhook::Twilio::new(["auth token"], "https://shop.example/hooks/twilio")?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Twilio {
    keys: Vec<SignatureKey>,
    /// The address in all the ways in which Twilio may have signed it; the first one is how it was given.
    urls: Vec<String>,
    identity: Identity,
}

type Fields = BTreeMap<String, BTreeSet<String>>;

impl Twilio {
    /// With these auth tokens, any of which may match, and the public address of this endpoint as Twilio calls it,
    /// without its query: scheme, host, port if Twilio was given one, path. It is not taken from the request: who
    /// sends it chooses its `Host`, and proxies change it.
    ///
    /// Twilio's products do not agree on whether the port is signed, and none signs `user:password@`; all spellings of
    /// the one address are accepted.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no token, one is empty or has white space at an end, or the address has a query or a
    /// fragment, or is none.
    pub fn new(
        tokens: impl IntoIterator<Item = impl Into<Secret>>,
        url: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let url = url.into();
        if url.contains(['?', '#']) {
            return Err(ConfigError::setting("Twilio::new", "the address has a query or a fragment"));
        }
        let urls = spellings(&url).ok_or_else(|| {
            ConfigError::setting("Twilio::new", "the address does not begin with https://HOST or http://HOST")
        })?;
        let keys = keys(Algorithm::HmacSha1, &checked(tokens)?, as_is)?;
        Ok(Self { keys, urls, identity: Identity::default() })
    }

    option!(identity);

    /// Whose token signed the address with this behind it.
    fn proof(&self, request: &RawRequest<'_>, query: &str, fields: &[&[u8]]) -> Result<Proof, VerifyError> {
        let text =
            header(request.headers, &name(SIGNATURE))?.ok_or(VerifyError::Unsigned(SIGNATURE.into()))?;
        let signer = |url: &String| {
            let signed = [&[url.as_bytes(), query.as_bytes()][..], fields].concat();
            signer(&self.keys, &signed, text).ok()
        };
        let secret = self.urls.iter().find_map(signer).ok_or(VerifyError::Signature)?;
        Ok(Proof { timestamp: None, secret })
    }

    /// By the token, else by the signed text: the same bytes, in whichever spelling of the address they were signed.
    fn event(
        &self,
        request: &RawRequest<'_>,
        payload: Bytes,
        query: &str,
        fields: &[&[u8]],
    ) -> Result<Event, VerifyError> {
        let token = header(request.headers, &name("i-twilio-idempotency-token"))?;
        Ok(match (self.identity, token) {
            (Identity::Header, Some(token)) if !token.is_empty() => {
                Event::new(token.to_owned(), payload).bound(IdBound::Unsigned)
            }
            _ => {
                let url = self.urls.first().map(String::as_bytes).unwrap_or_default();
                let signed = [&[url, query.as_bytes()][..], fields].concat();
                Event::new(digest(&signed), payload)
            }
        })
    }

    fn form(&self, request: &RawRequest<'_>, query: &str) -> Result<Vec<Event>, VerifyError> {
        let mut fields = Fields::new();
        for (name, value) in form_urlencoded::parse(request.body) {
            fields.entry(name.into_owned()).or_default().insert(value.into_owned());
        }
        let mut signed: Vec<&[u8]> = Vec::new();
        for (name, values) in &fields {
            values.iter().for_each(|value| signed.extend([name.as_bytes(), value.as_bytes()]));
        }
        let proof = self.proof(request, query, &signed)?;
        let payload = match request.body.is_empty() {
            true => Bytes::copy_from_slice(query.trim_start_matches('?').as_bytes()),
            false => request.body.clone(),
        };
        Ok(vec![self.event(request, payload, query, &signed)?.proved(&proof)])
    }

    fn json(&self, request: &RawRequest<'_>, query: &str, sha256: &str) -> Result<Vec<Event>, VerifyError> {
        let proof = self.proof(request, query, &[])?;
        // The signature covers this digest, and this digest the body. Neither is a secret.
        if Encoding::Hex.decode(sha256).as_deref() != Some(Sha256::digest(request.body).as_slice()) {
            return Err(VerifyError::Signature);
        }
        let is_batch = request.body.trim_ascii_start().first() == Some(&b'[');
        let items: Vec<&RawValue> = match is_batch {
            true => parse(request.body)?,
            false => vec![parse(request.body)?],
        };
        let event = |item: &&RawValue| {
            let text = item.get();
            let payload: Bytes = request.body.slice_ref(text.as_bytes());
            let head: CloudEvent = match text.starts_with('{') {
                true => parse(text.as_bytes())?,
                false => CloudEvent::default(),
            };
            let event = match head.id.filter(|id| !id.is_empty()) {
                Some(id) => Event::new(id, payload),
                // In a batch, one that has no ID must not keep its neighbours from theirs.
                None if is_batch => Event::new(digest(&[text.as_bytes()]), payload),
                None => self.event(request, payload, query, &[])?,
            };
            Ok(match head.r#type {
                Some(kind) => event.of_kind(kind).proved(&proof),
                None => event.proved(&proof),
            })
        };
        items.iter().map(event).collect()
    }
}

/// An address with and without its port, without `user:password@` and, should that be signed after all, with it.
fn spellings(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let default_port = match scheme {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // An address of IPv6 has colons in its brackets.
    let port = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
    let other = match port {
        Some(colon) => host[..colon].to_owned(),
        None => format!("{host}:{default_port}"),
    };
    if other.is_empty() || host.is_empty() {
        return None;
    }
    let mut urls = Vec::new();
    for user in [user.map(|user| format!("{user}@")), Some(String::new())].into_iter().flatten() {
        urls.extend([host, &other].map(|host| format!("{scheme}://{user}{host}{path}")));
    }
    Some(urls)
}

#[derive(Default, Deserialize)]
struct CloudEvent {
    id: Option<String>,
    r#type: Option<String>,
}

impl Provider for Twilio {
    fn name(&self) -> &str {
        "twilio"
    }

    fn terms(&self) -> Terms {
        // Retries are quick; a day leaves room for Event Streams, which go on for 4 hours. By itself it tries again only where
        // no connection came about (docs/usage/webhooks/webhooks-connection-overrides: `rp=ct`).
        Terms::new(DAY, Duration::from_secs(15))
            .on_request_only()
            .with_max_body(4 * MIB)
            .with_kept_answer(64 * KIB)
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let query = request.uri.query();
        let behind = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let events = match pairs.find(|(name, _)| name == "bodySHA256") {
            Some((_, sha256)) => self.json(request, &behind, &sha256)?,
            None => self.form(request, &behind)?,
        };
        Ok(Verified::Events(events))
    }
}
