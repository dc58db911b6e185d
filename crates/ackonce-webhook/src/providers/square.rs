//! Square: <https://developer.squareup.com/docs/webhooks/step3validate>.

use std::time::Duration;

use serde::Deserialize;

use crate::provider::DAY;
use crate::signature::{Algorithm, Encoding, Part, Scheme, Template, as_is, checked, keys};
use crate::{ConfigError, Event, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{name, parse, present};

/// Square: `x-square-hmacsha256-signature` over the notification's address and the body.
///
/// The message ID is the body's `event_id`. No time is signed: an event is remembered for the window.
///
/// ```
/// // The address as it is in the Developer Console: it is a part of the signed text.
/// let square = ackonce_webhook::Square::new(["signature key"], "https://shop.example/hooks/square")?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Square {
    scheme: Scheme,
}

impl Square {
    /// With these signature keys, any of which may match, and the notification URL as Square has it, to the letter.
    /// It is not taken from the request: who sends it chooses its `Host`, and proxies change it.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no key, one is empty, or the URL does not begin with `https://` or `http://`.
    pub fn new(
        secrets: impl IntoIterator<Item = impl Into<Secret>>,
        url: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let url = url.into();
        if !["https://", "http://"].into_iter().any(|scheme| url.starts_with(scheme) && url != scheme) {
            return Err(ConfigError::setting(
                "Square::new",
                "the URL does not begin with https://HOST or http://HOST",
            ));
        }
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let mut scheme = Scheme::new(name("x-square-hmacsha256-signature"), "", Encoding::Base64, keys);
        scheme.signed = Template(vec![Part::Text(url.into()), Part::Body]);
        Ok(Self { scheme })
    }
}

/// An event with a top-level ID, as Square and Paddle send it.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) event_id: Option<String>,
    #[serde(rename = "type", alias = "event_type")]
    pub(super) kind: Option<String>,
}

impl Named {
    pub(super) fn event(request: &RawRequest<'_>) -> Result<Event, VerifyError> {
        let body: Self = parse(request.body)?;
        let event = Event::new(present(body.event_id, "body \"event_id\"")?, request.body.clone());
        Ok(match body.kind {
            Some(kind) => event.of_kind(kind),
            None => event,
        })
    }
}

impl Provider for Square {
    fn name(&self) -> &str {
        "square"
    }

    fn terms(&self) -> Terms {
        Terms::new(DAY, Duration::from_secs(10))
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let proof = self.scheme.verify(request)?;
        Ok(Verified::Events(vec![Named::event(request)?.proved(&proof)]))
    }
}
