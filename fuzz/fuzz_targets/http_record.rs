//! Any bytes as a recorded answer: no panic, and what is accepted is written again as an equal record.
#![no_main]

use ackonce_http::StoredResponse;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(stored) = StoredResponse::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(StoredResponse::decode(&stored.encode()), Ok(stored));
    }
});
