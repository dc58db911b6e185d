//! Secrets: never shown, never empty.

use std::fmt;

use sha2::Digest;

use crate::error::ConfigError;

/// Characters that copying leaves at an end of a secret, and nobody sees: zero-width ones, the byte order mark.
const INVISIBLE: [char; 5] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];
/// Quotes of shells, and of programs that write text: one at each end.
const QUOTES: [(char, char); 5] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{2018}', '\u{2019}'), ('\u{201c}', '\u{201d}')];

/// A secret as the provider shows it, or a public key in the same form. Its `Debug` shows nothing of it.
///
/// ```
/// use ackonce_webhook::Secret;
/// assert_eq!(format!("{:?}", Secret::from("whsec_1")), "Secret(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Why it cannot be a secret as the provider shows it. Bytes that are no text may be anything.
    fn fault(&self) -> Option<&'static str> {
        if self.0.trim_ascii().is_empty() {
            return Some("it is empty");
        }
        let text = self.text()?;
        let blank = |c: char| c.is_whitespace() || INVISIBLE.contains(&c);
        if text.starts_with(blank) || text.ends_with(blank) {
            return Some("it has white space at an end, such as the newline of a file; give it without");
        }
        if text.contains(char::is_control) {
            return Some(
                "it has a control character, such as a line break between two secrets; give each by itself",
            );
        }
        let quoted =
            |(open, close)| text.chars().count() > 1 && text.starts_with(open) && text.ends_with(close);
        QUOTES.into_iter().any(quoted).then_some("it is in quotes; give it without")
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        let digest = |bytes: &[u8]| sha2::Sha256::digest(bytes);
        let (mine, other) = (digest(&self.0), digest(value));
        mine.iter().zip(other).fold(0, |differ, (mine, other)| differ | (mine ^ other)) == 0
    }

    /// The text of a secret that is one, such as base64.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// At least one secret, and none that nobody signs with: with an empty one everybody could sign, and one that was pasted
/// or read from a file with more around it would refuse every request.
pub(crate) fn checked(
    secrets: impl IntoIterator<Item = impl Into<Secret>>,
) -> Result<Vec<Secret>, ConfigError> {
    let secrets: Vec<Secret> = secrets.into_iter().map(Into::into).collect();
    if secrets.is_empty() {
        return Err(ConfigError::NoSecret);
    }
    let fault = secrets.iter().enumerate().find_map(|(index, secret)| Some((index, secret.fault()?)));
    match fault {
        Some((index, why)) => Err(ConfigError::Secret { index, why: why.into() }),
        None => Ok(secrets),
    }
}
