//! The test of the suite: stores with one planted bug each, and the property that finds it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bug;
mod looks;
mod store;
mod tends;

use ackonce_testkit::conformance::SuiteReport;
use ackonce_testkit::inspection::{PROPERTIES, run_all};

use bug::Bug;
use store::Sabotaged;

async fn report(bug: Bug) -> SuiteReport {
    run_all(|| Sabotaged::new(bug)).await
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
    GetMakesARecord by an_absent_key_has_no_record,
    GetShowsExpired by an_expired_record_is_not_shown,
    GetHidesLapsed by a_lapsed_claim_is_shown,
    GetExtends by looking_changes_nothing,
    GetDropsOutcome by a_completion_is_shown_with_its_outcome,
    GetDropsReason by a_burial_is_shown_with_its_reason,
    GetCountsFromOne by a_release_is_shown,
    GetForgetsFence by a_claim_is_shown,
    FindsByIdAlone by lookalikes_are_left_alone,

    ListSkips by every_record_is_listed_once,
    ListRepeats by every_record_is_listed_once,
    ListByOffset by records_that_go_meanwhile_disturb_no_walk,
    ListNewestFirst by records_that_come_meanwhile_disturb_no_walk,
    ListIgnoresState by a_state_lists_its_own_records_only,
    ListFiltersAfterPage by a_state_lists_its_own_records_only,
    ListIgnoresLimit by a_page_keeps_to_its_limit,
    ListEndsEarly by a_page_keeps_to_its_limit,
    ListShowsExpired by an_expired_record_is_not_listed,
    ListDropsOutcome by a_listed_record_is_the_one_that_look_shows,
    ListSwapsTimes by a_listed_record_tells_its_times,
    ListNamesWrong by a_listed_record_is_the_one_that_look_shows,
    AnyCursorIsStart by a_foreign_cursor_is_refused,

    ListIgnoresScope by a_scope_lists_its_own_records_only,
    ListIgnoresReason by a_part_of_the_reason_finds_its_records,
    ListComparesReasonWhole by a_part_of_the_reason_finds_its_records,
    ListIgnoresAge by an_age_lists_older_records_only,
    ListMatchesAnyCondition by filters_agree_with_a_plain_search,
    ListNamesNobody by released_and_buried_records_have_names,
    RedriveLeavesNoName by redriven_records_have_names,
    ListNeverEnds by a_filter_without_matches_ends,
    ListSkipsByFilter by changes_of_a_page_disturb_no_filtered_walk,
    AnyFilterTakesCursor by a_cursor_of_another_filter_is_refused,

    ListedIsNotCompared by a_listed_record_that_has_changed_is_left_alone,
    ListedIsUnknown by a_listed_record_is_changed,
    ListedTakesLive by a_live_listed_claim_is_left_alone,
    AuditForgets by each_change_is_on_the_trail,
    AuditNewestFirst by each_change_is_on_the_trail,
    AuditMixesKeys by a_trail_is_of_one_key,
    AuditKeepsRefusals by a_refused_change_leaves_no_trail,

    ScopesInOne by every_scope_is_counted,
    CountsAllAsDone by every_state_is_counted,
    CountsTwice by a_change_moves_the_count,
    SizeIsZero by a_size_is_that_of_something,

    ForgetTakesLive by a_live_claim_is_not_forgotten,
    ForgetSparesLapsed by a_lapsed_claim_is_forgotten,
    ForgetKeepsAttempts by a_forgotten_message_runs_as_if_it_were_the_first,
    ForgetRestartsFence by a_forgotten_message_runs_as_if_it_were_the_first,
    ForgetAlwaysYes by of_an_absent_key_nothing_is_forgotten,
    ForgetLeavesLease by a_forgotten_lease_settles_nothing,
    ForgetChecksThenActs by racing_forgets_have_one_winner,

    RedriveWaits by a_redriven_message_waits_no_longer,
    ForgetSparesWaiting by a_waiting_message_is_forgotten,
    RedriveTakesLive by a_live_claim_is_not_redriven,
    RedriveForgets by a_redriven_message_runs_once_more,
    RedriveKeepsAttempts by a_redriven_message_runs_once_more,
    RedriveKeepsOutcome by a_redriven_message_runs_once_more,
    RedriveTakesReleased by what_is_granted_anyway_is_not_redriven,
    RedriveMakesARecord by of_an_absent_key_nothing_is_redriven,
    RedriveRevives by of_an_absent_key_nothing_is_redriven,
    RedriveAlwaysYes by a_record_is_redriven_once,
    RedriveLeavesLease by a_redriven_lease_settles_nothing,
    RedriveChecksThenActs by racing_redrives_have_one_winner,

    SweepTakesLapsed by a_sweep_leaves_what_lives,
    SweepTakesReleased by a_sweep_leaves_what_lives,
    SweepDoesNothing by a_sweep_drops_what_has_expired,
    SweepRestartsFence by a_swept_key_goes_on_with_a_larger_fence,
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
