//! The planted bugs. Each is one that a store was shipped with, or nearly.

/// One deviation from the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing is wrong.
    None,

    // Claims.
    /// The answer to a held key is that of a done one: the message is acknowledged and lost.
    BusyIsDone,
    /// A claim repeated after a lost reply meets itself as a rival.
    RepeatIsRival,
    /// A claim repeated after a lost reply is granted once more.
    RepeatIsGrantedAgain,
    /// A delayed copy of a claim that was released leases the key to nobody.
    GhostIsGranted,
    /// A repeat of a completed claim runs the handler again.
    RepeatReopensDone,
    /// A repeat is refused once its lease has ended, though nobody claimed since.
    LateRepeatIsRefused,
    /// Look, then write, with a gap between.
    ChecksThenActs,

    // Attempts.
    /// The attempt is counted when it is settled: a worker that dies is never counted.
    CountsAtSettle,
    /// A release forgets the attempts.
    ReleaseForgets,
    /// A refund is not given back.
    RefundIsIgnored,
    /// A refund is given back once more for each repeat.
    RefundRepeats,
    /// A refund hides the silence before it.
    RefundHidesVanished,
    /// A silence is called a release.
    VanishedIsReleased,
    /// A release is called a silence.
    ReleasedIsVanished,
    /// The first attempt is number zero.
    CountsFromZero,

    // Back-offs.
    /// A released key is granted at once, in spite of its back-off.
    BackoffIsIgnored,
    /// A release waits for the end of its lease.
    BackoffIsTheLease,
    /// A release with a back-off is never granted again.
    BackoffNeverEnds,
    /// A repeated release begins its back-off anew.
    RepeatRestartsBackoff,
    /// The window of a release counts from now, and may end before its back-off.
    WindowCutsBackoff,
    /// Another payload is told that the key is busy.
    BackoffHidesMismatch,

    // Fencing.
    /// A settlement is checked by token alone.
    FenceIsUnchecked,
    /// A settlement is checked by fence alone.
    TokenIsUnchecked,
    /// A completion needs no proof.
    AnyoneCompletes,
    /// A release needs no proof.
    AnyoneReleases,
    /// An extension needs no proof.
    AnyoneExtends,
    /// A burial needs no proof.
    AnyoneBuries,
    /// Fences are the clock's microseconds and nothing more.
    FenceIsTheClock,
    /// Fences begin anew after the window.
    FenceRestarts,
    /// A takeover keeps the fence.
    FenceStands,
    /// A settlement of an absent key makes a record.
    SettleCreates,
    /// An expired row is settled as if it were live.
    ForgottenIsSettled,

    // Settling.
    /// An extension is confirmed and does nothing.
    ExtendIsIgnored,
    /// An extension is counted from the claim.
    ExtendFromClaim,
    /// An extension is added to the rest of the lease.
    ExtendAdds,
    /// A completion after the lease is refused, though nobody claimed since.
    LateIsLost,
    /// A settlement repeated after a lost reply is Lost.
    RepeatIsLost,
    /// A done message can still be released, extended or buried.
    DoneIsReopened,
    /// A released message can still be completed.
    ReleasedIsSettled,
    /// A release frees the key only when its lease ends.
    ReleaseWaits,
    /// A buried key is granted again.
    BuriedIsGranted,
    /// A redrive needs no proof.
    AnyoneRedrives,
    /// A redrive needs the fence alone.
    FenceRedrives,
    /// A redrive keeps the attempts.
    RedriveKeepsAttempts,

    // Time.
    /// Leases are compared with the caller's clock.
    CallersClock,
    /// Milliseconds are taken for seconds.
    LeaseInSeconds,
    /// A completion is remembered as long as its lease.
    WindowIsLease,
    /// The window begins at the claim.
    WindowFromClaim,
    /// A record is remembered for ever.
    WindowNeverEnds,
    /// The trail of an unfinished attempt goes with its lease.
    TrailIsDropped,
    /// The row is dropped at the end of the window, even before the end of the lease.
    WindowCutsLease,
    /// Times that are too long wrap around.
    TimesWrap,
    /// No lease at all is a lease for ever, as a TTL of zero is to some servers.
    ZeroIsForever,

    // Payloads.
    /// Another payload is the same message.
    MismatchIsIgnored,
    /// Another payload is noticed only once done.
    MismatchOnlyOnceDone,
    /// A payload nobody told is another one.
    UnknownIsMismatch,
    /// A payload nobody told replaces a known one.
    UnknownReplaces,
    /// A mismatch replaces the payload.
    MismatchReplaces,

    // Content.
    /// The outcome is not kept.
    OutcomeIsDropped,
    /// An empty outcome is none.
    EmptyIsNone,
    /// An outcome is text.
    OutcomeIsText,
    /// An outcome ends at its first NUL.
    OutcomeEndsAtNul,
    /// An outcome has at most 4 KiB.
    OutcomeIsCut,
    /// A reason has at most 255 letters.
    ReasonIsCut,
    /// The age is in another unit.
    AgeInMillis,
    /// The fence in the record is not the claim's.
    RecordForgetsFence,
    /// The address is printed with its password.
    PasswordIsShown,

    // Batches.
    /// Answers come in the order of the keys.
    AnswersInKeyOrder,
    /// One answer per key, not per request.
    AnswersOncePerKey,
    /// Every request of a batch is decided on the records before the batch.
    BatchIsDecidedBefore,
    /// A batch with a duplicate is refused whole.
    DuplicateFailsTheBatch,
    /// At most 999 requests.
    LargeBatchFails,
    /// An empty batch is an error.
    EmptyBatchFails,
    /// All settlements of a batch are decided on the records before the batch.
    SettlesAreDecidedBefore,

    // Progress.
    /// A release keeps no progress.
    ReleaseDropsProgress,
    /// A repeated claim is answered as the first time, without the progress that was saved since.
    RepeatDropsProgress,
    /// Any copy of a save replaces the progress.
    ProgressShrinks,
    /// A save is not fenced.
    AnyoneSaves,
    /// The progress of a message that is done is taken for its outcome.
    ProgressIsOutcome,
    /// A burial keeps its reason alone.
    BurialDropsProgress,
    /// A save is a heartbeat as well.
    SaveExtends,
    /// Settled records are changed by a save.
    SettledIsSaved,

    // Cancellation.
    /// A lock that outlives the future which took it.
    LockIsLeaked,
    /// A settlement dropped midway leaves the key unsettled for ever.
    SettleIsLeaked,

    // Durability.
    /// A restart finds nothing.
    RestartForgets,
    /// Claims are kept in memory: a restart finds settled records only.
    RestartForgetsClaims,
    /// Settlements are written some time later: a restart finds the claims.
    RestartForgetsSettlements,

    // Failures.
    /// Every error says that nothing was applied.
    EverythingIsSafe,
    /// The consumer ends for good because the store was away for a moment.
    OutageIsFinal,
    /// A store that is away takes every message for a duplicate.
    OutageIsDone,
    /// A store that is away says that the lease is lost.
    OutageIsLost,
    /// A request that can never succeed is to be sent again and again.
    ImpossibleIsRetried,
    /// A request that can never succeed is confirmed.
    ImpossibleIsConfirmed,

    // Room.
    /// Expired records are kept for ever.
    NothingIsDropped,

    // Keys.
    /// Case is folded.
    KeyFolded,
    /// White space is trimmed.
    KeyTrimmed,
    /// Bytes that are no text are replaced.
    KeyLossy,
    /// Numbers are compared as numbers.
    KeyNumeric,
    /// Decomposed letters are composed.
    KeyComposed,
    /// The key ends at its first NUL.
    KeyEndsAtNul,
    /// The key has at most 255 bytes.
    KeyCut,
    /// Only the part in braces counts.
    KeyHashTag,
    /// Quotes and backslashes are lost in escaping.
    KeyUnescaped,
    /// Scope and ID are put together as they are.
    KeyConcatenated,
    /// Scope and ID are joined by a colon.
    KeyJoined,
    /// The scope is not part of the key.
    ScopeIsIgnored,
}
