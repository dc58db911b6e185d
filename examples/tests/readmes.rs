//! The READMEs of the crates, which are their front pages on crates.io and docs.rs, and the names of the code in all pages.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn crates() -> Vec<(String, PathBuf)> {
    let all = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")).unwrap();
    let all = all.map(|entry| entry.unwrap().path());
    all.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// The names under `[features]`, without `default`.
fn features(manifest: &str) -> Vec<String> {
    let part = manifest.split("[features]\n").nth(1).unwrap_or_default();
    let part = part.split("\n[").next().unwrap_or_default();
    let named = part.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    named.map(|(name, _)| name.to_owned()).filter(|name| name != "default").collect()
}

#[test]
fn each_says_how_to_depend_on_it_and_names_its_features() {
    for (name, path) in crates() {
        let text = std::fs::read_to_string(path.join("README.md")).unwrap();
        let line = text.contains(&format!("{name} = ")) || text.contains(&format!("cargo install {name}"));
        assert!(line, "{name}: no line for Cargo.toml");
        for feature in features(&std::fs::read_to_string(path.join("Cargo.toml")).unwrap()) {
            assert!(text.contains(&format!("`{feature}`")), "{name}: `{feature}` is not explained");
        }
    }
}

#[test]
fn no_link_leads_out_of_a_crate_by_a_relative_path() {
    for (name, path) in crates() {
        let text = std::fs::read_to_string(path.join("README.md")).unwrap();
        assert!(
            !text.contains("](..") && !text.contains("](docs/"),
            "{name}: a relative link breaks on docs.rs"
        );
    }
}

#[test]
fn the_core_lists_all_its_siblings() {
    let all = crates();
    let core = &all.iter().find(|(name, _)| name == "ackonce").unwrap().1;
    let text = std::fs::read_to_string(core.join("README.md")).unwrap();
    for (name, _) in &all {
        assert!(name == "ackonce" || text.contains(&format!("[`{name}`](https://docs.rs/{name})")), "{name}");
    }
}

/// Every file with this ending below a folder.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, ending, found);
        } else if entry.to_str().unwrap().ends_with(ending) {
            found.push(entry);
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn types_and_settings_that_the_pages_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut pages, mut sources) = (Vec::new(), Vec::new());
    files(&root.join("docs"), ".md", &mut pages);
    files(&root.join("crates"), ".md", &mut pages);
    files(&root.join("crates"), ".rs", &mut sources);
    pages.extend(["README.md", "DESIGN.md", "SECURITY.md"].map(|page| root.join(page)));
    let code =
        sources.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>().join("\n");
    let known = words(&code).collect::<BTreeSet<_>>();
    let mut unknown = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        // Blocks are compiled. Between them the odd parts are spans of code: `Settings::window`, `with_ids`.
        let prose = text.split("```").step_by(2).collect::<Vec<_>>().join(" ");
        for span in prose.split('`').skip(1).step_by(2) {
            let path = span.contains("::") && span.starts_with(char::is_uppercase);
            let named = words(span).filter(|word| path || word.starts_with("with_"));
            for word in named.filter(|word| !word.is_empty() && !known.contains(word)) {
                unknown.push(format!("{}: {word} in `{span}`", page.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(unknown.is_empty(), "\nnames that no source has:\n{}\n", unknown.join("\n"));
}
