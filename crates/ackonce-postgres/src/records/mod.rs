//! Records: their key, their columns, and the statements that read and write them.

mod columns;
mod key;
mod schema_name;
mod statements;
mod tid;

pub(crate) use columns::{RowState, Stored, decode, decode_any, half, now, parse, whole};
pub(crate) use key::{Id, Salt, to_hex};
pub use schema_name::SchemaName;
pub(crate) use statements::{
    BY_INDEX, IN_ORDER, LIST, LIST_PAGES, LOOK, NOW, OPEN, STATE, SWEEP, Texts, VERSION, millis,
};
pub(crate) use tid::Tid;
