//! Rows of a CSV: scope, ID and, if given, the time for which it is remembered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use ackonce::Scope;
use csv::{ByteRecord, Reader, ReaderBuilder};

use super::super::args::scope_of;
use super::super::ids::MessageId;
use super::super::times;
use super::Row;
use crate::refusal::Refusal;

pub(super) struct CsvRows {
    reader: Reader<Box<dyn Read + Send>>,
    window: Duration,
    /// Rows to pass over.
    skip: u64,
    scopes: HashMap<String, Scope>,
    is_first: bool,
}

impl CsvRows {
    pub(super) fn open(path: &Path, skip: u64, window: Duration) -> Result<Self, Refusal> {
        let input: Box<dyn Read + Send> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdin()),
            false => Box::new(BufReader::new(File::open(path).map_err(|error| {
                Refusal::environment(format!("--csv: the file {} cannot be read: {error}", path.display()))
            })?)),
        };
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
        Ok(Self { reader, window, skip, scopes: HashMap::new(), is_first: true })
    }

    /// The next rows; none at the end.
    pub(super) fn next(&mut self, most: usize) -> Result<Option<Vec<Row>>, Refusal> {
        let (mut rows, mut record) = (Vec::new(), ByteRecord::new());
        while rows.len() < most {
            let line = self.reader.position().line();
            let more = self.reader.read_byte_record(&mut record).map_err(|error| match error.kind() {
                csv::ErrorKind::Io(error) => {
                    Refusal::environment(format!("--csv: it cannot be read: {error}"))
                }
                _ => Refusal::usage(format!("--csv: line {line}: {error}")),
            })?;
            if !more {
                break;
            }
            if std::mem::take(&mut self.is_first) && is_heading(&record) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let row = self.row(&record);
            rows.push(row.map_err(|why| Refusal::usage(format!("--csv: line {line}: {why}")))?);
        }
        Ok((!rows.is_empty()).then_some(rows))
    }

    fn row(&mut self, record: &ByteRecord) -> Result<Row, String> {
        if !(2..=3).contains(&record.len()) {
            return Err(format!("it has {} columns; write scope,ID or scope,ID,TIME", record.len()));
        }
        let text = |column: usize| std::str::from_utf8(record.get(column).unwrap_or_default());
        let scope = text(0).map_err(|_| "the scope is not UTF-8")?;
        if let Some(part) =
            ["scope", "ID"].iter().zip(record).find_map(|(part, text)| is_padded(text).then_some(part))
        {
            // As another scope or ID, its message would take effect again.
            return Err(format!(
                "its {part} begins or ends with white space; remove it, or write such an ID as hex:…"
            ));
        }
        let scope = match self.scopes.get(scope) {
            Some(known) => known.clone(),
            None => {
                let made = scope_of(scope).map_err(|refusal| refusal.to_string())?;
                self.scopes.insert(scope.to_owned(), made.clone());
                made
            }
        };
        // Bytes that are no text are an ID as they are.
        let id = match text(1) {
            Ok(id) => id.parse::<MessageId>()?.0,
            Err(_) => record.get(1).unwrap_or_default().to_vec().into(),
        };
        let window = match text(2).map_err(|_| "the time is not UTF-8")?.trim() {
            "" => self.window,
            time => times::lasting(time).map_err(|error| format!("the time {time}: {error}"))?,
        };
        let key = scope.key(id).map_err(|error| error.to_string())?;
        Ok((key, window))
    }
}

fn is_padded(text: &[u8]) -> bool {
    text.trim_ascii().len() < text.len()
}

fn is_heading(record: &ByteRecord) -> bool {
    let is = |column: usize, name: &str| {
        record.get(column).is_some_and(|text| text.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    is(0, "scope") && is(1, "id")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn rows(text: &[u8], skip: u64) -> Result<Vec<Row>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mut rows = CsvRows::open(file.path(), skip, Duration::from_secs(60)).unwrap();
        let mut all = Vec::new();
        while let Some(some) = rows.next(2).map_err(|refusal| refusal.to_string())? {
            all.extend(some);
        }
        Ok(all)
    }

    #[test]
    fn rows_have_a_scope_an_id_and_perhaps_a_time() {
        let text = b"Scope,ID\na/b,evt_1\na/b,hex:00ff,1h\n\"a,b\",\"x\"\"y\",\nc,\xff\xfe\n";
        let all = rows(text, 0).unwrap();
        let ids: Vec<_> = all.iter().map(|(key, _)| (key.scope().name(), &key.id()[..])).collect();
        assert_eq!(
            ids,
            [("a/b", &b"evt_1"[..]), ("a/b", &[0, 255][..]), ("a,b", &b"x\"y"[..]), ("c", &[255, 254][..])]
        );
        let windows: Vec<_> = all.iter().map(|(_, window)| window.as_secs()).collect();
        assert_eq!(windows, [60, 3600, 60, 60]);
        assert_eq!(rows(text, 3).unwrap().len(), 1, "a heading is no row");
        assert!(rows(b"", 0).unwrap().is_empty());
        assert_eq!(
            rows(b"\xef\xbb\xbfa,x\n", 0).unwrap()[0].0.scope().name(),
            "a",
            "a byte-order mark is no text"
        );
    }

    #[test]
    fn a_faulty_row_is_named_by_its_line() {
        for (text, part) in [
            (&b"a,b\nc\n"[..], "line 2: it has 1 columns"),
            (b"a,b,1h,x\n", "line 1: it has 4 columns"),
            (b"a,\n", "line 1: the message ID is empty"),
            (b",x\n", "line 1: --scope: the scope name is empty"),
            (b"a,x,soon\n", "line 1: the time soon"),
            (b"a,x,1h\na,y,0s\n", "line 2: the time 0s: no message is remembered for no time"),
            (b"a,hex:0\n", "hexadecimal"),
            (b"a, evt_1\n", "line 1: its ID begins or ends with white space"),
            (b"a,\"evt_1\t\"\n", "line 1: its ID begins or ends with white space"),
            (b"a ,evt_1\n", "line 1: its scope begins or ends with white space"),
        ] {
            let why = rows(text, 0).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
