//! The finished steps of a message as bytes: the progress of its record.
//!
//! ```text
//! 1 byte    format: 1
//! for each finished step:
//! varint    length of its name in bytes, and its name, UTF-8; that of an inner step after its outer one's and `/`
//! varint    version of its outcome
//! varint    length of its outcome in bytes, and its outcome, JSON
//! ```
//!
//! A varint is LEB128: seven bits to a byte, the lowest first. A new step is written at the end, so that of two
//! journals under one claim the longer one is the later.

use bytes::{Buf, Bytes};

use crate::error::{Error, ErrorKind, Result};

/// The format that this version writes.
pub(super) const FORMAT: u8 = 1;

/// A finished step of a message, as its record keeps it: [`Record::steps`](crate::store::Record::steps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStep {
    /// Its name; an inner step has that of its outer one and `/` before it.
    pub name: String,
    /// The version of its outcome: [`StepName::with_version`](crate::StepName::with_version).
    pub version: u32,
    /// Its outcome, as JSON.
    pub outcome: Bytes,
}

/// The finished steps among the progress of a message.
///
/// # Errors
/// [`ErrorKind::NewerSchema`] for a format of a newer version, [`ErrorKind::Corrupt`] for bytes that are no steps.
pub(crate) fn read(progress: &Bytes) -> Result<Vec<RecordedStep>> {
    let mut rest = progress.clone();
    if !rest.has_remaining() {
        return Ok(Vec::new());
    }
    let format = rest.get_u8();
    if format != FORMAT {
        return Err(Error::new(
            ErrorKind::NewerSchema,
            format!(
                "its finished steps are recorded in format {format}, and this version of ackonce reads format {FORMAT}"
            ),
        ));
    }
    let mut steps = Vec::new();
    while rest.has_remaining() {
        steps.push(
            step(&mut rest).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "the record of its finished steps is damaged")
            })?,
        );
    }
    Ok(steps)
}

fn step(rest: &mut Bytes) -> Option<RecordedStep> {
    let name = String::from_utf8(text(rest)?.into()).ok()?;
    let version = u32::try_from(varint(rest)?).ok()?;
    Some(RecordedStep { name, version, outcome: text(rest)? })
}

fn text(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(varint(rest)?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn varint(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = rest.has_remaining().then(|| rest.get_u8())?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Writes a finished step at the end of a journal.
pub(super) fn write(journal: &mut Vec<u8>, name: &str, version: u32, outcome: &[u8]) {
    if journal.is_empty() {
        journal.push(FORMAT);
    }
    put(journal, name.len() as u64);
    journal.extend_from_slice(name.as_bytes());
    put(journal, version.into());
    put(journal, outcome.len() as u64);
    journal.extend_from_slice(outcome);
}

fn put(journal: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        journal.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    journal.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_a_journal_are_a_stored_format() {
        let mut journal = Vec::new();
        write(&mut journal, "charge", 300, b"null");
        assert_eq!(journal, b"\x01\x06charge\xac\x02\x04null");
        let newer = read(&Bytes::from_static(b"\x02")).unwrap_err();
        assert!(newer.kind() == ErrorKind::NewerSchema && newer.to_string().contains("format 2"), "{newer}");
        for cut in 2..journal.len() {
            assert_eq!(read(&journal[..cut].to_vec().into()).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    proptest! {
        #[test]
        fn steps_come_back_as_they_were(
            steps in prop::collection::vec(("\\PC{1,20}", any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6)
        ) {
            let mut journal = Vec::new();
            steps.iter().for_each(|(name, version, outcome)| write(&mut journal, name, *version, outcome));
            let back = read(&journal.into()).unwrap();
            let back: Vec<_> = back.into_iter().map(|s| (s.name, s.version, s.outcome.to_vec())).collect();
            prop_assert_eq!(back, steps);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes.into());
        }
    }
}
