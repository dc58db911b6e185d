//! Algorithms and encodings: from text to a verdict, on decoded bytes, in constant time.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::secret::Secret;
use crate::error::{ConfigError, VerifyError};

/// The algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 2104), 32 bytes.
    HmacSha256,
    /// HMAC with SHA-1, 20 bytes. Only for providers that offer nothing better.
    HmacSha1,
    /// Ed25519 (RFC 8032), 64 bytes. The "secret" is the public key, 32 bytes.
    Ed25519,
}

/// The encoding of a signature. A length or a character that is not of the encoding is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal, of either case: gateways and hand-written senders use both, and the bytes are the same.
    Hex,
    /// Hexadecimal in upper case only.
    HexUpper,
    /// Base64 of the standard alphabet, padded (RFC 4648, section 4).
    Base64,
}

impl Encoding {
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::HexUpper if text.bytes().any(|b| b.is_ascii_lowercase()) => None,
            Self::Hex | Self::HexUpper => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::HexUpper => hex::encode_upper(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    /// True if a signature may contain this character.
    pub(crate) fn has(self, character: char) -> bool {
        match self {
            Self::Hex | Self::HexUpper => character.is_ascii_hexdigit(),
            Self::Base64 => character.is_ascii_alphanumeric() || "+/=".contains(character),
        }
    }
}

/// A secret made ready.
#[derive(Clone)]
pub(crate) enum SignatureKey {
    Sha256(Hmac<Sha256>),
    Sha1(Hmac<Sha1>),
    Ed25519(Box<VerifyingKey>),
}

impl fmt::Debug for SignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureKey({:?}, …)", self.algorithm())
    }
}

impl SignatureKey {
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8]) -> Result<Self, &'static str> {
        // HMAC takes keys of every length.
        let length = "its length is not that of a key";
        Ok(match algorithm {
            Algorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(secret).map_err(|_| length)?),
            Algorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(secret).map_err(|_| length)?),
            Algorithm::Ed25519 => {
                let bytes = secret.try_into().map_err(|_| length)?;
                let key = VerifyingKey::from_bytes(bytes).map_err(|_| "it is no public key of Ed25519")?;
                if key.is_weak() {
                    return Err("it is a weak public key, which verifies texts that nobody signed");
                }
                Self::Ed25519(Box::new(key))
            }
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::HmacSha256,
            Self::Sha1(_) => Algorithm::HmacSha1,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The MAC of a text under this key; `None` for a public key, which cannot sign.
    pub(crate) fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sha256(mac) => Some(mac.clone().chain_update(text).finalize().into_bytes().to_vec()),
            Self::Sha1(mac) => Some(mac.clone().chain_update(text).finalize().into_bytes().to_vec()),
            Self::Ed25519(_) => None,
        }
    }

    /// True if one of the signatures is that of the message, whose parts follow each other without a gap. A
    /// signature of another length is a wrong one.
    pub(crate) fn accepts(&self, message: &[&[u8]], candidates: &[Candidate]) -> bool {
        let mine = candidates.iter().filter(|candidate| candidate.algorithm == self.algorithm());
        let mut signatures = mine.map(|candidate| candidate.bytes.as_slice());
        match self {
            Self::Sha256(mac) => hmac_accepts(mac, message, &mut signatures),
            Self::Sha1(mac) => hmac_accepts(mac, message, &mut signatures),
            Self::Ed25519(key) => {
                let message = message.concat();
                signatures
                    .take(MOST_ED25519)
                    .filter_map(|signature| Signature::from_slice(signature).ok())
                    .any(|signature| key.verify_strict(&message, &signature).is_ok())
            }
        }
    }
}

/// The most Ed25519 signatures looked at in one request: each costs a verification. Those of HMAC cost a comparison,
/// and the server's limit on headers is their limit.
const MOST_ED25519: usize = 32;

/// The characters of a possible signature.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) algorithm: Algorithm,
    pub(crate) bytes: Vec<u8>,
}

fn hmac_accepts<'s, M: Mac + Clone>(
    mac: &M,
    message: &[&[u8]],
    signatures: &mut impl Iterator<Item = &'s [u8]>,
) -> bool {
    let mut mac = mac.clone();
    message.iter().for_each(|part| mac.update(part));
    signatures.any(|signature| mac.clone().verify_slice(signature).is_ok())
}

/// Whose key made the only signature there is, as text in base64.
pub(crate) fn signer(keys: &[SignatureKey], message: &[&[u8]], text: &str) -> Result<usize, VerifyError> {
    let bytes = Encoding::Base64.decode(text).ok_or(VerifyError::Signature)?;
    let matches = |key: &SignatureKey| {
        key.accepts(message, &[Candidate { algorithm: key.algorithm(), bytes: bytes.clone() }])
    };
    keys.iter().position(matches).ok_or(VerifyError::Signature)
}

/// One key of each secret, which is taken as it is or decoded first.
pub(crate) fn keys(
    algorithm: Algorithm,
    secrets: &[Secret],
    decode: impl Fn(&Secret) -> Result<Vec<u8>, &'static str>,
) -> Result<Vec<SignatureKey>, ConfigError> {
    let key = |(index, secret)| {
        decode(secret)
            .and_then(|bytes| SignatureKey::new(algorithm, &bytes))
            .map_err(|why| ConfigError::Secret { index, why: why.into() })
    };
    secrets.iter().enumerate().map(key).collect()
}

/// The secret's text is the key.
pub(crate) fn as_is(secret: &Secret) -> Result<Vec<u8>, &'static str> {
    Ok(secret.bytes().to_vec())
}

/// The secret's text is base64 of the key.
pub(crate) fn base64(text: &str) -> Result<Vec<u8>, &'static str> {
    STANDARD.decode(text).map_err(|_| "it is not base64")
}
