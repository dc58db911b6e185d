//! Upgraded connections: bytes both ways, until one side ends.

use std::time::Duration;

use ackonce::CancellationToken;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::idle::Activity;

/// All tunnels of a forwarder.
pub(super) struct Tunnels {
    open: TaskTracker,
    stop: CancellationToken,
    idle: Duration,
}

impl Tunnels {
    pub(super) fn new(idle: Duration) -> Self {
        Self { open: TaskTracker::new(), stop: CancellationToken::new(), idle }
    }

    /// Joins the two once both sides have changed their protocol. A side that never does leaves nothing behind: its
    /// connection ends, and with it the waiting.
    pub(super) fn open(&self, client: OnUpgrade, upstream: OnUpgrade, activity: Option<Activity>) {
        let (stop, idle) = (self.stop.clone(), self.idle);
        let joined = async move {
            let (client, upstream) = tokio::try_join!(client, upstream)?;
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
            Ok::<_, ackonce::BoxError>(())
        };
        let silent = async move {
            match activity {
                Some(activity) => activity.silent(idle).await,
                None => std::future::pending().await,
            }
        };
        self.open.spawn(async move {
            tokio::select! {
                ended = joined => if let Err(error) = ended {
                    tracing::debug!(target: "ackonce", error, "an upgraded connection broke");
                },
                () = silent => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Waits for the open ones for so long, then ends them.
    pub(super) async fn drain(&self, limit: Duration) {
        self.open.close();
        let _ = tokio::time::timeout(limit, self.open.wait()).await;
        self.stop.cancel();
        self.open.wait().await;
    }
}
