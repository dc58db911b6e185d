//! JSON in one form, for any order of members, white space and escapes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

const DEPTH: u32 = 64;

/// `None` for bytes that are not JSON, repeat a member or are nested too deep.
pub(super) fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    write(serde_json::from_slice(body).ok()?, DEPTH, &mut out)?;
    Some(out)
}

fn write(value: &RawValue, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            out.push(b'{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, &name).ok()?;
                out.push(b':');
                write(value, depth, out)?;
            }
            out.push(b'}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push(b'[');
            for (n, item) in items.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, depth, out)?;
            }
            out.push(b']');
        }
        // One text may be escaped in many ways.
        b'"' => serde_json::to_writer(out, &serde_json::from_str::<Cow<'_, str>>(text).ok()?).ok()?,
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Some(())
}

/// The members of an object by name; an error if one is repeated.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = BTreeMap<String, &'de RawValue>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is repeated"));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Once).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let form = |text: &str| canonical(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
        form(a) == form(b)
    }

    #[test]
    fn order_white_space_and_escapes_make_no_difference_to_canonical_json() {
        assert!(same(r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [ true , null ],\n\"a\": 1 }"));
        assert!(same(r#"{"a":{"y":1,"x":"é"}}"#, r#"{"a":{"x":"\u00e9","y":1}}"#));
        for (a, b) in [
            (r#"{"a":1}"#, r#"{"a":1.0}"#),
            (r#"{"a":100000000000000000000001}"#, r#"{"a":100000000000000000000002}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("[1,2]", "[2,1]"),
            ("not json", "not  json"),
            ("", "null"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn json_that_is_too_deep_is_compared_by_its_bytes() {
        let deep = |space: &str| format!("{}{space}{}", "[".repeat(100), "]".repeat(100));
        assert!(same(&deep(""), &deep("")));
        assert!(!same(&deep(""), &deep(" ")));
    }

    proptest! {
        #[test]
        fn no_json_like_body_panics(body in r#"[\[\]{}":,0-9ae\\u \.-]{0,80}"#) {
            canonical(body.as_bytes());
        }
    }
}
