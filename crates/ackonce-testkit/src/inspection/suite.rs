//! The list of properties, written once, and the tests and reports made from it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Fixture;
use crate::suite::{Property, SuiteReport};

/// Calls a macro of this crate with every property, grouped by module.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_inspection {
    ($callback:ident $($args:tt)*) => {
        $crate::$callback! { [$($args)*]
            counting {
                every_state_is_counted
                a_change_moves_the_count
                a_size_is_that_of_something
                every_scope_is_counted
            }
            filtering {
                a_scope_lists_its_own_records_only
                released_and_buried_records_have_names
                redriven_records_have_names
                a_part_of_the_reason_finds_its_records
                an_age_lists_older_records_only
                filters_agree_with_a_plain_search
                a_filter_without_matches_ends
                changes_of_a_page_disturb_no_filtered_walk
                a_cursor_of_another_filter_is_refused
            }
            forgetting {
                a_forgotten_message_runs_as_if_it_were_the_first
                a_live_claim_is_not_forgotten
                a_waiting_message_is_forgotten
                a_lapsed_claim_is_forgotten
                of_an_absent_key_nothing_is_forgotten
                a_record_is_forgotten_once
                a_forgotten_lease_settles_nothing
            }
            listed {
                a_listed_record_is_changed
                a_listed_record_that_has_changed_is_left_alone
                a_live_listed_claim_is_left_alone
            }
            listing {
                every_record_is_listed_once
                a_state_lists_its_own_records_only
                a_page_keeps_to_its_limit
                a_listed_record_is_the_one_that_look_shows
                a_listed_record_tells_its_times
                an_expired_record_is_not_listed
                records_that_come_meanwhile_disturb_no_walk
                records_that_go_meanwhile_disturb_no_walk
                a_foreign_cursor_is_refused
            }
            looking {
                an_absent_key_has_no_record
                a_claim_is_shown
                a_lapsed_claim_is_shown
                a_release_is_shown
                a_completion_is_shown_with_its_outcome
                a_burial_is_shown_with_its_reason
                an_expired_record_is_not_shown
                looking_changes_nothing
                lookalikes_are_left_alone
            }
            races {
                racing_forgets_have_one_winner
                racing_redrives_have_one_winner
                a_forget_and_claims_agree
                a_redrive_and_claims_agree
            }
            redriving {
                a_redriven_message_runs_once_more
                a_redriven_message_keeps_its_progress
                a_live_claim_is_not_redriven
                what_is_granted_anyway_is_not_redriven
                a_redriven_message_waits_no_longer
                of_an_absent_key_nothing_is_redriven
                a_record_is_redriven_once
                a_redriven_lease_settles_nothing
            }
            sweeping {
                a_sweep_leaves_what_lives
                a_sweep_drops_what_has_expired
                a_swept_key_goes_on_with_a_larger_fence
            }
            trail {
                each_change_is_on_the_trail
                a_refused_change_leaves_no_trail
                a_trail_is_of_one_key
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __inspection_list {
    ([] $($group:ident { $($name:ident)* })*) => {
        /// Every property of the suite.
        pub const PROPERTIES: &[Property<for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, ()>>] = &[$($(
            Property {
                name: stringify!($name),
                check: |fixture| Box::pin($crate::inspection::$group::$name(fixture)),
            },
        )*)*];
    };
}

crate::__for_each_inspection!(__inspection_list);

#[doc(hidden)]
#[macro_export]
macro_rules! __inspection_tests {
    ([$fixture:expr] $($group:ident { $($name:ident)* })*) => {$($(
        #[test]
        fn $name() {
            $crate::conformance::run_test(async {
                $crate::inspection::$group::$name(&$fixture).await;
            });
        }
    )*)*};
}

/// Makes a module with one test per property of the inspection suite, each named after its property.
///
/// The second argument is an expression for a [`Fixture`]; it is evaluated afresh
/// for each test, on that test's own multi-threaded tokio runtime, and may `.await`.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::MemoryStore;
/// use ackonce::store::Inspect;
/// use ackonce_testkit::inspection::Fixture;
///
/// struct Memory(MemoryStore);
///
/// #[async_trait::async_trait]
/// impl Fixture for Memory {
///     async fn open(&self) -> Arc<dyn Inspect> {
///         Arc::new(self.0.clone())
///     }
/// }
///
/// ackonce_testkit::inspection!(memory, Memory(MemoryStore::new()));
/// ```
#[macro_export]
macro_rules! inspection {
    ($name:ident, $fixture:expr $(,)?) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::__for_each_inspection!(__inspection_tests $fixture);
        }
    };
}

/// Checks every property, each with a fixture of its own, and reports which hold.
pub async fn run_all<F: Fixture>(fixture: impl Fn() -> F) -> SuiteReport {
    let mut report = SuiteReport::default();
    for Property { name, check } in PROPERTIES {
        let fixture = fixture();
        report.add(name, AssertUnwindSafe(check(&fixture)).catch_unwind().await);
    }
    report
}
