//! The progress of an entity's record: the highest version that took effect.
//!
//! ```text
//! 1 byte    N
//! 1 byte    kind of the version: 1 integer, 2 moment, 3 bytes
//! 32 bytes  digest of the message's key
//! 2 bytes   length of the version, big-endian, and its bytes: an integer in 16, a moment in 8 for its seconds and 8
//! zeros     as many as make it no shorter than the progress before
//! ```

use bytes::Bytes;

use super::version::Version;
use crate::error::{Error, ErrorKind, Result};

const MARK: u8 = b'N';
/// The bytes before the version.
const HEAD: usize = 36;

/// The highest version of an entity that took effect, and the message that brought it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Highest {
    pub(super) version: Version,
    pub(super) message: [u8; 32],
}

impl Highest {
    /// As progress that replaces `before`: a shorter one would be taken for an earlier copy.
    pub(super) fn write(&self, before: Option<&Bytes>) -> Bytes {
        let (kind, version) = match &self.version {
            Version::Integer(number) => (1, number.to_be_bytes().to_vec()),
            Version::Moment(seconds, rest) => (2, [seconds.to_be_bytes(), rest.to_be_bytes()].concat()),
            Version::Bytes(bytes) => (3, bytes.to_vec()),
        };
        let mut bytes = vec![MARK, kind];
        bytes.extend_from_slice(&self.message);
        bytes.extend_from_slice(&u16::try_from(version.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&version);
        bytes.resize(bytes.len().max(before.map_or(0, Bytes::len)), 0);
        bytes.into()
    }

    /// # Errors
    /// The progress is no version: this key holds something else, or a newer version of this crate wrote it.
    pub(super) fn read(progress: &[u8]) -> Result<Self> {
        Self::parse(progress).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the record of the entity's highest version cannot be read")
        })
    }

    fn parse(progress: &[u8]) -> Option<Self> {
        let (head, rest) = progress.split_at_checked(HEAD)?;
        let len = usize::from(u16::from_be_bytes(head[34..36].try_into().ok()?));
        let version = rest.get(..len)?;
        let version = match (head[0], head[1]) {
            (MARK, 1) => Version::Integer(i128::from_be_bytes(version.try_into().ok()?)),
            (MARK, 2) => {
                let (seconds, rest) = version.split_at_checked(8)?;
                Version::Moment(
                    i64::from_be_bytes(seconds.try_into().ok()?),
                    u64::from_be_bytes(rest.try_into().ok()?),
                )
            }
            (MARK, 3) => Version::Bytes(Bytes::copy_from_slice(version)),
            _ => return None,
        };
        Some(Self { version, message: head[2..34].try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_version_comes_back_whatever_was_before() {
        let before = Bytes::from(vec![7; 200]);
        for version in
            [Version::Integer(-3), Version::Moment(-9, 5), Version::Bytes(Bytes::from_static(b"01J"))]
        {
            let highest = Highest { version, message: [9; 32] };
            for before in [None, Some(&before)] {
                let bytes = highest.write(before);
                assert!(bytes.len() >= before.map_or(0, Bytes::len));
                assert_eq!(Highest::read(&bytes).unwrap(), highest);
            }
        }
        assert!(Highest::read(b"N").is_err() && Highest::read(&[1; 60]).is_err());
    }
}
