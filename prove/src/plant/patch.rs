//! A planted bug: a unified diff with two lines before it, the bug and the check that is expected to find it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// One planted bug.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) bug: String,
    /// The command line of the check: `cargo test …` or `prove …`.
    pub(super) check: String,
    hunks: Vec<Hunk>,
}

/// Lines to be found once in a file, and the lines that take their place.
#[derive(Debug, Clone, Default)]
struct Hunk {
    path: String,
    old: String,
    new: String,
}

/// All files of a folder, in the order of their names.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Patch>> {
    let files = folder.read_dir().with_context(|| folder.display().to_string())?;
    let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths.iter().map(|path| read(path).with_context(|| path.display().to_string())).collect()
}

fn read(path: &Path) -> Result<Patch> {
    let name = path.file_stem().context("it has no name")?.to_string_lossy().into_owned();
    parse(name, &std::fs::read_to_string(path)?)
}

fn parse(name: String, text: &str) -> Result<Patch> {
    let (head, diff) = text.split_once("\n--- ").context("there is no `---` line, which begins a diff")?;
    let header = |word: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(word));
        line.map(|rest| rest.trim().to_owned()).with_context(|| format!("there is no `{word}` line"))
    };
    let (mut hunks, mut path) = (Vec::new(), "");
    for line in diff.lines() {
        let (sign, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
        if line.starts_with("--- ") {
            continue;
        }
        if let Some(file) = line.strip_prefix("+++ b/") {
            path = file;
        } else if sign == "@" {
            hunks.push(Hunk { path: path.to_owned(), ..Hunk::default() });
        } else if let Some(hunk) = hunks.last_mut() {
            ensure!(
                [" ", "-", "+"].contains(&sign),
                "a line of a hunk begins with a blank, - or +: {line:?}"
            );
            let line = format!("{rest}\n");
            hunk.old.push_str(if sign == "+" { "" } else { &line });
            hunk.new.push_str(if sign == "-" { "" } else { &line });
        }
    }
    ensure!(!path.is_empty() && !hunks.is_empty(), "there is no `+++ b/FILE` line with a hunk after it");
    Ok(Patch { name, bug: header("Bug:")?, check: header("Check:")?, hunks })
}

impl Patch {
    /// The files that it changes, by their paths in the tree, with the changed text.
    pub(super) fn changed(&self, tree: &Path) -> Result<Vec<(PathBuf, String)>> {
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for Hunk { path, old, new } in &self.hunks {
            let path = tree.join(path);
            if files.last().is_none_or(|(last, _)| *last != path) {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("planted/{}.patch: {}", self.name, path.display()))?;
                files.push((path.clone(), format!("\n{text}")));
            }
            let Some((_, text)) = files.last_mut() else { continue };
            let (old, new) = (format!("\n{old}"), format!("\n{new}"));
            let at = text.find(&old);
            // `matches` would pass over a second place that begins with the line break that ends the first.
            let (Some(at), true) = (at, at == text.rfind(&old)) else {
                let count = if at.is_some() { "more than once" } else { "not at all" };
                bail!(
                    "planted/{}.patch does not apply any more: {} has these lines {count}; mend the patch:{old}",
                    self.name,
                    path.display()
                );
            };
            text.replace_range(at..at + old.len(), &new);
        }
        Ok(files.into_iter().map(|(path, text)| (path, text[1..].to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DIFF: &str = "Bug: b\nCheck: prove\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n";

    /// The change of a file with that text.
    fn changed(text: &str) -> Result<String> {
        let tree = tempfile::tempdir()?;
        std::fs::write(tree.path().join("f"), text)?;
        Ok(parse("n".into(), DIFF)?.changed(tree.path())?.remove(0).1)
    }

    #[test]
    fn a_patch_changes_the_one_place_that_it_names() {
        assert_eq!(changed("zero\none\ntwo\nthree\n").unwrap(), "zero\none\n2\nthree\n");
        assert_eq!(changed("one\ntwo\n").unwrap(), "one\n2\n");
        for other in ["one\n", "one\ntwo\none\ntwo\n", "x one\ntwo\n"] {
            let error = changed(other).unwrap_err().to_string();
            assert!(error.contains("planted/n.patch does not apply"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_patch_is_refused() {
        for text in ["", "Bug: b\nCheck: c\n", &DIFF.replace("Check", "Chek"), &DIFF.replace("+++", "++")] {
            assert!(parse("n".into(), text).is_err(), "{text}");
        }
    }

    /// Without a build: a patch that a change of the code has overtaken fails in the usual tests.
    #[test]
    fn every_planted_bug_applies_to_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let patches = read_all(&root.join("prove/planted")).unwrap();
        assert!(patches.len() >= 40, "{}", patches.len());
        for patch in patches {
            assert!(!patch.changed(root).unwrap().is_empty(), "{}", patch.name);
            let checks = ["cargo test ", "prove "];
            assert!(checks.iter().any(|check| patch.check.starts_with(check)), "{}", patch.check);
        }
    }
}
