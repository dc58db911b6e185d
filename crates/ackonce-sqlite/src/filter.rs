//! What tells, without a look into its table, that a generation does not hold a record.
//!
//! A split block Bloom filter (<https://parquet.apache.org/docs/file-format/bloomfilter/>): one cache line per
//! question, 2 bytes per record, wrong with about 1 in 1000 of the records it does not hold. Written by
//! hand because it is 30 lines: names are evenly distributed hashes already, and its bytes are a stored format.

use crate::filed::Filed;

const BITS_PER_RECORD: usize = 16;
const WORDS: usize = 8;
/// Odd numbers of the specification; each picks one bit of one word.
const SALT: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A cache line holds two, and none lies in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(32))]
struct Block([u32; WORDS]);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Block>);

/// What a name asks of a filter: the same of all of them.
#[derive(Debug)]
pub(crate) struct Probe {
    place: u32,
    bits: [u32; WORDS],
}

impl Probe {
    pub(crate) fn of(name: &Filed) -> Self {
        let part = |n: usize| u32::from_be_bytes([name[n], name[n + 1], name[n + 2], name[n + 3]]);
        let hash = part(8);
        Self { place: part(0), bits: SALT.map(|salt| 1 << (hash.wrapping_mul(salt) >> 27)) }
    }

    /// Names in order ask for blocks in order.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the product's upper half is below the number of blocks"
    )]
    fn block(&self, blocks: usize) -> usize {
        ((u64::from(self.place) * blocks as u64) >> 32) as usize
    }
}

impl Filter {
    pub(crate) fn of(names: &[Filed]) -> Self {
        let blocks = (names.len() * BITS_PER_RECORD).div_ceil(WORDS * 32).max(1);
        let mut filter = Self(vec![Block([0; WORDS]); blocks]);
        for probe in names.iter().map(Probe::of) {
            let block = &mut filter.0[probe.block(blocks)];
            for (word, bit) in block.0.iter_mut().zip(probe.bits) {
                *word |= bit;
            }
        }
        filter
    }

    /// No branch between the words: most filters say no, at a word that nobody can guess, and many are asked.
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        let block = &self.0[probe.block(self.0.len())];
        block.0.iter().zip(probe.bits).fold(0, |missing, (word, bit)| missing | (bit & !word)) == 0
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|block| block.0).flat_map(u32::to_le_bytes).collect()
    }

    /// `None` if that is no filter's length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let blocks = bytes.chunks_exact(WORDS * 4);
        if bytes.is_empty() || !blocks.remainder().is_empty() {
            return None;
        }
        let words = |block: &[u8]| {
            let mut words = [0; WORDS];
            for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
                *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            Block(words)
        };
        Some(Self(blocks.map(words).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce::Token;

    use super::*;

    #[test]
    fn what_is_held_is_never_denied_and_little_else_is_taken_for_it() {
        for size in [0, 1, 100, 20_000] {
            let names: Vec<Filed> = (0..size).map(|_| Token::random().0).collect();
            let filter = Filter::of(&names);
            assert_eq!(Filter::from_bytes(&filter.to_bytes()).as_ref(), Some(&filter), "its stored form");
            assert!(names.iter().all(|name| filter.may_hold(&Probe::of(name))), "{size}");
            let wrong = (0..100_000).filter(|_| filter.may_hold(&Probe::of(&Token::random().0))).count();
            assert!(wrong < 400, "{wrong} of 100000 with {size} records");
        }
        assert_eq!(Filter::from_bytes(&[]), None);
        assert_eq!(Filter::from_bytes(&[0; 33]), None);
    }
}
