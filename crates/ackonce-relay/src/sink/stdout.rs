//! `stdout:`: a line for each message, flushed before the message is done.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

use ackonce::{Answer, Context, Effect, Error, Failure, Item, Result};
use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Gone, Sink};
use crate::RelayMessage;
use crate::url::RelayUrlError;

/// The treatment of a body with a line feed, which would be two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Bodies go out as they are; one with a line feed is refused.
    Raw,
    /// In every body a backslash is written `\\`, a line feed `\n` and a carriage return `\r`.
    Escaped,
}

impl Lines {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        match text.strip_prefix("stdout:").unwrap_or_default() {
            "" | "?newline=refuse" => Ok(Self::Raw),
            "?newline=escape" => Ok(Self::Escaped),
            more if more.starts_with('?') => {
                Err(RelayUrlError::new("stdout: has one option, newline=refuse or newline=escape"))
            }
            _ => Err(RelayUrlError::new(
                "stdout: takes nothing after it but ?newline=refuse or ?newline=escape",
            )),
        }
    }

    pub(super) fn open(self) -> Result<Stdout> {
        let (chunks, queue) = channel::<Chunk>();
        let gone = Arc::new(OnceLock::new());
        let closed = gone.clone();
        // On a thread of its own, because a reader that stands still blocks the writer, and so that a chunk is written
        // whole even if nobody waits for it any more.
        let writing = move || {
            let mut output = std::io::stdout().lock();
            for (chunk, answer) in queue {
                let written = output.write_all(&chunk).and_then(|()| output.flush());
                if let Err(error) = &written {
                    let _ = closed.set(match error.kind() {
                        ErrorKind::BrokenPipe => Gone::Closed,
                        _ => Gone::Failed(format!("standard output cannot be written: {error}")),
                    });
                }
                // Nobody may wait for it any more.
                let _ = answer.send(written.map_err(|error| error.to_string()));
                if closed.get().is_some() {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("ackonce-stdout".to_owned()).spawn(writing);
        let failed = |error| {
            Error::new(ackonce::ErrorKind::Unavailable, "the thread of stdout: did not start")
                .with_source(error)
        };
        spawned.map_err(failed)?;
        Ok(Stdout { lines: self, chunks, gone })
    }

    /// Appends a body and its line feed; refused if it would be two lines.
    fn append(self, chunk: &mut Vec<u8>, body: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Raw if body.contains(&b'\n') => {
                let why = "its body has a line feed, and stdout: writes a line each; stdout:?newline=escape escapes it";
                return Err(Failure::permanent(why));
            }
            Self::Raw => chunk.extend_from_slice(body),
            Self::Escaped => {
                for byte in body {
                    match byte {
                        b'\\' => chunk.extend_from_slice(b"\\\\"),
                        b'\n' => chunk.extend_from_slice(b"\\n"),
                        b'\r' => chunk.extend_from_slice(b"\\r"),
                        byte => chunk.push(*byte),
                    }
                }
            }
        }
        chunk.push(b'\n');
        Ok(())
    }
}

/// Lines, and the one who waits until they are written.
type Chunk = (Vec<u8>, oneshot::Sender<Result<(), String>>);

/// Writes messages to standard output.
#[derive(Debug)]
pub(super) struct Stdout {
    lines: Lines,
    chunks: Sender<Chunk>,
    /// The reason once it cannot be written.
    gone: Arc<OnceLock<Gone>>,
}

#[async_trait]
impl Sink for Stdout {
    fn carries_key(&self) -> bool {
        false
    }

    fn takes_batches(&self) -> bool {
        true
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let item = Item { cx: cx.clone(), message: message.clone() };
        let answer = self.deliver_all(vec![item]).await.pop();
        answer.unwrap_or_else(|| Err(Failure::infrastructure("no answer"))).map(drop)
    }

    /// One chunk for all of them, with one flush.
    async fn deliver_all(&self, items: Vec<Item<RelayMessage>>) -> Vec<Answer> {
        let mut chunk = Vec::with_capacity(items.iter().map(|item| item.message.payload().len() + 1).sum());
        let appended: Vec<_> =
            items.iter().map(|item| self.lines.append(&mut chunk, item.message.payload())).collect();
        let (answer, written) = oneshot::channel();
        let written = match self.chunks.send((chunk, answer)) {
            Ok(()) => written.await.unwrap_or_else(|_| Err("standard output is closed".to_owned())),
            Err(_) => Err("standard output is closed".to_owned()),
        };
        let each = appended.into_iter().map(|appended| {
            appended?;
            written.clone().map(Effect::from).map_err(Failure::infrastructure)
        });
        each.collect()
    }

    fn gone(&self) -> Option<Gone> {
        self.gone.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_is_one_line_or_none() {
        let mut chunk = Vec::new();
        assert!(Lines::Raw.append(&mut chunk, b"a\nb").is_err());
        Lines::Raw.append(&mut chunk, b"a\\b").unwrap();
        Lines::Escaped.append(&mut chunk, b"a\\b\nc\r").unwrap();
        assert_eq!(String::from_utf8(chunk).unwrap(), "a\\b\na\\\\b\\nc\\r\n");
    }
}
