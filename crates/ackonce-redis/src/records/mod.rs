//! Records: their names, their bytes, the scripts that read and write them, and the scripts' replies.

mod key;
mod reply;
mod row;
mod script;

pub(crate) use key::{Field, Secret, Secrets, TAGS, field, root, secret_key, tag};
pub(crate) use reply::{Reply, misread};
pub(crate) use row::Row;
pub(crate) use script::{CLAIM, Call, Eviction, REPAIR, SETTLE, Script, WALK};
