//! A relay whose sink is away for a minute.

use std::time::Duration;

use ackonce_tests::until;

use crate::drains::Drain;
use crate::effects;
use crate::feeds::{Feed, relay};
use crate::running::Running;

const MESSAGES: usize = 5000;
/// Until the relay has taken in as much as it does without a sink.
const FULL_AFTER: Duration = Duration::from_secs(6);
const REST_OF_THE_MINUTE: Duration = Duration::from_secs(54);

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_for_a_minute_costs_nothing_and_loses_nothing() {
    let Some(feed) = Feed::kafka().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let drain = Drain::http(dir.path());
    let Drain::Http { address, dir: effects } = &drain else { return };
    let ids: Vec<_> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
    feed.publish(&ids).await;
    let mut command = relay(&feed.url(0), &drain.url(), dir.path());
    let mut relay = Running::start(command.args(["--order", "key", "--backoff", "100ms..2s"]));
    tokio::time::sleep(FULL_AFTER).await;
    let (time, memory) = relay.usage();
    assert!(memory > 0, "it has ended");
    tokio::time::sleep(REST_OF_THE_MINUTE).await;
    let (time, memory) = (relay.usage().0 - time, relay.usage().1.saturating_sub(memory));
    println!("54 s without a sink: {} ms of processor time, {} KiB more memory", time * 10, memory * 4);
    assert!(memory * 4 < 32 << 10, "it grows");
    assert!(time < 1350, "it spins: a quarter of the time of one core");
    let _sink = Running::start(&mut effects::http_sink(address, effects));
    until("all took effect", || effects::read(effects).len() == MESSAGES).await;
    assert_eq!(relay.terminate(), Some(0));
    assert!(effects::read(effects).values().all(|keys| keys.len() == 1));
}
