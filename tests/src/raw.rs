//! Records that no well-behaved producer makes: written to the broker by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

/// A record's headers, names and values as bytes.
pub type RawHeaders<'a> = &'a [(&'a [u8], &'a [u8])];

/// Publishes one record to partition 0 of a topic, with headers whose names need not be text.
///
/// # Panics
/// The broker refuses it.
pub fn publish(brokers: &str, topic: &str, payload: &[u8], headers: RawHeaders<'_>) {
    produce(brokers, topic, &batch(0, &record(payload, headers)));
}

/// Publishes one record to partition 0 of a topic, in a batch compressed with zstd.
///
/// # Panics
/// The broker refuses it.
pub fn publish_zstd(brokers: &str, topic: &str, payload: &[u8], headers: RawHeaders<'_>) {
    produce(brokers, topic, &batch(4, &zstd(&record(payload, headers))));
}

/// One frame with one block that is stored as it is.
fn zstd(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short record");
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, length];
    let block = (u32::from(length) << 3) | 1;
    frame.extend_from_slice(&block.to_le_bytes()[..3]);
    frame.extend_from_slice(content);
    frame
}

fn varint(to: &mut Vec<u8>, value: usize) {
    let mut zigzag = value << 1;
    while zigzag >= 0x80 {
        to.push(u8::try_from(zigzag & 0x7f).unwrap() | 0x80);
        zigzag >>= 7;
    }
    to.push(u8::try_from(zigzag).unwrap());
}

fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    varint(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// Attributes and deltas are zero, and there is no key.
fn record(payload: &[u8], headers: RawHeaders<'_>) -> Vec<u8> {
    let mut record = vec![0, 0, 0, 1];
    bytes(&mut record, payload);
    varint(&mut record, headers.len());
    for (name, value) in headers {
        bytes(&mut record, name);
        bytes(&mut record, value);
    }
    let mut whole = Vec::new();
    bytes(&mut whole, &record);
    whole
}

/// A batch of one record, version 2.
fn batch(attributes: i16, records: &[u8]) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap().to_be_bytes();
    let mut rest = attributes.to_be_bytes().to_vec();
    rest.extend_from_slice(&0_i32.to_be_bytes());
    rest.extend_from_slice(&now);
    rest.extend_from_slice(&now);
    // No producer ID, epoch and sequence.
    rest.extend_from_slice(&[0xff; 8 + 2 + 4]);
    rest.extend_from_slice(&1_i32.to_be_bytes());
    rest.extend_from_slice(records);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend_from_slice(&length(4 + 1 + 4 + rest.len()));
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c(&rest).to_be_bytes());
    batch.extend_from_slice(&rest);
    batch
}

fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap().to_be_bytes()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Produce, version 7 (zstd is refused below it), acknowledged.
fn produce(brokers: &str, topic: &str, batch: &[u8]) {
    let text = |to: &mut Vec<u8>, text: &str| {
        to.extend_from_slice(&i16::try_from(text.len()).unwrap().to_be_bytes());
        to.extend_from_slice(text.as_bytes());
    };
    let mut request = Vec::new();
    for number in [0_i16, 7, 0, 1] {
        request.extend_from_slice(&number.to_be_bytes());
    }
    text(&mut request, "tests");
    // No transaction; all in sync.
    request.extend_from_slice(&[0xff; 4]);
    request.extend_from_slice(&30_000_i32.to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    text(&mut request, topic);
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&0_i32.to_be_bytes());
    request.extend_from_slice(&length(batch.len()));
    request.extend_from_slice(batch);
    let mut connection = TcpStream::connect(brokers).unwrap();
    connection.write_all(&length(request.len())).unwrap();
    connection.write_all(&request).unwrap();
    let mut size = [0; 4];
    connection.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
    connection.read_exact(&mut answer).unwrap();
    // Correlation, one topic, its name, one partition, its number, the error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "the broker's error code: {answer:?}");
}
