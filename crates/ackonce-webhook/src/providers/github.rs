//! GitHub: <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>.

use std::time::Duration;

use crate::event::IdBound;
use crate::provider::{DAY, MIB};
use crate::signature::{Algorithm, Encoding, Scheme, as_is, checked, header, keys};
use crate::{ConfigError, Event, Identity, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{digest, name, option, present};

/// GitHub: `X-Hub-Signature-256`. The SHA-1 signature beside it is not looked at.
///
/// The message ID is `X-GitHub-Delivery`, within the hook (`X-GitHub-Hook-ID`): two hooks on one event share the ID.
/// A redelivery, by hand or by API for up to 3 days, reuses it: forget the record where it should run again. GitHub
/// redelivers nothing by itself and signs no time; neither ID is covered by the signature ([`Identity`]).
///
/// Both content types of a hook are understood: [`Event::json`] reads the JSON of either. A body has up to 25 MiB: GitHub
/// caps payloads at 25 MB (<https://docs.github.com/webhooks/webhook-events-and-payloads#payload-cap>) and never sends a
/// refused delivery again. A hook of content type form writes the same payload longer; prefer JSON where events are large.
#[derive(Debug, Clone)]
pub struct GitHub {
    scheme: Scheme,
    identity: Identity,
}

impl GitHub {
    /// With these secrets; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let scheme = Scheme::new(name("x-hub-signature-256"), "sha256=", Encoding::Hex, keys);
        Ok(Self { scheme, identity: Identity::default() })
    }

    option!(identity);
}

impl Provider for GitHub {
    fn name(&self) -> &str {
        "github"
    }

    fn terms(&self) -> Terms {
        Terms::new(3 * DAY, Duration::from_secs(10)).on_request_only().with_max_body(25 * MIB)
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        let proof = self.scheme.verify(request)?;
        let read = |text: &'static str| header(request.headers, &name(text)).map(|v| v.map(str::to_owned));
        let mut event = match self.identity {
            Identity::Signed => Event::new(digest(&[request.body]), request.body.clone()),
            Identity::Header => {
                let id = present(read("x-github-delivery")?, "x-github-delivery")?;
                let event = Event::new(id, request.body.clone()).bound(IdBound::Unsigned);
                match read("x-github-hook-id")? {
                    Some(hook) => event.within(hook),
                    None => event,
                }
            }
        };
        if let Some(kind) = read("x-github-event")? {
            event = event.of_kind(kind);
        }
        // No JSON begins like that, and the content type is not signed.
        let in_form = request.body.starts_with(b"payload=");
        Ok(Verified::Events(vec![event.in_form(in_form).proved(&proof)]))
    }
}
