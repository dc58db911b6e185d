//! A granted lease, as its handler and the heartbeat share it.

use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::claim::Lease;
use crate::switch::Switch;

/// A lease, and the switch that tells its handler that it ends.
#[derive(Debug)]
pub(crate) struct Grant {
    lease: Lease,
    pub(crate) cancelled: Switch,
}

impl Grant {
    pub(crate) fn new(lease: Lease, cancelled: Switch) -> Self {
        Self { lease, cancelled }
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
