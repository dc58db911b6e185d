//! Handshakes about the endpoint itself, described: the way to recognise one, and the answer.

use ackonce::{IdSource, MessageIds};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use crate::mac::{Encoding, Key};
use crate::secret::Secret;
use crate::{ConfigError, Incoming, Refused};

/// The longest value that an answer repeats, in bytes.
const LONGEST_ECHO: usize = 4096;

/// A question of a [`Custom`](crate::Custom) provider about the endpoint itself: whether it is there, whether it knows
/// the secret. It is answered and leaves no record.
///
/// ```
/// use ackonce_webhook::{Handshake, Place};
/// // Twitch, signed: the challenge is the whole answer.
/// let twitch = Handshake::signed(
///     Place::header("twitch-eventsub-message-type"), "webhook_callback_verification")
///     .echo(Place::json("/challenge"));
/// // Discord, signed.
/// let discord = Handshake::signed(Place::json("/type"), "1").answer("application/json", r#"{"type":1}"#);
/// // Meta: a GET, which cannot be signed, with a token of the app's choice.
/// let meta = Handshake::with_token(Place::query("hub.verify_token"), "my verify token")
///     .echo(Place::query("hub.challenge"));
/// // Dropbox: a GET, and nothing proves who asks.
/// let dropbox = Handshake::unsigned(Place::query("challenge")).echo(Place::query("challenge"));
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    asked: Asked,
    answer: Answer,
}

/// The place of a value in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A string or whole number in the JSON body, by RFC 6901 pointer: `/payload/plainToken`.
    Json(String),
    /// A header.
    Header(String),
    /// A parameter of the query.
    Query(String),
}

#[derive(Debug, Clone)]
enum Asked {
    Signed { place: Place, value: String },
    Token { place: Place, token: Secret },
    Unsigned { place: Place },
}

#[derive(Debug, Clone)]
enum Answer {
    Fixed { media_type: &'static str, body: Bytes },
    Echo(Place),
    Json(Vec<(String, ReplyValue)>),
}

/// A value of a JSON answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyValue {
    /// The value in the request at this place.
    Echo(Place),
    /// The MAC of the value in the request at this place, made with the secret that the request was signed with, behind a
    /// prefix.
    Mac {
        /// The place of the text that the MAC covers.
        of: Place,
        /// The encoding of the MAC.
        encoding: Encoding,
        /// The prefix before it, such as `sha256=`; often empty.
        prefix: String,
    },
}

impl ReplyValue {
    /// The value in the request at this place.
    #[must_use]
    pub fn echo(place: Place) -> Self {
        Self::Echo(place)
    }

    /// The MAC of the value in the request at this place, in hexadecimal.
    #[must_use]
    pub fn mac(of: Place) -> Self {
        Self::Mac { of, encoding: Encoding::Hex, prefix: String::new() }
    }
}

impl Place {
    /// A place in the JSON body, by pointer.
    pub fn json(pointer: impl Into<String>) -> Self {
        Self::Json(pointer.into())
    }

    /// A header.
    pub fn header(name: impl Into<String>) -> Self {
        Self::Header(name.into())
    }

    /// A parameter of the query.
    pub fn query(name: impl Into<String>) -> Self {
        Self::Query(name.into())
    }

    fn find(&self, request: &Incoming<'_>) -> Option<Vec<u8>> {
        let source = match self {
            Self::Json(pointer) => IdSource::Json(pointer.clone()),
            Self::Header(name) => IdSource::Header(name.clone()),
            Self::Query(name) => {
                let query = request.uri.query().unwrap_or_default();
                let value = crate::event::form_field(query.as_bytes(), name)?;
                return Some(value.into_owned().into_bytes());
            }
        };
        MessageIds::first_of([source]).find(request).ok().map(Vec::from)
    }

    fn value(&self, request: &Incoming<'_>) -> Result<String, Refused> {
        let place = match self {
            Self::Json(pointer) => format!("the JSON field {pointer}"),
            Self::Header(name) => format!("the header {name}"),
            Self::Query(name) => format!("the query parameter {name}"),
        };
        let bad = |why: &'static str| Refused::malformed("handshake", format!("{place} {why}"));
        let value = self.find(request).ok_or_else(|| bad("is missing"))?;
        if value.len() > LONGEST_ECHO {
            return Err(bad("is too long"));
        }
        String::from_utf8(value).map_err(|_| bad("is not text"))
    }
}

impl Handshake {
    /// A verified request that has this value at this place. Nothing is answered before its signature is found right.
    #[must_use]
    pub fn signed(place: Place, value: impl Into<String>) -> Self {
        Self::new(Asked::Signed { place, value: value.into() })
    }

    /// A request without a body (a GET) that has this secret token, chosen by the endpoint's owner, at this place.
    #[must_use]
    pub fn with_token(place: Place, token: impl Into<Secret>) -> Self {
        Self::new(Asked::Token { place, token: token.into() })
    }

    /// A request without a body (a GET) that has any value at this place; anybody may ask. A request with a body is an event
    /// and has to be signed.
    #[must_use]
    pub fn unsigned(place: Place) -> Self {
        Self::new(Asked::Unsigned { place })
    }

    fn new(asked: Asked) -> Self {
        Self { asked, answer: Answer::Fixed { media_type: "", body: Bytes::new() } }
    }

    /// The same, answered with the value at this place, as plain text; default is an empty 200.
    #[must_use]
    pub fn echo(mut self, place: Place) -> Self {
        self.answer = Answer::Echo(place);
        self
    }

    /// The same, answered with an object of JSON that has these members.
    #[must_use]
    pub fn json(mut self, members: impl IntoIterator<Item = (impl Into<String>, ReplyValue)>) -> Self {
        self.answer = Answer::Json(members.into_iter().map(|(name, reply)| (name.into(), reply)).collect());
        self
    }

    /// The same, answered with this body.
    #[must_use]
    pub fn answer(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.answer = Answer::Fixed { media_type, body: body.into() };
        self
    }

    /// Refuses a description that would be unsafe or useless.
    pub(crate) fn check(&self, keys: &[Key]) -> Result<(), ConfigError> {
        let bad = |why| Err(ConfigError::setting("Custom::with_handshake", why));
        if let Asked::Token { token, .. } = &self.asked {
            crate::secret::checked([token.clone()])?;
        }
        let is_signed = matches!(self.asked, Asked::Signed { .. });
        match &self.answer {
            Answer::Json(members)
                if members.iter().any(|(_, reply)| matches!(reply, ReplyValue::Mac { .. })) =>
            {
                match keys.iter().all(|key| key.sign(b"").is_some()) {
                    false => bad("a public key makes no ReplyValue::Mac"),
                    true if !is_signed => {
                        bad("ReplyValue::Mac in an answer to strangers would sign their events for them")
                    }
                    true => Ok(()),
                }
            }
            Answer::Fixed { media_type, .. } if HeaderValue::from_str(media_type).is_err() => {
                bad("the media type is no header's value")
            }
            _ => Ok(()),
        }
    }

    /// The answer to a request that nobody has verified, if this is the question in it.
    pub(crate) fn before(&self, request: &Incoming<'_>) -> Option<Result<Response<Bytes>, Refused>> {
        let asked = request.body.is_empty()
            && match &self.asked {
                Asked::Signed { .. } => false,
                Asked::Token { place, token } => place.find(request).is_some_and(|value| token.is(&value)),
                Asked::Unsigned { place } => place.find(request).is_some(),
            };
        asked.then(|| self.respond(request, None))
    }

    /// The answer to a request that this key has verified, if this is the question in it.
    pub(crate) fn verified(
        &self,
        request: &Incoming<'_>,
        key: Option<&Key>,
    ) -> Option<Result<Response<Bytes>, Refused>> {
        let Asked::Signed { place, value } = &self.asked else { return None };
        let asked = place.find(request).as_deref() == Some(value.as_bytes());
        asked.then(|| self.respond(request, key))
    }

    fn respond(&self, request: &Incoming<'_>, key: Option<&Key>) -> Result<Response<Bytes>, Refused> {
        let (media_type, body) = match &self.answer {
            Answer::Fixed { media_type, body } => (*media_type, body.clone()),
            Answer::Echo(place) => ("text/plain; charset=utf-8", place.value(request)?.into()),
            Answer::Json(members) => {
                let mut object = serde_json::Map::new();
                for (name, reply) in members {
                    object.insert(name.clone(), reply.value(request, key)?.into());
                }
                ("application/json", serde_json::Value::Object(object).to_string().into())
            }
        };
        let mut response = Response::new(body);
        if !media_type.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        // A stranger's text must not become a page.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }
}

impl ReplyValue {
    fn value(&self, request: &Incoming<'_>, key: Option<&Key>) -> Result<String, Refused> {
        match self {
            Self::Echo(place) => place.value(request),
            Self::Mac { of, encoding, prefix } => {
                let text = of.value(request)?;
                let mac = key.and_then(|key| key.sign(text.as_bytes())).ok_or(Refused::Signature)?;
                Ok(format!("{prefix}{}", encoding.encode(&mac)))
            }
        }
    }
}
