//! Secrets: never shown, never empty.

use std::fmt;

use crate::ConfigError;

/// A secret as the provider shows it, or a public key in the same form. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
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

/// At least one secret, none of them empty: with an empty one, everybody could sign.
pub(crate) fn checked(
    secrets: impl IntoIterator<Item = impl Into<Secret>>,
) -> Result<Vec<Secret>, ConfigError> {
    let secrets: Vec<Secret> = secrets.into_iter().map(Into::into).collect();
    if secrets.is_empty() {
        return Err(ConfigError::NoSecret);
    }
    match secrets.iter().position(|secret| secret.0.trim_ascii().is_empty()) {
        Some(index) => Err(ConfigError::Secret { index, why: "it is empty".into() }),
        None => Ok(secrets),
    }
}
