//! The published messages and the strikes, all derived from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::args::DemoArgs;
use super::samples::{Sample, Sender};

/// The record keys, by which order is kept.
const TENANTS: u32 = 200;

/// One message, however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) sample: Sample,
}

/// A published message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) messages: Vec<Planned>,
    /// Indices into `messages`, in the order of publication; some are there again.
    pub(crate) deliveries: Vec<usize>,
}

/// Something done to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) blow: Blow,
    pub(crate) worker: usize,
    /// Effects after which it is due. Moments are of progress and not of time, so that every arm is
    /// struck while it works, and not while the broker makes it wait for the last strike.
    pub(crate) after: u64,
    /// And then so much later.
    pub(crate) delay: Duration,
}

/// The kind of strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL; it is started again.
    Kill,
    /// SIGSTOP, and SIGCONT after its leases have ended.
    Pause,
}

impl Plan {
    pub(crate) fn new(args: &DemoArgs, seed: u64, samples: &[Sample]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let repeats = u64::from(args.messages) * u64::from(args.duplicates) / 100;
        let unique = args.messages - u32::try_from(repeats).unwrap_or(0);
        let messages: Vec<_> = (0..unique)
            .map(|_| {
                let sample = samples[rng.random_range(0..samples.len())];
                let key = format!("tenant-{:03}", rng.random_range(0..TENANTS));
                Planned { id: message_id(&mut rng, sample.sender), key, sample }
            })
            .collect();
        let mut deliveries: Vec<_> = (0..messages.len()).collect();
        deliveries.extend((0..repeats).map(|_| rng.random_range(0..messages.len())));
        deliveries.shuffle(&mut rng);
        Self { messages, deliveries }
    }
}

fn message_id(rng: &mut StdRng, sender: Sender) -> String {
    match sender {
        Sender::GitHub => {
            let n: u128 = rng.random();
            // A version 4 UUID, as in X-GitHub-Delivery.
            let [a, b, c, d] =
                [(n >> 96) & 0xffff_ffff, (n >> 80) & 0xffff, (n >> 68) & 0xfff, (n >> 52) & 0xfff];
            let e = n & 0xffff_ffff_ffff;
            format!("{a:08x}-{b:04x}-4{c:03x}-a{d:03x}-{e:012x}")
        }
        Sender::Stripe => {
            let letters = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
            let tail: String =
                (0..24).map(|_| char::from(letters[rng.random_range(0..letters.len())])).collect();
            format!("evt_{tail}")
        }
    }
}

/// The strikes and their times. In waves: a group takes seconds to notice a death and to share the work anew,
/// and is as quick about all of its workers as about one.
pub(crate) fn strikes(args: &DemoArgs, seed: u64, unique: usize) -> Vec<Strike> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6b69_6c6c);
    let unique = u64::try_from(unique).unwrap_or(u64::MAX);
    let kills = (0..args.kills).map(|_| Blow::Kill);
    let mut blows: Vec<_> = kills.chain((0..args.pauses).map(|_| Blow::Pause)).collect();
    blows.shuffle(&mut rng);
    let workers: Vec<_> = (0..args.workers as usize).collect();
    let waves = blows.chunks(workers.len());
    // Not so late that the group would be done before.
    let share = (unique * 9 / 10).checked_div(waves.len() as u64).unwrap_or(0).max(1);
    let mut strikes = Vec::with_capacity(blows.len());
    for (wave, blows) in (0..).zip(waves) {
        let mut victims = workers.clone();
        victims.shuffle(&mut rng);
        let mut after = wave * share + rng.random_range(0..share);
        for (&worker, &blow) in victims.iter().zip(blows) {
            after += rng.random_range(1..=20);
            strikes.push(Strike {
                blow,
                worker,
                after,
                delay: Duration::from_micros(rng.random_range(0..8000)),
            });
        }
    }
    strikes
}
