//! Signatures: secrets, algorithms, and the scheme that most providers share.

mod mac;
mod scheme;
mod secret;
mod template;

pub use mac::{Algorithm, Encoding};
pub(crate) use mac::{SignatureKey, as_is, base64, keys, signer};
pub(crate) use scheme::{Proof, Scheme, header};
pub use secret::Secret;
pub(crate) use secret::checked;
pub(crate) use template::{Part, Template, Timestamp};
