//! The other side: one key for each operation, however often it is sent.

mod answer;
mod key;
mod middleware;

pub use answer::AnswerKind;
pub use key::OperationKey;
pub use middleware::IdempotencyKeys;
