//! The bodies of the fuzz targets, on their seeds and on some thousand inputs that are made from them. `cargo fuzz`, which
//! takes a nightly compiler, goes on for as long as it is let; a finding of it becomes a seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::panic::catch_unwind;
use std::path::Path;

use ackonce_testkit::seed::Dice;

#[path = "../../fuzz/src/lib.rs"]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "assertions, of a package that is not published"
)]
mod targets;

/// Of each target; one that reads files gets fewer.
fn inputs(target: &str) -> u64 {
    if target == "relay_config" { 400 } else { 3000 }
}

/// Bytes that parsers look for.
const SIGNS: &[u8] = b"\0\n\r\"\\'=:;,.?&@/%{}[]()-+#*~ 09azAZ\x7f\x80\xff";

/// A change of an input: of a byte, a piece of it, or by a piece of another seed.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.index(input.len() + 1);
    let end = at + dice.index(input.len() - at + 1).min(16);
    match dice.below(7) {
        0 => input.insert(at, SIGNS[dice.index(SIGNS.len())]),
        1 => input.insert(at, dice.roll().to_le_bytes()[0]),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        4 => {
            let other = &seeds[dice.index(seeds.len())];
            let from = dice.index(other.len() + 1);
            let to = from + dice.index(other.len() - from + 1);
            input.splice(at..end, other[from..to].iter().copied());
        }
        5 => input.truncate(at.max(1)),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

#[test]
fn every_target_holds_on_seeds_and_their_mutations() {
    let seed =
        std::env::var("ACKONCE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_130);
    let failures: Vec<_> = targets::TARGETS.iter().filter_map(|target| failing(target, seed)).collect();
    assert!(failures.is_empty(), "ACKONCE_TEST_SEED={seed}:\n{}", failures.join("\n"));
}

/// The first input that fails.
fn failing((name, run, seeds): &targets::Target, seed: u64) -> Option<String> {
    let (seeds, mut dice) = (seeds(), Dice::new(seed));
    let made = |_| {
        let mut input = seeds[dice.index(seeds.len())].clone();
        for _ in 0..=dice.below(6) {
            change(&mut input, &seeds, &mut dice);
        }
        input
    };
    let all = std::iter::once(Vec::new()).chain(seeds.clone()).chain((0..inputs(name)).map(made));
    all.into_iter()
        .find(|input| catch_unwind(|| run(input)).is_err())
        .map(|input| format!("{name} fails on b\"{}\"", input.escape_ascii()))
}

/// A target that is not listed would not be run here, and one without a file not by `cargo fuzz`.
#[test]
fn each_target_has_its_file_and_its_binary() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, ..) in targets::TARGETS {
        let text = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        let shell = format!(
            "//! Runs `ackonce_fuzz::{name}`.\n#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::{name}::run(data));\n"
        );
        assert_eq!(text, shell);
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no binary");
    }
    let files = std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(
        (files, manifest.matches("[[bin]]").count()),
        (targets::TARGETS.len(), targets::TARGETS.len())
    );
}
