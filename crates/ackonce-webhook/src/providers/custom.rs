//! A provider that is described rather than written.

use std::time::Duration;

use ackonce::{IdError, IdSource, MessageIds};
use bytes::Bytes;
use http::HeaderName;

use crate::provider::DAY;
use crate::signature::{Algorithm, Encoding, Scheme, Template, Timestamp, as_is, base64, checked, keys};
use crate::{
    ConfigError, Event, Handshake, IdBound, Provider, RawRequest, Secret, Terms, Verified, VerifyError,
};

/// A provider that signs with a header, described: the header, the signed text, the algorithm, the event's ID, and the
/// questions it asks about the endpoint.
///
/// An ID is that of the *event*. The ID of the event's subject (a meeting, an order) makes one event of all that happens to it:
/// the first runs, the others are duplicates. Where no field tells two events apart, several together may
/// ([`IdSource::Joined`]), and the body always does, if a repeat has the same one ([`IdSource::Payload`]).
///
/// Zoom's events have no ID, `uuid` is the meeting's, and `event_ts` is a time that two participants may share; so the body
/// it is. Zoom asks for the MAC of a token before it accepts an address and every 72 hours, waits 3 seconds for an answer, and
/// repeats a failed delivery after 5, then 30, then 90 minutes; it does not say whether that is signed anew, so the
/// tolerance covers all of it (<https://developers.zoom.us/docs/api/webhooks/>).
///
/// ```
/// use std::time::Duration;
/// use ackonce::{IdSource, MessageIds};
/// use ackonce_webhook::{Algorithm, Custom, Handshake, Field, ReplyValue};
/// let ids = MessageIds::first_of([IdSource::Payload]);
/// let zoom = Custom::new("zoom", "x-zm-signature", ["secret token"], Algorithm::HmacSha256, ids)?
///     .with_prefix("v0=")
///     .with_signed("v0:{timestamp:x-zm-request-timestamp}:{body}")?
///     .with_handshake(Handshake::signed(Field::json("/event"), "endpoint.url_validation").json([
///         ("plainToken", ReplyValue::echo(Field::json("/payload/plainToken"))),
///         ("encryptedToken", ReplyValue::mac(Field::json("/payload/plainToken"))),
///     ]))?
///     .with_kind(IdSource::Json("/event".into()))
///     .with_tolerance(Duration::from_secs(3 * 3600))
///     .with_retries(Duration::from_secs(3 * 3600))
///     .with_answer_within(Duration::from_secs(3));
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
///
/// Linear, whose deliveries have an ID beside the signature; of a request whose ID is not signed, a changed body under the
/// same ID is noticed ([`IdBound`](crate::IdBound)):
///
/// ```
/// use ackonce::{IdSource, MessageIds};
/// use ackonce_webhook::{Algorithm, Custom};
/// let ids = MessageIds::first_of([IdSource::Header("linear-delivery".into())]);
/// let linear = Custom::new("linear", "linear-signature", ["secret"], Algorithm::HmacSha256, ids)?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Custom {
    name: String,
    scheme: Scheme,
    ids: MessageIds,
    kind: Option<MessageIds>,
    handshakes: Vec<Handshake>,
    terms: Terms,
    /// A tolerance was asked for.
    has_tolerance: bool,
}

impl Custom {
    /// A provider of that name, which writes hexadecimal signatures of the body into that header. The
    /// secrets are taken as they are; public keys (Ed25519) are in hexadecimal or base64.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no secret, one is empty or no key, or the header's name is none.
    pub fn new(
        name: impl Into<String>,
        header: &str,
        secrets: impl IntoIterator<Item = impl Into<Secret>>,
        algorithm: Algorithm,
        ids: MessageIds,
    ) -> Result<Self, ConfigError> {
        let header: HeaderName = header
            .parse()
            .map_err(|_| ConfigError::setting("Custom::new", format!("{header:?} is no header's name")))?;
        let decode = match algorithm {
            Algorithm::Ed25519 => public_key,
            _ => as_is,
        };
        let keys = keys(algorithm, &checked(secrets)?, decode)?;
        let scheme = Scheme::new(header, "", Encoding::Hex, keys);
        let terms = Terms::new(3 * DAY, Duration::from_secs(10));
        Ok(Self {
            name: name.into(),
            scheme,
            ids,
            kind: None,
            handshakes: Vec::new(),
            terms,
            has_tolerance: false,
        })
    }

    /// The same with another tolerance: how far the timestamp may be off, either way; default 5 minutes. Without a timestamp in
    /// the signed text it is refused when the endpoint is built.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        (self.scheme.tolerance, self.has_tolerance) = (tolerance, true);
        self
    }

    /// The same with a prefix before each signature, such as `sha256=`; default none.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.scheme.marks[0].0);
        self
    }

    /// The same for a header that is a list, with the separator of its items; default: it is one signature.
    #[must_use]
    pub fn with_separator(mut self, separator: char) -> Self {
        self.scheme.separator = Some(separator);
        self
    }

    /// The same with another encoding; default hexadecimal.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.scheme.encoding = encoding;
        self
    }

    /// The same with another signed text: literal text, `{body}`, and headers as `{header:NAME}`; default `{body}`. An address that is
    /// signed is text. A time of signing, `{timestamp:NAME}` for a header or `{timestamp:t=}` for an item of the
    /// signature header, is in seconds since the Unix epoch and held against the tolerance. An item needs
    /// [`with_separator`](Self::with_separator) first.
    ///
    /// # Errors
    /// [`ConfigError`]: an unknown or open brace, no `{body}`, or an item of a header that is not a list.
    pub fn with_signed(mut self, pattern: &str) -> Result<Self, ConfigError> {
        let (signed, timestamp) = Template::parse(pattern)?;
        if let (Some(Timestamp::Item(item)), None) = (&timestamp, self.scheme.separator) {
            let why = format!(
                "{pattern:?}: {item:?} is an item of a list, and the header is not one; give with_separator first"
            );
            return Err(ConfigError::setting("Custom::with_signed", why));
        }
        (self.scheme.signed, self.scheme.timestamp) = (signed, timestamp);
        Ok(self)
    }

    /// The same with a question about the endpoint that is answered and not recorded; several may be given, and the first
    /// that is asked is answered.
    ///
    /// # Errors
    /// [`ConfigError`]: it would make signatures for strangers, a public key should make one, or its token is empty.
    pub fn with_handshake(mut self, handshake: Handshake) -> Result<Self, ConfigError> {
        handshake.check(&self.scheme.keys)?;
        self.handshakes.push(handshake);
        Ok(self)
    }

    /// The same with where the event's type is, for [`Event::kind`].
    #[must_use]
    pub fn with_kind(mut self, kind: IdSource) -> Self {
        self.kind = Some(MessageIds::first_of([kind]));
        self
    }

    /// The same with the most bytes of a body that the sender sends; default 1 MiB.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.terms = self.terms.with_max_body(bytes);
        self
    }

    /// The same for a sender that wants the answer's body: up to so many bytes of it are kept and given to a repeat.
    #[must_use]
    pub fn with_kept_answer(mut self, bytes: usize) -> Self {
        self.terms = self.terms.with_kept_answer(bytes);
        self
    }

    /// The same with how long the sender retries; default 3 days.
    #[must_use]
    pub fn with_retries(mut self, retries: Duration) -> Self {
        self.terms.retries = retries;
        self
    }

    /// The same with how long the sender waits for an answer; default 10 s.
    #[must_use]
    pub fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.terms.answer_within = answer_within;
        self
    }

    /// The first ID that is there, and whether the signature covers it.
    fn id(&self, request: &RawRequest<'_>) -> Result<(Bytes, IdBound), VerifyError> {
        for source in self.ids.sources() {
            match MessageIds::first_of([source.clone()]).find(request) {
                Ok(id) => return Ok((id, self.bound(request, source))),
                Err(IdError::Missing(_)) => {}
                Err(malformed) => return Err(malformed.into()),
            }
        }
        // It names all of them.
        Err(self.ids.find(request).err().unwrap_or(IdError::Missing("no source".into())).into())
    }

    fn bound(&self, request: &RawRequest<'_>, source: &IdSource) -> IdBound {
        let signed = match source {
            IdSource::Json(_) | IdSource::Payload => true,
            IdSource::Header(name) => {
                name.parse().is_ok_and(|name| self.scheme.vouches(request.headers, &name))
            }
            IdSource::Joined(sources) => {
                sources.iter().all(|source| self.bound(request, source) == IdBound::Signed)
            }
            IdSource::Key | IdSource::Coordinates => false,
        };
        if signed { IdBound::Signed } else { IdBound::Unsigned }
    }
}

/// Why no request can have a source.
fn never_there(source: &IdSource) -> Option<String> {
    match source {
        IdSource::Key | IdSource::Coordinates => Some("a webhook has neither key nor coordinates".into()),
        IdSource::Header(name) if name.parse::<HeaderName>().is_err() => {
            Some(format!("{name:?} is no header's name"))
        }
        IdSource::Json(pointer) if !pointer.starts_with('/') => {
            Some(format!("{pointer:?} is no JSON pointer; it begins with a slash"))
        }
        IdSource::Joined(sources) if sources.is_empty() => Some("IdSource::Joined joins nothing".into()),
        IdSource::Joined(sources) => sources.iter().find_map(never_there),
        IdSource::Header(_) | IdSource::Json(_) | IdSource::Payload => None,
    }
}

fn public_key(secret: &Secret) -> Result<Vec<u8>, &'static str> {
    let text = secret.text().ok_or("it is not text")?;
    hex::decode(text).or_else(|_| base64(text)).map_err(|_| "it is neither hexadecimal nor base64")
}

impl Provider for Custom {
    fn name(&self) -> &str {
        &self.name
    }

    fn terms(&self) -> Terms {
        self.terms.clone().with_tolerance(self.scheme.tolerance())
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(why) = self.ids.sources().iter().find_map(never_there) {
            return Err(ConfigError::setting("Custom::new, ids", why));
        }
        if self.ids.sources().is_empty() {
            return Err(ConfigError::setting("Custom::new, ids", "there is no source of an ID"));
        }
        let Scheme { separator, marks, encoding, timestamp, .. } = &self.scheme;
        if self.has_tolerance && timestamp.is_none() {
            let why = "no time is signed that it could be held against; name it with {timestamp:NAME} in with_signed";
            return Err(ConfigError::setting("Custom::with_tolerance", why));
        }
        let Some(separator) = separator else { return Ok(()) };
        if encoding.has(*separator) || marks.iter().any(|(mark, _)| mark.contains(*separator)) {
            let why = format!("{separator:?} is in the prefix or in signatures, which it would cut");
            return Err(ConfigError::setting("Custom::with_separator", why));
        }
        Ok(())
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        if let Some(answer) = self.handshakes.iter().find_map(|handshake| handshake.before(request)) {
            return answer.map(Verified::Handshake);
        }
        let proof = self.scheme.verify(request)?;
        let key = self.scheme.keys.get(proof.secret);
        if let Some(answer) = self.handshakes.iter().find_map(|handshake| handshake.verified(request, key)) {
            return answer.map(Verified::Handshake);
        }
        let (id, bound) = self.id(request)?;
        let mut event = Event::new(id, request.body.clone()).bound(bound).proved(&proof);
        let kind = self.kind.as_ref().and_then(|kind| kind.find(request).ok());
        if let Some(kind) = kind.and_then(|kind| String::from_utf8(kind.into()).ok()) {
            event = event.of_kind(kind);
        }
        Ok(Verified::Events(vec![event]))
    }
}
