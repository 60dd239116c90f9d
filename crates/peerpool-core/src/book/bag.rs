//! A set that can be sampled uniformly in constant time.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// A set with random access: insertion, removal and sampling never scan.
#[derive(Clone, Debug)]
pub(super) struct Bag<T> {
    pub(super) items: Vec<T>,
    pub(super) places: BTreeMap<T, usize>,
}

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self { items: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Bag<T> {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn insert(&mut self, item: T) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.places.entry(item) {
            place.insert(self.items.len());
            self.items.push(item);
        }
    }

    pub(super) fn remove(&mut self, item: &T) {
        let Some(place) = self.places.remove(item) else { return };
        self.items.swap_remove(place);
        if let Some(moved) = self.items.get(place) {
            self.places.insert(*moved, place);
        }
    }

    pub(super) fn select(&self, rng: &mut Rng) -> Option<T> {
        if self.items.is_empty() {
            None
        } else {
            self.items.get(rng.below(self.items.len())).copied()
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_as_a_set_under_random_operations() {
        let mut rng = Rng::from_u64(3);
        let (mut bag, mut model) = (Bag::default(), BTreeSet::new());
        for _ in 0..10_000 {
            let item = rng.below(50);
            if rng.chance(0.5) {
                bag.insert(item);
                model.insert(item);
            } else {
                bag.remove(&item);
                model.remove(&item);
            }
            assert_eq!(bag.iter().collect::<BTreeSet<_>>(), model);
            assert_eq!(bag.len(), model.len());
            assert_eq!(bag.select(&mut rng).is_some(), !model.is_empty());
        }
    }
}
