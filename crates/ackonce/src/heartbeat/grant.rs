//! A granted lease, as its handler and the heartbeat share it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::claim::Lease;
use crate::journal::Journal;
use crate::switch::Switch;

/// A lease, and the switch that tells its handler that it ends.
#[derive(Debug)]
pub(crate) struct Grant {
    lease: Lease,
    pub(crate) cancelled: Switch,
    /// Once its handler has begun a step.
    journal: OnceLock<Box<Journal>>,
    /// It was settled without a run: a newer version of its entity took effect.
    stale: AtomicBool,
}

impl Grant {
    pub(crate) fn new(lease: Lease, cancelled: Switch) -> Self {
        Self { lease, cancelled, journal: OnceLock::new(), stale: AtomicBool::new(false) }
    }

    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// The journal of its run.
    pub(crate) fn journal(&self) -> &Journal {
        self.journal.get_or_init(|| Box::new(Journal::new(self.lease.progress.as_ref())))
    }

    /// True if its message has finished steps.
    pub(crate) fn has_progress(&self) -> bool {
        self.lease.progress.is_some() || self.journal.get().is_some_and(|journal| journal.has_saved())
    }

    /// A step of its run whose future was dropped midway.
    pub(crate) fn dropped_step(&self) -> Option<String> {
        self.journal.get()?.dropped()
    }
}

impl Deref for Grant {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

/// Those of one group, most often one.
pub(crate) type Grants = SmallVec<[Arc<Grant>; 1]>;
