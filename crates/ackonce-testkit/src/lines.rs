//! JSON lines that others are still appending to.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::de::DeserializeOwned;

#[derive(Debug)]
pub(crate) struct Lines<T> {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    pub(crate) items: Vec<T>,
    pub(crate) torn: usize,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, rest: Vec::new(), items: Vec::new(), torn: 0 }
    }

    /// Reads what was appended since. A file that is not there yet is empty.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.rest.split_off(complete);
        for line in self.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(item) => self.items.push(item),
                Err(_) => self.torn += 1,
            }
        }
        self.rest = rest;
        Ok(())
    }

    /// Nothing more is coming: a line without its end is torn.
    pub(crate) fn end(&mut self) {
        self.torn += usize::from(!self.rest.is_empty());
        self.rest.clear();
    }
}
