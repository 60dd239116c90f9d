//! Burned addresses: a bounded table of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::{Address, Host};
use crate::id::BurnReason;
use crate::time::Monotonic;

/// What is not to be dialled again, and why. The oldest burn makes room for the newest; addresses
/// that turned out to be ourselves go last, and never fade.
#[derive(Clone, Debug)]
pub(super) struct Burned {
    memory: Duration,
    capacity: usize,
    entries: BTreeMap<Address, (Monotonic, BurnReason)>,
    /// Whether it is ourselves, since when, and who: the first makes room first.
    pub(super) order: BTreeSet<(bool, Monotonic, Address)>,
    counts: BTreeMap<BurnReason, usize>,
}

impl Burned {
    pub(super) fn new(memory: Duration, capacity: usize) -> Self {
        Self {
            memory,
            capacity,
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Burns an address; returns the one that made room for it.
    pub(super) fn insert(
        &mut self,
        now: Monotonic,
        address: Address,
        reason: BurnReason,
    ) -> Option<Address> {
        self.remove(&address);
        let full = self.entries.len() >= self.capacity;
        let oldest = self.order.first().filter(|_| full).map(|(_, _, oldest)| *oldest);
        if let Some(oldest) = oldest {
            self.remove(&oldest);
        }
        self.entries.insert(address, (now, reason));
        self.order.insert((reason == BurnReason::Itself, now, address));
        *self.counts.entry(reason).or_default() += 1;
        oldest
    }

    pub(super) fn remove(&mut self, address: &Address) {
        let Some((at, reason)) = self.entries.remove(address) else { return };
        self.order.remove(&(reason == BurnReason::Itself, at, *address));
        if let Some(count) = self.counts.get_mut(&reason) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&reason);
            }
        }
    }

    /// Forgets the burns that have faded, each told to `gone`; returns how many did.
    pub(super) fn fade(&mut self, now: Monotonic, mut gone: impl FnMut(Address)) -> u64 {
        let mut faded = 0;
        while let Some((false, at, address)) = self.order.first().copied() {
            if now.since(at) < self.memory {
                break;
            }
            self.remove(&address);
            gone(address);
            faded += 1;
        }
        faded
    }

    /// Whether `address` turned out to be ourselves.
    pub(super) fn is_itself(&self, address: &Address) -> bool {
        matches!(self.entries.get(address), Some((_, BurnReason::Itself)))
    }

    /// Burned addresses of one host.
    pub(super) fn of(&self, host: Host) -> impl Iterator<Item = Address> + '_ {
        self.entries.range(ports(host)).map(|(address, _)| *address)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every burn, by address.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Address, &(Monotonic, BurnReason))> {
        self.entries.iter()
    }

    pub(super) fn counts(&self) -> &BTreeMap<BurnReason, usize> {
        &self.counts
    }

    /// When an address was burned, and why.
    pub(super) fn entry(&self, address: &Address) -> Option<(Monotonic, BurnReason)> {
        self.entries.get(address).copied()
    }

    pub(super) fn reason(&self, address: &Address) -> Option<BurnReason> {
        self.entries.get(address).map(|(_, reason)| *reason)
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
        burned.fade(start + Duration::from_secs(9), |_| {});
        assert!(burned.contains(&address(1)) && burned.contains(&address(2)));
        burned.fade(start + Duration::from_secs(10), |_| {});
        assert!(!burned.contains(&address(1)) && burned.contains(&address(2)));
        assert_eq!((burned.len(), burned.counts().len()), (1, 1));
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

    #[test]
    fn no_flood_of_burns_makes_us_forget_ourselves() {
        let mut burned = Burned::new(Duration::from_secs(10), 16);
        burned.insert(Monotonic::default(), address(200), BurnReason::Itself);
        for n in 0..100 {
            let now = Monotonic::new(Duration::from_millis(u64::from(n)));
            burned.insert(now, address(n), BurnReason::Refused);
        }
        assert!(burned.is_itself(&address(200)));
        assert_eq!(burned.len(), 16);
    }
}
