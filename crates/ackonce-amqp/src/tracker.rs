//! Which delivery tags of one channel may be acknowledged, and in how few frames.
//!
//! Pure bookkeeping, without a broker. A tag means something on its own channel only, and is acknowledged once:
//! a second time, and the broker closes the channel (406). `basic.ack` with `multiple` takes everything up to
//! its tag, so it is asked for no further than the contiguous run of closed tags reaches; deliveries settled beyond
//! a gap is acknowledged one by one.

use std::collections::VecDeque;

/// The state of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Somebody works on it.
    Open,
    /// Settled in the store, not acknowledged yet.
    Settled,
    /// To be given back to the broker.
    Returned,
    /// The broker has been told.
    Told,
}

/// One frame for the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// `basic.nack` with `requeue`, for this tag alone.
    Return(u64),
    /// `basic.ack` with `multiple`: everything not yet closed up to this tag.
    AckUpTo(u64),
    /// `basic.ack` of this tag alone.
    Ack(u64),
}

/// The extent of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The contiguous run alone: the cheapest frames. Tags beyond a gap may join a later run.
    Run,
    /// Everything that is settled.
    All,
}

/// The books of one channel with one consumer.
#[derive(Debug, Default)]
pub struct AckTracker {
    /// Tags beyond [`through`](Self::through), in order. A tag that was never seen has no entry.
    entries: VecDeque<(u64, State)>,
    /// Every tag up to this one is closed, at the broker too.
    through: u64,
    last: u64,
    open: usize,
    waiting: usize,
    /// The number of those that go back.
    returning: usize,
}

impl AckTracker {
    /// No deliveries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Books a delivery. False if the tag is not past the last one: no broker does that on one channel.
    #[must_use]
    pub fn delivered(&mut self, tag: u64) -> bool {
        if tag <= self.last {
            return false;
        }
        self.last = tag;
        self.entries.push_back((tag, State::Open));
        self.open += 1;
        true
    }

    /// Books that its message is settled in the store. False if it was closed before.
    pub fn settled(&mut self, tag: u64) -> bool {
        self.close(tag, State::Settled)
    }

    /// Books that it goes back to the broker. False if it was closed before.
    pub fn returned(&mut self, tag: u64) -> bool {
        self.close(tag, State::Returned)
    }

    /// The number of deliveries in work.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// The number of deliveries closed here and not yet to the broker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The frames for the broker, in this order. They count as sent.
    pub fn take(&mut self, reach: Reach) -> Vec<Frame> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let mut frames = Vec::new();
        // Before any `multiple`: that would acknowledge them.
        if self.returning > 0 {
            self.tell(State::Returned, Frame::Return, &mut frames);
            self.returning = 0;
        }
        let mut run = None;
        let mut several = 0_u32;
        while let Some((tag, state)) = self.entries.front().copied() {
            // A tag that was never seen is somebody's unsettled message.
            if tag != self.through + 1 || state == State::Open {
                break;
            }
            if state == State::Settled {
                // Its own tag must be one that is not closed yet: the broker looks for it.
                run = Some(tag);
                several += 1;
                self.waiting -= 1;
            }
            self.through = tag;
            self.entries.pop_front();
        }
        frames.extend(run.map(|tag| if several == 1 { Frame::Ack(tag) } else { Frame::AckUpTo(tag) }));
        if reach == Reach::All && self.waiting > 0 {
            self.tell(State::Settled, Frame::Ack, &mut frames);
        }
        frames
    }

    /// A frame for each one in that state.
    fn tell(&mut self, state: State, frame: impl Fn(u64) -> Frame, frames: &mut Vec<Frame>) {
        for (tag, told) in self.entries.iter_mut().filter(|(_, s)| *s == state) {
            *told = State::Told;
            self.waiting -= 1;
            frames.push(frame(*tag));
        }
    }

    fn close(&mut self, tag: u64, state: State) -> bool {
        let Ok(at) = self.entries.binary_search_by_key(&tag, |(t, _)| *t) else { return false };
        if self.entries[at].1 != State::Open {
            return false;
        }
        self.entries[at].1 = state;
        self.open -= 1;
        self.waiting += 1;
        self.returning += usize::from(state == State::Returned);
        true
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
