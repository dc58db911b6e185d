//! The description of what a provider signs: read, or refused.
#![no_main]

use ackonce::{IdSource, MessageIds};
use ackonce_webhook::{Algorithm, Custom};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pattern: &str| {
    let ids = MessageIds::first_of([IdSource::Payload]);
    let custom = Custom::new("fuzz", "x-signature", ["s3cret"], Algorithm::HmacSha256, ids).unwrap();
    if custom.with_signed(pattern).is_ok() {
        assert!(pattern.contains("{body}"));
    }
});
