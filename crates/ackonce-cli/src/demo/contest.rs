//! One arm from start to verdict.

use std::thread;
use std::time::{Duration, Instant};

use ackonce::CancellationToken;
use ackonce_testkit::crash::History;
use anyhow::{Context as _, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::arm::ArmFiles;
use super::counter::{DELIVERED, FileCounter, PROGRESS};
use super::fleet::Fleet;
use super::plan::{Blow, Strike};
use super::progress::Bar;
use super::worker::WorkerOrder;

const TICK: Duration = Duration::from_millis(2);
const LOOK: Duration = Duration::from_millis(150);
/// Nothing may stand still for so long; rebalances take seconds.
const STALLED: Duration = Duration::from_secs(60);

/// One arm's run.
pub(crate) struct Contest<'c> {
    pub(crate) order: WorkerOrder,
    pub(crate) workers: u32,
    pub(crate) strikes: &'c [Strike],
    /// How long a paused worker stands still.
    pub(crate) pause: Duration,
    /// The next offset of each partition: where the group is done.
    pub(crate) ends: &'c [i64],
    pub(crate) watcher: BaseConsumer,
    pub(crate) bar: Bar,
    pub(crate) interrupted: CancellationToken,
}

/// It was ended from outside: by Ctrl-C, or because another arm failed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// What happened in it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) history: History,
    pub(crate) took: Duration,
}

impl Contest<'_> {
    /// Runs to the end of the topic.
    pub(crate) fn run(&self) -> Result<Ended> {
        let ended = self.fight();
        if ended.is_err() {
            // The others would be for nothing.
            self.interrupted.cancel();
        }
        ended.with_context(|| format!("the run of {}", self.order.arm.name()))
    }

    fn fight(&self) -> Result<Ended> {
        let started = Instant::now();
        let mut fleet = Fleet::start(self.order.args()?, self.order.files.log(), self.workers)?;
        let mut strikes = self.strikes.iter().peekable();
        let mut watch = Watch::new();
        // Progress at the last strike: the next one waits for more.
        let mut struck = 0;
        loop {
            if self.interrupted.is_cancelled() {
                return Err(Interrupted.into());
            }
            fleet.resume(Instant::now())?;
            let progress = self.progress();
            let due = |s: &&Strike| progress >= s.after && progress > struck && fleet.is_up(s.worker);
            if let Some(strike) = strikes.next_if(due) {
                thread::sleep(strike.delay);
                struck = self.progress();
                match strike.blow {
                    Blow::Kill => fleet.kill(strike.worker)?,
                    Blow::Pause => fleet.pause(strike.worker, self.pause)?,
                }
                self.bar.struck(strike.blow);
            }
            if watch.due() {
                fleet.look_after()?;
                let committed = self.committed();
                self.bar.at(committed.iter().sum::<i64>());
                if committed == self.ends {
                    break;
                }
                watch.see((self.delivered(), progress, committed), &fleet)?;
            }
            thread::sleep(TICK);
        }
        self.bar.done();
        Ok(Ended { took: started.elapsed(), history: fleet.end()? })
    }

    fn files(&self) -> &ArmFiles {
        &self.order.files
    }

    fn progress(&self) -> u64 {
        FileCounter::read(&self.files().counter(PROGRESS))
    }

    fn delivered(&self) -> u64 {
        FileCounter::read(&self.files().counter(DELIVERED))
    }

    /// The group's offset in each partition; 0 where it has none yet, or where the broker does not say.
    fn committed(&self) -> Vec<i64> {
        let mut asked = TopicPartitionList::new();
        for partition in (0..).take(self.ends.len()) {
            asked.add_partition(&self.order.topic, partition);
        }
        let answer = self.watcher.committed_offsets(asked, Duration::from_secs(2)).unwrap_or_default();
        let offset = |partition| match answer.find_partition(&self.order.topic, partition)?.offset() {
            Offset::Offset(n) => Some(n),
            _ => None,
        };
        (0..).take(self.ends.len()).map(|partition| offset(partition).unwrap_or(0)).collect()
    }
}

/// Notices when nothing happens any more.
struct Watch {
    looked: Instant,
    seen: Option<(u64, u64, Vec<i64>)>,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { looked: Instant::now(), seen: None, since: Instant::now() }
    }

    fn due(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    fn see(&mut self, now: (u64, u64, Vec<i64>), fleet: &Fleet) -> Result<()> {
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            self.since = Instant::now();
        } else if self.since.elapsed() >= STALLED {
            let (delivered, effects, committed) = now;
            bail!(
                "nothing happened for {} s, after {delivered} deliveries and {effects} effects, with offsets at \
                 {committed:?}; the workers' last lines:\n{}",
                STALLED.as_secs(),
                fleet.tail()
            );
        }
        Ok(())
    }
}
