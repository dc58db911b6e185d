//! Lines of a file that another process may be writing at this very moment.
//!
//! A line is there once its newline is: a write that crosses a page can be seen half done, and a process that is
//! killed in the middle of one leaves a beginning behind. `r1-5` is no ID where `r1-57` was being written, so
//! every reader of this crate, and every test of this workspace that reads a file of another process, reads here.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// CAN, "cancel": ends a line that its writer could not, so that no reader takes it for a whole one.
const CANCEL: u8 = 0x18;

/// The whole lines of `text`, a part of a file up to any byte; the rest is the beginning of a line.
///
/// ```
/// let read: Vec<_> = ackonce_testkit::lines::complete(b"r1-56\nr1-5").collect();
/// assert_eq!(read, ["r1-56"]);
/// ```
pub fn complete(text: &[u8]) -> impl Iterator<Item = &str> {
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    text[..end].split(|byte| *byte == b'\n').filter_map(whole)
}

/// A line that is neither cancelled nor empty.
fn whole(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line).ok().filter(|line| !line.is_empty() && !is_cancelled(line.as_bytes()))
}

fn is_cancelled(line: &[u8]) -> bool {
    line.last() == Some(&CANCEL)
}

/// The whole lines of a file, without empty ones. A file that is not there yet has none.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<String>> {
    Reader::new(path).catch_up()
}

/// Follows a file while others append to it, without reading anything twice.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    torn: usize,
}

impl Reader {
    /// A reader at the beginning of the file, which need not be there yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_path_buf(), offset: 0, rest: Vec::new(), torn: 0 }
    }

    /// The lines that were completed since.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn catch_up(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.offset += u64::try_from(read).unwrap_or(u64::MAX);
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.rest.split_off(complete);
        let mut lines = Vec::new();
        // A line may have been cancelled by one that came while its writer was still about it: it is empty then.
        for line in self.rest.split(|byte| *byte == b'\n').filter(|line| !matches!(line, [] | [CANCEL])) {
            match whole(line) {
                Some(line) => lines.push(line.to_owned()),
                None => self.torn += 1,
            }
        }
        self.rest = rest;
        Ok(lines)
    }

    /// The number of torn lines so far: those that were cancelled and those that are no text.
    #[must_use]
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// True if the file ends in the middle of a line.
    #[must_use]
    pub fn is_mid_line(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// Appends lines to a file that any number of processes may append to.
///
/// A line is one `write(2)` with `O_APPEND`: lines of several processes do not mix. One whose process is killed in
/// the middle is cancelled by the next process that opens the file.
///
/// ```
/// use ackonce_testkit::lines::{Reader, Writer};
/// # let dir = std::env::temp_dir().join(format!("ackonce-lines-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// let path = dir.join("received.log");
/// let writer = Writer::open(&path)?;
/// let mut reader = Reader::new(&path);
/// writer.append("order-1")?;
/// assert_eq!(reader.catch_up()?, ["order-1"]);
/// writer.append("order-2")?;
/// assert_eq!(reader.catch_up()?, ["order-2"]);
/// # std::fs::remove_dir_all(&dir)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Opens or creates it, and cancels a line that was left without its end.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut last = [b'\n'];
        if let Some(end) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, end)?;
        }
        if last != [b'\n'] {
            (&file).write_all(&[CANCEL, b'\n'])?;
        }
        Ok(Self(file))
    }

    /// Adds a line, which has no newline of its own.
    ///
    /// # Errors
    /// It was not written, or only in part (a full disk): no reader takes it.
    pub fn append(&self, line: impl AsRef<[u8]>) -> io::Result<()> {
        let line = [line.as_ref(), b"\n"].concat();
        // Not `write_all`: a second write could meet another process's line in between.
        if (&self.0).write(&line)? == line.len() {
            return Ok(());
        }
        // Should this fail as well, the next process that opens the file makes up for it.
        let _ = (&self.0).write(&[CANCEL, b'\n']);
        Err(io::Error::new(ErrorKind::WriteZero, "a line was torn: is the disk full?"))
    }

    /// The file, for a process that inherits it as its output.
    #[must_use]
    pub fn into_file(self) -> File {
        self.0
    }

    /// Returns once all lines are on the disk.
    ///
    /// # Errors
    /// They may not be.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Lines of JSON.
#[derive(Debug)]
pub(crate) struct Items<T> {
    lines: Reader,
    pub(crate) items: Vec<T>,
    malformed: usize,
}

impl<T: DeserializeOwned> Items<T> {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        Self { lines: Reader::new(path), items: Vec::new(), malformed: 0 }
    }

    /// Reads the lines that were completed since.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        for line in self.lines.catch_up()? {
            match serde_json::from_str(&line) {
                Ok(item) => self.items.push(item),
                Err(_) => self.malformed += 1,
            }
        }
        Ok(())
    }

    /// The number of torn lines in a file that is no longer written.
    pub(crate) fn torn(&self) -> usize {
        self.malformed + self.lines.torn() + usize::from(self.lines.is_mid_line())
    }
}
