//! Any two pairs of scope and message ID: a key has one digest, and two keys never share one.
//!
//! Input: the length of a scope's name, the place of another split, and the bytes of name and ID.

use ackonce::{Key, Scope};
use sha2::{Digest, Sha256};

fn key(name: &[u8], id: &[u8]) -> Option<Key> {
    let scope = Scope::new(String::from_utf8(name.to_vec()).ok()?).ok()?;
    let key = scope.key(id.to_vec()).ok()?;
    assert_eq!((key.scope().name().as_bytes(), &key.id()[..]), (name, id));
    let plain = [&(name.len() as u64).to_be_bytes(), name, id].concat();
    assert_eq!(*key.digest(), <[u8; 32]>::from(Sha256::digest(plain)));
    Some(key)
}

pub fn run(data: &[u8]) {
    let [one, other, bytes @ ..] = data else { return };
    let split = |at: &u8| bytes.split_at(usize::from(*at) % (bytes.len() + 1));
    let ((name, id), (other_name, other_id)) = (split(one), split(other));
    let Some(first) = key(name, id) else { return };
    // The same bytes, split elsewhere.
    if let Some(second) = key(other_name, other_id) {
        assert_eq!(first == second, (name, id) == (other_name, other_id));
    }
    // The same ID in a scope beside it, whose purpose is any text.
    let purpose = String::from_utf8_lossy(other_id);
    let beside = first.scope().beside(&purpose);
    assert_eq!(beside.base_name(), first.scope().name());
    assert!(!beside.name().chars().any(char::is_control), "{beside:?}");
    assert!(Scope::new(beside.name()).is_err(), "nobody names a scope so: {beside:?}");
    assert_ne!(beside.key(id.to_vec()).as_ref(), Ok(&first));
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        &b"\x01\x02a:bc"[..],
        b"\x07\x02billing/evt_1",
        b"\x01\x01a\0b",
        b"\x01\x02a/~x",
        b"\x02\x03\xc3\xa9e\xcc\x81",
    ]
    .map(<[u8]>::to_vec)
    .into()
}
