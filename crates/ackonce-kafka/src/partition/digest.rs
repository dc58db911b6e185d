//! A digest of one record of a partition, by which a topic that was created again is told from the old one.
//!
//! It travels in the metadata of the partition's commit, and names its record's offset: the last delivered record
//! before a position may lie far before it (transactions, compaction). The digest is made once per commit, not per record.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::KafkaMessage;

/// Of a key or payload, the first and the last so many bytes count, so that a huge record holds nobody up.
const PART: usize = 4096;
/// Digests that wait for their records to be settled.
const AHEAD: usize = 2;

/// The offset of a record, and 64 bits of a digest of its timestamp, key and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordDigest {
    pub(crate) offset: i64,
    digest: u64,
}

impl RecordDigest {
    pub(crate) fn of(record: &impl rdkafka::Message) -> Self {
        let mut hash = Sha256::new();
        hash.update(record.timestamp().to_millis().unwrap_or(i64::MIN).to_be_bytes());
        for part in [record.key(), record.payload()] {
            hash.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(&part[..part.len().min(PART)]);
            hash.update(&part[part.len().saturating_sub(PART).max(part.len().min(PART))..]);
        }
        let first = hash.finalize().into_iter().take(8);
        Self { offset: record.offset(), digest: first.fold(0, |digest, byte| digest << 8 | u64::from(byte)) }
    }

    /// Reads the parts that [`Display`](fmt::Display) writes.
    pub(crate) fn parse(offset: &str, digest: &str) -> Option<Self> {
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(Self { offset, digest: u64::from_str_radix(digest, 16).ok()? })
    }
}

/// As in the metadata of a commit.
impl fmt::Display for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.offset, self.digest)
    }
}

/// The digests of one partition's records.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Of delivered records that are not known to be settled, in order.
    ahead: VecDeque<RecordDigest>,
    /// Of a record before the commit.
    settled: Option<RecordDigest>,
    /// Of a record that was settled some time ago: it is compared next. A newer one may already be of the new topic.
    older: Option<RecordDigest>,
}

impl Digests {
    /// Takes the newest delivered record. While two wait already, the newer of them gives way.
    pub(crate) fn delivered(&mut self, message: &KafkaMessage) {
        self.ahead.truncate(AHEAD - 1);
        self.ahead.push_back(RecordDigest::of(message.as_rdkafka()));
    }

    /// The digest that goes with a commit of `next`.
    pub(crate) fn before(&mut self, next: i64) -> Option<RecordDigest> {
        while let Some(first) = self.ahead.front().filter(|first| first.offset < next) {
            self.settled = Some(*first);
            self.ahead.pop_front();
        }
        self.settled
    }

    /// The digest to compare with its record now.
    pub(crate) fn next_to_compare(&mut self) -> Option<RecordDigest> {
        let older = self.older;
        self.older = older.or(self.settled);
        older
    }

    /// A record agreed, or is gone: the next comparison takes a newer one. `known` is the digest of the commit that
    /// was there at the assignment.
    pub(crate) fn compared(&mut self, known: Option<RecordDigest>) {
        self.settled = self.settled.or(known);
        self.older = self.settled;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn record(offset: i64, payload: Vec<u8>, at: i64) -> KafkaMessage {
        let at = Timestamp::CreateTime(at);
        KafkaMessage::new(OwnedMessage::new(
            Some(payload),
            Some(b"k".to_vec()),
            "t".into(),
            at,
            0,
            offset,
            None,
        ))
    }

    fn digest(message: &KafkaMessage) -> RecordDigest {
        RecordDigest::of(message.as_rdkafka())
    }

    #[test]
    fn a_record_of_another_time_or_content_has_another_digest() {
        let long = |middle: u8, last: u8| {
            let mut payload = vec![1; 20_000];
            payload[10_000] = middle;
            payload[19_999] = last;
            payload
        };
        let first = digest(&record(5, long(1, 1), 7));
        assert_eq!(first, digest(&record(5, long(1, 1), 7)));
        assert_ne!(first, digest(&record(5, long(1, 1), 8)));
        assert_ne!(first, digest(&record(5, long(1, 2), 7)));
        assert_eq!(first, digest(&record(5, long(2, 1), 7)), "the middle of a huge payload does not count");
        assert_ne!(digest(&record(5, vec![1; 5000], 7)), digest(&record(5, vec![1; 5001], 7)));
        let within = |at: usize| {
            let mut payload = vec![1; 8192];
            payload[at] = 2;
            digest(&record(5, payload, 7))
        };
        let all: std::collections::HashSet<_> =
            [0, 4095, 4096, 8191].into_iter().map(|at| within(at).digest).collect();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_commit_carries_the_digest_of_a_record_before_it() {
        let of = |offset| record(offset, vec![1], 7);
        let mut digests = Digests::default();
        digests.delivered(&of(10));
        assert_eq!(digests.before(10), None, "it is not settled");
        digests.delivered(&of(20));
        digests.delivered(&of(30));
        assert_eq!(digests.before(11).unwrap().offset, 10);
        assert_eq!(digests.before(29).unwrap().offset, 10, "the newest has taken the place of 20");
        assert_eq!(digests.before(31).unwrap().offset, 30);
    }

    #[test]
    fn the_record_that_is_compared_is_older_than_the_last() {
        let mut digests = Digests::default();
        let of = |offset| record(offset, vec![1], 7);
        digests.delivered(&of(1));
        digests.before(2);
        assert_eq!(digests.next_to_compare(), None);
        digests.delivered(&of(9));
        digests.before(10);
        assert_eq!(digests.next_to_compare().unwrap().offset, 1);
        assert_eq!(
            digests.next_to_compare().unwrap().offset,
            1,
            "it is asked again until there is an answer"
        );
        digests.compared(None);
        assert_eq!(digests.next_to_compare().unwrap().offset, 9);
    }
}
