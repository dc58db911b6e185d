//! The metadata of a commit, by which a commit of a topic that is gone is told from one of the topic that is there.

use std::fmt;
use std::sync::Arc;

use super::digest::RecordDigest;

/// The format of the metadata; another one is not read.
const FORMAT: &str = "ackonce1";

/// The ID of the topic that the commit is of, and the digest of a record before it: `ackonce1:<offset>:<digest>:<ID>`, without
/// the parts that are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CommitMark {
    pub(crate) record: Option<RecordDigest>,
    pub(crate) topic: Option<Arc<str>>,
}

impl CommitMark {
    /// Reads the metadata of a commit. `None` for that of strangers and of other formats.
    pub(crate) fn parse(metadata: &str) -> Option<Self> {
        let mut parts = metadata.split(':');
        let (format, offset, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let topic = parts.next();
        if format != FORMAT || topic.is_some_and(str::is_empty) || parts.next().is_some() {
            return None;
        }
        let record = match (offset, digest) {
            ("", "") => None,
            _ => Some(RecordDigest::parse(offset, digest)?),
        };
        (record.is_some() || topic.is_some()).then(|| Self { record, topic: topic.map(Into::into) })
    }

    /// True if it says something.
    pub(crate) fn is_any(&self) -> bool {
        self.record.is_some() || self.topic.is_some()
    }
}

impl fmt::Display for CommitMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "{FORMAT}:{record}")?,
            None => write!(f, "{FORMAT}::")?,
        }
        self.topic.as_ref().map_or(Ok(()), |topic| write!(f, ":{topic}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn metadata_of_strangers_is_not_read() {
        for text in [
            "",
            "ackonce1",
            "ackonce1:5",
            "ackonce2:5:00",
            "ackonce1:-5:00",
            "ackonce1:5:",
            "ackonce1::00:ID",
            "ackonce1::",
            "ackonce1:::",
            "ackonce1:5:00:ID:1",
            "5:0",
        ] {
            assert_eq!(CommitMark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let record = RecordDigest::parse("5", "00000000000000ff");
        let topic = Some("4ZbTn8C2Q3mhVYcB0eIr1A".into());
        for mark in [
            CommitMark { record, topic: None },
            CommitMark { record: None, topic: topic.clone() },
            CommitMark { record, topic },
        ] {
            assert_eq!(CommitMark::parse(&mark.to_string()).unwrap(), mark, "{mark}");
        }
        let mark = CommitMark { record, topic: None };
        assert_eq!(
            mark.to_string(),
            "ackonce1:5:00000000000000ff",
            "as versions without the ID write and read it"
        );
    }
}
