//! Scope and message ID as the index of a tag has them: the scope's length in two bytes, the scope, the ID.

use ackonce::Key;
use bytes::Bytes;

/// The names of a key in that form; nothing if they are longer than a request can say, which takes an ID of 64 KB.
pub(crate) fn kept(key: &Key) -> Vec<u8> {
    let names = [&beginning(key.scope().name())[..], &key.id()[..]].concat();
    if names.len() <= usize::from(u16::MAX) { names } else { Vec::new() }
}

/// The part that all names of a scope begin with.
pub(crate) fn beginning(scope: &str) -> Vec<u8> {
    let length = u16::try_from(scope.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), scope.as_bytes()].concat()
}

/// Scope and message ID from that form; `None` if they are not kept.
pub(crate) fn known(names: &[u8]) -> Option<(String, Bytes)> {
    let (length, rest) = names.split_first_chunk::<2>()?;
    let (scope, id) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((String::from_utf8_lossy(scope).into_owned(), Bytes::copy_from_slice(id)))
}
