//! Stores with records in them.

use std::time::Duration;

use ackonce::Scope;
use ackonce::store::{Attempt, ClaimRequest, Claimed, DeduplicatorExt, Lease, Settle, Settlement, Token};
use ackonce_cli::stores::{Opened, StoreUrl};
use ackonce_testkit::servers::address;

pub(crate) const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// A store that only one test has.
pub(crate) struct Seeded {
    pub(crate) url: String,
    pub(crate) store: Opened,
    _dir: Option<tempfile::TempDir>,
}

impl Seeded {
    pub(crate) async fn sqlite() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("dedup.db").display());
        Some(Self::open(url, Some(dir)).await)
    }

    pub(crate) async fn redis(name: &str) -> Option<Self> {
        let url = address("ACKONCE_TEST_REDIS")?;
        Some(Self::open(format!("{url}?prefix=operate-{name}-{}", std::process::id()), None).await)
    }

    pub(crate) async fn postgres(name: &str) -> Option<Self> {
        let url = address("ACKONCE_TEST_POSTGRES")?;
        let url = format!("{url}?schema=operate_{name}_{}", std::process::id());
        super::program::output(&["schema", "--apply", "--yes", "--store", &url]);
        Some(Self::open(url, None).await)
    }

    async fn open(url: String, dir: Option<tempfile::TempDir>) -> Self {
        let store = url.parse::<StoreUrl>().unwrap().open().await.unwrap();
        Self { url, store, _dir: dir }
    }

    pub(crate) fn of(url: String, store: Opened) -> Self {
        Self { url, store, _dir: None }
    }

    pub(crate) async fn claim(&self, id: &str, lease: Duration, window: Duration) -> Lease {
        let key = Scope::new("billing").unwrap().key(id.to_owned()).unwrap();
        let request = ClaimRequest { key, token: Token::random(), lease, window, fingerprint: None };
        match self.store.deduplicator().claim_one(request).await.unwrap() {
            Claimed::Acquired(lease) => lease,
            other => panic!("{id}: {other:?}"),
        }
    }

    pub(crate) async fn settle(&self, lease: &Lease, action: Settle) {
        self.store.deduplicator().settle_one(Settlement::new(lease, action)).await.unwrap();
    }

    /// A message whose first attempt ended so.
    pub(crate) async fn ended(&self, id: &str, action: Settle) {
        let lease = self.claim(id, Duration::from_secs(60), WEEK).await;
        self.settle(&lease, action).await;
    }

    /// So many buried messages `m0`, `m1`, …
    pub(crate) async fn bury(&self, messages: usize, reason: &str, stem: &str) {
        let scope = Scope::new("billing").unwrap();
        let all: Vec<_> = (0..messages).collect();
        let store = self.store.deduplicator();
        for some in all.chunks(1000) {
            let requests: Vec<_> = some
                .iter()
                .map(|n| ClaimRequest {
                    key: scope.key(format!("{stem}{n}")).unwrap(),
                    token: Token::random(),
                    lease: Duration::from_secs(60),
                    window: WEEK,
                    fingerprint: None,
                })
                .collect();
            let leases = store.claim(&requests).await.unwrap();
            let burials: Vec<_> = leases
                .iter()
                .map(|claimed| match claimed {
                    Claimed::Acquired(lease) => Settlement::new(lease, bury(reason)),
                    other => panic!("{other:?}"),
                })
                .collect();
            store.settle(&burials).await.unwrap();
        }
    }
}

pub(crate) fn bury(reason: &str) -> Settle {
    Settle::Bury { window: WEEK, reason: reason.to_owned() }
}

pub(crate) fn complete() -> Settle {
    Settle::Complete { window: WEEK, outcome: None }
}

pub(crate) fn back_off(not_before: Duration) -> Settle {
    Settle::Release { attempt: Attempt::Counts, window: WEEK, not_before }
}
