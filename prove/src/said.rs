//! The lines that workers have logged about effects that they could not record.

use std::path::Path;

use ackonce_testkit::lines;
use anyhow::Result;

/// Message ID and fence of each such effect. A worker that was killed in the middle of a line did not say it.
pub(crate) fn not_recorded(dir: &Path) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(dir.join("workers"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            all.extend(lines::read(path)?.iter().filter_map(|line| parse(line)));
        }
    }
    Ok(all)
}

fn parse(line: &str) -> Option<(String, u64)> {
    // The second one is a handler that was cancelled with its lease, which a store that stands still for longer loses.
    let decisions = [r#"decision="completed-but-not-recorded""#, r#"decision="retried""#];
    if !decisions.iter().any(|decision| line.contains(decision)) {
        return None;
    }
    let field = |name: &str| line.split_once(name)?.1.split(' ').next();
    Some((field(" id=")?.to_owned(), field(" fence=")?.parse().ok()?))
}
