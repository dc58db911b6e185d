//! All that happened in a run, as lines and as a hash of them.

use std::fmt;

/// The offset basis and the prime of FNV-1a with 64 bits.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// All that happened in a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// Kept for a run that is replayed.
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { hash: BASIS, lines: is_kept.then(Vec::new) }
    }

    pub(crate) fn add(&mut self, line: fmt::Arguments<'_>) {
        use fmt::Write;
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_string());
        }
        // A hasher takes any text.
        let _ = Hashing(&mut self.hash).write_fmt(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

struct Hashing<'a>(&'a mut u64);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        Ok(())
    }
}
