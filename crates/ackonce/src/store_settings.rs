//! Settings that several stores have, each with one meaning.

/// The choice of automatic or manual sweeps of expired records.
///
/// Expiry is decided when a record is read, so a late sweep costs space and never correctness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sweep {
    /// The store sweeps: a few records along with each write, and more while it is idle.
    #[default]
    Automatic,
    /// The application calls [`Inspect::sweep`](crate::store::Inspect::sweep), or a program does on a schedule.
    Manual,
}

/// The records that keep scope and message ID in readable form, beside the digest that identifies them.
///
/// A digest is enough to recognise a duplicate. The names are for people: a list of buried messages without them says
/// how many there are and not which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Records that an operator looks for keep them: released and buried ones and claims that were renewed, in SQLite
    /// all claims. A message that is done at its first attempt leaves a digest alone.
    #[default]
    Buried,
    /// All records keep them, which costs 30 to 75 bytes more for a done record, plus the length of both.
    Keep,
    /// No record keeps them: IDs that are personal data stay out of the store and its backups. PostgreSQL's
    /// audit table nevertheless names the messages that an operator changes by hand.
    Omit,
}

/// The policy for a server that is set up to lose confirmed records.
///
/// ```
/// use ackonce::store::OnUnsafe;
///
/// /// Tests run on a Redis that evicts; production refuses one.
/// fn policy(production: bool) -> OnUnsafe {
///     if production { OnUnsafe::Refuse } else { OnUnsafe::Downgrade }
/// }
/// # assert_eq!(policy(true), OnUnsafe::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnsafe {
    /// The store does not connect; the error names the setting to change.
    #[default]
    Refuse,
    /// The store connects, and lists the weakness in [`describe`](crate::Deduplicator::describe).
    Downgrade,
}
