//! A real cluster of three nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{DeduplicatorExt, Inspect, Repeat as R, Settle};
use ackonce::{Deduplicator, ErrorKind as K};
use ackonce_redis::{RedisConfig, RedisStore};
use ackonce_testkit::conformance::{Breakable, Unbreakable, swept};
use ackonce_testkit::{conformance, inspection};
use async_trait::async_trait;
use common::{Server, acquired, error, request_for, until};

struct Cluster(Vec<Server>);

impl Cluster {
    async fn start() -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(
                Server::start(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &common::free_port().to_string(),
                ])
                .await?,
            );
        }
        let share = 16384 / nodes.len();
        for (n, node) in nodes.iter().enumerate() {
            let end = if n + 1 == nodes.len() { 16383 } else { (n + 1) * share - 1 };
            node.say::<()>(&format!("CLUSTER ADDSLOTSRANGE {} {end}", n * share)).await.unwrap();
            node.say::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1)).await.unwrap();
        }
        for node in &nodes[1..] {
            let bus: String = node.say::<Vec<String>>("CONFIG GET cluster-port").await.unwrap().remove(1);
            nodes[0].say::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port)).await.unwrap();
        }
        let cluster = Self(nodes);
        for node in &cluster.0 {
            until("the nodes know each other", async || {
                let info: String = node.say("CLUSTER INFO").await.unwrap();
                let slots: String = node.say("CLUSTER NODES").await.unwrap();
                info.contains("cluster_state:ok")
                    && slots.lines().filter(|l| l.contains("connected ")).count() == 3
            })
            .await;
        }
        Some(cluster)
    }

    fn config(&self) -> RedisConfig {
        let nodes: Vec<_> = self.0.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        RedisConfig::new(format!("redis+cluster://{}", nodes.join(",")))
            .with_response_timeout(Duration::from_secs(5))
    }
}

#[async_trait]
impl conformance::Fixture for Cluster {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.config().connect().await.unwrap())
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.open().await
    }

    /// Not asked for: see below.
    async fn breakable(&self) -> Box<dyn Breakable> {
        Box::new(Unbreakable(self.open().await))
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        swept(&self.config().connect().await.unwrap()).await
    }
}

/// A client learns from the nodes where they are, so no proxy stays between them; failures of nodes have tests of their
/// own below.
const NOT_HERE: [&str; 2] =
    ["an_outage_is_an_error_and_passes", "an_error_is_safe_only_where_nothing_was_applied"];

/// A place in the cluster of one property's own.
struct Place(RedisConfig);

#[async_trait]
impl inspection::Fixture for Place {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.0.clone().connect().await.unwrap())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_passes_the_suites() {
    let cluster = or_return!(Cluster::start().await);
    let report = conformance::run_all_but(&NOT_HERE, &cluster).await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    // The properties of the inspection suite that walk through all slots.
    let place = || Place(cluster.config().with_prefix(common::name()));
    inspection::counting::every_state_is_counted(&place()).await;
    inspection::listing::every_record_is_listed_once(&place()).await;
    inspection::sweeping::a_sweep_drops_what_has_expired(&place()).await;
    for node in &cluster.0 {
        assert_ne!(node.info("db0").await, "", "every node has some of the records");
    }
    let weaknesses = cluster.config().connect().await.unwrap().describe().weaknesses;
    assert!(weaknesses.len() == 1 && weaknesses[0].contains("failover"), "{weaknesses:?}");
    assert_eq!(error(cluster.0[0].config().connect().await), (K::Config, R::Never));
}

/// While a slot moves, a bucket may be here and its children there. That must be an error; the other node
/// would take the children for absent, and grant a done message.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_half_moved_grants_nothing_twice() {
    let cluster = or_return!(Cluster::start().await);
    let store = cluster.config().connect().await.unwrap();
    let keys = common::crowd(150);
    let requests: Vec<_> = keys.iter().map(request_for).collect();
    for answer in store.claim(&requests).await.unwrap() {
        common::complete(&store, &acquired(answer)).await;
    }

    let mut names: Vec<Vec<String>> = Vec::new();
    for node in &cluster.0 {
        names.push(node.say("KEYS ackonce:{*").await.unwrap());
    }
    let from = names.iter().position(|names| !names.is_empty()).unwrap();
    let (source, target) = (&cluster.0[from], &cluster.0[(from + 1) % 3]);
    let mut names = names.swap_remove(from);
    names.sort_by_key(String::len);
    assert!(names.len() == 5, "a root and its children: {names:?}");
    let slot: u32 = source.say(&format!("CLUSTER KEYSLOT {}", names[0])).await.unwrap();
    let id = async |node: &Server| node.say::<String>("CLUSTER MYID").await.unwrap();
    let (source_id, target_id) = (id(source).await, id(target).await);
    target.say::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")).await.unwrap();
    source.say::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")).await.unwrap();
    let move_key = async |name: &str| {
        source.say::<()>(&format!("MIGRATE 127.0.0.1 {} {name} 0 5000", target.port)).await.unwrap();
    };

    move_key(&names[0]).await;
    for key in &keys[..10] {
        let answer = store.claim_one(request_for(key)).await;
        assert_eq!(error(answer), (K::Unavailable, R::Unknown), "its bucket is at the other node");
    }
    assert!(store.look(&keys[0]).await.is_err());
    for name in &names[1..] {
        move_key(name).await;
    }
    for node in &cluster.0 {
        node.say::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).await.unwrap();
    }
    assert_all_done(&store, &keys).await;
    assert_all_done(&cluster.config().connect().await.unwrap(), &keys).await;
}

async fn assert_all_done(store: &RedisStore, keys: &[ackonce::Key]) {
    for key in keys {
        let answer = store.claim_one(request_for(key)).await.unwrap();
        assert!(matches!(answer, ackonce::store::Claimed::Done(_)), "{answer:?}");
    }
}
