//! The trace context of a message, as the W3C recommendation
//! [Trace Context](https://www.w3.org/TR/trace-context/) writes it into headers.

use std::fmt::Write as _;

use crate::key::hex;

/// The header that names trace and span.
pub const TRACEPARENT: &str = "traceparent";
/// The header for more, by vendor.
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on, in bytes; the recommendation asks for 512 at least.
const MAX_STATE: usize = 512;
/// The length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A position in a trace: the parent of a span, or the span itself.
///
/// ```
/// use ackonce::trace::TraceContext;
///
/// let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(header, None).expect("it is well-formed");
/// assert!(context.is_sampled());
/// assert_eq!(context.traceparent().as_bytes(), header);
/// assert!(TraceContext::parse(b"garbage", None).is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
    state: Option<Box<str>>,
}

impl TraceContext {
    /// The context of these IDs; `None` if one of them is zero, which the recommendation forbids.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<Self> {
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled, state: None })
    }

    /// Reads the values of `traceparent` and `tracestate`. `None` for a malformed `traceparent`; a `tracestate` that is
    /// malformed or longer than 512 bytes is left out.
    #[must_use]
    pub fn parse(traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Self> {
        let (version, rest) = (byte(traceparent.get(..2)?)?, traceparent.get(LENGTH..)?);
        // A later version may have more behind a hyphen; version 255 is forbidden.
        let goes_on = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        let hyphens = [2, 35, 52].iter().all(|at| traceparent[*at] == b'-');
        if !goes_on || !hyphens {
            return None;
        }
        let (trace_id, span_id) = (bytes(&traceparent[3..35])?, bytes(&traceparent[36..52])?);
        let flags = byte(&traceparent[53..55])?;
        let context = Self::new(trace_id, span_id, flags & SAMPLED != 0)?;
        Some(Self { state: tracestate.and_then(state), ..context })
    }

    /// As [`parse`](Self::parse), from all values that a message has under the two names. Two values of `traceparent` that
    /// differ are no context; values of `tracestate` are joined.
    #[must_use]
    pub fn of_headers<'a>(
        mut traceparents: impl Iterator<Item = &'a [u8]>,
        tracestates: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let first = traceparents.next()?;
        if traceparents.any(|other| other != first) {
            return None;
        }
        let mut context = Self::parse(first, None)?;
        let states: Vec<&[u8]> = tracestates.take(MAX_STATE).collect();
        context.state = if states.is_empty() { None } else { state(&states.join(&b","[..])) };
        Some(context)
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// True if the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The value of the header `tracestate`.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The value of the header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(LENGTH);
        let _ = write!(text, "00-{}-{}-0{}", hex(&self.trace_id), hex(&self.span_id), u8::from(self.sampled));
        text
    }

    /// The same trace at another span.
    pub(super) fn at(trace_id: [u8; 16], span_id: [u8; 8], parent: Option<&Self>) -> Self {
        Self { trace_id, span_id, sampled: true, state: parent.and_then(|parent| parent.state.clone()) }
    }
}

/// A `tracestate` that can be passed on: printable ASCII of a bearable length.
fn state(value: &[u8]) -> Option<Box<str>> {
    let printable = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let text = std::str::from_utf8(value).ok().map(str::trim)?;
    (printable && !text.is_empty() && text.len() <= MAX_STATE).then(|| text.into())
}

fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    for (byte_of, pair) in all.iter_mut().zip(digits.chunks_exact(2)) {
        *byte_of = byte(pair)?;
    }
    Some(all)
}

/// Two hexadecimal digits, in lower case as the recommendation says.
fn byte(pair: &[u8]) -> Option<u8> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const GOOD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_malformed_header_is_no_context() {
        let with = |at: usize, byte: u8| {
            let mut bad = GOOD.to_vec();
            bad[at] = byte;
            bad
        };
        let zeros = |range: std::ops::Range<usize>| {
            let mut bad = GOOD.to_vec();
            bad[range].fill(b'0');
            bad
        };
        let longer = [GOOD, b"-00"].concat();
        for bad in [
            b"".to_vec(),
            b"00".to_vec(),
            GOOD[..54].to_vec(),
            longer.clone(),
            [GOOD, &b"0".repeat(1 << 20)].concat(),
            with(0, b'x'),
            with(2, b'_'),
            with(10, b'F'),
            with(10, b'g'),
            with(54, 0xff),
            [b"ff", &GOOD[2..]].concat(),
            zeros(3..35),
            zeros(36..52),
            [b" ", GOOD].concat(),
        ] {
            assert_eq!(TraceContext::parse(&bad, None), None, "{}", bad.escape_ascii());
        }
        assert!(TraceContext::parse(&[b"cc", &longer[2..]].concat(), None).is_some(), "of a later version");
        assert!(!TraceContext::parse(&with(54, b'0'), None).unwrap().is_sampled());
    }

    #[test]
    fn headers_of_any_kind_are_one_context_or_none() {
        let of = |parents: &[&[u8]], states: &[&[u8]]| {
            TraceContext::of_headers(parents.iter().copied(), states.iter().copied())
        };
        let other = &GOOD.iter().map(|b| if *b == b'4' { b'5' } else { *b }).collect::<Vec<_>>()[..];
        assert_eq!(of(&[], &[b"a=1"]), None);
        assert_eq!(of(&[GOOD, other], &[]), None, "two that differ");
        assert_eq!(of(&[GOOD, GOOD], &[]), TraceContext::parse(GOOD, None), "the same one twice");
        let joined = of(&[GOOD], &[b"a=1", b"b=2"]).unwrap();
        assert_eq!(joined.tracestate(), Some("a=1,b=2"));
        for bad in [&b"a=\xff"[..], b"a=1\r\nx: y", &b"a".repeat(513), b" "] {
            assert_eq!(of(&[GOOD], &[bad]).unwrap().tracestate(), None, "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&bytes, Some(&bytes));
        }

        #[test]
        fn a_context_reads_as_it_was_written(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled: bool) {
            if let Some(context) = TraceContext::new(trace, span, sampled) {
                prop_assert_eq!(TraceContext::parse(context.traceparent().as_bytes(), None), Some(context));
            }
        }
    }
}
