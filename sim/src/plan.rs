//! The plan of a run: its messages, the end of each, its processes, and the rates of faults.

use std::time::Duration;

use ackonce::{Backoff, Class, OnFailure, Settings};
use fastrand::Rng;

/// The lease of all claims.
pub const LEASE: Duration = Duration::from_secs(2);
/// Attempts before a message is buried.
pub(crate) const ATTEMPTS: u32 = 4;
/// Faults end after this time at the latest, in milliseconds.
const LONGEST: u64 = 8_000;

/// The runs of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Succeeds,
    /// So many runs end like this, before one succeeds.
    After(u32, Wrong),
    Permanent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Retry,
    Infrastructure,
    Unknown,
    Panics,
}

/// A mistake that a run is given on purpose, to show that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The store grants a claim that is held.
    LeaseIgnored,
    /// The store grants a claim under the fence of the one before.
    FenceReused,
    /// The store answers that a lease was renewed, and does not renew it.
    RenewalLost,
    /// The store forgets a record that was done.
    RecordForgotten,
    /// The store forgets to record: it answers that the completion was.
    CompletionLost,
    /// The adapter tells the broker of everything delivered, settled or not.
    AckedDelivered,
    /// The adapter takes a delivery that was handed back for settled.
    AckedUnsettled,
    /// The adapter does not ask again for a delivery that was handed back.
    NotAskedAgain,
    /// The adapter acknowledges on one channel a delivery of another.
    TagCrosses,
    /// The adapter reads without a limit.
    NoLimit,
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed that it, and all chance in the run, follows from.
    pub seed: u64,
    /// The messages in the order in which they are published; a number that comes again is a copy.
    pub published: Vec<u32>,
    /// Worker processes.
    pub processes: usize,
    /// Partitions of a topic.
    pub partitions: usize,
    /// True if the messages of a partition keep their order.
    pub in_order: bool,
    /// The mistake that it is given.
    pub bug: Option<Bug>,
    pub(crate) class: Class,
    /// True if a delivery that fails, or waits for too long, is handed back to the broker.
    pub(crate) hands_back: bool,
    pub(crate) behaviours: Vec<(Behaviour, Duration)>,
    pub(crate) concurrency: usize,
    pub(crate) chunk: usize,
    /// The time with faults, in microseconds.
    pub(crate) faults_for: u64,
    /// Calls of the store with a fault, of a thousand; likewise steps of the scheduler, and other calls.
    pub(crate) store_faults: u64,
    pub(crate) process_faults: u64,
    pub(crate) call_faults: u64,
    /// No more faults than this happen; for finding the few that matter.
    pub(crate) most_faults: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let messages = 1 + dice.usize(..14);
        let behaviours = (0..messages).map(|_| (behaviour(&mut dice), takes(&mut dice))).collect();
        let mut published = Vec::new();
        for id in (0_u32..).take(messages) {
            published.push(id);
            if dice.u64(..8) == 0 {
                published.push(dice.u32(..=id));
            }
        }
        // A fifth of the runs has no faults, so that each double is a bug.
        let scale = [0, 1, 1, 2, 4][dice.usize(..5)];
        Self {
            seed,
            published,
            processes: 1 + dice.usize(..3),
            partitions: 1 + dice.usize(..3),
            in_order: dice.u64(..3) > 0,
            bug: None,
            hands_back: dice.u64(..3) == 0,
            class: [Class::Leased, Class::Keyed][dice.usize(..2)],
            behaviours,
            concurrency: 1 + dice.usize(..4),
            chunk: 1 + dice.usize(..4),
            faults_for: if scale == 0 { 0 } else { (500 + dice.u64(..LONGEST - 500)) * 1000 },
            store_faults: scale * 40,
            process_faults: scale * 15,
            call_faults: scale * 50,
            most_faults: u64::MAX,
        }
    }

    /// The same with a mistake.
    #[must_use]
    pub fn with_bug(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    /// True if it has this mistake.
    #[must_use]
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The most deliveries that a consumer reads ahead.
    #[must_use]
    pub fn read_ahead(&self) -> usize {
        self.chunk * 2
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.faults_for == 0
    }

    pub(crate) fn settings(&self) -> Settings {
        let backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(1) };
        let settings = Settings::default()
            .with_lease(LEASE)
            .with_attempts(ATTEMPTS)
            .with_backoff(backoff)
            .with_concurrency(self.concurrency)
            .with_chunk(self.chunk);
        if !self.hands_back {
            return settings;
        }
        let patience = Duration::from_millis(400);
        settings.with_busy_timeout(patience).with_store_timeout(patience).with_on_failure(OnFailure::HandBack)
    }
}

fn behaviour(dice: &mut Rng) -> Behaviour {
    let wrongs = [Wrong::Retry, Wrong::Infrastructure, Wrong::Unknown, Wrong::Panics];
    let times = 1 + dice.u32(..ATTEMPTS);
    match dice.u64(..12) {
        0..=2 => Behaviour::After(times, wrongs[dice.usize(..wrongs.len())]),
        3 => Behaviour::Permanent,
        _ => Behaviour::Succeeds,
    }
}

/// Most take no time beside the lease, some outlast it.
fn takes(dice: &mut Rng) -> Duration {
    let most = if dice.u64(..10) == 0 { 5_000 } else { 200 };
    Duration::from_millis(1 + dice.u64(..most))
}
