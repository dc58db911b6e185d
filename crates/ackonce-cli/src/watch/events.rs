//! Server-sent events, piece by piece.

/// The longest event: the points of the charts take some tens of kilobytes.
const LONGEST: usize = 4 << 20;

/// The events of a stream whose pieces have been fed to it.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedEvent {
    pub(super) name: String,
    pub(super) data: String,
}

impl Events {
    /// Takes a piece in.
    ///
    /// # Errors
    /// An event is too long: whatever answers there is no console.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), String> {
        self.buffer.extend_from_slice(piece);
        match self.buffer.len() > LONGEST {
            true => Err("its events are longer than those of a console".to_owned()),
            false => Ok(()),
        }
    }

    /// The next event that is whole.
    pub(super) fn next(&mut self) -> Option<NamedEvent> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let text: Vec<u8> = self.buffer.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&text);
        let of = |field: &str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
        };
        Some(NamedEvent { name: of("event"), data: of("data") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_pieces() {
        let mut events = Events::default();
        for piece in ["event: sta", "te\ndata: {\"a\"", ":1}\n", "\n:keep\n\nda"] {
            events.feed(piece.as_bytes()).unwrap();
        }
        let event =
            |name: &str, data: &str| Some(NamedEvent { name: name.to_owned(), data: data.to_owned() });
        assert_eq!(events.next(), event("state", "{\"a\":1}"));
        assert_eq!(events.next(), event("", ""));
        assert_eq!(events.next(), None);
        assert!(events.feed(&vec![b'x'; LONGEST]).is_err());
    }
}
