//! Any bytes as a stored row: no panic, and what is accepted has one form.

use ackonce::Previous;
use ackonce::protocol::Row;
use ackonce::store::{Fingerprint, State, Token};
use bytes::Bytes;

pub fn run(data: &[u8]) {
    if let Ok(row) = Row::decode(data) {
        assert_eq!(row.encode(), data);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let row = Row {
        state: State::Released,
        token: Token([7; 16]),
        fence: 1_800_000_000_000_001,
        claimed: 1_800_000_000_000_000,
        attempt: 300,
        previous: Previous::Vanished,
        fingerprint: Some(Fingerprint([9; 16])),
        free_at: 1_800_000_030_000_000,
        expires: 1_886_400_000_000_000,
        outcome: Some(Bytes::from_static(b"half")),
        reason: Some("n\u{e9}".to_owned()),
    };
    let brief = Row { state: State::Done, fingerprint: None, outcome: None, reason: None, ..row.clone() };
    vec![row.encode(), brief.encode()]
}
