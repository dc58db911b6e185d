//! Messages per second, and the time of one.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use ackonce::store::{Claimed, Coalesce};
use anyhow::ensure;
use serde_json::json;

use super::Bench;
use super::fill::Filled;
use super::subject::{BY_HAND, Hand};
use crate::harness::{Arm, compare, figure, percentile, table};
use crate::messages::process;

impl Bench<'_> {
    /// Of the store and the loop by hand, batch after batch.
    pub(super) fn new_messages(
        &self,
        filled: &mut [Filled],
        batch: usize,
        messages: usize,
        hand: Option<&mut Hand>,
    ) -> anyhow::Result<()> {
        let mut arms = Vec::new();
        for Filled { remembered, store, messages: next, .. } in filled {
            arms.push(Arm::new(format!("{remembered} remembered"), move || {
                for _ in 0..messages / batch {
                    let claims = next.claims(batch)?;
                    self.runtime.block_on(process(&**store, &claims))?;
                }
                Ok((messages / batch * batch) as u64)
            }));
        }
        arms = first_is_reference(arms);
        let hand = hand.map(RefCell::new);
        if let Some(hand) = &hand {
            for (what, and_done) in [("claim, then done", true), ("claim alone", false)] {
                let arm = Arm::new(format!("by hand: {what}, {BY_HAND} remembered"), move || {
                    hand.borrow_mut().process(messages as u64, batch as u64, and_done)
                });
                arms.push(arm.reference(if and_done { "by hand" } else { "its claim alone" }));
            }
        }
        let title = format!("{}: new messages, claimed and completed, batches of {batch}", self.name);
        compare(&title, self.options.rounds, arms)
    }

    /// Through the coalescer, as the runner sends them.
    pub(super) fn concurrent(&self, filled: &mut [Filled]) -> anyhow::Result<()> {
        const TASKS: usize = 256;
        const EACH: usize = 20;
        let _runtime = self.runtime.enter();
        let mut arms = Vec::new();
        for Filled { remembered, store, messages, .. } in filled {
            let store = Arc::new(Coalesce::new(store.clone()));
            arms.push(Arm::new(format!("{remembered} remembered"), move || {
                let mut tasks = Vec::new();
                for _ in 0..TASKS {
                    let (store, claims) = (store.clone(), messages.claims(EACH)?);
                    tasks.push(self.runtime.spawn(async move {
                        for claim in claims {
                            process(&*store, std::slice::from_ref(&claim)).await?;
                        }
                        anyhow::Ok(())
                    }));
                }
                for task in tasks {
                    self.runtime.block_on(task)??;
                }
                Ok((TASKS * EACH) as u64)
            }));
        }
        let title = format!("{}: new messages, one at a time in each of {TASKS} tasks", self.name);
        compare(&title, self.options.rounds, arms)
    }

    /// Storms of done messages: of the latest, and of all.
    pub(super) fn duplicates(&self, filled: &[Filled]) -> anyhow::Result<()> {
        for (which, recent, count, batch) in [
            ("recent", true, 50_000, 1000),
            ("of any age", false, 50_000, 1000),
            ("of any age", false, 5_000, 1),
        ] {
            let mut arms = Vec::new();
            for Filled { remembered, store, messages, .. } in filled {
                let of = if recent { 50_000.min(*remembered) } else { *remembered };
                let mut seed: u64 = 1;
                arms.push(Arm::new(format!("{remembered} remembered"), move || {
                    for _ in 0..count / batch {
                        let mut claims = Vec::new();
                        for _ in 0..batch {
                            seed = scramble(seed);
                            claims.push(messages.claim(remembered - (seed >> 20) % of)?);
                        }
                        let answers = self.runtime.block_on(store.claim(&claims))?;
                        let all = answers.iter().all(|a| matches!(a, Claimed::Done(_)));
                        ensure!(all, "a duplicate was not found");
                    }
                    Ok(count)
                }));
            }
            compare(
                &format!("{}: duplicates {which}, batches of {batch}", self.name),
                self.options.rounds,
                arms,
            )?;
        }
        Ok(())
    }

    /// One message at a time, with nobody else about.
    pub(super) fn latency(&self, filled: &mut [Filled]) -> anyhow::Result<()> {
        let title = format!("{}: one message alone, claim and completion", self.name);
        let mut shown = table(&title, &["p50 µs", "p99 µs", "longest µs"]);
        for Filled { remembered, store, messages, .. } in filled {
            let mut times = Vec::new();
            for claim in messages.claims(2_000)? {
                let began = Instant::now();
                self.runtime.block_on(process(&**store, std::slice::from_ref(&claim)))?;
                times.push(began.elapsed());
            }
            let [p50, p99, longest] = [50, 99, 100].map(|part| percentile(&mut times, part).as_micros());
            let arm = format!("{remembered} remembered");
            figure(&title, &arm, json!({"p50 µs": p50, "p99 µs": p99, "longest µs": longest}))?;
            shown.add_row([arm, p50.to_string(), p99.to_string(), longest.to_string()]);
        }
        println!("\n{shown}");
        Ok(())
    }
}

fn first_is_reference(arms: Vec<Arm<'_>>) -> Vec<Arm<'_>> {
    let mut arms = arms.into_iter();
    let first = arms.next().map(|arm| arm.reference("the first"));
    first.into_iter().chain(arms).collect()
}

/// The next of a row of numbers that look like chance, the same in each run.
fn scramble(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}
