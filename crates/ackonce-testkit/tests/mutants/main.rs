//! The test of the suite: stores with one planted bug each, and the property that finds it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bug;
mod claims;
mod failures;
mod keys;
mod settles;
mod store;

use ackonce_testkit::conformance::{PROPERTIES, SuiteReport, run_all};

use bug::Bug;
use store::Sabotaged;

async fn report(bug: Bug) -> SuiteReport {
    run_all(&Sabotaged::new(bug)).await
}

#[tokio::test(start_paused = true)]
async fn the_honest_store_passes() {
    let report = report(Bug::None).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert_eq!(report.passed.len(), PROPERTIES.len());
}

macro_rules! caught {
    ($($bug:ident by $property:ident),* $(,)?) => {
        const CAUGHT: &[Bug] = &[$(Bug::$bug),*];
        $(
            #[tokio::test(start_paused = true)]
            #[allow(non_snake_case, reason = "a test is named after its bug")]
            async fn $bug() {
                let report = report(Bug::$bug).await;
                let by: Vec<_> = report.failed.iter().map(|f| f.property).collect();
                assert!(by.contains(&stringify!($property)), "{} was caught by {by:?}", stringify!($bug));
            }
        )*
    };
}

caught! {
    BusyIsDone by a_second_claim_is_busy,
    RepeatIsRival by a_repeated_claim_is_answered_as_before,
    RepeatIsGrantedAgain by a_repeated_claim_is_answered_as_before,
    GhostIsGranted by a_repeated_claim_after_its_release_is_not_granted,
    RepeatReopensDone by a_repeated_claim_after_its_completion_is_done,
    LateRepeatIsRefused by a_repeated_claim_after_its_lease_takes_it_up_again,
    ChecksThenActs by racing_claims_have_one_winner,

    CountsAtSettle by a_vanished_attempt_counts,
    ReleaseForgets by a_released_attempt_counts,
    RefundIsIgnored by a_refunded_attempt_is_given_back,
    RefundHidesVanished by a_refund_does_not_hide_a_vanished_attempt,
    RefundRepeats by a_refunded_attempt_is_given_back,
    VanishedIsReleased by the_attempt_before_is_named_by_how_it_ended,
    ReleasedIsVanished by the_attempt_before_is_named_by_how_it_ended,
    CountsFromZero by a_first_claim_is_attempt_one,

    BackoffIsIgnored by a_back_off_holds_every_claim_off,
    BackoffIsTheLease by a_back_off_is_not_the_lease,
    BackoffNeverEnds by a_back_off_ends,
    RepeatRestartsBackoff by a_repeated_release_keeps_its_back_off,
    WindowCutsBackoff by a_back_off_outlives_a_short_window,
    BackoffHidesMismatch by another_payload_is_a_mismatch_during_a_back_off,

    FenceIsUnchecked by a_settlement_needs_the_fence,
    TokenIsUnchecked by a_settlement_needs_the_token,
    AnyoneCompletes by an_old_fence_completes_nothing,
    AnyoneReleases by an_old_fence_releases_nothing,
    AnyoneExtends by an_old_fence_extends_nothing,
    AnyoneBuries by an_old_fence_buries_nothing,
    FenceIsTheClock by fences_grow_faster_than_the_clock,
    FenceRestarts by fences_grow_over_the_window,
    FenceStands by fences_grow_over_lapsed_leases,
    SettleCreates by a_settlement_of_an_unknown_key_is_lost,
    ForgottenIsSettled by a_settlement_of_a_forgotten_claim_is_lost,

    ExtendIsIgnored by an_extended_lease_holds_past_its_first_end,
    ExtendFromClaim by an_extension_begins_when_it_is_made,
    ExtendAdds by a_repeated_settlement_is_confirmed_again,
    LateIsLost by a_late_completion_is_recorded,
    RepeatIsLost by a_repeated_settlement_is_confirmed_again,
    DoneIsReopened by a_completed_lease_stays_completed,
    ReleasedIsSettled by a_released_lease_stays_released,
    ReleaseWaits by a_released_key_is_granted_at_once,
    BuriedIsGranted by a_buried_key_is_done,
    AnyoneRedrives by a_redrive_changes_nothing_but_its_own_burial,
    FenceRedrives by a_redrive_needs_the_token_of_its_burial,
    RedriveKeepsAttempts by a_burial_is_redriven_by_its_own_claim,

    CallersClock by a_lease_is_not_measured_by_the_clients,
    LeaseInSeconds by a_second_claim_is_busy,
    WindowIsLease by a_done_record_outlives_the_lease,
    WindowFromClaim by a_window_begins_at_the_completion,
    WindowNeverEnds by a_window_ends,
    TrailIsDropped by a_trail_outlives_the_lease,
    WindowCutsLease by a_lease_outlives_a_short_window,
    TimesWrap by endless_times_are_survived,
    ZeroIsForever by no_time_at_all_is_survived,

    MismatchIsIgnored by another_payload_is_a_mismatch_once_done,
    MismatchOnlyOnceDone by another_payload_is_a_mismatch_while_claimed,
    UnknownIsMismatch by an_unknown_payload_is_never_a_mismatch,
    UnknownReplaces by an_unknown_payload_does_not_replace_a_known_one,
    MismatchReplaces by a_mismatch_changes_nothing,

    OutcomeIsDropped by an_outcome_comes_back_byte_for_byte,
    EmptyIsNone by an_outcome_comes_back_byte_for_byte,
    OutcomeIsText by an_outcome_comes_back_byte_for_byte,
    OutcomeEndsAtNul by an_outcome_comes_back_byte_for_byte,
    OutcomeIsCut by an_outcome_comes_back_byte_for_byte,
    ReasonIsCut by a_reason_comes_back_letter_for_letter,
    AgeInMillis by a_records_age_is_that_of_its_claim,
    RecordForgetsFence by a_record_tells_its_claim,
    PasswordIsShown by a_description_names_the_store_without_secrets,

    AnswersInKeyOrder by a_batch_of_claims_is_answered_in_order,
    AnswersOncePerKey by a_duplicate_in_a_batch_is_busy,
    BatchIsDecidedBefore by a_duplicate_in_a_batch_is_busy,
    DuplicateFailsTheBatch by a_duplicate_in_a_batch_costs_the_others_nothing,
    LargeBatchFails by a_large_batch_is_answered_whole,
    EmptyBatchFails by an_empty_batch_has_no_answers,
    SettlesAreDecidedBefore by settlements_of_one_lease_in_a_batch_follow_one_another,

    ReleaseDropsProgress by progress_is_given_to_the_next_claim,
    RepeatDropsProgress by a_repeated_claim_brings_progress,
    ProgressShrinks by progress_only_grows,
    AnyoneSaves by an_old_fence_saves_nothing,
    ProgressIsOutcome by progress_ends_with_the_completion,
    BurialDropsProgress by a_burial_keeps_progress,
    SaveExtends by a_save_moves_no_lease,
    SettledIsSaved by a_settled_claim_saves_nothing,

    LockIsLeaked by a_dropped_claim_frees_the_key_within_a_lease,
    SettleIsLeaked by a_dropped_settlement_can_be_repeated,

    RestartForgets by a_settlement_outlives_its_process,
    RestartForgetsClaims by a_claim_outlives_its_process,
    RestartForgetsSettlements by a_settlement_outlives_its_process,

    EverythingIsSafe by an_error_is_safe_only_where_nothing_was_applied,
    OutageIsFinal by an_outage_is_an_error_and_passes,
    OutageIsDone by an_outage_is_an_error_and_passes,
    OutageIsLost by an_outage_is_an_error_and_passes,
    ImpossibleIsRetried by the_impossible_is_never_to_be_repeated,
    ImpossibleIsConfirmed by the_impossible_is_never_to_be_repeated,

    NothingIsDropped by expired_records_take_no_room,

    KeyFolded by lookalike_ids_stay_apart,
    KeyTrimmed by lookalike_ids_stay_apart,
    KeyLossy by lookalike_ids_stay_apart,
    KeyNumeric by lookalike_ids_stay_apart,
    KeyComposed by lookalike_ids_stay_apart,
    KeyEndsAtNul by lookalike_ids_stay_apart,
    KeyCut by the_shortest_and_longest_ids_are_kept_whole,
    KeyHashTag by hostile_ids_stay_apart,
    KeyUnescaped by hostile_ids_stay_apart,
    KeyConcatenated by scope_and_id_do_not_run_into_each_other,
    KeyJoined by scope_and_id_do_not_run_into_each_other,
    ScopeIsIgnored by scopes_share_nothing,
}

#[tokio::test(start_paused = true)]
async fn no_property_is_idle() {
    let mut idle: Vec<_> = PROPERTIES.iter().map(|p| p.name).collect();
    for bug in CAUGHT {
        let report = report(*bug).await;
        println!("{bug:?}: {}", report.failed.iter().map(|f| f.property).collect::<Vec<_>>().join(" "));
        idle.retain(|property| !report.caught_by(property));
    }
    assert!(idle.is_empty(), "no planted bug is caught by {idle:?}");
}
