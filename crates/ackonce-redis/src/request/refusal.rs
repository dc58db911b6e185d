//! The errors of single requests: their record cannot be read, and the other requests are carried out.

use std::time::Duration;

use ackonce::store::{Record, State};
use ackonce::{Error, ErrorKind, Result};

use crate::records::{Field, Reply, root};

/// The place of a request's record.
pub(crate) struct Place<'p> {
    pub(crate) prefix: &'p str,
    pub(crate) tag: u16,
    pub(crate) field: Field,
    /// For humans: the message's key, or the name that a list shows.
    pub(crate) name: String,
}

/// The error that a script answered a request with, by its word; `None` for all other words.
///
/// It is [`ErrorKind::Invalid`], the kind of error that is about one request.
pub(crate) fn refusal(word: u8, place: &Place<'_>, reply: &mut Reply<'_>) -> Result<Option<Error>> {
    let Place { prefix, tag, field, name } = place;
    let bucket = String::from_utf8_lossy(&root(prefix, *tag)).into_owned();
    let field: String = field.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let row = format!("it is the field \"{field}\" of the hash {bucket} or of one of its children");
    let text = match word {
        b'V' => format!(
            "the record of {name} cannot be read: it is damaged, or a newer version wrote it; upgrade ackonce-redis, \
             or forget the record; {row}"
        ),
        b'X' => format!(
            "the outcome or progress of {name} is gone from beside its record, as if the server had evicted it; redrive or forget \
             the record; {row}"
        ),
        b'T' => format!(
            "the record of {name} cannot be read: a key that begins with {bucket} is no hash, so another program wrote \
             it; delete that key, or choose a prefix of your own (RedisConfig::with_prefix, `prefix=` in a URL)"
        ),
        b'E' => {
            let text = text(reply)?;
            format!("the record of {name} cannot be read ({text}); forget the record; {row}")
        }
        _ => return Ok(None),
    };
    Ok(Some(Error::new(ErrorKind::Invalid, format!("redis: {text}"))))
}

/// True if a script could not walk a tag.
pub(crate) fn is_refusal(word: u8, reply: &mut Reply<'_>) -> Result<bool> {
    if word == b'E' {
        text(reply)?;
    }
    Ok(matches!(word, b'T' | b'E'))
}

/// A text with its length before it.
fn text(reply: &mut Reply<'_>) -> Result<String> {
    let len = usize::from(u16::from_be_bytes(reply.array()?));
    Ok(String::from_utf8_lossy(reply.bytes(len)?).into_owned())
}

/// The record shown for a row that cannot be read: its message does not run until an operator repairs it.
pub(crate) fn stand_in() -> Record {
    Record {
        state: State::Buried,
        fence: 0,
        attempt: 0,
        fingerprint: None,
        outcome: None,
        progress: None,
        reason: Some("this record cannot be read: it is damaged, or a newer version wrote it".to_owned()),
        age: Duration::ZERO,
    }
}

/// Keys whose buckets hold something that cannot be read, as a script listed them after its answer.
pub(crate) fn bad_keys(reply: &mut Reply<'_>) -> Result<Vec<String>> {
    let count = u16::from_be_bytes(reply.array()?);
    (0..count).map(|_| text(reply)).collect()
}
