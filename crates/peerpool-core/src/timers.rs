//! Timers as a table: setting one replaces it, nothing is cancelled by handle.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Monotonic;

/// Deadlines by key.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    due: BTreeMap<K, Monotonic>,
    order: BTreeSet<(Monotonic, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn set(&mut self, key: K, at: Monotonic) {
        self.unset(key);
        self.due.insert(key, at);
        self.order.insert((at, key));
    }

    pub(crate) fn unset(&mut self, key: K) {
        if let Some(at) = self.due.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    /// Removes every timer whose key lies in the range.
    pub(crate) fn unset_range(&mut self, keys: std::ops::RangeInclusive<K>) {
        let keys: Vec<K> = self.due.range(keys).map(|(key, _)| *key).collect();
        for key in keys {
            self.unset(key);
        }
    }

    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop(&mut self, now: Monotonic) -> Option<K> {
        let (at, key) = self.order.first().copied()?;
        if at > now {
            return None;
        }
        self.unset(key);
        Some(key)
    }
}
