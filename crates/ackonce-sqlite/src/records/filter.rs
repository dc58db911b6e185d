//! A filter, which rules out without a read of its table that a generation holds a record.
//!
//! It is a split block Bloom filter (<https://parquet.apache.org/docs/file-format/bloomfilter/>): it reads one block
//! per lookup, takes about 3 bytes per record, and errs for one in several thousand of the records that it does not
//! hold. The code is written by hand because it is short: record keys are evenly distributed hashes already, and the bytes
//! are a stored format.
//!
//! In the file a filter is split into parts, and the parts of all generations for the same record keys lie side by side: a
//! lookup of one key reads a few pages, however many generations there are. A connection that is used again and
//! again keeps the filters in memory.

use std::collections::HashSet;

use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::key::RecordKey;
use crate::error::rolled_back;

const BITS_PER_RECORD: usize = 22;
const WORDS: usize = 8;
/// The number of blocks in a part, which may have half as many more: a page of SQLite holds that without an overflow.
/// Each part costs the write of a page when its generation is sealed and when it is dropped.
const PART_BLOCKS: usize = 16;
/// The odd numbers of the specification; each picks one bit of one word.
const SALT: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The lookup of a record key, the same for all filters.
#[derive(Debug)]
pub(crate) struct Probe {
    position: u32,
    /// One bit in each word of the block.
    bits: [u32; WORDS],
}

impl Probe {
    pub(crate) fn of(record_key: &RecordKey) -> Self {
        let part = |n: usize| {
            u32::from_be_bytes([record_key[n], record_key[n + 1], record_key[n + 2], record_key[n + 3]])
        };
        let hash = part(8);
        Self { position: part(0), bits: SALT.map(|salt| 1 << (hash.wrapping_mul(salt) >> 27)) }
    }

    /// Maps a record key to its block; sorted keys map to sorted blocks.
    #[allow(clippy::cast_possible_truncation, reason = "the product's upper half is below `blocks`")]
    fn block(&self, blocks: usize) -> usize {
        ((u64::from(self.position) * blocks as u64) >> 32) as usize
    }

    fn part(&self, level: u32) -> i64 {
        (i64::from(self.position) << level) >> 32
    }

    fn is_in(&self, block: &[u32; WORDS]) -> bool {
        self.bits.iter().zip(block).all(|(bit, word)| word & bit != 0)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter(Vec<[u32; WORDS]>);

impl Filter {
    pub(crate) fn of(record_keys: &[RecordKey]) -> Self {
        let mut filter = Self(vec![[0; WORDS]; block_count(record_keys.len())]);
        for probe in record_keys.iter().map(Probe::of) {
            let block = probe.block(filter.0.len());
            for (word, bit) in filter.0[block].iter_mut().zip(probe.bits) {
                *word |= bit;
            }
        }
        filter
    }

    /// False if the generation certainly does not hold that record key.
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        probe.is_in(&self.0[probe.block(self.0.len())])
    }

    /// The number of times that the filter is halved into parts. Filters of one level have the same record keys in their
    /// parts.
    pub(crate) fn level(&self) -> u32 {
        (self.0.len() / PART_BLOCKS).max(1).ilog2()
    }

    pub(crate) fn write(&self, conn: &Connection, generation: i64) -> rusqlite::Result<()> {
        let level = self.level();
        let sql =
            "INSERT INTO main.ackonce_filters (level, part, generation, blocks) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = conn.prepare_cached(sql)?;
        for (part, blocks) in (0_i64..).zip(self.0.chunks(self.0.len() >> level)) {
            let bytes: Vec<u8> = blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
            statement.execute(params![level, part, generation, bytes])?;
        }
        Ok(())
    }

    /// Reads the filters of some generations of one level, in the given order, part by part as they lie in the file.
    pub(crate) fn read(conn: &Connection, level: u32, generations: &[i64]) -> Result<Vec<Self>> {
        let sql =
            "SELECT blocks FROM main.ackonce_filters WHERE level = ?1 AND part = ?2 AND generation = ?3";
        let mut statement = conn.prepare_cached(sql).map_err(reading)?;
        let mut filters: Vec<_> = generations.iter().map(|_| Self(Vec::new())).collect();
        for part in 0..1_u32 << level {
            for (filter, generation) in filters.iter_mut().zip(generations) {
                let bytes: Option<Vec<u8>> = statement
                    .query_row(params![level, part, generation], |r| r.get(0))
                    .optional()
                    .map_err(reading)?;
                filter.0.append(&mut blocks(&bytes.unwrap_or_default())?);
            }
        }
        match filters.iter().find(|filter| !is_block_count(filter.0.len())) {
            Some(filter) => Err(malformed(filter.0.len() * WORDS * 4)),
            None => Ok(filters),
        }
    }

    pub(crate) fn delete(conn: &Connection, generation: i64, level: u32) -> rusqlite::Result<()> {
        let sql = "DELETE FROM main.ackonce_filters WHERE level = ?1 AND part = ?2 AND generation = ?3";
        let mut statement = conn.prepare_cached(sql)?;
        (0..1_u32 << level).try_for_each(|part| statement.execute(params![level, part, generation]).map(drop))
    }
}

/// The generations of that level whose filters in the file rule the record key out.
pub(crate) fn excluded_by(conn: &Connection, level: u32, probe: &Probe) -> Result<HashSet<i64>> {
    let sql = "SELECT generation, blocks FROM main.ackonce_filters WHERE level = ?1 AND part = ?2";
    let mut statement = conn.prepare_cached(sql).map_err(reading)?;
    let mut rows = statement.query(params![level, probe.part(level)]).map_err(reading)?;
    let mut excluded = HashSet::new();
    while let Some(row) = rows.next().map_err(reading)? {
        let (generation, bytes): (i64, Vec<u8>) =
            row.get(0).and_then(|g| Ok((g, row.get(1)?))).map_err(reading)?;
        let blocks = blocks(&bytes)?;
        // Each part before this one holds as many blocks.
        let block = probe.block(blocks.len() << level) % blocks.len();
        if !probe.is_in(&blocks[block]) {
            excluded.insert(generation);
        }
    }
    Ok(excluded)
}

/// The number of blocks for so many records: the nearest power of two or one and a half of it, so that generations of
/// about the same size have filters of the same size.
fn block_count(records: usize) -> usize {
    let exact = (records * BITS_PER_RECORD / (WORDS * 32)).max(1);
    let power = 1 << exact.ilog2();
    match 4 * exact / power {
        4 => power,
        5 | 6 => power + power / 2,
        _ => 2 * power,
    }
}

fn is_block_count(blocks: usize) -> bool {
    blocks.is_power_of_two() || (blocks.is_multiple_of(3) && (blocks / 3).is_power_of_two())
}

fn blocks(bytes: &[u8]) -> Result<Vec<[u32; WORDS]>> {
    let blocks = bytes.chunks_exact(WORDS * 4);
    if bytes.is_empty() || !blocks.remainder().is_empty() {
        return Err(malformed(bytes.len()));
    }
    let words = |block: &[u8]| {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words
    };
    Ok(blocks.map(words).collect())
}

fn malformed(bytes: usize) -> Error {
    Error::new(ErrorKind::Corrupt, format!("sqlite: a filter of {bytes} bytes, which is not possible"))
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("reading a filter", error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce::store::Token;

    use super::*;
    use crate::create_schema;

    #[test]
    fn what_is_held_is_never_denied_and_little_else_is_taken_for_it() {
        let conn = Connection::open_in_memory().unwrap();
        create_schema(&conn).unwrap();
        for (generation, records) in [(1, 0), (2, 1), (3, 100), (4, 1100), (5, 20_000)] {
            let record_keys: Vec<RecordKey> = (0..records).map(|_| Token::random().0).collect();
            let filter = Filter::of(&record_keys);
            filter.write(&conn, generation).unwrap();
            let level = filter.level();
            assert_eq!(Filter::read(&conn, level, &[generation]).unwrap(), [filter], "its stored form");
            let filter = Filter::of(&record_keys);
            let excluded = |record_key: &RecordKey| {
                excluded_by(&conn, level, &Probe::of(record_key)).unwrap().contains(&generation)
            };
            assert!(!record_keys.iter().any(excluded), "{records}");
            let strangers = [(); 10_000].map(|()| Token::random().0);
            for record_key in record_keys.iter().chain(&strangers[..100]) {
                assert_eq!(
                    filter.may_hold(&Probe::of(record_key)),
                    !excluded(record_key),
                    "in memory and in the file"
                );
            }
            let wrong = strangers.iter().filter(|record_key| !excluded(record_key)).count();
            assert!(wrong < 20, "{wrong} of 10000 with {records} records");
            Filter::delete(&conn, generation, level).unwrap();
        }
        let left: i64 = conn.query_row("SELECT count(*) FROM ackonce_filters", [], |r| r.get(0)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn a_size_is_near_what_the_records_need() {
        for records in 100..100_000 {
            let (size, bits) = (block_count(records), records * BITS_PER_RECORD);
            assert!(is_block_count(size), "{size}");
            assert!((bits * 3 / 4..=bits * 4 / 3).contains(&(size * WORDS * 32)), "{records}: {size}");
        }
        assert!(!is_block_count(0) && !is_block_count(9));
    }
}
