//! A row as bytes, for stores that keep a value under a key.
//!
//! ```text
//! 1 byte    0xAC
//! 1 byte    version: 1
//! 1 byte    flags, from the lowest bit: state (2 bits), previous (2 bits), fingerprint?, outcome?, reason?, 0
//! 16 bytes  token
//! varint    claimed
//! varint    fence    - claimed
//! varint    free_at  - claimed
//! varint    expires  - claimed
//! varint    attempt
//! 16 bytes  fingerprint, if there is one
//! varint    length of the outcome, and its bytes, if there is one
//! varint    length of the reason in bytes, and its UTF-8, if there is one
//! ```
//!
//! State and previous count in the order of their declarations, from 0. A varint is LEB128: seven bits to a byte,
//! the lowest first, in as few bytes as will do; differences wrap around at 64 bits. Nothing follows.
//!
//! A row has one form, and a form has one row. A change of this layout takes a new version.

use bytes::Bytes;

use super::Row;
use crate::claim::{Previous, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Fingerprint;
use crate::record::State;

const MAGIC: u8 = 0xAC;
const VERSION: u8 = 1;

const STATES: [State; 4] = [State::Claimed, State::Released, State::Done, State::Buried];
const ENDINGS: [Previous; 3] = [Previous::None, Previous::Released, Previous::Vanished];
const FINGERPRINT: u8 = 1 << 4;
const OUTCOME: u8 = 1 << 5;
const REASON: u8 = 1 << 6;
const UNUSED: u8 = 1 << 7;

impl Row {
    /// The row as bytes: 36 to 41 for one that was completed without fingerprint and outcome.
    ///
    /// The layout has a version, so that a store can keep these bytes for as long as it likes:
    /// [`decode`](Self::decode) reads every version up to its own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ackonce::protocol::{self, Row};
    /// # use ackonce::Scope;
    /// # use ackonce::store::{ClaimRequest, Token};
    /// # let key = Scope::new("orders")?.key("evt_1")?;
    /// # let (lease, window) = (Duration::from_secs(30), Duration::from_secs(3600));
    /// # let request = ClaimRequest { key, token: Token::random(), lease, window, fingerprint: None };
    /// let (_, row) = protocol::claim(None, &request, 1_800_000_000_000_000);
    /// let row = row.expect("it was granted");
    /// assert_eq!(Row::decode(&row.encode())?, row);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parts = [self.outcome.as_deref(), self.reason.as_deref().map(str::as_bytes)];
        let moments =
            [self.fence, self.free_at, self.expires].map(|moment| moment.wrapping_sub(self.claimed));
        let [since_fence, since_free, since_expired] = moments;
        let numbers = [self.claimed, since_fence, since_free, since_expired, u64::from(self.attempt)];
        let mut flags = self.state as u8 | (self.previous as u8) << 2;
        let mut length = 3 + 16 + numbers.into_iter().map(varint_len).sum::<usize>();
        if self.fingerprint.is_some() {
            flags |= FINGERPRINT;
            length += 16;
        }
        for (part, flag) in
            parts.iter().zip([OUTCOME, REASON]).filter_map(|(part, flag)| Some(((*part)?, flag)))
        {
            flags |= flag;
            length += varint_len(part.len() as u64) + part.len();
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend([MAGIC, VERSION, flags]);
        bytes.extend_from_slice(&self.token.0);
        numbers.into_iter().for_each(|number| varint(&mut bytes, number));
        if let Some(fingerprint) = &self.fingerprint {
            bytes.extend_from_slice(&fingerprint.0);
        }
        for part in parts.into_iter().flatten() {
            varint(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// The row of which these are the bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NewerSchema`] for a row that a newer version of this crate wrote, and [`ErrorKind::Corrupt`] for
    /// bytes that are no row. Neither passes by itself.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [MAGIC, VERSION, rest @ ..] => Rest(rest).row().ok_or_else(corrupt),
            [MAGIC, version, ..] if *version > VERSION => Err(Error::new(
                ErrorKind::NewerSchema,
                format!(
                    "a record of format {version}, written by a newer version of ackonce (this one reads up to {VERSION})"
                ),
            )),
            _ => Err(corrupt()),
        }
    }
}

fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a record is damaged: its bytes are not those of a row")
}

/// The number of bytes it takes.
fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros()).div_ceil(7) as usize
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// The bytes that are left to read. `None` is their end, or a form that no row has.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn row(mut self) -> Option<Row> {
        let [flags] = self.array()?;
        let state = *STATES.get(usize::from(flags & 3))?;
        let previous = *ENDINGS.get(usize::from(flags >> 2 & 3))?;
        let has = |flag| flags & flag != 0;
        let token = Token(self.array()?);
        let claimed = self.varint()?;
        let mut moment = || Some(self.varint()?.wrapping_add(claimed));
        let (fence, free_at, expires) = (moment()?, moment()?, moment()?);
        let attempt = self.varint()?.try_into().ok()?;
        let fingerprint = if has(FINGERPRINT) { Some(Fingerprint(self.array()?)) } else { None };
        let outcome = if has(OUTCOME) { Some(Bytes::copy_from_slice(self.part()?)) } else { None };
        let reason = if has(REASON) { Some(str::from_utf8(self.part()?).ok()?.to_owned()) } else { None };
        let row = Row {
            state,
            token,
            fence,
            claimed,
            attempt,
            previous,
            fingerprint,
            free_at,
            expires,
            outcome,
            reason,
        };
        (self.0.is_empty() && !has(UNUSED)).then_some(row)
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn part(&mut self) -> Option<&'b [u8]> {
        let length = self.varint()?.try_into().ok()?;
        self.take(length)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte of nothing but zeros would be a second form of the same number.
                return (byte != 0 || shift == 0).then_some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::error::Repeat;

    fn any_row() -> impl Strategy<Value = Row> {
        let moment = || {
            prop_oneof![
                any::<u64>(),
                Just(0),
                Just(u64::MAX),
                1_700_000_000_000_000..1_900_000_000_000_000_u64
            ]
        };
        let whose = (0..STATES.len(), 0..ENDINGS.len(), any::<[u8; 16]>(), any::<u32>());
        let when = (moment(), moment(), moment(), moment());
        let kept = (
            prop::option::of(any::<[u8; 16]>()),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            prop::option::of("\\PC{0,200}"),
        );
        (whose, when, kept).prop_map(
            |((state, previous, token, attempt), moments, (print, outcome, reason))| {
                let (claimed, fence, free_at, expires) = moments;
                Row {
                    state: STATES[state],
                    token: Token(token),
                    fence,
                    claimed,
                    attempt,
                    previous: ENDINGS[previous],
                    fingerprint: print.map(Fingerprint),
                    free_at,
                    expires,
                    outcome: outcome.map(Bytes::from),
                    reason,
                }
            },
        )
    }

    fn kind(bytes: &[u8]) -> ErrorKind {
        let error = Row::decode(bytes).unwrap_err();
        assert_eq!(error.repeat(), Repeat::Never, "{error}");
        error.kind()
    }

    fn usual() -> Row {
        let now = 1_800_000_000_000_000;
        Row {
            state: State::Done,
            token: Token([7; 16]),
            fence: now,
            claimed: now,
            attempt: 1,
            previous: Previous::None,
            fingerprint: None,
            free_at: now + 30_000_000,
            expires: now + 86_400_000_000,
            outcome: None,
            reason: None,
        }
    }

    #[test]
    fn the_layout_is_a_stored_format() {
        // Changing this, without another version, makes every stored record unreadable.
        let row = Row {
            fingerprint: Some(Fingerprint([9; 16])),
            outcome: Some(Bytes::from_static(b"ok")),
            reason: Some("né".into()),
            previous: Previous::Vanished,
            ..usual()
        };
        let mut expected = vec![0xAC, 1, 0b0111_1010];
        expected.extend([7; 16]);
        expected.extend([0x80, 0x80, 0xe2, 0xc4, 0xf2, 0xa2, 0x99, 0x03]);
        expected.extend([0x00, 0x80, 0x87, 0xa7, 0x0e, 0x80, 0xc0, 0xdd, 0xee, 0xc1, 0x02, 0x01]);
        expected.extend([9; 16]);
        expected.extend(b"\x02ok\x03n\xc3\xa9");
        assert_eq!(row.encode(), expected);
    }

    #[test]
    fn a_usual_row_is_short() {
        assert_eq!(usual().encode().len(), 39, "bytes");
    }

    #[test]
    fn a_newer_version_is_not_taken_for_damage_nor_damage_for_a_newer_version() {
        let mut bytes = usual().encode();
        for version in 2..=u8::MAX {
            bytes[1] = version;
            assert_eq!(kind(&bytes), ErrorKind::NewerSchema, "format {version}");
        }
        assert_eq!(kind(&[MAGIC, 2]), ErrorKind::NewerSchema, "however short it is");
        bytes[1] = 0;
        assert_eq!(kind(&bytes), ErrorKind::Corrupt, "there was no format 0");
        for garbage in [&b""[..], b"\xac", b"\xac\x01", b"garbage", b"{\"state\":1}", b"\0\0\0\0"] {
            assert_eq!(kind(garbage), ErrorKind::Corrupt, "{garbage:?}");
        }
    }

    #[test]
    fn a_cut_or_lengthened_row_is_damaged() {
        let bytes = Row { outcome: Some(Bytes::from_static(b"ok")), ..usual() }.encode();
        for end in 0..bytes.len() {
            assert_eq!(kind(&bytes[..end]), ErrorKind::Corrupt, "the first {end} bytes");
        }
        assert_eq!(kind(&[&bytes[..], b"\0"].concat()), ErrorKind::Corrupt, "with a byte more");
    }

    #[test]
    fn a_length_beyond_the_bytes_is_damage() {
        let mut bytes = Row { outcome: Some(Bytes::new()), ..usual() }.encode();
        bytes.pop();
        for length in
            [&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0x7f], &[0xff, 0x7f]]
        {
            assert_eq!(kind(&[&bytes[..], length].concat()), ErrorKind::Corrupt, "a length of {length:?}");
        }
    }

    proptest! {
        #[test]
        fn every_row_comes_back(row in any_row()) {
            let bytes = row.encode();
            prop_assert_eq!(bytes.capacity(), bytes.len(), "no memory is fetched twice");
            prop_assert_eq!(Row::decode(&bytes).unwrap(), row);
        }

        #[test]
        fn any_bytes_are_a_row_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let [magic, version, ..] = &mut bytes[..] {
                (*magic, *version) = (MAGIC, VERSION);
            }
            if let Ok(row) = Row::decode(&bytes) {
                prop_assert_eq!(row.encode(), bytes, "a row has one form");
            }
        }

        #[test]
        fn a_row_with_other_bytes_in_it_is_a_row_or_an_error(row in any_row(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = row.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(row) = Row::decode(&bytes) {
                prop_assert_eq!(row.encode(), bytes, "a row has one form");
            }
        }
    }
}
