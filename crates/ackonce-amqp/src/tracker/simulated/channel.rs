//! A process's side of the queue: channels one after another, each with its books, and the task that tells the broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Mode, Ordered, Receipt, Unsettled, Why};
use ackonce_sim::{Bug, Numbered, Process};
use tokio::sync::mpsc;

use super::queue::{Gone, SimulatedQueue};
use crate::tracker::{AckTracker, Frame, Reach};

/// The time that a settled delivery waits for others.
const LINGER: Duration = Duration::from_millis(5);

/// One channel, from its opening to its loss.
#[derive(Debug)]
struct Channel {
    name: u64,
    is_live: AtomicBool,
    tracker: Mutex<AckTracker>,
}

#[derive(Debug)]
struct Tagged {
    id: u32,
    tag: u64,
    channel: Arc<Channel>,
}

#[derive(Debug)]
struct Number(u32);

impl Numbered for Number {
    fn number(&self) -> u32 {
        self.0
    }

    fn lane(&self) -> Option<(usize, usize)> {
        None
    }
}

impl Delivery for Tagged {
    type Message = Number;

    fn message(&self) -> Number {
        Number(self.id)
    }

    fn is_current(&self) -> bool {
        self.channel.is_live()
    }
}

impl Channel {
    fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire)
    }

    fn tracker(&self) -> MutexGuard<'_, AckTracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn open(queue: &Arc<SimulatedQueue>, process: Process) {
    let (chunks, input) = mpsc::channel(1);
    let (runner, world, this) = (process.runner::<Tagged>(), process.world.clone(), process.clone());
    let current = Arc::new(Mutex::new(None));
    let (bug, newest) = (world.plan.bug, current.clone());
    tokio::spawn(async move {
        let ended = runner.consume(input, Mode::Each, move |ended| done(ended, bug, &newest));
        if let Err(error) = ended.await {
            world.wrong(this.now(), format!("the consumer ends: {error}"));
        }
    });
    tokio::spawn(take_in(queue.clone(), process, chunks, current));
}

type Current = Mutex<Option<Arc<Channel>>>;

/// Books the ends of deliveries, as the consumer does.
fn done(ended: Vec<Result<Receipt<Tagged>, Unsettled<Tagged>>>, bug: Option<Bug>, newest: &Current) {
    for end in ended {
        let (is_settled, delivery) = match &end {
            Ok(receipt) => (true, receipt.delivery()),
            Err(unsettled) if matches!(unsettled.why(), Why::Stopped | Why::Fatal(_)) => continue,
            Err(unsettled) => (bug == Some(Bug::AckedUnsettled), unsettled.delivery()),
        };
        let mut channel = delivery.channel.clone();
        if bug == Some(Bug::TagCrosses) {
            channel = newest.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(channel);
        }
        if !channel.is_live() {
            continue;
        }
        if is_settled {
            channel.tracker().settled(delivery.tag);
        } else if bug != Some(Bug::NotAskedAgain) {
            channel.tracker().returned(delivery.tag);
        }
    }
}

/// Channel after channel; messages are handed on as they come.
async fn take_in(
    queue: Arc<SimulatedQueue>,
    process: Process,
    chunks: mpsc::Sender<Vec<Ordered<Tagged>>>,
    current: Arc<Current>,
) {
    loop {
        let name = queue.open_channel(process.name, process.now());
        let channel = Arc::new(Channel { name, is_live: AtomicBool::new(true), tracker: Mutex::default() });
        *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.clone());
        tokio::spawn(acknowledge(queue.clone(), process.clone(), channel.clone()));
        while channel.is_live() {
            match queue.next(name, process.now()) {
                Ok(Some((tag, id))) => {
                    if !channel.tracker().delivered(tag) {
                        process.world.wrong(process.now(), "tags do not grow");
                    }
                    let delivery = Tagged { id, tag, channel: channel.clone() };
                    let key = Process::scope().key(id.to_string()).unwrap();
                    if chunks.send(vec![Ordered { lane: None, job: Job::new(key, delivery) }]).await.is_err()
                    {
                        return;
                    }
                }
                Ok(None) => process.wait(20).await,
                Err(Gone) => break,
            }
        }
        channel.is_live.store(false, Ordering::Release);
        process.wait(100).await;
    }
}

/// Tells the broker what is settled, until the channel is gone.
async fn acknowledge(queue: Arc<SimulatedQueue>, process: Process, channel: Arc<Channel>) {
    while channel.is_live() {
        tokio::time::sleep(LINGER).await;
        let reach = if process.world.roll(2) == 0 { Reach::Run } else { Reach::All };
        let frames = channel.tracker().take(reach);
        for mut frame in frames {
            if let Frame::Ack(tag) = frame
                && process.world.plan.has(Bug::AckedDelivered)
            {
                frame = Frame::AckUpTo(tag);
            }
            process.wait(3).await;
            let now = process.now();
            let told = match frame {
                Frame::Return(tag) => queue.give_back(channel.name, tag, now),
                Frame::AckUpTo(tag) => queue.ack(channel.name, tag, true, now),
                Frame::Ack(tag) => queue.ack(channel.name, tag, false, now),
            };
            if told.is_err() {
                return channel.is_live.store(false, Ordering::Release);
            }
        }
    }
}
