//! Seeds, one after another, and the replay of one that fails.
//!
//! `ACKONCE_SEEDS` is the number of seeds, `ACKONCE_SEED` the first one. With `ACKONCE_SEED` alone that seed is run, and all
//! that happens is printed; `ACKONCE_FAULTS` stops its faults after so many.

use std::fmt::Write;

use crate::plan::{Bug, Plan};
use crate::scheduler::Ran;

/// A broker's way of making a run; the second argument is true if all that happens is to be kept.
type Simulation = fn(Plan, bool) -> Ran;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs so many seeds.
///
/// # Panics
/// A promise is broken, with the command that replays the seed.
#[expect(clippy::panic, reason = "a test that cannot go on should panic")]
pub fn explore(command: &str, seeds: u64, simulate: Simulation) {
    let (first, count) = (number("ACKONCE_SEED"), number("ACKONCE_SEEDS"));
    if let (Some(seed), None) = (first, count) {
        let most_faults = number("ACKONCE_FAULTS").unwrap_or(u64::MAX);
        let ran = simulate(Plan { most_faults, ..Plan::of(seed) }, true);
        println!("{:#?}\n{}", Plan::of(seed), ran.lines.join("\n"));
        assert!(ran.wrong.is_empty(), "seed {seed}: {:#?}", ran.wrong);
        return;
    }
    let (mut faults, mut took, mut longest) = (0, 0, 0);
    let first = first.unwrap_or(1);
    for seed in first..first + count.unwrap_or(seeds) {
        let plan = Plan::of(seed);
        let until = plan.faults_for;
        let ran = simulate(plan, false);
        if !ran.wrong.is_empty() {
            panic!("{}", failure(command, seed, &ran, simulate));
        }
        faults += ran.faults;
        took += ran.took;
        longest = longest.max(ran.took.saturating_sub(until));
    }
    println!(
        "{faults} faults in {} simulated hours; all settled {} s after the last fault at the latest",
        took / 3_600_000_000,
        longest / 1_000_000
    );
}

fn failure(command: &str, seed: u64, ran: &Ran, simulate: Simulation) -> String {
    let fails = |most_faults| !simulate(Plan { most_faults, ..Plan::of(seed) }, false).wrong.is_empty();
    // The fewest that it fails with; those before the last one may have no part in it.
    let fewest = (0..ran.faults).find(|most| fails(*most)).unwrap_or(ran.faults);
    let mut text = format!("seed {seed}: {:#?}\n", ran.wrong);
    let _ = writeln!(text, "it fails with its first {fewest} faults; to see all that happens:");
    let _ = write!(text, "ACKONCE_SEED={seed} ACKONCE_FAULTS={fewest} {command} -- --nocapture");
    text
}

/// Runs seeds twice: everything happens again, at the same moments.
///
/// # Panics
/// A run is another one the second time.
pub fn repeats(seeds: u64, simulate: Simulation) {
    for seed in 1..=seeds {
        let (one, other) = (simulate(Plan::of(seed), true), simulate(Plan::of(seed), true));
        for (at, (line, again)) in one.lines.iter().zip(&other.lines).enumerate() {
            assert_eq!(line, again, "seed {seed}, line {at}");
        }
        assert_eq!((one.hash, one.lines.len()), (other.hash, other.lines.len()), "seed {seed}");
    }
}

/// Runs seeds with a mistake until one of them notices; its number, and the promise that was broken.
pub fn finds(bug: Bug, seeds: u64, simulate: Simulation) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let ran = simulate(Plan::of(seed).with_bug(bug), false);
        ran.wrong.into_iter().next().map(|wrong| (seed, wrong))
    })
}
