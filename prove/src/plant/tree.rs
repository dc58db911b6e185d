//! The copy of the tree that bugs are planted in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::patch::Patch;

/// Makes `copy` equal to `tree`, without builds and history. A file that is equal is left alone, or cargo would build it
/// again.
pub(super) fn copy(tree: &Path, copy: &Path) -> Result<()> {
    std::fs::create_dir_all(copy)?;
    let mut names = BTreeSet::new();
    for entry in tree.read_dir()? {
        let entry = entry?;
        let (from, to) = (entry.path(), copy.join(entry.file_name()));
        names.insert(entry.file_name());
        if entry.file_name() == "target" || entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            self::copy(&from, &to)?;
        } else if !to.exists() || std::fs::read(&from)? != std::fs::read(&to)? {
            std::fs::copy(&from, &to)?;
        }
    }
    for entry in copy.read_dir()? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// A bug in a copy of the tree, until it is dropped.
#[derive(Debug)]
pub(super) struct Planted(Vec<(PathBuf, String)>);

impl Planted {
    pub(super) fn plant(patch: &Patch, tree: &Path) -> Result<Self> {
        let mut planted = Self(Vec::new());
        for (path, changed) in patch.changed(tree)? {
            planted.0.push((path.clone(), std::fs::read_to_string(&path)?));
            std::fs::write(path, changed)?;
        }
        Ok(planted)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        for (path, text) in &self.0 {
            // The next run copies the tree again, if this is left undone.
            let _ = std::fs::write(path, text);
        }
    }
}
