//! Any bytes as a stored row: no panic, and what is accepted has one form.
#![no_main]

use ackonce::protocol::Row;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(row) = Row::decode(data) {
        assert_eq!(row.encode(), data);
    }
});
