//! The inboxes and guards of PostgreSQL, one suite for each driver: tokio-postgres, sqlx, SeaORM, diesel-async.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod commits;
mod endings;
mod guards;
mod outcomes;
mod place;
mod pools;
mod publishing;

/// A test for each driver of each function of the suite.
macro_rules! suite {
    ($($driver:ident $variant:ident: $($module:ident::$case:ident,)*;)*) => {$(
        mod $driver {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some(place) = crate::place::Place::new(ackonce_tests::drivers::Driver::$variant).await else { return };
                crate::$module::$case(place).await;
            })*
        }
    )*};
}

macro_rules! drivers {
    ($($driver:ident $variant:ident),*) => {
        suite! {$(
            $driver $variant:
            outcomes::effects_and_records_commit_together,
            outcomes::failures_are_undone_alone,
            outcomes::a_swallowed_failure_is_no_success,
            outcomes::nested_transactions_are_the_handlers_own,
            outcomes::a_claim_taken_over_meanwhile_is_rolled_back,
            outcomes::a_repeated_run_does_not_double,
            outcomes::handlers_run_read_committed_and_planned_freely,
            endings::an_ended_transaction_is_no_success,
            endings::a_nested_transaction_left_open_commits_nothing,
            endings::a_cancelled_run_leaves_no_transaction_behind,
            commits::a_constraint_at_the_commit_charges_its_own_message,
            commits::a_commit_without_an_answer_is_asked_for,
            commits::a_lost_connection_is_no_fault_of_the_message,
            pools::an_exhausted_pool_is_no_fault_of_the_message,
            pools::a_pool_of_another_database_is_refused,
            pools::settings_hold_for_the_transaction,
            guards::a_guard_answers_as_the_store_does,
            guards::a_guard_refuses_a_broken_transaction,
            publishing::an_inbox_publishes_with_its_commit,
            publishing::a_producer_publishes_with_its_commit,
            publishing::a_message_that_cannot_be_published_undoes_its_transaction,;
        )*}
    };
}

drivers!(postgres Postgres, sqlx Sqlx, seaorm SeaOrm, diesel Diesel);
