//! One mechanism for all providers that sign with a header: the signatures' place, the signed text, its greatest age.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

use super::mac::{Algorithm, Candidate, Encoding, SignatureKey};
use super::template::{Part, Template, Timestamp};
use crate::error::VerifyError;
use crate::request::RawRequest;

/// A provider's signature scheme.
#[derive(Debug, Clone)]
pub(crate) struct Scheme {
    /// The header that signatures are in.
    pub(crate) header: HeaderName,
    /// The separator of the items in the header's value; `None`: it is one item.
    pub(crate) separator: Option<char>,
    /// The prefix of an item that is a signature, by algorithm.
    pub(crate) marks: Vec<(String, Algorithm)>,
    pub(crate) encoding: Encoding,
    pub(crate) signed: Template,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) tolerance: Duration,
    pub(crate) keys: Vec<SignatureKey>,
}

/// A verified signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When it was signed, where that is signed, too.
    pub(crate) timestamp: Option<SystemTime>,
    /// Which secret matched, from 0.
    pub(crate) secret: usize,
}

impl Scheme {
    /// A scheme with one mark and nothing but the body signed.
    pub(crate) fn new(header: HeaderName, mark: &str, encoding: Encoding, keys: Vec<SignatureKey>) -> Self {
        let algorithm = keys.first().map_or(Algorithm::HmacSha256, SignatureKey::algorithm);
        Self {
            header,
            separator: None,
            marks: vec![(mark.to_owned(), algorithm)],
            encoding,
            signed: Template(vec![Part::Body]),
            timestamp: None,
            tolerance: DEFAULT_TOLERANCE,
            keys,
        }
    }

    /// The tolerance, where there is a timestamp for it.
    pub(crate) fn tolerance(&self) -> Option<Duration> {
        self.timestamp.as_ref().map(|_| self.tolerance)
    }

    /// Checks that a request is signed, and signed recently.
    pub(crate) fn verify(&self, request: &RawRequest<'_>) -> Result<Proof, VerifyError> {
        let value = header(request.headers, &self.header)?
            .ok_or_else(|| VerifyError::Unsigned(self.header.to_string().into()))?;
        let items: Vec<&str> = match self.separator {
            Some(separator) => value.split(separator).map(str::trim).collect(),
            None => vec![value],
        };
        let timestamp = self.timestamp(request.headers, &items)?;
        let message = self.message(request, timestamp.unwrap_or_default())?;
        let candidates = self.candidates(&items)?;
        let secret = self.keys.iter().position(|key| key.accepts(&message, &candidates));
        let secret = secret.ok_or(VerifyError::Signature)?;
        // The age of an unsigned request is not worth an error of its own.
        let timestamp = timestamp.map(|text| self.within_tolerance(text, request.now)).transpose()?;
        Ok(Proof { timestamp, secret })
    }

    fn timestamp<'r>(
        &self,
        headers: &'r HeaderMap,
        items: &[&'r str],
    ) -> Result<Option<&'r str>, VerifyError> {
        match &self.timestamp {
            None => Ok(None),
            Some(Timestamp::Header(name)) => match header(headers, name)? {
                Some(text) => Ok(Some(text)),
                None => Err(VerifyError::Unsigned(name.to_string().into())),
            },
            Some(Timestamp::Item(mark)) => {
                let mut found = items.iter().filter_map(|item| item.strip_prefix(mark.as_str()));
                match (found.next(), found.next()) {
                    (Some(text), None) => Ok(Some(text)),
                    (None, _) => Err(VerifyError::Unsigned(format!("{mark} in {}", self.header).into())),
                    _ => Err(VerifyError::malformed(self.header.to_string(), "two timestamps")),
                }
            }
        }
    }

    /// The signed bytes, as slices of the request.
    fn message<'m>(
        &'m self,
        request: &RawRequest<'m>,
        timestamp: &'m str,
    ) -> Result<Vec<&'m [u8]>, VerifyError> {
        let part = |part: &'m Part| match part {
            Part::Text(text) => Ok(text.as_bytes()),
            Part::Timestamp => Ok(timestamp.as_bytes()),
            Part::Body => Ok(request.body.as_ref()),
            Part::Header(name) => match header(request.headers, name)? {
                Some(text) => Ok(text.as_bytes()),
                None => Err(VerifyError::Unsigned(name.to_string().into())),
            },
        };
        self.signed.0.iter().map(part).collect()
    }

    /// Decoded signatures. Items of other versions are passed over.
    fn candidates(&self, items: &[&str]) -> Result<Vec<Candidate>, VerifyError> {
        let signature = |item: &&str| {
            self.marks.iter().find_map(|(mark, algorithm)| {
                item.strip_prefix(mark.as_str()).map(|text| (*algorithm, self.encoding.decode(text)))
            })
        };
        let found: Vec<_> = items.iter().filter_map(signature).collect();
        if found.is_empty() {
            return Err(VerifyError::Unsigned(format!("signature in {}", self.header).into()));
        }
        let decoded = |(algorithm, bytes): (_, Option<_>)| bytes.map(|bytes| Candidate { algorithm, bytes });
        Ok(found.into_iter().filter_map(decoded).collect())
    }

    /// True if the signature covers the value of this header of a verified request: its bytes, and where they begin and
    /// end. Between two variable parts without a text, or with one that is in the value, too, anybody who has seen a
    /// request could move the boundary: the signed bytes stay the same.
    pub(crate) fn vouches(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let parts = &self.signed.0;
        let body = parts.iter().position(|part| *part == Part::Body).unwrap_or(parts.len());
        let last = parts.iter().rposition(|part| *part == Part::Body).map_or(0, |last| last + 1);
        let from_the_start =
            |value: &str, text: &str| format!("{value}{text}").find(text) == Some(value.len());
        let from_the_end = |value: &str, text: &str| format!("{text}{value}").rfind(text) == Some(0);
        self.delimited(headers, name, parts[..body].iter(), from_the_start)
            || self.delimited(headers, name, parts[last..].iter().rev(), from_the_end)
    }

    /// Reads from one end of the signed text, as long as the text between two parts says where they meet.
    fn delimited<'p>(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        parts: impl Iterator<Item = &'p Part>,
        meet: impl Fn(&str, &str) -> bool,
    ) -> bool {
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            let header = match (part, &self.timestamp) {
                (Part::Text(_), _) => continue,
                (Part::Header(header), _) | (Part::Timestamp, Some(Timestamp::Header(header))) => {
                    Some(header)
                }
                _ => None,
            };
            let Some(Part::Text(text)) = parts.peek() else { return false };
            match header {
                Some(header) => match self::header(headers, header) {
                    Ok(Some(value)) if meet(value, text) => {}
                    _ => return false,
                },
                // Digits, as was checked.
                None if text.bytes().any(|byte| !byte.is_ascii_digit()) => {}
                None => return false,
            }
            if header == Some(name) {
                return true;
            }
        }
        false
    }

    fn within_tolerance(&self, text: &str, now: SystemTime) -> Result<SystemTime, VerifyError> {
        let bad = || VerifyError::malformed("timestamp", "it is not in seconds since the Unix epoch");
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let seconds: u64 = text.parse().map_err(|_| bad())?;
        let signed = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(bad)?;
        match now.duration_since(signed) {
            Ok(age) if age > self.tolerance => Err(VerifyError::Expired { age }),
            Err(e) if e.duration() > self.tolerance => Err(VerifyError::Early { ahead: e.duration() }),
            _ => Ok(signed),
        }
    }
}

/// The tolerance that most providers advise.
pub(crate) const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The one value of a header. Twice is malformed, not a choice.
pub(crate) fn header<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, VerifyError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(VerifyError::malformed(name.to_string(), "it is there twice")),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(VerifyError::malformed(name.to_string(), "it is not text")),
        },
    }
}
