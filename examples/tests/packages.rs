//! The packages for crates.io: no tests and no data of tests inside, and the pages and licences that belong in.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::process::Command;

#[test]
fn packages_hold_sources_pages_and_licences_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = std::fs::read_dir(root.join("crates")).unwrap().count();
    let mut list = Command::new(env!("CARGO"));
    list.args(["package", "--list", "--workspace", "--allow-dirty", "--offline", "--locked"])
        .current_dir(root);
    for unpublished in [
        "ackonce-benches",
        "ackonce-model",
        "ackonce-sim",
        "ackonce-tests",
        "examples",
        "minimal",
        "prove",
        "prove-scale",
    ] {
        list.args(["--exclude", unpublished]);
    }
    let output = list.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let always = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"];
    for name in always {
        assert_eq!(text.lines().filter(|line| *line == name).count(), crates, "packages with {name}");
    }
    let by_cargo = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml.orig"];
    let strange = text.lines().filter(|line| {
        let folder = line.split('/').next().unwrap();
        let expected = always.contains(line) || by_cargo.contains(line) || *line == "FORMAT.md";
        !expected && (!["src", "docs", "data", "examples"].contains(&folder) || line.ends_with("regressions"))
    });
    assert_eq!(
        strange.collect::<Vec<_>>(),
        Vec::<&str>::new(),
        "`include.workspace = true` is missing in Cargo.toml"
    );
}
