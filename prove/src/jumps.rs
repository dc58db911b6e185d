//! Clocks that jumped: leases ended early by them, as a stalled worker's do.

use ackonce_testkit::audit::Audit;
use ackonce_testkit::ledger::LedgerEntry;

use crate::logs::Logs;
use crate::nemesis::FaultKind;

/// The times of a run within which a lease may have ended early, in microseconds since the Unix epoch.
pub(crate) struct Jumps(Vec<(u64, u64)>);

impl Jumps {
    /// A claim lasts for a lease without a heartbeat; the effect comes within one of a jump, or the repeat does.
    pub(crate) fn of(logs: &Logs) -> Self {
        let lease = logs.run.lease_ms * 1000;
        let jumps = logs.faults.iter().filter(|fault| fault.kind == FaultKind::Clock);
        Self(jumps.map(|fault| (fault.from.saturating_sub(lease), fault.to + lease)).collect())
    }

    /// True if a jump may have ended the claim of this effect, or of one that came beside it.
    pub(crate) fn near(&self, effect: &LedgerEntry) -> bool {
        self.0.iter().any(|(from, to)| (from..=to).contains(&&effect.at))
    }

    /// An effect beside another one's, which a jump let through, carries the older fence.
    pub(crate) fn explain_stale(&self, found: &mut Audit, effects: &[LedgerEntry]) {
        for stale in &mut found.stale {
            let mut its_own =
                effects.iter().filter(|effect| effect.id == stale.id && effect.fence == stale.fence);
            stale.explained |= stale.fence < stale.after && its_own.any(|effect| self.near(effect));
        }
    }
}
