//! Slack: <https://docs.slack.dev/authentication/verifying-requests-from-slack>, <https://docs.slack.dev/apis/events-api>.

use std::time::Duration;

use ackonce::IdError;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Deserialize;

use crate::event::form_field;
use crate::provider::{HOUR, KIB};
use crate::signature::{Algorithm, Encoding, Part, Scheme, Template, Timestamp, as_is, checked, keys};
use crate::{ConfigError, Event, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{digest, name, option, parse, present};

/// Slack: `X-Slack-Signature`.
///
/// The message ID is
/// - of an event, its `event_id`;
/// - of a slash command, its `trigger_id`; of buttons, modals and shortcuts, the `trigger_id` inside `payload`, which
///   [`Event::json`] reads;
/// - of a request with none of these (`app_rate_limited`, a closed modal), SHA-256 of the body.
///
/// `X-Slack-Retry-Num` is a hint and no ID. Two questions about the endpoint are answered and not recorded:
/// `url_verification`, once it is verified, and `ssl_check=1`, which Slack does not sign.
///
/// The user sees the answer to a command or a modal, so it is kept, up to 64 KiB, and a repeat is given it again.
///
/// ```
/// use ackonce_webhook::Slack;
/// let slack = Slack::new(["signing secret"])?.with_tolerance(std::time::Duration::from_secs(120));
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Slack {
    scheme: Scheme,
}

impl Slack {
    /// With these signing secrets; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let mut scheme = Scheme::new(name("x-slack-signature"), "v0=", Encoding::Hex, keys);
        scheme.timestamp = Some(Timestamp::Header(name("x-slack-request-timestamp")));
        let text = |text: &'static str| Part::Text(text.into());
        scheme.signed = Template(vec![text("v0:"), Part::Timestamp, text(":"), Part::Body]);
        Ok(Self { scheme })
    }

    option!(tolerance);
}

#[derive(Deserialize)]
struct Body {
    r#type: Option<String>,
    challenge: Option<String>,
    event_id: Option<String>,
    event: Option<Inner>,
}

/// An event, or the content of a form's `payload`.
#[derive(Deserialize)]
struct Inner {
    r#type: Option<String>,
    trigger_id: Option<String>,
}

impl Slack {
    /// Slack asks now and then whether a command's address is served by TLS, without a signature. Such a request is never
    /// taken for anything else, even with other fields.
    fn is_tls_check(request: &RawRequest<'_>) -> bool {
        let asked = match request.body.is_empty() {
            true => request.uri.query().unwrap_or_default().as_bytes(),
            false => request.body,
        };
        !is_json(asked) && form_field(asked, "ssl_check").as_deref() == Some("1")
    }

    fn form(request: &RawRequest<'_>) -> Result<Event, VerifyError> {
        let interaction = form_field(request.body, "payload");
        let inner = interaction.as_deref().map(|json| parse::<Inner>(json.as_bytes())).transpose()?;
        let in_form = inner.is_some();
        let (id, kind) = match inner {
            Some(inner) => (inner.trigger_id, inner.r#type),
            None => {
                let field = |name| form_field(request.body, name).map(|value| value.into_owned());
                (field("trigger_id"), field("command"))
            }
        };
        if id.is_none() && kind.is_none() {
            return Err(IdError::Missing("form \"trigger_id\", \"payload\"".to_owned()).into());
        }
        Ok(identified(request, id, kind).in_form(in_form))
    }
}

/// By its ID, else by its body, which a repeat has again; its time of signing is another each time.
fn identified(request: &RawRequest<'_>, id: Option<String>, kind: Option<String>) -> Event {
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| digest(&[request.body]));
    let event = Event::new(id, request.body.clone());
    match kind {
        Some(kind) => event.of_kind(kind),
        None => event,
    }
}

fn is_json(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

impl Provider for Slack {
    fn name(&self) -> &str {
        "slack"
    }

    fn terms(&self) -> Terms {
        // Three retries: at once, after 1 minute, after 5.
        Terms::new(HOUR, Duration::from_secs(3))
            .with_tolerance(self.scheme.tolerance())
            .with_kept_answer(64 * KIB)
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        if Self::is_tls_check(request) {
            return Ok(Verified::Handshake(Response::new(Bytes::new())));
        }
        let proof = self.scheme.verify(request)?;
        if !is_json(request.body) {
            return Ok(Verified::Events(vec![Self::form(request)?.proved(&proof)]));
        }
        let body: Body = parse(request.body)?;
        if body.r#type.as_deref() == Some("url_verification") {
            let challenge = present(body.challenge, "body \"challenge\"")?;
            let mut answer = Response::new(Bytes::from(challenge));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            return Ok(Verified::Handshake(answer));
        }
        let event = match body.r#type.as_deref() {
            Some(kind) if kind != "event_callback" => {
                let kind = kind.to_owned();
                identified(request, body.event_id, Some(kind))
            }
            _ => {
                let id = present(body.event_id, "body \"event_id\"")?;
                identified(request, Some(id), body.event.and_then(|event| event.r#type))
            }
        };
        Ok(Verified::Events(vec![event.proved(&proof)]))
    }
}
