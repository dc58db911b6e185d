//! Records: their key, their columns, and the statements that read and write them.

mod key;
mod rows;
mod schema_name;
mod texts;

pub(crate) use key::{Id, Salt};
pub(crate) use rows::{RowState, Stored, decode, half, now, whole};
pub use schema_name::SchemaName;
pub(crate) use texts::{BY_INDEX, IN_ORDER, LIST, LOOK, NOW, STATE, SWEEP, Texts, VERSION, millis};
