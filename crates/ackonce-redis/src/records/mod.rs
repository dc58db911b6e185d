//! Records: their names, their bytes, the scripts that read and write them, and the scripts' replies.

mod key;
mod names;
mod reply;
mod row;
mod script;

pub(crate) use key::{Field, Secret, Secrets, TAGS, field, root, secret_key, tag};
pub(crate) use names::{beginning, kept, known};
pub(crate) use reply::{Reply, misread};
pub(crate) use row::{Row, state_code, state_of};
pub(crate) use script::{CLAIM, Call, Eviction, Mode, REPAIR, SETTLE, Script, WALK};
