//! JSON in one form, for any order of members, white space and escapes.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

const DEPTH: u32 = 64;

/// `None` for bytes that are not JSON, repeat a member or are nested too deep. Each byte is read twice at most: a
/// server canonicalizes before it knows the sender's intent.
pub(super) fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    let text: &RawValue = serde_json::from_slice(body).ok()?;
    let mut writer = CanonicalWriter { text: text.get(), at: 0, out: Vec::with_capacity(body.len()) };
    writer.value(DEPTH)?;
    Some(writer.out)
}

/// Goes through a text that is known to be JSON, and writes its form. Where that is not so after all it ends with `None`.
struct CanonicalWriter<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

impl<'a> CanonicalWriter<'a> {
    fn value(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            // One text may be escaped in many ways.
            b'"' => {
                let text: Cow<'_, str> = serde_json::from_str(self.string()?).ok()?;
                serde_json::to_writer(&mut self.out, &text).ok()
            }
            // Numbers as they are written, and names.
            _ => {
                let rest = self.text.get(self.at..)?;
                let end = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                self.out.extend_from_slice(rest.get(..end)?.as_bytes());
                self.at += end;
                Some(())
            }
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.copy(b'[')?;
        while self.peek()? != b']' {
            self.value(depth)?;
            if self.peek()? == b',' {
                self.copy(b',')?;
            }
        }
        self.copy(b']')
    }

    fn object(&mut self, depth: u32) -> Option<()> {
        self.copy(b'{')?;
        let begin = self.out.len();
        let mut members: Vec<(String, Range<usize>)> = Vec::new();
        while self.peek()? != b'}' {
            let start = self.out.len();
            let name: String = serde_json::from_str(self.string()?).ok()?;
            serde_json::to_writer(&mut self.out, &name).ok()?;
            self.copy(b':')?;
            self.value(depth)?;
            members.push((name, start - begin..self.out.len() - begin));
            if self.peek()? == b',' {
                self.copy(b',')?;
            }
        }
        // Most clients write their members in one order, though not in this.
        if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
                return None;
            }
            let written = self.out.split_off(begin);
            for (n, (_, member)) in members.into_iter().enumerate() {
                if n > 0 {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(written.get(member)?);
            }
        }
        self.copy(b'}')
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let next = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.at += next;
        rest.get(next).copied()
    }

    /// This byte, which has to be the next.
    fn copy(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        self.out.push(byte);
        Some(())
    }

    /// The next string, with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.peek()?;
        let (start, bytes) = (self.at, self.text.as_bytes());
        self.at += 1;
        loop {
            match bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

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

    #[test]
    fn a_lone_surrogate_and_a_number_of_any_size_are_no_error() {
        assert_eq!(canonical(br#"["\ud800"]"#), None, "it is compared by its bytes");
        assert_eq!(canonical(b" [ 1e999 , -0 ] ").unwrap(), b"[1e999,-0]");
    }

    /// A value, written with its members in another order and with white space.
    fn scrambled(value: &Value, out: &mut String) {
        match value {
            Value::Array(items) => {
                out.push_str("[ ");
                for (n, item) in items.iter().enumerate() {
                    out.push_str(if n > 0 { " ,\n" } else { "" });
                    scrambled(item, out);
                }
                out.push_str("\t]");
            }
            Value::Object(members) => {
                out.push_str("{\r\n");
                for (n, (name, member)) in members.iter().rev().enumerate() {
                    out.push_str(if n > 0 { "," } else { "" });
                    out.push_str(&format!(" {} : ", Value::from(name.as_str())));
                    scrambled(member, out);
                }
                out.push_str(" }");
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_writing_of_a_value_has_one_form_which_is_that_value(value in any_json()) {
            let mut other = String::new();
            scrambled(&value, &mut other);
            let form = canonical(other.as_bytes()).unwrap();
            prop_assert_eq!(&form, &canonical(value.to_string().as_bytes()).unwrap());
            prop_assert_eq!(serde_json::from_slice::<Value>(&form).unwrap(), value);
        }

        #[test]
        fn no_json_like_body_panics(body in r#"[\[\]{}":,0-9ae\\u \.-]{0,80}"#) {
            canonical(body.as_bytes());
        }
    }
}
