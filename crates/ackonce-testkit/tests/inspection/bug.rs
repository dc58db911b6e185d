//! The planted bugs.

/// One deviation from the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing is wrong.
    None,

    // Looking.
    /// Asking for a key leaves a record of it.
    GetMakesARecord,
    /// Expired records that were not yet dropped are shown.
    GetShowsExpired,
    /// A claim whose lease has ended is taken for absent.
    GetHidesLapsed,
    /// A look renews the lease.
    GetExtends,
    GetDropsOutcome,
    GetDropsReason,
    /// The attempts shown are those of the next claim.
    GetCountsFromOne,
    GetForgetsFence,
    /// A key is looked up without its scope.
    FindsByIdAlone,

    // Listing.
    /// The last record of a page is lost between two pages.
    ListSkips,
    /// A page begins with the last record of the one before.
    ListRepeats,
    /// The cursor is a number of records.
    ListByOffset,
    /// The same, and new records come first.
    ListNewestFirst,
    ListIgnoresState,
    /// A page is cut first and filtered then.
    ListFiltersAfterPage,
    ListIgnoresLimit,
    /// The last short page is never named.
    ListEndsEarly,
    ListShowsExpired,
    ListDropsOutcome,
    /// The times of lease and record are exchanged.
    ListSwapsTimes,
    /// An entry has somebody else's name.
    ListNamesWrong,
    /// A cursor that is not understood begins anew.
    AnyCursorIsStart,

    ListIgnoresScope,
    ListIgnoresReason,
    ListIgnoresAge,
    /// Of two conditions one is enough.
    ListMatchesAnyCondition,
    /// A reason is found by its whole text alone.
    ListComparesReasonWhole,
    /// No entry has names.
    ListNamesNobody,
    /// A redriven record has no names.
    RedriveLeavesNoName,
    /// A page without entries is never the last.
    ListNeverEnds,
    /// A list with a scope goes on by a number of records.
    ListSkipsByFilter,
    /// A cursor goes on under any filter.
    AnyFilterTakesCursor,

    // Counting.
    /// Every scope is counted as if it had no name.
    ScopesInOne,
    CountsAllAsDone,
    /// A released record is still counted as done.
    CountsTwice,
    SizeIsZero,

    // Forgetting.
    /// A message that is being run is forgotten, and runs twice at once.
    ForgetTakesLive,
    /// A lapsed claim cannot be forgotten.
    ForgetSparesLapsed,
    /// The record is released, not forgotten.
    ForgetKeepsAttempts,
    /// Fences begin anew.
    ForgetRestartsFence,
    ForgetAlwaysYes,
    /// The former holder of the record still settles it.
    ForgetLeavesLease,
    /// Look, then write, with a gap between.
    ForgetChecksThenActs,
    /// A message that waits for its back-off is held for claimed.
    ForgetSparesWaiting,

    // Changes of listed records, and their trail.
    /// A listed record is changed although it has changed since.
    ListedIsNotCompared,
    /// A listed record is not found again.
    ListedIsUnknown,
    /// The lease of a listed claim is not looked at.
    ListedTakesLive,
    AuditForgets,
    /// An operation that changed nothing is on the trail.
    AuditKeepsRefusals,
    /// The trail of every key is shown for each.
    AuditMixesKeys,
    AuditNewestFirst,

    // Redriving.
    RedriveTakesLive,
    /// A redrive leaves the back-off as it is.
    RedriveWaits,
    /// The record is dropped.
    RedriveForgets,
    /// The message is buried again at once, for its attempts are used up.
    RedriveKeepsAttempts,
    RedriveKeepsOutcome,
    /// The attempts of a message that is retried anyway are reset.
    RedriveTakesReleased,
    /// A key that was never seen is made redrivable.
    RedriveMakesARecord,
    /// An expired record comes back.
    RedriveRevives,
    RedriveAlwaysYes,
    /// The record is as claimed by its last holder, who still settles it.
    RedriveLeavesLease,
    /// Look, then write, with a gap between.
    RedriveChecksThenActs,

    // Sweeping.
    /// Claims that lapsed are dropped with their attempts.
    SweepTakesLapsed,
    /// A record that waits for its retry is dropped with its attempts.
    SweepTakesReleased,
    SweepDoesNothing,
    /// Fences begin anew.
    SweepRestartsFence,
}
