//! The test of the network suite: a store that keeps every property, and one per planted bug, which is found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod server;
mod store;

use ackonce_testkit::network::{late, lost, silent};

use server::Server;
use store::Bug;

ackonce_testkit::network!(the_honest_store, Server::start(Bug::None).await);

macro_rules! caught {
    ($($bug:ident by $group:ident::$property:ident, $says:literal;)*) => {$(
        #[tokio::test]
        #[should_panic(expected = $says)]
        #[allow(non_snake_case, reason = "a test is named after its bug")]
        async fn $bug() {
            $group::$property(&Server::start(Bug::$bug).await).await;
        }
    )*};
}

caught! {
    ErrorIsDone by lost::a_claim_cut_anywhere_is_repeated_or_is_a_rivals, "expected Acquired, not Done";
    LostIsSafe by lost::a_claim_cut_anywhere_is_repeated_or_is_a_rivals, "told that nothing was applied";
    LostIsNever by lost::a_claim_cut_anywhere_is_repeated_or_is_a_rivals, "gives up for good";
    RepeatsAsAnother by lost::a_claim_cut_anywhere_is_repeated_or_is_a_rivals, "a lease on something else";
    ErrorIsConfirmed by lost::a_completion_cut_anywhere_is_repeated, "expected Done, not Busy";
    CutIsConfig by lost::connecting_cut_anywhere_can_be_repeated, "gives up for good";
    HalfIsBusy by lost::a_reply_cut_in_the_middle_is_no_answer, "expected Acquired, not Busy";
    SilenceIsDone by silent::a_black_hole_is_no_answer_and_passes, "the server said nothing, and the store answers";
    RefusedIsDone by silent::a_refused_connection_is_no_answer_and_passes, "the server said nothing, and the store answers";
    LastClaimWins by late::a_claim_applied_late_takes_nothing_from_a_rival, "by the holder of the last claim";
    AnyoneCompletes by late::a_completion_applied_late_is_fenced_off, "expected Busy, not Done";
}
