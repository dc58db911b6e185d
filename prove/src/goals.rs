//! The goals of the campaign, and the runs that come nearer to each.

use crate::audit::Verdict;
use crate::logs::Run;
use crate::results::Results;

/// A number to be reached over all runs.
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) need: usize,
    /// Its part of a run.
    count: fn(&Run, &Verdict) -> usize,
    /// Command lines of runs that count for it, in turn.
    pub(crate) plans: &'static [&'static str],
}

impl Goal {
    /// Reached so far.
    pub(crate) fn reached(&self, results: &Results) -> usize {
        results.runs().map(|(run, verdict)| (self.count)(run, verdict)).sum()
    }
}

/// Kills of a line of the table.
macro_rules! kills {
    ($need:expr, $store:literal $broker:literal $class:literal, $more:literal) => {
        Goal {
            name: concat!("kills: ", $store, " ", $broker, " ", $class),
            need: $need,
            count: |run, verdict| match [&*run.store, &*word(run.broker), &*word(run.mode)] {
                [$store, $broker, $class] => struck(run, verdict),
                _ => 0,
            },
            plans: &[concat!("--store ", $store, " --broker ", $broker, " --class ", $class, " ", $more)],
        }
    };
}

/// In the order of the table; the campaign does next what is furthest from its goal.
pub(crate) const GOALS: &[Goal] = &[
    kills!(630, "sqlite" "feed" "leased", "--kills 210 --minutes 6"),
    kills!(630, "sqlite" "feed" "keyed", "--kills 210 --minutes 6"),
    kills!(630, "sqlite" "feed" "inbox", "--kills 210 --minutes 6"),
    kills!(630, "redis" "feed" "leased", "--kills 210 --minutes 6"),
    kills!(630, "redis" "feed" "keyed", "--kills 210 --minutes 6"),
    kills!(630, "postgres" "feed" "leased", "--kills 210 --minutes 6"),
    kills!(630, "postgres" "feed" "keyed", "--kills 210 --minutes 6"),
    kills!(630, "postgres" "feed" "inbox", "--kills 210 --minutes 6"),
    kills!(300, "sqlite" "feed" "at-most-once", "--kills 150 --minutes 6"),
    kills!(340, "sqlite" "rabbitmq" "leased", "--kills 115 --minutes 5"),
    kills!(340, "postgres" "rabbitmq" "inbox", "--kills 115 --minutes 5"),
    kills!(340, "redis" "rabbitmq" "keyed", "--kills 115 --minutes 5"),
    kills!(170, "sqlite" "kafka" "leased", "--kills 57 --minutes 6"),
    kills!(170, "postgres" "kafka" "inbox", "--kills 57 --minutes 6 --group cooperative"),
    kills!(170, "redis" "kafka" "keyed", "--kills 57 --minutes 6 --group static"),
    Goal {
        name: "pauses of workers",
        need: 500,
        count: |run, verdict| if of_class(run) { verdict.pauses } else { 0 },
        plans: &[
            "--store sqlite --class leased --faults pause --pause-every-ms 300 --lease-ms 500 --workers 6 --minutes 2",
            "--store redis --class keyed --faults pause --pause-every-ms 300 --lease-ms 500 --workers 6 --minutes 2",
            "--store postgres --class inbox --faults pause --pause-every-ms 300 --lease-ms 500 --workers 6 --minutes 2",
        ],
    },
    Goal {
        name: "kills of stores",
        need: 200,
        count: |run, verdict| if of_class(run) { faults(verdict, "store-kill") } else { 0 },
        plans: &[
            "--store redis --class keyed --faults store-kill --fault-every-ms 300 --minutes 2",
            "--store postgres --class inbox --faults store-kill --fault-every-ms 300 --minutes 2",
            "--store redis --class leased --faults store-kill --fault-every-ms 300 --minutes 2",
            "--store postgres --class keyed --faults store-kill --fault-every-ms 300 --minutes 2",
        ],
    },
    Goal {
        name: "kills of brokers",
        need: 100,
        count: |run, verdict| if of_class(run) { faults(verdict, "broker-kill") } else { 0 },
        plans: &[
            "--broker rabbitmq --class leased --faults broker-kill --fault-every-ms 1500 --minutes 4",
            "--broker kafka --class keyed --faults broker-kill --fault-every-ms 1500 --minutes 4",
        ],
    },
    Goal {
        name: "rebalances",
        need: 1000,
        count: |run, _| if of_class(run) { run.rebalances } else { 0 },
        plans: &[
            "--broker kafka --class keyed --faults rebalance --fault-every-ms 100 --minutes 3 --group cooperative",
            "--broker kafka --class leased --faults rebalance --fault-every-ms 100 --minutes 3",
            "--broker kafka --class inbox --faults rebalance,kill --fault-every-ms 100 --minutes 3 --group static",
            "--broker kafka --class keyed --faults rebalance --fault-every-ms 100 --minutes 3 --group consumer",
        ],
    },
    Goal {
        name: "control: record-then-run",
        need: 1,
        count: |run, verdict| usize::from(word(run.mode) == "record-then-run" && verdict.lost > 0),
        plans: &["--class record-then-run --kills 100 --minutes 3"],
    },
    Goal {
        name: "control: run-then-record",
        need: 1,
        count: |run, verdict| usize::from(word(run.mode) == "run-then-record" && verdict.doubled > 0),
        plans: &["--class run-then-record --kills 100 --minutes 3"],
    },
];

/// Not a loop by hand.
pub(crate) fn of_class(run: &Run) -> bool {
    run.class().is_some()
}

/// The workers that a run has killed.
pub(crate) fn struck(run: &Run, verdict: &Verdict) -> usize {
    if of_class(run) { verdict.kills + verdict.crashes } else { 0 }
}

pub(crate) fn faults(verdict: &Verdict, kind: &str) -> usize {
    verdict.faults.get(kind).copied().unwrap_or(0)
}

/// The word for it on the command line.
pub(crate) fn word(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;
    use crate::args::Program;

    #[test]
    fn each_plan_is_a_command_line_whose_faults_suit_it() {
        for plan in GOALS.iter().flat_map(|goal| goal.plans) {
            let words = std::iter::once("prove").chain(plan.split(' '));
            let args = Program::try_parse_from(words).unwrap().run;
            for kind in args.kinds() {
                assert!(kind.suits(args.store_kind(), args.broker), "{plan}: {}", kind.name());
            }
        }
    }
}
