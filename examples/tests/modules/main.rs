//! The sources of the workspace: no circle of files, no type's name twice, and the listings of files in DESIGN.md and of
//! public names in docs/api.txt agree with them.
//!
//! With `ACKONCE_UPDATE=1` the listings are written anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod api;
mod circles;
mod rooms;
mod source;

use std::path::{Path, PathBuf};

use source::Source;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<Source> {
    Source::all(&root().join("crates"))
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let mut found = String::new();
    for source in sources() {
        for circle in circles::circles(&source) {
            found +=
                &format!("{}, a circle of {}:\n    {}\n", source.name, circle.len(), circle.join("\n    "));
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

#[test]
fn no_type_has_the_name_of_another() {
    let mut twins = api::twins(&sources());
    // Each suite of the testkit has one, and is called by the name of its module.
    twins.retain(|twins| !twins.starts_with("ackonce_testkit::conformance::Fixture, ackonce_testkit::"));
    assert!(twins.is_empty(), "\ntwo definitions of one public name:\n    {}\n", twins.join("\n    "));
}

#[test]
fn the_rooms_of_design_md_are_those_of_the_code() {
    held("DESIGN.md", "```text rooms\n", "```\n", &rooms::listing(&sources()));
}

#[test]
fn the_shapes_of_stores_and_adapters_are_those_of_the_code() {
    let text = std::fs::read_to_string(root().join("DESIGN.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("One shape")).unwrap();
    let mut missing = Vec::new();
    // | job | `name`, … | crate, … |
    for cells in section.lines().map(|line| line.split('|').collect::<Vec<_>>()) {
        let [_, _, names, crates, _] = cells[..] else { continue };
        let names = names.split('`').skip(1).step_by(2);
        for (name, of) in names.flat_map(|name| crates.split(',').map(move |of| (name, of.trim()))) {
            let module = root().join(format!("crates/ackonce-{of}/src/{name}"));
            if !module.exists() && !module.with_extension("rs").exists() {
                missing.push(format!("ackonce-{of}: {name}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "\nDESIGN.md names modules that do not exist:\n    {}\n",
        missing.join("\n    ")
    );
}

#[test]
fn the_public_names_are_those_of_api_txt() {
    held("docs/api.txt", "", "", &api::listing(&sources()));
}

/// Compares the part of a file between `begin` and `end` with a listing, or replaces it.
fn held(file: &str, begin: &str, end: &str, listing: &str) {
    let path = root().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let from = text.find(begin).unwrap_or_else(|| panic!("{file}: no line {begin}")) + begin.len();
    let to = if end.is_empty() { text.len() } else { from + text[from..].find(end).unwrap() };
    if text[from..to] == *listing {
        return;
    }
    if std::env::var_os("ACKONCE_UPDATE").is_some() {
        std::fs::write(&path, [&text[..from], listing, &text[to..]].concat()).unwrap();
        return;
    }
    let (old, new) = (text[from..to].lines(), listing.lines());
    let gone = old
        .clone()
        .filter(|line| !listing.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"));
    let come = new.filter(|line| !old.clone().any(|other| other == *line)).map(|line| format!("+ {line}"));
    let lines = gone.chain(come).collect::<Vec<_>>().join("\n");
    panic!(
        "\n{file} is behind the code:\n{lines}\n\nACKONCE_UPDATE=1 cargo test -p examples --test modules\n"
    );
}
