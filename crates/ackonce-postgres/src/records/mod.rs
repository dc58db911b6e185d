//! Records: their key, their columns, and the statements that read and write them.

mod columns;
mod key;
mod schema_name;
mod statements;
mod tid;

pub(crate) use columns::{RowState, Stored, decode, half, now, whole};
pub(crate) use key::{Id, Salt};
pub use schema_name::SchemaName;
pub(crate) use statements::{
    BY_INDEX, IN_ORDER, LIST, LIST_PAGES, LOOK, NOW, OPEN, STATE, SWEEP, Texts, VERSION, millis,
};
pub(crate) use tid::Tid;
