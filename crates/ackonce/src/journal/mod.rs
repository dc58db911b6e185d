//! The journal of a run: its steps that have finished, those under way, and the bytes to save.

mod stored;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::MutexGuard as Turn;

use crate::error::{Error, Result};

pub use self::stored::RecordedStep;
pub(crate) use self::stored::read;

/// The steps of one run of one message.
#[derive(Debug)]
pub(crate) struct Journal {
    state: Mutex<State>,
    /// One save at a time: steps that finish meanwhile share the next.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// The steps of earlier attempts; or the reason for which they cannot be read.
    recorded: Result<Vec<RecordedStep>>,
    /// The steps that this run has begun.
    begun: HashMap<String, Begun>,
    /// All finished steps as bytes.
    bytes: Vec<u8>,
    /// The length of the bytes that the store has confirmed.
    saved: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Running,
    Finished,
    /// Its future was dropped midway: its effect may have happened.
    Dropped,
}

/// The answer to the beginning of a step.
pub(crate) enum Beginning {
    /// It runs.
    Runs,
    /// It has finished in an earlier attempt.
    Finished(RecordedStep),
    /// This run has begun a step of this name before.
    Twice,
}

impl Journal {
    /// The journal of a run that takes up this progress.
    pub(crate) fn new(progress: Option<&Bytes>) -> Self {
        let recorded = progress.map_or(Ok(Vec::new()), read);
        let bytes = progress.map(|bytes| bytes.to_vec()).unwrap_or_default();
        let saved = bytes.len();
        let state = State { recorded, begun: HashMap::new(), bytes, saved };
        Self { state: Mutex::new(state), turn: tokio::sync::Mutex::default() }
    }

    /// Begins a step.
    ///
    /// # Errors
    /// The steps of earlier attempts cannot be read.
    pub(crate) fn begin(&self, name: &str) -> Result<Beginning> {
        let mut state = self.lock();
        let recorded = state.recorded.as_ref().map_err(Error::clone)?;
        let finished = recorded.iter().find(|step| step.name == name).cloned();
        if state.begun.contains_key(name) {
            return Ok(Beginning::Twice);
        }
        let (begun, beginning) = match finished {
            Some(step) => (Begun::Finished, Beginning::Finished(step)),
            None => (Begun::Running, Beginning::Runs),
        };
        state.begun.insert(name.to_owned(), begun);
        Ok(beginning)
    }

    /// A step has failed: it may run again.
    pub(crate) fn failed(&self, name: &str) {
        self.lock().begun.remove(name);
    }

    /// The future of a step ends; if the step has not finished or failed, it was dropped midway.
    pub(crate) fn ended(&self, name: &str) {
        if let Some(begun) = self.lock().begun.get_mut(name).filter(|begun| **begun == Begun::Running) {
            *begun = Begun::Dropped;
        }
    }

    /// A step has finished and is recorded.
    pub(crate) fn finished(&self, name: &str) {
        self.lock().begun.insert(name.to_owned(), Begun::Finished);
    }

    /// A step whose future was dropped midway.
    pub(crate) fn dropped(&self) -> Option<String> {
        let state = self.lock();
        state.begun.iter().find(|(_, begun)| **begun == Begun::Dropped).map(|(name, _)| name.clone())
    }

    /// Writes the outcome of a step, to be saved: the length of the journal with it, or `None` if that would be more than
    /// `most`.
    pub(crate) fn write(&self, name: &str, version: u32, outcome: &[u8], most: usize) -> Option<usize> {
        let mut state = self.lock();
        let before = state.bytes.len();
        stored::write(&mut state.bytes, name, version, outcome);
        if state.bytes.len() > most {
            state.bytes.truncate(before);
            return None;
        }
        Some(state.bytes.len())
    }

    /// Waits for the turn to save: the bytes to save, or `None` if somebody else has saved the first `length` of them.
    pub(crate) async fn turn(&self, length: usize) -> Option<(Bytes, Turn<'_, ()>)> {
        let turn = self.turn.lock().await;
        let state = self.lock();
        (state.saved < length).then(|| (Bytes::copy_from_slice(&state.bytes), turn))
    }

    /// True if the store has confirmed a step.
    pub(crate) fn has_saved(&self) -> bool {
        self.lock().saved > 0
    }

    /// The store has confirmed that many bytes.
    pub(crate) fn saved(&self, length: usize) {
        let mut state = self.lock();
        state.saved = state.saved.max(length);
    }

    /// Held for a few map operations, never across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
