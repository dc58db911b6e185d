//! A description of the signed text: `{timestamp:t=}.{body}`.

use std::borrow::Cow;

use http::HeaderName;

use crate::error::ConfigError;

/// The place of the time of signing: seconds since the Unix epoch, in decimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timestamp {
    /// A header of that name.
    Header(HeaderName),
    /// An item of the signature header that begins with this, such as `t=`.
    Item(String),
}

/// The signed bytes of a request, as a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Cow<'static, str>),
    Header(HeaderName),
    Timestamp,
    Body,
}

impl Template {
    /// Reads a pattern: text as it is, and `{body}`, `{header:NAME}`, `{timestamp:NAME}` for a header,
    /// `{timestamp:t=}` for an item of the signature header.
    pub(crate) fn parse(pattern: &str) -> Result<(Self, Option<Timestamp>), ConfigError> {
        let bad = |why: &str| ConfigError::setting("Custom::with_signed", format!("{pattern:?}: {why}"));
        let name = |text: &str| text.parse().map_err(|_| bad("a header's name is none"));
        let (mut parts, mut timestamp) = (Vec::new(), None);
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned().into()));
            }
            let (inside, after) = after.split_once('}').ok_or_else(|| bad("a brace is not closed"))?;
            parts.push(match inside.split_once(':') {
                None if inside == "body" => Part::Body,
                Some(("header", header)) => Part::Header(name(header)?),
                Some(("timestamp", item)) if timestamp.is_none() => {
                    timestamp = Some(match item.ends_with('=') {
                        true => Timestamp::Item(item.to_owned()),
                        false => Timestamp::Header(name(item)?),
                    });
                    Part::Timestamp
                }
                _ => return Err(bad("it knows {body}, {header:NAME} and, once, {timestamp:NAME or t=}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned().into()));
        }
        match parts.contains(&Part::Body) {
            true => Ok((Self(parts), timestamp)),
            false => Err(bad("without {body}, anybody could change it")),
        }
    }
}
