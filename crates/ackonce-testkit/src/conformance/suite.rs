//! The list of properties, written once, and the tests and reports made from it.

use std::future::Future;

use futures_util::future::BoxFuture;

use super::Fixture;
use crate::suite::Property;

/// Calls a macro of this crate with every property, grouped by module.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_property {
    ($callback:ident $($args:tt)*) => {
        $crate::$callback! { [$($args)*]
            attempts {
                a_first_claim_is_attempt_one
                a_released_attempt_counts
                a_refunded_attempt_is_given_back
                a_refund_does_not_hide_a_vanished_attempt
                a_vanished_attempt_counts
                the_attempt_before_is_named_by_how_it_ended
            }
            backoffs {
                a_back_off_holds_every_claim_off
                a_back_off_ends
                a_back_off_is_not_the_lease
                a_repeated_release_keeps_its_back_off
                a_back_off_outlives_a_short_window
                another_payload_is_a_mismatch_during_a_back_off
                a_back_off_in_a_batch_costs_the_others_nothing
            }
            batches {
                a_batch_of_claims_is_answered_in_order
                a_batch_of_settlements_is_answered_in_order
                a_duplicate_in_a_batch_is_busy
                a_duplicate_in_a_batch_costs_the_others_nothing
                a_repeat_in_a_batch_is_one_grant
                settlements_of_one_lease_in_a_batch_follow_one_another
                an_empty_batch_has_no_answers
                a_large_batch_is_answered_whole
            }
            cancellation {
                a_dropped_claim_frees_the_key_within_a_lease
                a_dropped_claim_can_be_repeated
                a_dropped_settlement_can_be_repeated
            }
            claims {
                a_second_claim_is_busy
                a_claimed_key_is_busy_for_every_client
                a_repeated_claim_is_answered_as_before
                a_repeated_claim_after_its_lease_takes_it_up_again
                a_repeated_claim_after_its_release_is_not_granted
                a_repeated_claim_after_its_completion_is_done
                a_repeated_claim_after_a_takeover_is_busy
            }
            content {
                an_outcome_comes_back_byte_for_byte
                a_reason_comes_back_letter_for_letter
                a_record_tells_its_claim
                a_records_age_is_that_of_its_claim
                a_description_names_the_store_without_secrets
            }
            durability {
                a_claim_outlives_its_process
                a_settlement_outlives_its_process
            }
            failures {
                an_outage_is_an_error_and_passes
                an_error_is_safe_only_where_nothing_was_applied
                the_impossible_is_never_to_be_repeated
            }
            fencing {
                fences_grow_over_releases
                fences_grow_over_lapsed_leases
                fences_grow_over_the_window
                fences_grow_faster_than_the_clock
                an_old_fence_completes_nothing
                an_old_fence_releases_nothing
                an_old_fence_extends_nothing
                an_old_fence_buries_nothing
                a_settlement_needs_the_fence
                a_settlement_needs_the_token
                a_settlement_of_an_unknown_key_is_lost
                a_settlement_of_a_forgotten_claim_is_lost
            }
            keys {
                lookalike_ids_stay_apart
                hostile_ids_stay_apart
                scope_and_id_do_not_run_into_each_other
                scopes_share_nothing
                the_shortest_and_longest_ids_are_kept_whole
            }
            payloads {
                another_payload_is_a_mismatch_while_claimed
                another_payload_is_a_mismatch_once_done
                another_payload_is_a_mismatch_once_released
                an_unknown_payload_is_never_a_mismatch
                an_unknown_payload_does_not_replace_a_known_one
                a_mismatch_changes_nothing
            }
            progress {
                progress_is_given_to_the_next_claim
                a_repeated_claim_brings_progress
                progress_comes_back_byte_for_byte
                progress_only_grows
                an_old_fence_saves_nothing
                a_settled_claim_saves_nothing
                progress_ends_with_the_completion
                a_burial_keeps_progress
                a_save_moves_no_lease
                progress_and_its_release_share_a_batch
                progress_outlives_its_process
            }
            races {
                racing_claims_have_one_winner
                racing_batches_have_one_winner_per_key
                racing_takeovers_have_one_winner
                racing_repeats_share_one_grant
                racing_settlements_of_one_lease_have_one_winner
                a_late_completion_and_a_takeover_agree
            }
            room {
                expired_records_take_no_room
            }
            settling {
                a_completed_key_is_done
                a_buried_key_is_done
                a_released_key_is_granted_at_once
                an_extended_lease_holds_past_its_first_end
                a_late_completion_is_recorded
                a_late_extension_holds_again
                a_repeated_settlement_is_confirmed_again
                a_completed_lease_stays_completed
                a_buried_lease_stays_buried
                a_burial_is_redriven_by_its_own_claim
                a_redrive_changes_nothing_but_its_own_burial
                a_redrive_needs_the_token_of_its_burial
                a_released_lease_stays_released
            }
            time {
                a_lease_ends
                a_lease_begins_when_it_is_granted
                an_extension_begins_when_it_is_made
                a_lease_is_not_measured_by_the_clients
                a_window_ends
                a_window_begins_at_the_completion
                a_done_record_outlives_the_lease
                a_trail_outlives_the_lease
                a_lease_outlives_a_short_window
                a_released_trail_ends_with_its_window
                no_time_at_all_is_survived
                endless_times_are_survived
            }
            versions {
                any_order_of_versions_ends_at_the_newest
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __property_list {
    ([] $($group:ident { $($name:ident)* })*) => {
        /// Every property of the suite.
        pub const PROPERTIES: &[Property<for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, ()>>] = &[$($(
            Property {
                name: stringify!($name),
                check: |fixture| Box::pin($crate::conformance::$group::$name(fixture)),
            },
        )*)*];
    };
}

crate::__for_each_property!(__property_list);

#[doc(hidden)]
#[macro_export]
macro_rules! __property_tests {
    ([$fixture:expr] $($group:ident { $($name:ident)* })*) => {$($(
        #[test]
        fn $name() {
            $crate::conformance::run_test(async {
                $crate::conformance::$group::$name(&$fixture).await;
            });
        }
    )*)*};
}

/// Makes a module with one test per property of the suite, each named after its property.
///
/// The second argument is an expression for a [`Fixture`]; it is evaluated afresh
/// for each test, on that test's own multi-threaded tokio runtime, and may `.await`.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Deduplicator, MemoryStore};
/// use ackonce::store::Settle;
/// use ackonce_testkit::conformance::{Breakable, Fixture, Unbreakable, swept};
///
/// struct Memory(MemoryStore);
///
/// #[async_trait::async_trait]
/// impl Fixture for Memory {
///     async fn open(&self) -> Arc<dyn Deduplicator> {
///         Arc::new(self.0.clone())
///     }
///
///     // Nothing outlives the process; the store's description says so.
///     async fn reopen(&self) -> Arc<dyn Deduplicator> {
///         Arc::new(MemoryStore::new())
///     }
///
///     async fn breakable(&self) -> Box<dyn Breakable> {
///         Box::new(Unbreakable(self.open().await))
///     }
///
///     fn impossible(&self) -> Option<Settle> {
///         None
///     }
///
///     async fn held(&self) -> u64 {
///         swept(&self.0).await
///     }
/// }
///
/// ackonce_testkit::conformance!(memory, Memory(MemoryStore::new()));
/// ```
#[macro_export]
macro_rules! conformance {
    ($name:ident, $fixture:expr $(,)?) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::__for_each_property!(__property_tests $fixture);
        }
    };
}

/// Runs one test on a runtime of its own; two threads are enough for every race to be one.
#[doc(hidden)]
pub fn run_test(test: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(test),
        Err(e) => panic!("no tokio runtime: {e}"),
    }
}
