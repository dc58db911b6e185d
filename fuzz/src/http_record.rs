//! Any bytes as a recorded answer: no panic, and what is accepted is written again as an equal record.

use ackonce_http::StoredResponse;
use bytes::Bytes;

pub fn run(data: &[u8]) {
    if let Ok(stored) = StoredResponse::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(StoredResponse::decode(&stored.encode()), Ok(stored));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "{\"ackonce-http\":1,\"status\":201,\"headers\":[[\"location\",\"/payments/1\"]],\"body\":10,\"window_ms\":86400000}\n{\"id\":\"1\"}",
        "{\"ackonce-http\":1,\"status\":200,\"headers\":[],\"body\":0,\"window_ms\":1}\n",
        "{\"ackonce-http\":2}\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
