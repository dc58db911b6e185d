//! A provider that is described rather than written.

use std::time::Duration;

use ackonce::MessageIds;
use http::HeaderName;

use crate::mac::{Algorithm, Encoding, as_is, base64, keys};
use crate::provider::DAY;
use crate::scheme::Scheme;
use crate::secret::checked;
use crate::template::Template;
use crate::{ConfigError, Event, Incoming, Provider, Refused, Secret, Terms, Verified};

use super::option;

/// A provider that signs with a header, described: which header, what is signed, how, and what identifies an event.
///
/// ```
/// use ackonce::{IdSource, MessageIds};
/// use ackonce_webhook::{Algorithm, Custom};
/// // Zoom
/// let ids = MessageIds::first_of([IdSource::Json("/payload/object/uuid".into())]);
/// let zoom = Custom::new("zoom", "x-zm-signature", ["secret token"], Algorithm::HmacSha256, ids)?
///     .with_prefix("v0=")
///     .with_signed("v0:{timestamp:x-zm-request-timestamp}:{body}")?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Custom {
    name: String,
    scheme: Scheme,
    ids: MessageIds,
    retries: Duration,
    answer_within: Duration,
}

impl Custom {
    /// A provider of that name, which writes lower-case hexadecimal signatures of the body into that header. The
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
        Ok(Self { name: name.into(), scheme, ids, retries: 3 * DAY, answer_within: Duration::from_secs(10) })
    }

    option!(tolerance);

    /// The same with what stands before a signature, such as `sha256=`; default nothing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.scheme.marks[0].0);
        self
    }

    /// The same for a header that is a list, with what is between its items; default: it is one signature.
    #[must_use]
    pub fn with_separator(mut self, separator: char) -> Self {
        self.scheme.separator = Some(separator);
        self
    }

    /// The same with another encoding; default lower-case hexadecimal.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.scheme.encoding = encoding;
        self
    }

    /// The same with what is signed: text, `{body}`, and headers as `{header:NAME}`; default `{body}`. An address that is
    /// signed is text. A time of signing, `{timestamp:NAME}` for a header or `{timestamp:t=}` for an item of the
    /// signature header, is in seconds since the Unix epoch and held against the tolerance.
    ///
    /// # Errors
    /// [`ConfigError`]: an unknown or open brace, or no `{body}`.
    pub fn with_signed(mut self, pattern: &str) -> Result<Self, ConfigError> {
        (self.scheme.signed, self.scheme.timestamp) = Template::parse(pattern)?;
        Ok(self)
    }

    /// The same with how long the sender retries; default 3 days.
    #[must_use]
    pub fn with_retries(mut self, retries: Duration) -> Self {
        self.retries = retries;
        self
    }

    /// The same with how long the sender waits for an answer; default 10 s.
    #[must_use]
    pub fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.answer_within = answer_within;
        self
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
        Terms::new(self.retries, self.answer_within).with_tolerance(self.scheme.tolerance())
    }

    fn verify(&self, request: &Incoming<'_>) -> Result<Verified, Refused> {
        let proof = self.scheme.verify(request)?;
        let id = self.ids.find(request)?;
        Ok(Verified::Events(vec![Event::new(id, request.body.clone()).proved(&proof)]))
    }
}
