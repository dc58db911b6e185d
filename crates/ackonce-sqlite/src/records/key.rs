//! The key of a record in the file: 128 bits of a hash over the message key's digest and a secret of the file.
//!
//! It is half as long as the digest itself, which is most of the size of a record. Senders do not know the secret, so
//! they cannot construct two IDs with the same record key; the chance that two of a billion share one is 1 in 10^21.

use ackonce::Result;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::error::rolled_back;

/// A record's key in the file. It is evenly distributed, so parts of it serve as hashes.
pub(crate) type RecordKey = [u8; 16];

/// The file's secret, hashed ahead: computing a record key then costs one round of the hash.
#[derive(Clone)]
pub(crate) struct Secret(Sha256);

impl Secret {
    /// Reads the secret, which was made with the tables. Without it no record can be found again.
    pub(crate) fn read(conn: &Connection) -> Result<Self> {
        let secret: [u8; 64] = conn
            .prepare_cached("SELECT value FROM main.ackonce_meta WHERE name = 'secret'")
            .and_then(|mut s| s.query_row([], |r| r.get(0)))
            .map_err(|e| rolled_back("reading the file's secret", e))?;
        Ok(Self(Sha256::new_with_prefix(secret)))
    }

    pub(crate) fn record_key(&self, digest: &[u8; 32]) -> RecordKey {
        let hash: [u8; 32] = self.0.clone().chain_update(digest).finalize().into();
        let mut record_key = [0; 16];
        record_key.copy_from_slice(&hash[..16]);
        record_key
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
