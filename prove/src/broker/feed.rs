//! The feed: a file without a server.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::Published;

pub(crate) struct FeedFile(File);

impl FeedFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(File::create(path)?))
    }

    pub(super) fn publish(&mut self, ids: Vec<String>) -> anyhow::Result<Vec<Published>> {
        self.0.write_all((ids.join("\n") + "\n").as_bytes())?;
        Ok(ids.into_iter().map(|id| Published { id, at: None }).collect())
    }
}
