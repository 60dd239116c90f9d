//! Burned addresses: a bounded table of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::{Address, Host};
use crate::id::BurnReason;
use crate::time::Monotonic;

/// What is not to be dialled again, and why. The oldest burn makes room for the newest.
#[derive(Clone, Debug)]
pub(super) struct Burned {
    memory: Duration,
    capacity: usize,
    entries: BTreeMap<Address, (Monotonic, BurnReason)>,
    by_age: BTreeSet<(Monotonic, Address)>,
    counts: BTreeMap<BurnReason, usize>,
}

impl Burned {
    pub(super) fn new(memory: Duration, capacity: usize) -> Self {
        Self {
            memory,
            capacity,
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, now: Monotonic, address: Address, reason: BurnReason) {
        self.remove(&address);
        if self.entries.len() >= self.capacity {
            if let Some((_, oldest)) = self.by_age.first().copied() {
                self.remove(&oldest);
            }
        }
        self.entries.insert(address, (now, reason));
        self.by_age.insert((now, address));
        *self.counts.entry(reason).or_default() += 1;
    }

    fn remove(&mut self, address: &Address) {
        let Some((at, reason)) = self.entries.remove(address) else { return };
        self.by_age.remove(&(at, *address));
        if let Some(count) = self.counts.get_mut(&reason) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&reason);
            }
        }
    }

    /// Whether `address` may not be dialled. A burn that has faded is forgotten here; an address
    /// that turned out to be ourselves never fades.
    pub(super) fn holds(&mut self, now: Monotonic, address: &Address) -> bool {
        match self.entries.get(address) {
            None => false,
            Some((_, BurnReason::Itself)) => true,
            Some((at, _)) if now.since(*at) < self.memory => true,
            Some(_) => {
                self.remove(address);
                false
            }
        }
    }

    /// Burned ports of one host.
    pub(super) fn ports_of(&self, host: Host) -> usize {
        self.entries.range(ports(host)).count()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn counts(&self) -> &BTreeMap<BurnReason, usize> {
        &self.counts
    }

    pub(super) fn contains(&self, address: &Address) -> bool {
        self.entries.contains_key(address)
    }
}

/// Every address of a host.
pub(super) fn ports(host: Host) -> std::ops::RangeInclusive<Address> {
    Address { host, port: 0 }..=Address { host, port: u16::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Address {
        format!("1.2.3.{n}:8333").parse().expect("an address")
    }

    #[test]
    fn burns_fade_but_ourselves_never() {
        let mut burned = Burned::new(Duration::from_secs(10), 16);
        let start = Monotonic::default();
        burned.insert(start, address(1), BurnReason::Refused);
        burned.insert(start, address(2), BurnReason::Itself);
        let later = start + Duration::from_secs(9);
        assert!(burned.holds(later, &address(1)) && burned.holds(later, &address(2)));
        let later = start + Duration::from_secs(10);
        assert!(!burned.holds(later, &address(1)) && burned.holds(later, &address(2)));
        assert_eq!(burned.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut burned = Burned::new(Duration::from_secs(10), 16);
        for n in 0..100 {
            let now = Monotonic::new(Duration::from_millis(u64::from(n)));
            burned.insert(now, address(n), BurnReason::Refused);
        }
        assert_eq!((burned.len(), burned.counts()[&BurnReason::Refused]), (16, 16));
        assert!(burned.contains(&address(99)) && !burned.contains(&address(83)));
    }
}
