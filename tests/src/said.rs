//! The lines that workers have logged about effects that they could not record.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use ackonce_testkit::lines;

/// An effect whose claim was gone when it was to be recorded; and, where workers log at the level `info`, a handler that was
/// cancelled with its lease, which a store that stands still for longer loses.
const DECISIONS: [&str; 2] = [r#"decision="completed-but-not-recorded""#, r#"decision="retried""#];

/// Message ID and fence of each such effect, from the logs of a fleet in `dir/workers`. A worker that was killed in the middle
/// of a line did not say it.
///
/// # Errors
/// The logs cannot be read.
pub fn not_recorded(dir: &Path) -> io::Result<BTreeSet<(String, u64)>> {
    let mut all = BTreeSet::new();
    for file in std::fs::read_dir(dir.join("workers"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            all.extend(lines::read(path)?.iter().filter_map(|line| parse(line)));
        }
    }
    Ok(all)
}

fn parse(line: &str) -> Option<(String, u64)> {
    if !DECISIONS.iter().any(|decision| line.contains(decision)) {
        return None;
    }
    let field = |name: &str| line.split_once(name)?.1.split(' ').next();
    Some((field(" id=")?.to_owned(), field(" fence=")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_effects_that_were_not_recorded_are_found() {
        let line = |decision: &str| {
            format!("WARN ackonce: decision=\"{decision}\" scope=\"s\" id=m7 attempt=1 fence=42 x")
        };
        for decision in ["completed-but-not-recorded", "retried"] {
            assert_eq!(parse(&line(decision)), Some(("m7".to_owned(), 42)), "{decision}");
        }
        assert_eq!(parse(&line("buried")), None);
        assert_eq!(parse("decision=\"retried\" id=m7 fence="), None, "killed in the middle of a line");
    }
}
