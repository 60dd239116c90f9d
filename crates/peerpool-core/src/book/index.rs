//! An index of things by name: a hash table that holds numbers, while the names lie with whatever
//! the numbers stand for. The hash is keyed by whoever asks, so nobody outside can choose names
//! that fall together; the order in it is never read, so nothing depends on the key.

/// Where nothing is.
const NONE: u32 = u32::MAX;
/// Slots of the smallest table.
const LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    id: u32,
}

const EMPTY: Slot = Slot { hash: 0, id: NONE };

/// Open addressing with linear probing; at most three slots of four are taken, so that a search
/// reads a cache line or two.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// None at first, then a power of two.
    slots: Vec<Slot>,
    len: usize,
}

impl Index {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Which id with this hash `is` the one sought.
    pub(super) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.id == NONE {
                return None;
            }
            if slot.hash == hash && is(slot.id) {
                return Some(slot.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// Takes in an id that is not in it.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.put(Slot { hash, id });
        self.len += 1;
    }

    /// Puts `new` in the place of `old`, which has the same hash.
    pub(super) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.slots[at].id = new;
        }
    }

    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let Some(mut hole) = self.position(hash, id) else { return };
        let mask = self.slots.len() - 1;
        let mut at = hole;
        // Whoever comes after and would be sought at the hole or before it moves up.
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.id == NONE {
                break;
            }
            let home = slot.hash as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
    }

    fn position(&self, hash: u32, id: u32) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at].id {
                NONE => return None,
                here if here == id => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].id != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let new = vec![EMPTY; (self.slots.len() * 2).max(LEAST)];
        let old = std::mem::replace(&mut self.slots, new);
        old.into_iter().filter(|slot| slot.id != NONE).for_each(|slot| self.put(slot));
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
