//! Paddle: <https://developer.paddle.com/webhooks/signature-verification>.

use std::time::Duration;

use crate::provider::DAY;
use crate::signature::{Algorithm, Encoding, Part, Scheme, Template, Timestamp, as_is, checked, keys};
use crate::{ConfigError, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::square::Named;
use super::{name, option};

/// Paddle: `Paddle-Signature: ts=…;h1=…`.
///
/// The message ID is the body's `event_id`; `notification_id` differs per destination and per replay. The 5 seconds
/// that Paddle's own libraries tolerate refuse honest events; the default here is 5 minutes.
#[derive(Debug, Clone)]
pub struct Paddle {
    scheme: Scheme,
}

impl Paddle {
    /// With these secret keys of the destination; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let mut scheme = Scheme::new(name("paddle-signature"), "h1=", Encoding::Hex, keys);
        scheme.separator = Some(';');
        scheme.timestamp = Some(Timestamp::Item("ts=".into()));
        scheme.signed = Template(vec![Part::Timestamp, Part::Text(":".into()), Part::Body]);
        Ok(Self { scheme })
    }

    option!(tolerance);
}

impl Provider for Paddle {
    fn name(&self) -> &str {
        "paddle"
    }

    fn terms(&self) -> Terms {
        Terms::new(3 * DAY, Duration::from_secs(5)).with_tolerance(self.scheme.tolerance())
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let proof = self.scheme.verify(request)?;
        Ok(Verified::Events(vec![Named::event(request)?.proved(&proof)]))
    }
}
