//! The token that lets a person in, and the session that a browser gets for it.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The fewest characters of a token.
const SHORTEST: usize = 16;
/// The most; a longer one is more than a header should carry.
const LONGEST: usize = 512;

/// A secret that lets requests in. Neither `Debug` nor an error shows it.
///
/// ```
/// use ackonce_console::AccessToken;
///
/// assert!("4f1d9c0e7ab85326d1e0".parse::<AccessToken>().is_ok());
/// assert!("admin".parse::<AccessToken>().is_err());
/// ```
#[derive(Clone)]
pub struct AccessToken(String);

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessTokenError {
    /// It could be guessed.
    #[error("the token has fewer than {SHORTEST} characters; make one with `openssl rand -hex 20`")]
    Short,
    /// It is too long for a header.
    #[error("the token has more than {LONGEST} characters")]
    Long,
    /// A header cannot carry it.
    #[error("the token has other characters than visible ASCII")]
    NotVisible,
}

impl FromStr for AccessToken {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, AccessTokenError> {
        match text {
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(AccessTokenError::NotVisible),
            _ if text.len() < SHORTEST => Err(AccessTokenError::Short),
            _ if text.len() > LONGEST => Err(AccessTokenError::Long),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl AccessToken {
    /// The text, for the header of a request: not to be shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

/// Compares secrets in a time that says nothing about them: by codes under a key of this process.
pub(super) struct Lock {
    token: Code,
    session: Code,
    /// The value of the cookie: random, so it ends with the process, and nobody learns the token from it.
    cookie: String,
    /// Of this process, too: the ports of a host share their cookies.
    cookie_name: String,
}

struct Code {
    key: [u8; 64],
    code: Vec<u8>,
}

impl Lock {
    pub(super) fn new(token: &AccessToken) -> Self {
        let cookie = hex::encode(rand::random::<[u8; 32]>());
        let cookie_name = format!("ackonce_console_{}", hex::encode(rand::random::<[u8; 4]>()));
        Self { token: Code::of(&token.0), session: Code::of(&cookie), cookie, cookie_name }
    }

    pub(super) fn accepts_token(&self, presented: &str) -> bool {
        self.token.is_of(presented)
    }

    pub(super) fn accepts_session(&self, presented: &str) -> bool {
        self.session.is_of(presented)
    }

    pub(super) fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }
}

impl Code {
    fn of(secret: &str) -> Self {
        let key = rand::random();
        Self { key, code: code(&key, secret).finalize().into_bytes().to_vec() }
    }

    fn is_of(&self, presented: &str) -> bool {
        code(&self.key, presented).verify_slice(&self.code).is_ok()
    }
}

fn code(key: &[u8; 64], text: &str) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new(key.into());
    code.update(text.as_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_and_its_session_are_accepted() {
        let token: AccessToken = "0123456789abcdef".parse().unwrap();
        let lock = Lock::new(&token);
        assert!(lock.accepts_token("0123456789abcdef") && lock.accepts_session(lock.cookie()));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", lock.cookie()] {
            assert!(!lock.accepts_token(wrong), "{wrong}");
        }
        assert!(!lock.accepts_session("0123456789abcdef") && !lock.accepts_session(""));
        assert_ne!(Lock::new(&token).cookie(), lock.cookie());
        assert_eq!(format!("{token:?}"), "AccessToken(***)");
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused_without_repeating_it() {
        for (text, why) in [
            ("hunter2", AccessTokenError::Short),
            ("", AccessTokenError::Short),
            ("0123456789 abcdef", AccessTokenError::NotVisible),
            ("0123456789abcdef\n", AccessTokenError::NotVisible),
        ] {
            let error = text.parse::<AccessToken>().unwrap_err();
            assert_eq!(error, why);
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        assert_eq!("x".repeat(513).parse::<AccessToken>().unwrap_err(), AccessTokenError::Long);
    }
}
