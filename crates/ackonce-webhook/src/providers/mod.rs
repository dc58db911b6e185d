//! The providers, a file each: a signature scheme, and the provider's own event IDs.

mod adyen;
mod custom;
mod github;
mod handshake;
mod paddle;
mod shopify;
mod slack;
mod square;
mod standard;
mod stripe;
mod twilio;

pub use adyen::Adyen;
pub use custom::Custom;
pub use github::GitHub;
pub use handshake::{Field, Handshake, ReplyValue};
pub use paddle::Paddle;
pub use shopify::{Shopify, ShopifyId};
pub use slack::Slack;
pub use square::Square;
pub use standard::{StandardWebhooks, Svix};
pub use stripe::Stripe;
pub use twilio::Twilio;

use ackonce::IdError;
use http::HeaderName;
use serde::Deserialize;

use crate::error::VerifyError;

/// The identity of a request whose provider does not sign its delivery ID.
///
/// Such an ID is a header beside the signature. Anybody who has seen one request, a log or a proxy included, can send it
/// again under another ID, and it verifies.
///
/// Choose [`Signed`](Self::Signed) where a second run would cost more than an equal event that is passed over: then the
/// payload must tell two events apart, by an ID or a time in it.
///
/// ```
/// use ackonce_webhook::{GitHub, Identity};
/// let github = GitHub::new(["secret"])?.with_identity(Identity::Signed);
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// By the provider's ID, as it documents. A request that comes with another body under the same ID is
    /// noticed.
    #[default]
    Header,
    /// By SHA-256 of the signed text: nothing captured runs twice within the window, and two events that are equal
    /// to the byte are one.
    Signed,
}

/// SHA-256 of signed bytes, in hexadecimal so that it can be read in the store.
fn digest(parts: &[&[u8]]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hex::encode(hasher.finalize())
}

/// An ID that is not there, or is empty, identifies nothing.
fn present(id: Option<String>, name: &str) -> Result<String, VerifyError> {
    id.filter(|id| !id.is_empty()).ok_or_else(|| VerifyError::Id(IdError::Missing(name.to_owned())))
}

/// A JSON body, of which only the fields of `T` are kept. A repeated field is refused, since parsers differ in the one they take;
/// so is one that is not UTF-8 anywhere, in fields that nobody here looks at included: no JSON is.
fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, VerifyError> {
    let text = std::str::from_utf8(body).map_err(|_| VerifyError::malformed("body", "it is not UTF-8"))?;
    serde_json::from_str(text).map_err(|error| VerifyError::body(&error))
}

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// Options that providers share, each written once.
macro_rules! option {
    (tolerance) => {
        /// The same with another tolerance: how far the timestamp may be off, either way; default 5 minutes.
        #[must_use]
        pub fn with_tolerance(mut self, tolerance: std::time::Duration) -> Self {
            self.scheme.tolerance = tolerance;
            self
        }
    };
    (identity) => {
        /// The same with another [`Identity`](crate::Identity).
        #[must_use]
        pub fn with_identity(mut self, identity: crate::Identity) -> Self {
            self.identity = identity;
            self
        }
    };
}
use option;
