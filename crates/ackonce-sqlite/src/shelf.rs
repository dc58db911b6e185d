//! The filters in memory: those of one size side by side, so that one look asks 32 of them.
//!
//! They are the same bits as in the file, turned: a row is one bit of 32 filters, and a name asks for the eight rows
//! of its bits. Filter by filter it would be a cache line for each, which is what most of the time at many
//! generations went to; no cache of a processor holds them all.

use std::collections::BTreeMap;
use std::fmt;

use crate::filter::{Filter, Probe, WORDS};

const COLUMNS: usize = 32;

/// A block of the filters of one shelf.
#[derive(Clone)]
#[repr(align(64))]
struct Rows([u32; WORDS * 32]);

/// Filters of one size, each by the seal of its generation.
struct Shelf {
    blocks: Vec<Rows>,
    /// A column that nobody has may hold the bits of who had it.
    seals: [Option<i64>; COLUMNS],
    used: u32,
}

impl Shelf {
    fn new(blocks: usize) -> Self {
        Self { blocks: vec![Rows([0; WORDS * 32]); blocks], seals: [None; COLUMNS], used: 0 }
    }

    fn column(&self, seal: Option<i64>) -> Option<usize> {
        self.seals.iter().position(|s| *s == seal)
    }

    fn put(&mut self, column: usize, seal: i64, filter: &Filter) {
        let bit = 1 << column;
        for (rows, block) in self.blocks.iter_mut().zip(filter.blocks()) {
            if self.used & bit != 0 {
                rows.0.iter_mut().for_each(|row| *row &= !bit);
            }
            for (rows, word) in rows.0.chunks_mut(32).zip(block) {
                let mut left = *word;
                while left != 0 {
                    rows[left.trailing_zeros() as usize] |= bit;
                    left &= left - 1;
                }
            }
        }
        self.used |= bit;
        self.seals[column] = Some(seal);
    }

    /// The columns that may hold it, a bit each.
    fn ask(&self, probe: &Probe) -> u32 {
        let rows = &self.blocks[probe.block(self.blocks.len())];
        probe.bits.iter().fold(u32::MAX, |held, bit| held & rows.0[usize::from(*bit)])
    }
}

/// All filters that are known, by size.
#[derive(Default)]
pub(crate) struct Shelves(Vec<Shelf>);

impl Shelves {
    pub(crate) fn put(&mut self, seal: i64, filter: &Filter) {
        let blocks = filter.blocks().len();
        let room = self.0.iter().position(|s| s.blocks.len() == blocks && s.column(None).is_some());
        let shelf = room.unwrap_or_else(|| {
            self.0.push(Shelf::new(blocks));
            self.0.len() - 1
        });
        let shelf = &mut self.0[shelf];
        if let Some(column) = shelf.column(None) {
            shelf.put(column, seal, filter);
        }
    }

    pub(crate) fn remove(&mut self, seal: i64) {
        for shelf in &mut self.0 {
            if let Some(column) = shelf.column(Some(seal)) {
                shelf.seals[column] = None;
            }
        }
        self.0.retain(|shelf| shelf.seals.iter().any(Option::is_some));
    }

    pub(crate) fn seals(&self) -> Vec<i64> {
        self.0.iter().flat_map(|shelf| shelf.seals).flatten().collect()
    }

    /// Of those names, which ones the generation of each seal may hold; by their numbers, in the same order.
    pub(crate) fn ask(&self, names: &[usize], probes: &[Probe]) -> BTreeMap<i64, Vec<usize>> {
        let mut held = BTreeMap::<_, Vec<_>>::new();
        for shelf in &self.0 {
            for &name in names {
                let mut columns = shelf.ask(&probes[name]);
                while columns != 0 {
                    if let Some(seal) = shelf.seals[columns.trailing_zeros() as usize] {
                        held.entry(seal).or_default().push(name);
                    }
                    columns &= columns - 1;
                }
            }
        }
        held
    }
}

impl fmt::Debug for Shelves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shelves").field(&self.seals()).finish()
    }
}

#[cfg(test)]
mod tests {
    use ackonce::Token;

    use super::*;
    use crate::filed::Filed;

    #[test]
    fn each_filter_answers_as_it_does_alone() {
        let mut shelves = Shelves::default();
        // Two sizes, more of one than a shelf has columns; some go and their columns are used again.
        let contents: Vec<(i64, Vec<Filed>)> = (1..=80)
            .map(|n| (n, (0..if n % 10 == 0 { 300 } else { 1000 }).map(|_| Token::random().0).collect()))
            .collect();
        for (generation, names) in &contents {
            shelves.put(*generation, &Filter::of(names));
            if generation % 3 == 0 {
                shelves.remove(generation - 2);
            }
        }
        let gone = |generation: i64| generation % 3 == 1 && generation < 79;
        let mut known = shelves.seals();
        known.sort_unstable();
        assert!(known.iter().copied().eq((1..=80).filter(|g| !gone(*g))), "{known:?}");
        for (generation, names) in &contents {
            let probes: Vec<_> = names.iter().map(Probe::of).collect();
            let numbers: Vec<_> = (0..names.len()).collect();
            let held = shelves.ask(&numbers, &probes);
            let own = held.get(generation).map_or(0, Vec::len);
            assert_eq!(own, if gone(*generation) { 0 } else { names.len() }, "{generation}");
            let others: usize = held.values().map(Vec::len).sum::<usize>() - own;
            assert!(others < names.len() / 10, "{others} of {} names are taken for others'", names.len());
        }
    }
}
