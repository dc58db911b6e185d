//! Answers: which part of one is kept, how it is stored, and the body that goes to the client.

mod body;
mod headers;
mod keep;
mod stored;

pub use body::ResponseBody;
pub use headers::{Cookies, Headers};
pub(crate) use stored::encode;
pub use stored::{Kept, REPLAY_UNAVAILABLE, REPLAYED, RecordError, StoredResponse};
