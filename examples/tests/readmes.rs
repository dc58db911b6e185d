//! The READMEs of the crates, which are their front pages on crates.io and docs.rs.
#![allow(clippy::unwrap_used)]

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
