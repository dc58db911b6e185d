//! The contents of a dead letter: the whole message where its place takes that, else less and less of it.

use std::collections::BTreeSet;

use ackonce::adapter::{Burial, MAX_REASON_LEN, copy_headers, payload_digest};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::{SHORT, text};
use crate::publisher::{AmqpRefusal, Extra, Purpose, copied, origin, size, value};
use crate::{AmqpMessage, headers};

/// The part of the message that a letter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// Without its longest headers, so that the content header fits into so many bytes.
    FewerHeaders {
        room: usize,
    },
    /// With its ID, its type and our headers alone, and the reason cut short.
    OwnHeaders,
    /// The same without the payload, whose digest stands for it.
    NoPayload,
}

impl Form {
    /// The next one to try after a refusal; `None` if a smaller letter would be refused as well.
    pub(crate) fn smaller(self, refusal: &AmqpRefusal) -> Option<Self> {
        match (self, refusal) {
            (Self::Whole, AmqpRefusal::TooLong { room, .. }) => Some(Self::FewerHeaders { room: *room }),
            (Self::FewerHeaders { .. }, AmqpRefusal::TooLong { .. }) => Some(Self::OwnHeaders),
            // The broker does not say whether the payload or a property is the reason: properties are tried first.
            (Self::Whole | Self::FewerHeaders { .. }, AmqpRefusal::Message(_)) => Some(Self::OwnHeaders),
            (Self::OwnHeaders, AmqpRefusal::TooLong { .. } | AmqpRefusal::Message(_)) => {
                Some(Self::NoPayload)
            }
            _ => None,
        }
    }

    pub(crate) fn has_payload(self) -> bool {
        self != Self::NoPayload
    }

    /// The part that a letter of this form lacks.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::FewerHeaders { .. } => Some("its longest headers"),
            Self::OwnHeaders => Some("its headers and most properties"),
            Self::NoPayload => Some("its payload, headers and most properties"),
        }
    }
}

/// The properties of a letter.
pub(crate) fn properties(
    message: &AmqpMessage,
    queue: &ShortString,
    burial: &Burial,
    form: Form,
) -> BasicProperties {
    let mut extra = origin(message, queue);
    extra.extend(form.lacks().map(|lacks| (headers::REDUCED, text(lacks))));
    match form {
        Form::Whole => {
            extra.extend(why(burial, MAX_REASON_LEN));
            extra.push((headers::BURIAL, text(burial.proof.to_string())));
            copied(message, Purpose::DeadLetter, extra)
        }
        Form::FewerHeaders { room } => {
            extra.extend(why(burial, MAX_REASON_LEN));
            fewer(copied(message, Purpose::DeadLetter, extra), room)
        }
        Form::OwnHeaders => {
            extra.extend(why(burial, SHORT));
            own(message, extra)
        }
        Form::NoPayload => {
            extra.extend(why(burial, SHORT));
            let payload = message.payload();
            let length = i64::try_from(payload.len()).unwrap_or(i64::MAX);
            extra.extend([
                (headers::PAYLOAD_SHA256, text(payload_digest(payload))),
                (headers::PAYLOAD_LENGTH, AMQPValue::LongLongInt(length)),
            ]);
            own(message, extra)
        }
    }
}

/// The headers of a letter that name its message, with a reason of `max_reason_len` bytes at most.
fn why(burial: &Burial, max_reason_len: usize) -> Extra {
    let all = copy_headers(&burial.key, &burial.reason, burial.attempts, max_reason_len);
    all.into_iter().map(|(name, of)| (name, value(of))).collect()
}

/// Without the longest headers that are not ours, so that the rest fits into `room`. It may still not.
fn fewer(properties: BasicProperties, room: usize) -> BasicProperties {
    let table = properties.headers().clone().unwrap_or_default();
    // The number that is added when it is published.
    let number = size::entry(&headers::LETTER.into(), &AMQPValue::LongLongInt(0));
    let mut length = size::header(&properties) + number;
    let mut theirs: Vec<(usize, &ShortString)> = table
        .inner()
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with(headers::PREFIX))
        .map(|(name, value)| (size::entry(name, value), name))
        .collect();
    theirs.sort();
    let mut dropped = BTreeSet::new();
    while length > room
        && let Some((bytes, name)) = theirs.pop()
    {
        dropped.insert(name);
        length -= bytes;
    }
    let mut left = FieldTable::default();
    for (name, value) in table.inner().iter().filter(|(name, _)| !dropped.contains(name)) {
        left.insert(name.clone(), value.clone());
    }
    properties.with_headers(left)
}

/// Our headers, and the properties that describe the message.
fn own(message: &AmqpMessage, extra: Extra) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in extra {
        table.insert(name.into(), value);
    }
    let mut properties = BasicProperties::default().with_headers(table).with_delivery_mode(2);
    let original = message.properties();
    if let Some(id) = original.message_id() {
        properties = properties.with_message_id(id.clone());
    }
    if let Some(kind) = original.content_type() {
        properties = properties.with_content_type(kind.clone());
    }
    properties
}

#[cfg(test)]
mod tests {
    use ackonce::Scope;

    use super::*;

    fn message(bytes_of_header: usize) -> AmqpMessage {
        let mut table = FieldTable::default();
        table.insert("long".into(), text("x".repeat(bytes_of_header)));
        table.insert("tenant".into(), text("a"));
        let mut delivery = lapin::message::Delivery::mock(1, "e".into(), "k".into(), false, b"body".to_vec());
        delivery.properties = BasicProperties::default().with_headers(table).with_message_id("m".into());
        AmqpMessage::take(&mut delivery)
    }

    fn burial() -> Burial {
        let key = Scope::new("s").unwrap().key("m").unwrap();
        let proof = "0-1-0".parse().unwrap();
        Burial { key, reason: "r".repeat(5000), attempts: 1, proof }
    }

    fn names(properties: &BasicProperties) -> Vec<&str> {
        properties.headers().iter().flat_map(|t| t.inner().keys()).map(ShortString::as_str).collect()
    }

    #[test]
    fn a_letter_that_is_too_long_loses_its_longest_headers_first() {
        let room = size::room(131_072);
        let whole = properties(&message(130_900), &"q".into(), &burial(), Form::Whole);
        assert!(size::header(&whole) > room);
        let less = properties(&message(130_900), &"q".into(), &burial(), Form::FewerHeaders { room });
        assert!(size::header(&less) <= room);
        assert!(names(&less).contains(&"tenant") && !names(&less).contains(&"long"), "{:?}", names(&less));
        assert!(names(&less).contains(&headers::REDUCED));
    }

    #[test]
    fn the_smallest_letter_fits_into_the_smallest_frame_and_has_the_digest() {
        let least = properties(&message(130_900), &"q".into(), &burial(), Form::NoPayload);
        assert!(size::header(&least) <= size::room(4096), "{}", size::header(&least));
        let table = least.headers().clone().unwrap();
        let digest = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
        assert_eq!(table.inner()[headers::PAYLOAD_SHA256], text(digest));
        assert_eq!(table.inner()[headers::PAYLOAD_LENGTH], AMQPValue::LongLongInt(4));
    }

    #[test]
    fn every_way_down_ends() {
        for refusal in [AmqpRefusal::TooLong { length: 9, room: 1 }, AmqpRefusal::Message(String::new())] {
            let (mut form, mut steps) = (Form::Whole, 0);
            while let Some(smaller) = form.smaller(&refusal) {
                (form, steps) = (smaller, steps + 1);
            }
            assert_eq!(form, Form::NoPayload);
            assert!(steps <= 3);
        }
        assert_eq!(
            Form::Whole.smaller(&AmqpRefusal::Full),
            None,
            "a full queue takes the whole message later"
        );
    }
}
