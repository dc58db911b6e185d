//! Reads a script's reply: it must be complete, and answer the request that was sent.

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};

/// The error for a reply that answers another request or is incomplete.
pub(crate) fn misread(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("redis: {what}")).with_repeat(Repeat::Unknown)
}

/// The part of a reply that is still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    rest: &'a [u8],
    /// The server's clock when the script ran, in microseconds.
    pub(crate) now: u64,
}

impl<'a> Reply<'a> {
    /// Checks that `bytes` is the reply to the request with that nonce.
    pub(crate) fn open(bytes: &'a [u8], nonce: &[u8; 16]) -> Result<Self> {
        let rest = bytes.strip_prefix(nonce).ok_or_else(|| {
            misread("an answer to another request came back; the connection is given up, nothing is taken from it")
        })?;
        let mut reply = Self { rest, now: 0 };
        reply.now = reply.u56()?;
        Ok(reply)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| misread("an answer was cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Moments and spans have seven bytes.
    pub(crate) fn u56(&mut self) -> Result<u64> {
        let mut wide = [0; 8];
        wide[1..].copy_from_slice(self.bytes(7)?);
        Ok(u64::from_be_bytes(wide))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Nothing may be left over.
    pub(crate) fn end(self) -> Result<()> {
        match self.rest {
            [] => Ok(()),
            _ => Err(misread("there are more answers than requests")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_is_read() {
        let mut bytes = [[7; 16].as_slice(), &[0, 0, 0, 0, 0, 1, 2], b"Y"].concat();
        let mut reply = Reply::open(&bytes, &[7; 16]).unwrap();
        assert_eq!((reply.now, reply.u8().unwrap()), (258, b'Y'));
        reply.end().unwrap();
        for broken in [&bytes[..20], &bytes[..10], &[]] {
            let error = Reply::open(broken, &[7; 16]).unwrap_err();
            assert_eq!((error.kind(), error.repeat()), (ErrorKind::Protocol, Repeat::Unknown));
        }
        bytes[3] ^= 1;
        assert!(Reply::open(&bytes, &[7; 16]).is_err());
    }
}
