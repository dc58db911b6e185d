//! The long campaign: runs until each goal is reached, over as many calls as it takes.

use std::cmp::Ordering;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser as _;

use crate::args::{CampaignArgs, Program};
use crate::goals::{GOALS, Goal};
use crate::results::{PUBLISHED, Results};
use crate::{figures, once};

/// A goal is given up after so many runs in a row that could not be made.
const GIVE_UP: usize = 3;

/// Makes runs, and adds each to the results. False if one broke its promise, a loop by hand kept what it cannot keep, or a run
/// could not be made.
pub(crate) async fn run(args: &CampaignArgs) -> Result<bool> {
    let mut results = Results::open(args.results.as_deref().unwrap_or(Path::new(PUBLISHED)))?;
    let end = args.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let (mut as_expected, mut turns, mut failed) = (true, vec![0; GOALS.len()], vec![0; GOALS.len()]);
    while end.is_none_or(|end| Instant::now() < end)
        && let Some(n) = furthest(args, &results, &failed)
    {
        let goal = &GOALS[n];
        let plan = goal.plans[turns[n] % goal.plans.len()];
        turns[n] += 1;
        eprintln!("{}: {plan}", goal.name);
        let words = std::iter::once("prove").chain(plan.split(' '));
        let Program { mut run, .. } = Program::try_parse_from(words)?;
        run.seed = Some(results.next_seed());
        match once(&run).await {
            Ok((run, verdict)) => {
                as_expected &= verdict.broken.is_empty() == run.class().is_some();
                results.add(run, verdict)?;
                failed[n] = 0;
            }
            Err(error) => {
                eprintln!("not made: {error:#}");
                as_expected = false;
                failed[n] += 1;
            }
        }
    }
    println!("{}", figures::goals(&results));
    Ok(as_expected)
}

/// The goal with the smallest part reached, of those that are not reached and not given up.
fn furthest(args: &CampaignArgs, results: &Results, failed: &[usize]) -> Option<usize> {
    #[allow(clippy::cast_precision_loss, reason = "a part")]
    let part = |goal: &Goal| goal.reached(results) as f64 / (goal.need as f64 * args.scale);
    let wanted = |goal: &Goal| args.only.as_ref().is_none_or(|only| goal.name.contains(&**only));
    let open = GOALS.iter().enumerate().filter(|(n, goal)| wanted(goal) && failed[*n] < GIVE_UP);
    let missing = open.map(|(n, goal)| (n, part(goal))).filter(|(_, part)| *part < 1.0);
    let least = missing.min_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    least.map(|(n, _)| n)
}
