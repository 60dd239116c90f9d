//! An index of things by name: a hash table that holds numbers, while the names lie with whatever
//! the numbers stand for. The hash is keyed by whoever asks, so nobody outside can choose names
//! that fall together; the order in it is never read, so nothing depends on the key.

/// Where nothing is.
const NONE: u32 = u32::MAX;
/// Cells of the smallest table.
const LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    id: u32,
}

const EMPTY: Cell = Cell { hash: 0, id: NONE };

/// Open addressing with linear probing; at most three cells of four are taken, so that a search
/// reads a cache line or two.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// None at first, then a power of two.
    cells: Vec<Cell>,
    len: usize,
}

impl Index {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Which id with this hash `is` the one sought.
    pub(super) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.cells.is_empty() {
            return None;
        }
        let mask = self.cells.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let cell = self.cells[at];
            if cell.id == NONE {
                return None;
            }
            if cell.hash == hash && is(cell.id) {
                return Some(cell.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes in an id that is not in it.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        if (self.len + 1) * 4 > self.cells.len() * 3 {
            self.grow();
        }
        self.put(Cell { hash, id });
        self.len += 1;
    }

    /// Puts `new` in the place of `old`, which has the same hash.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.cells[at].id = new;
        }
    }

    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let Some(mut hole) = self.position(hash, id) else { return };
        let mask = self.cells.len() - 1;
        let mut at = hole;
        // Whoever comes after and would be sought at the hole or before it moves up.
        loop {
            at = (at + 1) & mask;
            let cell = self.cells[at];
            if cell.id == NONE {
                break;
            }
            let home = cell.hash as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.cells[hole] = cell;
                hole = at;
            }
        }
        self.cells[hole] = EMPTY;
        self.len -= 1;
    }

    fn position(&self, hash: u32, id: u32) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let mask = self.cells.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.cells[at].id {
                NONE => return None,
                here if here == id => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn put(&mut self, cell: Cell) {
        let mask = self.cells.len() - 1;
        let mut at = cell.hash as usize & mask;
        while self.cells[at].id != NONE {
            at = (at + 1) & mask;
        }
        self.cells[at] = cell;
    }

    fn grow(&mut self) {
        let new = vec![EMPTY; (self.cells.len() * 2).max(LEAST)];
        let old = std::mem::replace(&mut self.cells, new);
        old.into_iter().filter(|cell| cell.id != NONE).for_each(|cell| self.put(cell));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    /// Names are numbers; few hashes, so that most names share one, and runs wrap around.
    #[test]
    fn behaves_as_a_map_under_random_operations() {
        for hashes in [3, 40, 1 << 31] {
            let mut rng = Rng::from_u64(hashes as u64);
            let hash = |name: u32| u32::MAX - name.wrapping_mul(0x9e37_79b9) % hashes as u32;
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for _ in 0..20_000 {
                let name = rng.below(200) as u32;
                // An id is its name and a generation.
                let found = index.find(hash(name), |id| id / 1000 == name);
                assert_eq!(found, model.get(&name).copied());
                let new = name * 1000 + rng.below(1000) as u32;
                match found {
                    None => index.insert(hash(name), new),
                    Some(old) if rng.chance(0.3) => index.replace(hash(name), old, new),
                    Some(old) => {
                        index.remove(hash(name), old);
                        model.remove(&name);
                        continue;
                    }
                }
                model.insert(name, new);
            }
            assert_eq!(index.len(), model.len());
            assert!((0..200).all(|name| {
                index.find(hash(name), |id| id / 1000 == name) == model.get(&name).copied()
            }));
        }
    }
}
