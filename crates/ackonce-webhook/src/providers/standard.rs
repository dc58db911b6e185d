//! Standard Webhooks and Svix: <https://github.com/standard-webhooks/standard-webhooks>, <https://docs.svix.com/receiving>.

use std::time::Duration;

use http::HeaderName;

use crate::provider::DAY;
use crate::signature::{
    Algorithm, Encoding, Part, Scheme, SignatureKey, Template, Timestamp, base64, checked, header,
};
use crate::{ConfigError, Event, IdBound, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{name, present};

/// Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`, with `v1` (HMAC) and `v1a` (Ed25519)
/// signatures. Many senders use Svix, whose headers are called `svix-id`, `svix-timestamp` and `svix-signature`; a
/// request without `webhook-signature` is read under those names.
///
/// The message ID is the header's, which is signed and the same for every attempt.
///
/// ```
/// use ackonce_webhook::StandardWebhooks;
/// let provider = StandardWebhooks::new([
///     "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
///     "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", // a public key, for v1a
/// ])?;
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StandardWebhooks {
    /// Under the standard names and those of Svix, in the order in which they are looked for.
    families: [Family; 2],
    horizon: Duration,
}

/// One scheme under one set of names.
#[derive(Debug, Clone)]
struct Family {
    scheme: Scheme,
    id: HeaderName,
}

impl StandardWebhooks {
    /// With these secrets (`whsec_` and base64 of 24 to 64 bytes; the prefix may be missing) and public keys
    /// (`whpk_` and base64 of 32 bytes); any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is of another form.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = standard_keys(&checked(secrets)?)?;
        let standard = Family::under("webhook-id", "webhook-timestamp", "webhook-signature", keys.clone());
        let svix = Family::under("svix-id", "svix-timestamp", "svix-signature", keys);
        Ok(Self { families: [standard, svix], horizon: 4 * DAY })
    }

    /// The same with another tolerance: how far the timestamp may be off, either way; default 5 minutes.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.families.iter_mut().for_each(|family| family.scheme.tolerance = tolerance);
        self
    }

    /// The same for a sender that retries longer than the 4 days after which the example of the specification
    /// and Svix have given up.
    #[must_use]
    pub fn with_retries(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }
}

impl Family {
    fn under(
        id: &'static str,
        timestamp: &'static str,
        signature: &'static str,
        keys: Vec<SignatureKey>,
    ) -> Self {
        let mut scheme = Scheme::new(name(signature), "v1,", Encoding::Base64, keys);
        scheme.separator = Some(' ');
        scheme.marks = vec![("v1,".into(), Algorithm::HmacSha256), ("v1a,".into(), Algorithm::Ed25519)];
        scheme.timestamp = Some(Timestamp::Header(name(timestamp)));
        let dot = || Part::Text(".".into());
        scheme.signed = Template(vec![Part::Header(name(id)), dot(), Part::Timestamp, dot(), Part::Body]);
        Self { scheme, id: name(id) }
    }
}

fn standard_keys(secrets: &[Secret]) -> Result<Vec<SignatureKey>, ConfigError> {
    let key = |(index, secret): (usize, &Secret)| {
        standard_key(secret).map_err(|why| ConfigError::Secret { index, why: why.into() })
    };
    secrets.iter().enumerate().map(key).collect()
}

fn standard_key(secret: &Secret) -> Result<SignatureKey, &'static str> {
    let text = secret.text().ok_or("it is not text")?;
    if text.starts_with("whsk_") {
        return Err("it is a private key, which only the sender may have; verify with the whpk_ one");
    }
    if let Some(public) = text.strip_prefix("whpk_") {
        return SignatureKey::new(Algorithm::Ed25519, &base64(public)?);
    }
    let bytes = base64(text.strip_prefix("whsec_").unwrap_or(text))?;
    match bytes.len() {
        24..=64 => SignatureKey::new(Algorithm::HmacSha256, &bytes),
        _ => Err("it is not 24 to 64 bytes long"),
    }
}

impl Provider for StandardWebhooks {
    fn name(&self) -> &str {
        "standard-webhooks"
    }

    fn terms(&self) -> Terms {
        let tolerance = self.families[0].scheme.tolerance();
        Terms::new(self.horizon, Duration::from_secs(15)).with_tolerance(tolerance)
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        // One family or the other, never a mixture. Svix itself sends both, with the same values.
        let [first, second] = &self.families;
        let signed = |family: &Family| request.headers.contains_key(&family.scheme.header);
        let family = if !signed(first) && signed(second) { second } else { first };
        let proof = family.scheme.verify(request)?;
        let id = header(request.headers, &family.id)?.map(str::to_owned);
        let id = present(id, family.id.as_str())?;
        // An ID with a dot in it could be cut at the dot, into another ID, time and body of the same bytes.
        let bound = match family.scheme.vouches(request.headers, &family.id) {
            true => IdBound::Signed,
            false => IdBound::Unsigned,
        };
        Ok(Verified::Events(vec![Event::new(id, request.body.clone()).bound(bound).proved(&proof)]))
    }
}

/// Svix: [`StandardWebhooks`] that looks for the names of Svix first, under a name of its own in logs and records.
#[derive(Debug, Clone)]
pub struct Svix(StandardWebhooks);

impl Svix {
    /// With these secrets, as for [`StandardWebhooks::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let mut standard = StandardWebhooks::new(secrets)?;
        standard.families.reverse();
        Ok(Self(standard))
    }

    /// The same with another tolerance: how far the timestamp may be off, either way; default 5 minutes.
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self(self.0.with_tolerance(tolerance))
    }
}

impl Provider for Svix {
    fn name(&self) -> &str {
        "svix"
    }

    fn terms(&self) -> Terms {
        self.0.terms()
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        self.0.verify(request)
    }
}
