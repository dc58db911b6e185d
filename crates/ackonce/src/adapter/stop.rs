//! The moment at which a consumer stops.

use tokio_util::sync::CancellationToken;

/// Waits for the moment at which a consumer stops: its `shutdown`; or, once its intake has `ended` by itself, the end of the
/// messages that it has `in_hand`.
pub async fn until_stop(
    shutdown: &CancellationToken,
    ended: &CancellationToken,
    in_hand: impl Future<Output = ()>,
) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = ended.cancelled() => tokio::select! {
            () = shutdown.cancelled() => {}
            () = in_hand => {}
        },
    }
}
