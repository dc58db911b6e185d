//! A server that does not answer, or is down.

use ackonce::store::Settled;

use super::Fixture;
use super::bench::{Bench, no_answer, unknown};
use crate::conformance::bench::{acquired, complete};
use crate::proxy::ProxyMode;

/// Silence is an error after the store's time-out: for a claim, also of a key that is done, for a settlement, and
/// for a call without a connection. Once the network is back, so is the store.
pub async fn a_black_hole_is_no_answer_and_passes(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let lease = bench.acquire(&request).await;
    let finished = bench.acquire(&bench.request("done")).await;
    bench.settle(&finished, complete()).await;

    bench.proxy.set(ProxyMode::Blackhole);
    unknown(bench.try_settle(&lease, complete()).await);
    no_answer(bench.try_claim(&bench.request("new")).await);
    assert!(bench.proxy.counts().requests.swallowed > 0, "the black hole swallowed something");
    bench.proxy.set(ProxyMode::Pass);
    bench.settle(&lease, complete()).await;

    for id in ["done", "new"] {
        bench.warm_up().await;
        bench.proxy.set(ProxyMode::Blackhole);
        unknown(bench.try_claim(&bench.request(id)).await);
        bench.proxy.set(ProxyMode::Pass);
        bench.claim(&bench.request(id)).await;
    }
}

/// A server that refuses new connections and closes the open ones is an error; afterwards all is as before.
pub async fn a_refused_connection_is_no_answer_and_passes(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let lease = bench.acquire(&request).await;
    bench.proxy.refuse().await;
    bench.proxy.cut_all().await;
    for _ in 0..3 {
        no_answer(bench.try_claim(&bench.request("new")).await);
    }
    no_answer(bench.try_settle(&lease, complete()).await);

    bench.proxy.accept().await.unwrap_or_else(|e| panic!("the proxy cannot come back: {e}"));
    let new = bench.request("new");
    acquired(bench.claim(&new).await, &new);
    assert_eq!(bench.acquire(&request).await, lease, "nothing was lost");
    assert_eq!(
        bench.near.settle(&lease, complete()).await,
        Settled::Yes,
        "the holder settles once the network is back"
    );
}
