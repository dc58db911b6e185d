//! The rest of a body that was refused.

use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::runtime::Handle;

use super::Limits;

/// Reads the rest of a refused request's body and drops it, in a task beside the answer, up to [`Limits::max_rest`] bytes
/// and for [`Limits::timeout`] at most. So a client that writes all of its body before it reads the answer gets
/// the answer, and one that reads at once has it at once.
///
/// Nothing is read where it would help nobody: of a client that waits for `100 Continue`, since to read is to ask for the
/// body, and of a body that announces more than the limit.
pub(crate) fn drop_rest<B>(headers: &HeaderMap, body: B, limits: Limits)
where
    B: Body<Data: Send> + Send + 'static,
{
    if !waits_for_continue(headers) {
        drop_sent(body, limits);
    }
}

/// True if a client may be waiting to be asked for the body.
pub(super) fn waits_for_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The same for a body that is on its way.
pub(super) fn drop_sent<B>(body: B, limits: Limits)
where
    B: Body<Data: Send> + Send + 'static,
{
    if limits.max_rest == 0 || body.is_end_stream() || body.size_hint().lower() > limits.max_rest as u64 {
        return;
    }
    // Outside a runtime there is no connection either.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(tokio::time::timeout(limits.timeout, read(body, limits.max_rest)));
    }
}

async fn read<B: Body>(body: B, most: usize) {
    let mut body = std::pin::pin!(body);
    let mut len = 0_usize;
    while let Some(Ok(frame)) = body.frame().await {
        let more = frame.data_ref().map_or(0, bytes::Buf::remaining);
        len = len.saturating_add(more);
        if len > most {
            return;
        }
    }
}
