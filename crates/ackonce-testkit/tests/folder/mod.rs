//! Records as files of one folder, for one process: a minimal store.

use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ackonce::protocol::{self, Row};
use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement};
use ackonce::{Deduplicator, Error, ErrorKind, Key, Result};
use async_trait::async_trait;

pub(crate) const MAX_OUTCOME: usize = 1 << 20;
/// The folder, and the latest moment of its clock, under the lock that makes each batch a transaction.
#[derive(Debug)]
pub(crate) struct FolderStore(PathBuf, Mutex<u64>);

/// Some of the changes may have been made: `Unavailable` is `Repeat::Unknown`.
fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the folder of records").with_source(error)
}

impl FolderStore {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(failed)?;
        Ok(Self(folder.into(), Mutex::default()))
    }

    /// Answers one request after another, and returns once all that they changed is on the disk.
    fn batch<A>(&self, answer_all: impl FnOnce(u64) -> Result<Vec<A>>) -> Result<Vec<A>> {
        let mut last = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        *last = u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(*last);
        // First of all: without its folder, every record would look absent.
        let folder = File::open(&self.0).map_err(failed)?;
        let answers = answer_all(*last)?;
        folder.sync_all().map_err(failed)?;
        Ok(answers)
    }

    fn update<A>(&self, key: &Key, decide: impl FnOnce(Option<&Row>) -> (A, Option<Row>)) -> Result<A> {
        let name = key.digest().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let file = self.0.join(name);
        let row = match fs::read(&file) {
            Ok(bytes) => Some(Row::decode(&bytes)?),
            Err(e) if e.kind() == Io::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        let (answer, changed) = decide(row.as_ref());
        changed.map_or(Ok(()), |row| self.write(&file, &row)).map_err(failed)?;
        Ok(answer)
    }

    fn write(&self, file: &Path, row: &Row) -> io::Result<()> {
        let new = self.0.join("new");
        let mut writing = File::create(&new)?;
        writing.write_all(&row.encode())?;
        writing.sync_all()?;
        fs::rename(new, file)
    }

    /// Removes expired records. The next fence of a key comes from the clock, which must be past the last fence.
    pub(crate) fn sweep(&self) -> Result<Vec<()>> {
        self.batch(|now| {
            for entry in fs::read_dir(&self.0).map_err(failed)? {
                let file = entry.map_err(failed)?.path();
                let row = Row::decode(&fs::read(&file).map_err(failed)?)?;
                if row.expires.max(row.fence + 1) <= now {
                    fs::remove_file(file).map_err(failed)?;
                }
            }
            Ok(Vec::new())
        })
    }
}

#[async_trait]
impl Deduplicator for FolderStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        let answer = |r: &ClaimRequest, now| self.update(&r.key, |row| protocol::claim(row, r, now));
        self.batch(|now| requests.iter().map(|request| answer(request, now)).collect())
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let is_long = |action: &Settle| matches!(action, Settle::Complete { outcome: Some(o), .. } if o.len() > MAX_OUTCOME);
        if settlements.iter().any(|settlement| is_long(&settlement.action)) {
            return Err(Error::new(ErrorKind::Invalid, "the outcome has more than 1 MiB"));
        }
        let answer = |s: &Settlement, now| self.update(&s.key, |row| protocol::settle(row, s, now));
        self.batch(|now| settlements.iter().map(|settlement| answer(settlement, now)).collect())
    }

    fn describe(&self) -> Description {
        Description { name: format!("folder {}", self.0.display()), weaknesses: Vec::new() }
    }
}
