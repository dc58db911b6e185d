//! The description of what a provider signs: read, or refused.

use ackonce::{IdSource, MessageIds};
use ackonce_webhook::{Algorithm, Custom};

pub fn run(data: &[u8]) {
    let Ok(pattern) = std::str::from_utf8(data) else { return };
    let ids = MessageIds::first_of([IdSource::Payload]);
    let custom = Custom::new("fuzz", "x-signature", ["s3cret"], Algorithm::HmacSha256, ids).unwrap();
    if custom.with_signed(pattern).is_ok() {
        assert!(pattern.contains("{body}"));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "{timestamp}.{body}",
        "v0:{timestamp}:{body}",
        "{id}.{timestamp}.{body}",
        "{header:x-a}{url}{body}{{",
        "{body",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
