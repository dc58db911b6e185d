//! Twilio: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>, <https://www.twilio.com/docs/events/webhook-quickstart>.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ackonce::IdError;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::event::IdBound;
use crate::mac::{Algorithm, Encoding, Key, as_is, keys, signer};
use crate::provider::DAY;
use crate::scheme::{Proof, header};
use crate::secret::checked;
use crate::{ConfigError, Event, Identity, Incoming, Provider, Refused, Secret, Terms, Verified};

use super::{digest, name, option, parse, present};

const SIGNATURE: &str = "x-twilio-signature";

/// Twilio: `X-Twilio-Signature` over the public address and the fields of the form; of JSON, over the address whose
/// `bodySHA256` covers the body.
///
/// The message ID of a form is `I-Twilio-Idempotency-Token`, which is not signed ([`Identity`]); without it, the
/// `MessageSid` or `CallSid` with its status. JSON is CloudEvents of Event Streams, each by its `id`.
#[derive(Debug, Clone)]
pub struct Twilio {
    keys: Vec<Key>,
    url: String,
    identity: Identity,
}

type Fields = BTreeMap<String, BTreeSet<String>>;

impl Twilio {
    /// With these auth tokens, any of which may match, and the public address of this endpoint as Twilio calls it,
    /// without its query: scheme, host, port if Twilio was given one, path. It is not taken from the request: who
    /// sends it chooses its `Host`, and proxies change it.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no token, one is empty, or the address has a query or fragment.
    pub fn new(
        tokens: impl IntoIterator<Item = impl Into<Secret>>,
        url: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let url = url.into();
        if url.contains(['?', '#']) {
            return Err(ConfigError::setting("Twilio::new", "the address has a query or a fragment"));
        }
        let keys = keys(Algorithm::HmacSha1, &checked(tokens)?, as_is)?;
        Ok(Self { keys, url, identity: Identity::default() })
    }

    option!(identity);

    fn proof(&self, request: &Incoming<'_>, signed: &[&[u8]]) -> Result<Proof, Refused> {
        let text = header(request.headers, &name(SIGNATURE))?.ok_or(Refused::Unsigned(SIGNATURE.into()))?;
        Ok(Proof { timestamp: None, secret: signer(&self.keys, signed, text)? })
    }

    fn form(&self, request: &Incoming<'_>, url: &str) -> Result<Vec<Event>, Refused> {
        let mut fields = Fields::new();
        for (name, value) in form_urlencoded::parse(request.body) {
            fields.entry(name.into_owned()).or_default().insert(value.into_owned());
        }
        let mut signed = vec![url.as_bytes()];
        for (name, values) in &fields {
            values.iter().for_each(|value| signed.extend([name.as_bytes(), value.as_bytes()]));
        }
        let proof = self.proof(request, &signed)?;
        let token = header(request.headers, &name("i-twilio-idempotency-token"))?;
        let payload = request.body.clone();
        let event = match (self.identity, token) {
            (Identity::Signed, _) => Event::new(digest(&signed), payload),
            (Identity::Header, Some(token)) if !token.is_empty() => {
                Event::new(token.to_owned(), payload).bound(IdBound::Unsigned)
            }
            _ => Event::new(resource(&fields)?, payload),
        };
        Ok(vec![event.proved(&proof)])
    }

    fn json(&self, request: &Incoming<'_>, url: &str, sha256: &str) -> Result<Vec<Event>, Refused> {
        let proof = self.proof(request, &[url.as_bytes()])?;
        // The signature covers this digest, and this digest the body. Neither is a secret.
        if Encoding::Hex.decode(sha256).as_deref() != Some(Sha256::digest(request.body).as_slice()) {
            return Err(Refused::Signature);
        }
        let items: Vec<&RawValue> = match request.body.first() {
            Some(b'[') => parse(request.body)?,
            _ => vec![parse(request.body)?],
        };
        let event = |item: &&RawValue| {
            let text = item.get();
            let head: CloudEvent = parse(text.as_bytes())?;
            let payload: Bytes = request.body.slice_ref(text.as_bytes());
            let event = Event::new(present(head.id, "CloudEvents \"id\"")?, payload).proved(&proof);
            Ok(match head.r#type {
                Some(kind) => event.of_kind(kind),
                None => event,
            })
        };
        items.iter().map(event).collect()
    }
}

#[derive(Deserialize)]
struct CloudEvent {
    id: Option<String>,
    r#type: Option<String>,
}

/// A resource and where it stands. Twilio's SIDs, states and numbers have no colon.
fn resource(fields: &Fields) -> Result<String, Refused> {
    let field = |name: &str| fields.get(name).filter(|values| values.len() == 1)?.first().cloned();
    for (sid, status) in [("MessageSid", "MessageStatus"), ("CallSid", "CallStatus")] {
        if let Some(sid) = field(sid).filter(|sid| !sid.is_empty()) {
            let parts = [Some(sid), field(status), field("SequenceNumber")];
            return Ok(parts.into_iter().flatten().collect::<Vec<_>>().join(":"));
        }
    }
    Err(IdError::Missing("i-twilio-idempotency-token, MessageSid, CallSid".into()).into())
}

impl Provider for Twilio {
    fn name(&self) -> &str {
        "twilio"
    }

    fn terms(&self) -> Terms {
        // Retries are quick; a day leaves room for Event Streams, which go on for 4 hours.
        Terms::new(DAY, Duration::from_secs(15))
    }

    fn verify(&self, request: &Incoming<'_>) -> Result<Verified, Refused> {
        let query = request.uri.query();
        let url = match query {
            Some(query) => format!("{}?{query}", self.url),
            None => self.url.clone(),
        };
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let events = match pairs.find(|(name, _)| name == "bodySHA256") {
            Some((_, sha256)) => self.json(request, &url, &sha256)?,
            None => self.form(request, &url)?,
        };
        Ok(Verified::Events(events))
    }
}
