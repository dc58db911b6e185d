//! The links of the pages: files and headings that are there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

/// Every page below a folder, without those of dependencies and builds.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                pages(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The text without its blocks of code, in which brackets are no links.
fn prose(page: &Path) -> String {
    let text = std::fs::read_to_string(page).unwrap();
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let text = prose(page);
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The targets of links in the page, without those to other places.
fn targets(text: &str) -> Vec<&str> {
    let all = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    all.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_to_a_heading() {
    let (root, mut all) = (root(), Vec::new());
    pages(&root, &mut all);
    let (mut broken, mut tried) = (Vec::new(), 0);
    for page in &all {
        let text = prose(page);
        for target in targets(&text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let is_there = file.exists() && (heading.is_empty() || anchors(&file).contains(heading));
            tried += 1;
            if !is_there && !names_an_item(target) {
                broken.push(format!("{}: {target}", page.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(tried > 100, "only {tried} links were found");
    assert!(broken.is_empty(), "\nlinks that lead nowhere:\n{}\n", broken.join("\n"));
}

/// A link of rustdoc, which the documentation's own build checks.
fn names_an_item(target: &str) -> bool {
    target.contains("::") || target.starts_with("crate") || target.starts_with("Self")
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(anchor(" What `names=keep` keeps, and for how long"), "what-nameskeep-keeps-and-for-how-long");
    assert_eq!(anchor("Kafka: re-created topics"), "kafka-re-created-topics");
}
