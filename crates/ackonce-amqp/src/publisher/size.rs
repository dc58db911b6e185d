//! The length of a content header on the wire: it must fit into one frame, or the broker closes the connection.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// Class, weight, body size and property flags.
const FIXED: usize = 2 + 2 + 8 + 2;
/// Type, channel, length and end of a frame.
const FRAME: usize = 1 + 2 + 4 + 1;
/// The room for headers that a broker adds on the way: `x-death` with its queue, exchange and routing key, and `x-delivery-count`.
/// A message that fits on its way in must fit on its way out as well, or no client of this frame size can read it.
const ADDED: usize = 2048;

/// The longest content header that may be published where frames are at most `frame_max` bytes.
pub(crate) fn room(frame_max: u32) -> usize {
    usize::try_from(frame_max).unwrap_or(usize::MAX).saturating_sub(FRAME + ADDED)
}

/// The length of the content header of a message with these properties.
pub(crate) fn header(properties: &BasicProperties) -> usize {
    let short = |text: &Option<ShortString>| text.as_ref().map_or(0, |text| 1 + text.as_str().len());
    let strings = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    FIXED
        + strings.into_iter().map(short).sum::<usize>()
        + properties.headers().as_ref().map_or(0, table)
        + properties.delivery_mode().map_or(0, |_| 1)
        + properties.priority().map_or(0, |_| 1)
        + properties.timestamp().map_or(0, |_| 8)
}

/// The length of one header in its table.
pub(crate) fn entry(name: &ShortString, of: &AMQPValue) -> usize {
    1 + name.as_str().len() + 1 + value(of)
}

fn table(table: &FieldTable) -> usize {
    4 + table.inner().iter().map(|(name, value)| entry(name, value)).sum::<usize>()
}

fn value(of: &AMQPValue) -> usize {
    match of {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(all) => 4 + all.as_slice().iter().map(|one| 1 + value(one)).sum::<usize>(),
        AMQPValue::FieldTable(inner) => table(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_its_bytes() {
        let mut inner = FieldTable::default();
        inner.insert("n".into(), AMQPValue::LongInt(1));
        let mut headers = FieldTable::default();
        headers.insert("ab".into(), AMQPValue::LongString("xyz".into()));
        headers.insert("t".into(), AMQPValue::FieldTable(inner));
        headers.insert("a".into(), AMQPValue::FieldArray(vec![AMQPValue::Boolean(true)].into()));
        let properties =
            BasicProperties::default().with_headers(headers).with_message_id("m0".into()).with_priority(1);
        // (1 + 2 + 1 + 4 + 3) + (1 + 1 + 1 + 4 + (1 + 1 + 1 + 4)) + (1 + 1 + 1 + 4 + 2)
        assert_eq!(header(&properties), 14 + 3 + 1 + 4 + 11 + 14 + 9);
        assert_eq!(header(&BasicProperties::default()), 14);
        assert_eq!(room(131_072), 131_072 - 8 - 2048);
    }
}
