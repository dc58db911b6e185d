//! Handshakes about the endpoint itself, described: the way to recognise one, and the answer.

use ackonce::{IdSource, MessageIds};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use crate::signature::{Encoding, Secret, SignatureKey, checked};
use crate::{ConfigError, RawRequest, VerifyError};

/// The longest value that an answer repeats, in bytes.
const LONGEST_ECHO: usize = 4096;

/// A question of a [`Custom`](crate::Custom) provider about the endpoint itself: whether it is there, whether it knows
/// the secret. It is answered and leaves no record.
///
/// ```
/// use ackonce_webhook::{Handshake, Field};
/// // Twitch, signed: the challenge is the whole answer.
/// let twitch = Handshake::signed(
///     Field::header("twitch-eventsub-message-type"), "webhook_callback_verification")
///     .echo(Field::json("/challenge"));
/// // Discord, signed.
/// let discord = Handshake::signed(Field::json("/type"), "1").answer("application/json", r#"{"type":1}"#);
/// // Meta: a GET, which cannot be signed, with a token of the app's choice.
/// let meta = Handshake::with_token(Field::query("hub.verify_token"), "my verify token")
///     .echo(Field::query("hub.challenge"));
/// // Dropbox: a GET, and nothing proves who asks.
/// let dropbox = Handshake::unsigned(Field::query("challenge")).echo(Field::query("challenge"));
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    asked: Asked,
    answer: ReplyBody,
}

/// A field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A string or whole number in the JSON body, by RFC 6901 pointer: `/payload/plainToken`.
    Json(String),
    /// A header.
    Header(String),
    /// A parameter of the query.
    Query(String),
}

#[derive(Debug, Clone)]
enum Asked {
    Signed { field: Field, value: String },
    Token { field: Field, token: Secret },
    Unsigned { field: Field },
}

#[derive(Debug, Clone)]
enum ReplyBody {
    Fixed { media_type: &'static str, body: Bytes },
    Echo(Field),
    Json(Vec<(String, ReplyValue)>),
}

/// A value of a JSON answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyValue {
    /// The value in the request in this field.
    Echo(Field),
    /// The MAC of the value in the request in this field, made with the secret that the request was signed with, behind a
    /// prefix.
    Mac {
        /// The field of the text that the MAC covers.
        of: Field,
        /// The encoding of the MAC.
        encoding: Encoding,
        /// The prefix before it, such as `sha256=`; often empty.
        prefix: String,
    },
}

impl ReplyValue {
    /// The value in the request in this field.
    #[must_use]
    pub fn echo(field: Field) -> Self {
        Self::Echo(field)
    }

    /// The MAC of the value in the request in this field, in hexadecimal.
    #[must_use]
    pub fn mac(of: Field) -> Self {
        Self::Mac { of, encoding: Encoding::Hex, prefix: String::new() }
    }
}

impl Field {
    /// A field of the JSON body, by RFC 6901 pointer.
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

    fn find(&self, request: &RawRequest<'_>) -> Option<Vec<u8>> {
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

    fn value(&self, request: &RawRequest<'_>) -> Result<String, VerifyError> {
        let field = match self {
            Self::Json(pointer) => format!("the JSON field {pointer}"),
            Self::Header(name) => format!("the header {name}"),
            Self::Query(name) => format!("the query parameter {name}"),
        };
        let bad = |why: &'static str| VerifyError::malformed("handshake", format!("{field} {why}"));
        let value = self.find(request).ok_or_else(|| bad("is missing"))?;
        if value.len() > LONGEST_ECHO {
            return Err(bad("is too long"));
        }
        String::from_utf8(value).map_err(|_| bad("is not text"))
    }
}

impl Handshake {
    /// A verified request that has this value in this field. Nothing is answered before its signature is found right.
    #[must_use]
    pub fn signed(field: Field, value: impl Into<String>) -> Self {
        Self::new(Asked::Signed { field, value: value.into() })
    }

    /// A request without a body (a GET) that has this secret token, chosen by the endpoint's owner, in this field.
    #[must_use]
    pub fn with_token(field: Field, token: impl Into<Secret>) -> Self {
        Self::new(Asked::Token { field, token: token.into() })
    }

    /// A request without a body (a GET) that has any value in this field; anybody may ask. A request with a body is an event
    /// and has to be signed.
    #[must_use]
    pub fn unsigned(field: Field) -> Self {
        Self::new(Asked::Unsigned { field })
    }

    fn new(asked: Asked) -> Self {
        Self { asked, answer: ReplyBody::Fixed { media_type: "", body: Bytes::new() } }
    }

    /// The same, answered with the value in this field, as plain text; default is an empty 200.
    #[must_use]
    pub fn echo(mut self, field: Field) -> Self {
        self.answer = ReplyBody::Echo(field);
        self
    }

    /// The same, answered with an object of JSON that has these members.
    #[must_use]
    pub fn json(mut self, members: impl IntoIterator<Item = (impl Into<String>, ReplyValue)>) -> Self {
        self.answer =
            ReplyBody::Json(members.into_iter().map(|(name, reply)| (name.into(), reply)).collect());
        self
    }

    /// The same, answered with this body.
    #[must_use]
    pub fn answer(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.answer = ReplyBody::Fixed { media_type, body: body.into() };
        self
    }

    /// Refuses a description that would be unsafe or useless.
    pub(crate) fn check(&self, keys: &[SignatureKey]) -> Result<(), ConfigError> {
        let bad = |why| Err(ConfigError::setting("Custom::with_handshake", why));
        if let Asked::Token { token, .. } = &self.asked {
            checked([token.clone()])?;
        }
        let is_signed = matches!(self.asked, Asked::Signed { .. });
        match &self.answer {
            ReplyBody::Json(members)
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
            ReplyBody::Fixed { media_type, .. } if HeaderValue::from_str(media_type).is_err() => {
                bad("the media type is no header's value")
            }
            _ => Ok(()),
        }
    }

    /// The answer to a request that nobody has verified, if this is the question in it.
    pub(crate) fn before(&self, request: &RawRequest<'_>) -> Option<Result<Response<Bytes>, VerifyError>> {
        let asked = request.body.is_empty()
            && match &self.asked {
                Asked::Signed { .. } => false,
                Asked::Token { field, token } => field.find(request).is_some_and(|value| token.is(&value)),
                Asked::Unsigned { field } => field.find(request).is_some(),
            };
        asked.then(|| self.respond(request, None))
    }

    /// The answer to a request that this key has verified, if this is the question in it.
    pub(crate) fn verified(
        &self,
        request: &RawRequest<'_>,
        key: Option<&SignatureKey>,
    ) -> Option<Result<Response<Bytes>, VerifyError>> {
        let Asked::Signed { field, value } = &self.asked else { return None };
        let asked = field.find(request).as_deref() == Some(value.as_bytes());
        asked.then(|| self.respond(request, key))
    }

    fn respond(
        &self,
        request: &RawRequest<'_>,
        key: Option<&SignatureKey>,
    ) -> Result<Response<Bytes>, VerifyError> {
        let (media_type, body) = match &self.answer {
            ReplyBody::Fixed { media_type, body } => (*media_type, body.clone()),
            ReplyBody::Echo(field) => ("text/plain; charset=utf-8", field.value(request)?.into()),
            ReplyBody::Json(members) => {
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
    fn value(&self, request: &RawRequest<'_>, key: Option<&SignatureKey>) -> Result<String, VerifyError> {
        match self {
            Self::Echo(field) => field.value(request),
            Self::Mac { of, encoding, prefix } => {
                let text = of.value(request)?;
                let mac = key.and_then(|key| key.sign(text.as_bytes())).ok_or(VerifyError::Signature)?;
                Ok(format!("{prefix}{}", encoding.encode(&mac)))
            }
        }
    }
}
