//! The source of a message's ID, for every adapter: sources that compose, and the treatment of a missing one.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind};
use crate::key::hex;

/// One place an ID can be read from.
///
/// ```
/// use ackonce::{IdSource, MessageIds};
///
/// // Orders carry an ID in a header; older ones only in the payload, where a change of the order counts as a message.
/// let change = [IdSource::Json("/order/id".into()), IdSource::Json("/order/version".into())];
/// let ids = MessageIds::first_of([IdSource::Header("message-id".into()), IdSource::Joined(change.into())]);
/// # assert_eq!(ids.sources().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdSource {
    /// A header or property of this name, such as `message-id`, `ce-id` (CloudEvents) or `idempotency-key`.
    /// The same header twice with different values is malformed, not a choice.
    Header(String),
    /// The record key (Kafka) or routing identity; right only where a key is a business event, not an entity.
    Key,
    /// A string or whole number in the JSON payload, by RFC 6901 pointer: `/data/object/id`.
    Json(String),
    /// SHA-256 of the payload, in hexadecimal digits: two messages with equal payloads are one. A message without a
    /// payload, such as a Kafka tombstone, does not have it; an empty payload is one.
    Payload,
    /// Several places whose values together are the ID, for events that no single field tells apart: an object, the change
    /// to it and its time. Present only where all of them are. The values are joined with `:`, those in them
    /// escaped, so that no two lists of values make one ID.
    Joined(Vec<IdSource>),
    /// The broker's coordinates, such as topic, partition and offset, bound to the content found there. It
    /// recognises a redelivery, never a message published twice.
    Coordinates,
}

/// The parts of a message that may identify it.
pub trait Identify {
    /// The values of all headers of that name, in order.
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a>;
    /// The value of the first header of that name.
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }
    /// The record key, if there is one.
    fn key(&self) -> Option<&[u8]>;
    /// The payload. `None` where there is none, as in a Kafka tombstone, which is another message than an empty one.
    fn payload(&self) -> Option<&[u8]>;
    /// Its place at the broker, bound to its incarnation, best as text that can be shown; `None` where the broker has
    /// no such thing.
    fn coordinates(&self) -> Option<Vec<u8>>;
}

/// Why a message has no usable ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// None of the sources is present.
    #[error("no message ID: none of {0} is present")]
    Missing(String),
    /// A source is present and unusable. Sources after it are not asked: guessing would split one message in two.
    #[error("malformed message ID in {source_name}: {why}")]
    Malformed {
        /// The source.
        source_name: String,
        /// The fault found in it.
        why: Cow<'static, str>,
    },
}

/// The sources to ask, in order: the first one present decides.
///
/// ```
/// use ackonce::{IdSource, MessageIds};
/// let ids = MessageIds::first_of([IdSource::Header("message-id".into()), IdSource::Header("ce-id".into())]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageIds(Vec<IdSource>);

impl MessageIds {
    /// These sources, in this order.
    pub fn first_of(sources: impl IntoIterator<Item = IdSource>) -> Self {
        Self(sources.into_iter().collect())
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[IdSource] {
        &self.0
    }

    /// Refuses sources that no message can have: each message would be buried, or end its consumer, as one without an ID.
    /// A broker's consumer does so when it is run.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the source: none at all, a header without a name, a JSON pointer that does not begin
    /// with a slash, a list of places that is empty.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Config, text));
        if self.0.is_empty() {
            return refuse("MessageIds::first_of: no source is given, so no message has an ID".to_owned());
        }
        match self.0.iter().find_map(IdSource::fault) {
            Some(fault) => refuse(fault),
            None => Ok(()),
        }
    }

    /// True if one of the sources is [`IdSource::Coordinates`], by itself or as a part of [`IdSource::Joined`].
    #[must_use]
    pub fn has_coordinates(&self) -> bool {
        self.0.iter().any(IdSource::has_coordinates)
    }

    /// The ID of this message.
    ///
    /// # Errors
    /// [`IdError`]: no source is present, or the first present one is unusable.
    pub fn find(&self, message: &impl Identify) -> Result<Bytes, IdError> {
        for source in &self.0 {
            match source.read(message) {
                Ok(None) => {}
                Ok(Some(id)) if id.is_empty() => return Err(source.malformed("it is empty")),
                Ok(Some(id)) => return Ok(id),
                Err(why) => return Err(source.malformed(why)),
            }
        }
        let names: Vec<_> = self.0.iter().map(IdSource::name).collect();
        Err(IdError::Missing(names.join(", ")))
    }
}

impl IdSource {
    fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("header {name:?}"),
            Self::Key => "key".into(),
            Self::Json(pointer) => format!("payload {pointer:?}"),
            Self::Payload => "payload".into(),
            Self::Joined(sources) => sources.iter().map(Self::name).collect::<Vec<_>>().join(" with "),
            Self::Coordinates => "coordinates".into(),
        }
    }

    /// Why no message can have it.
    fn fault(&self) -> Option<String> {
        match self {
            Self::Header(name) if name.is_empty() => Some("IdSource::Header: the name is empty".to_owned()),
            // The empty pointer is the whole payload, RFC 6901.
            Self::Json(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => Some(format!(
                "IdSource::Json: {pointer:?} is not a JSON pointer, which begins with a slash (RFC 6901)"
            )),
            Self::Joined(sources) if sources.is_empty() => {
                Some("IdSource::Joined: no place is given, so no message has it".to_owned())
            }
            Self::Joined(sources) => sources.iter().find_map(Self::fault),
            Self::Header(_) | Self::Json(_) | Self::Key | Self::Payload | Self::Coordinates => None,
        }
    }

    fn has_coordinates(&self) -> bool {
        match self {
            Self::Coordinates => true,
            Self::Joined(sources) => sources.iter().any(Self::has_coordinates),
            Self::Header(_) | Self::Json(_) | Self::Key | Self::Payload => false,
        }
    }

    fn malformed(&self, why: impl Into<Cow<'static, str>>) -> IdError {
        IdError::Malformed { source_name: self.name(), why: why.into() }
    }

    fn read(&self, message: &impl Identify) -> Result<Option<Bytes>, Cow<'static, str>> {
        match self {
            Self::Header(name) => {
                let mut values = message.headers(name);
                let Some(first) = values.next() else { return Ok(None) };
                match values.all(|other| other == first) {
                    true => Ok(Some(Bytes::copy_from_slice(first))),
                    false => Err("the header is there twice with different values".into()),
                }
            }
            Self::Key => Ok(message.key().map(Bytes::copy_from_slice)),
            Self::Json(pointer) => message.payload().map_or(Ok(None), |payload| json(payload, pointer)),
            Self::Payload => Ok(message.payload().map(|payload| hex(&Sha256::digest(payload)).into())),
            Self::Joined(sources) => joined(sources, message),
            Self::Coordinates => Ok(message.coordinates().map(Bytes::from)),
        }
    }
}

fn joined(sources: &[IdSource], message: &impl Identify) -> Result<Option<Bytes>, Cow<'static, str>> {
    let mut id = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        let part = source.read(message).map_err(|why| format!("{}: {why}", source.name()))?;
        let Some(part) = part else { return Ok(None) };
        if part.is_empty() {
            return Err(format!("{} is empty", source.name()).into());
        }
        if n > 0 {
            id.push(b':');
        }
        for byte in part {
            if matches!(byte, b':' | b'\\') {
                id.push(b'\\');
            }
            id.push(byte);
        }
    }
    Ok((!id.is_empty()).then(|| id.into()))
}

fn json(payload: &[u8], pointer: &str) -> Result<Option<Bytes>, Cow<'static, str>> {
    use serde_json::Value;
    let value: Value =
        serde_json::from_slice(payload).map_err(|e| format!("the payload is not JSON ({e})"))?;
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        // Beyond 64 bits JSON numbers lose digits, and two IDs would become one.
        Some(Value::Number(n)) if n.is_u64() || n.is_i64() => Ok(Some(Bytes::from(n.to_string()))),
        Some(Value::Number(_)) => Err("it is not a whole number of 64 bits".into()),
        Some(_) => Err("it is neither text nor a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fingerprint::Fingerprint;

    #[derive(Default)]
    struct Parts {
        headers: Vec<(&'static str, Vec<u8>)>,
        key: Option<Vec<u8>>,
        payload: Option<Vec<u8>>,
    }

    impl Identify for Parts {
        fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
            Box::new(self.headers.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_slice()))
        }
        fn key(&self) -> Option<&[u8]> {
            self.key.as_deref()
        }
        fn payload(&self) -> Option<&[u8]> {
            self.payload.as_deref()
        }
        fn coordinates(&self) -> Option<Vec<u8>> {
            None
        }
    }

    fn header(name: &str) -> IdSource {
        IdSource::Header(name.into())
    }

    #[test]
    fn the_first_present_source_decides() {
        let ids = MessageIds::first_of([header("message-id"), header("ce-id"), IdSource::Key]);
        let mut parts = Parts { key: Some(b"k".to_vec()), ..Parts::default() };
        assert_eq!(ids.find(&parts).unwrap(), "k");
        parts.headers.push(("ce-id", b"\xff\0".to_vec()));
        assert_eq!(ids.find(&parts).unwrap()[..], *b"\xff\0", "bytes, not text");
        assert!(matches!(ids.find(&Parts::default()), Err(IdError::Missing(_))));
    }

    #[test]
    fn a_present_and_unusable_source_is_not_skipped() {
        let ids = MessageIds::first_of([header("id"), IdSource::Payload]);
        let twice = |a: &[u8], b: &[u8]| Parts {
            headers: vec![("id", a.to_vec()), ("id", b.to_vec())],
            ..Parts::default()
        };
        assert!(matches!(ids.find(&twice(b"a", b"b")), Err(IdError::Malformed { .. })));
        assert_eq!(ids.find(&twice(b"a", b"a")).unwrap(), "a");
        let empty = Parts { headers: vec![("id", Vec::new())], ..Parts::default() };
        assert!(matches!(ids.find(&empty), Err(IdError::Malformed { .. })));
    }

    #[test]
    fn a_tombstone_has_no_payload_and_is_not_the_empty_one() {
        let of = |source: IdSource, payload: Option<&[u8]>| {
            let payload = payload.map(<[u8]>::to_vec);
            MessageIds::first_of([source, header("id")]).find(&Parts { payload, ..Parts::default() })
        };
        let sources = [
            IdSource::Payload,
            IdSource::Json("/id".into()),
            IdSource::Joined(vec![IdSource::Payload, IdSource::Json("/id".into())]),
        ];
        for source in sources {
            let missing = of(source.clone(), None);
            assert!(matches!(missing, Err(IdError::Missing(_))), "{source:?}: {missing:?}");
        }
        assert_eq!(of(IdSource::Payload, Some(b"")).unwrap(), hex(&Sha256::digest(b"")));
        let print = |payload: Option<&[u8]>| Fingerprint::of_payload(payload);
        assert_ne!(print(None), print(Some(b"")));
        assert_eq!(print(Some(b"x")), Fingerprint::of(b"x"));
    }

    #[test]
    fn json_ids_keep_every_digit_or_are_refused() {
        let ids = MessageIds::first_of([IdSource::Json("/a/id".into())]);
        let find = |payload: &str| ids.find(&Parts { payload: Some(payload.into()), ..Parts::default() });
        assert_eq!(find(r#"{"a":{"id":"007"}}"#).unwrap(), "007");
        assert_eq!(find(r#"{"a":{"id":7}}"#).unwrap(), "7");
        assert_eq!(find(r#"{"a":{"id":18446744073709551615}}"#).unwrap(), "18446744073709551615");
        for bad in [r#"{"a":{"id":18446744073709551616}}"#, r#"{"a":{"id":7.0}}"#, r#"{"a":{"id":[]}}"#, "{"]
        {
            assert!(matches!(find(bad), Err(IdError::Malformed { .. })), "{bad}");
        }
        for absent in [r#"{"a":{}}"#, r#"{"a":{"id":null}}"#, "[]"] {
            assert!(matches!(find(absent), Err(IdError::Missing(_))), "{absent}");
        }
    }

    #[test]
    fn an_id_of_several_places_needs_them_all_and_keeps_them_apart() {
        let joined = IdSource::Joined(vec![IdSource::Json("/a".into()), header("b")]);
        let find = |ids: &MessageIds, a: &str, b: Option<&[u8]>| {
            let headers = b.map(|b| ("b", b.to_vec())).into_iter().collect();
            let payload = Some(format!(r#"{{"a":{a}}}"#).into());
            ids.find(&Parts { headers, payload, ..Parts::default() })
        };
        let ids = MessageIds::first_of([joined.clone()]);
        assert_eq!(find(&ids, "7", Some(b"x")).unwrap(), "7:x");
        assert_ne!(find(&ids, r#""p:q""#, Some(b"r")).unwrap(), find(&ids, r#""p""#, Some(b"q:r")).unwrap());
        assert_ne!(find(&ids, r#""p\\""#, Some(b"q")).unwrap(), find(&ids, r#""p""#, Some(b"\\q")).unwrap());
        let missing = find(&ids, "7", None).unwrap_err();
        assert_eq!(missing.to_string(), "no message ID: none of payload \"/a\" with header \"b\" is present");
        assert!(matches!(find(&ids, "7", Some(b"")), Err(IdError::Malformed { .. })));
        assert!(matches!(find(&ids, "[]", Some(b"x")), Err(IdError::Malformed { .. })));
        let ids = MessageIds::first_of([joined, IdSource::Json("/a".into())]);
        assert_eq!(find(&ids, "7", None).unwrap(), "7", "the next source, as with any other that is absent");
        assert!(MessageIds::first_of([IdSource::Joined(vec![])]).find(&Parts::default()).is_err());
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..200), pointer in "\\PC{0,10}") {
            let ids = MessageIds::first_of([IdSource::Json(pointer), IdSource::Payload]);
            let _ = ids.find(&Parts { payload: Some(payload), ..Parts::default() });
        }
    }

    #[test]
    fn sources_that_no_message_can_have_are_refused_by_name() {
        let refused = [
            (vec![], "MessageIds::first_of"),
            (vec![IdSource::Header("id".into()), IdSource::Header(String::new())], "IdSource::Header"),
            (vec![IdSource::Json("order/id".into())], "\"order/id\""),
            (vec![IdSource::Joined(vec![])], "IdSource::Joined"),
            (vec![IdSource::Joined(vec![IdSource::Key, IdSource::Json("id".into())])], "IdSource::Json"),
        ];
        for (sources, name) in refused {
            let error = MessageIds::first_of(sources).check().unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
        }
        let joined = IdSource::Joined(vec![IdSource::Json("/id".into()), IdSource::Coordinates]);
        MessageIds::first_of([IdSource::Json(String::new()), joined.clone()]).check().unwrap();
        assert!(MessageIds::first_of([IdSource::Key, joined]).has_coordinates());
        assert!(!MessageIds::first_of([IdSource::Key]).has_coordinates());
    }
}
