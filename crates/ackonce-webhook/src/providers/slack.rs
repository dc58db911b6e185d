//! Slack: <https://docs.slack.dev/authentication/verifying-requests-from-slack>, <https://docs.slack.dev/apis/events-api>.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Deserialize;

use crate::mac::{Algorithm, Encoding, as_is, keys};
use crate::provider::HOUR;
use crate::scheme::{Scheme, Timestamp};
use crate::secret::checked;
use crate::template::{Part, Template};
use crate::{ConfigError, Event, Incoming, Provider, Refused, Secret, Terms, Verified};

use super::{name, option, parse, present};

/// Slack: `X-Slack-Signature`.
///
/// The message ID is the event's `event_id`; of a form (a slash command), its `trigger_id`. `X-Slack-Retry-Num` is a hint
/// and no ID. The `url_verification` handshake is verified, answered and not recorded.
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

#[derive(Deserialize)]
struct Inner {
    r#type: Option<String>,
}

impl Provider for Slack {
    fn name(&self) -> &str {
        "slack"
    }

    fn terms(&self) -> Terms {
        // Three retries: at once, after 1 minute, after 5.
        Terms::new(HOUR, Duration::from_secs(3)).with_tolerance(self.scheme.tolerance())
    }

    fn verify(&self, request: &Incoming<'_>) -> Result<Verified, Refused> {
        let proof = self.scheme.verify(request)?;
        if request.body.first() != Some(&b'{') {
            let mut fields = form_urlencoded::parse(request.body);
            let id = fields.find(|(name, _)| name == "trigger_id").map(|(_, id)| id.into_owned());
            let event = Event::new(present(id, "form \"trigger_id\"")?, request.body.clone());
            return Ok(Verified::Events(vec![event.proved(&proof)]));
        }
        let body: Body = parse(request.body)?;
        if body.r#type.as_deref() == Some("url_verification") {
            let challenge = present(body.challenge, "body \"challenge\"")?;
            let mut answer = Response::new(Bytes::from(challenge));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            return Ok(Verified::Handshake(answer));
        }
        let mut event = Event::new(present(body.event_id, "body \"event_id\"")?, request.body.clone());
        if let Some(kind) = body.event.and_then(|event| event.r#type) {
            event = event.of_kind(kind);
        }
        Ok(Verified::Events(vec![event.proved(&proof)]))
    }
}
