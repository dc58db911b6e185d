//! One program may have the store and another library that links SQLite: cargo finds versions that go together.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SQLX: &str =
    r#"sqlx = { version = "0.9", default-features = false, features = ["runtime-tokio", "sqlite"] }"#;
const SQLX_DEFAULTS: &str = r#"sqlx = { version = "0.9", features = ["postgres"] }"#;
const SEAORM: &str =
    r#"sea-orm = { version = "2", default-features = false, features = ["runtime-tokio", "sqlx-sqlite"] }"#;
const DIESEL: &str = r#"diesel = { version = "2.3", default-features = false, features = ["sqlite"] }"#;

fn resolve(dependencies: &[&str]) -> Output {
    let package = tempfile::tempdir().unwrap();
    let head = "[package]\nname = \"resolving\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n";
    fs::write(package.path().join("Cargo.toml"), format!("{head}{}\n", dependencies.join("\n"))).unwrap();
    fs::create_dir(package.path().join("src")).unwrap();
    fs::write(package.path().join("src/lib.rs"), "").unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.arg("generate-lockfile").current_dir(package.path()).env("CARGO_TERM_COLOR", "never");
    command.output().unwrap()
}

/// The versions are those of the registry as it is today, so this also fails when a release of one of them is in the
/// way of the documented ones.
#[test]
fn beside_sqlx_and_seaorm_and_diesel() {
    let control = resolve(&[SQLX, SEAORM, DIESEL]);
    if !control.status.success() {
        let why = String::from_utf8_lossy(&control.stderr).into_owned();
        let place = "which versions resolve beside sqlx, SeaORM and diesel";
        return common::say(&format!("NOT TESTED: {place}: they do not without ours (no registry?)\n{why}"));
    }
    let ours = format!("ackonce-sqlite = {{ path = {:?} }}", Path::new(env!("CARGO_MANIFEST_DIR")));
    for beside in [&[SQLX][..], &[SQLX_DEFAULTS], &[SEAORM], &[DIESEL], &[SQLX, SEAORM, DIESEL], &[]] {
        let dependencies: Vec<_> = beside.iter().copied().chain([ours.as_str()]).collect();
        let output = resolve(&dependencies);
        assert!(output.status.success(), "{beside:?}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
