//! The example, which checks its own stock. The suite of inbox, guard and outbox is `tests/tests/drivers`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/orders.rs"]
mod example;

#[tokio::test]
async fn each_order_takes_one_piece_and_is_announced_once() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    example::run(&url).await.unwrap();
}
