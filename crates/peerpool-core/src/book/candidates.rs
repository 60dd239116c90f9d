//! The eligibility index of one class of addresses: candidates by netgroup, and which netgroups
//! are open. Selection draws an open netgroup first and an address in it second, so that an
//! operator with many addresses in one netgroup is drawn no more often than one with a single
//! address.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Address, Net, PerNet};
use crate::netgroup::NetGroup;
use crate::rng::Rng;

use super::bag::Bag;

#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) groups: BTreeMap<NetGroup, Bag<Address>>,
    /// Netgroups with a candidate that are open, by network.
    pub(super) open: PerNet<Bag<NetGroup>>,
    /// Netgroups with a candidate that are closed.
    pub(super) shut: Bag<NetGroup>,
    pub(super) len: usize,
}

impl Candidates {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, address: Address, closed: &BTreeSet<NetGroup>) {
        let group = NetGroup::of(&address.host);
        let bag = self.groups.entry(group).or_default();
        if bag.contains(&address) {
            return;
        }
        bag.insert(address);
        self.len += 1;
        self.set_closed(group, closed.contains(&group));
    }

    pub(super) fn remove(&mut self, address: &Address) {
        let group = NetGroup::of(&address.host);
        let Some(bag) = self.groups.get_mut(&group) else { return };
        let before = bag.len();
        bag.remove(address);
        self.len -= before - bag.len();
        if bag.is_empty() {
            self.groups.remove(&group);
            self.open[group.net()].remove(&group);
            self.shut.remove(&group);
        }
    }

    pub(super) fn set_closed(&mut self, group: NetGroup, closed: bool) {
        if !self.groups.contains_key(&group) {
            return;
        }
        let open = &mut self.open[group.net()];
        if closed {
            open.remove(&group);
            self.shut.insert(group);
        } else {
            self.shut.remove(&group);
            open.insert(group);
        }
    }

    /// An address of an open netgroup on one of `nets`.
    pub(super) fn select(&self, nets: &[Net], rng: &mut Rng) -> Option<Address> {
        let total: usize = nets.iter().map(|net| self.open[*net].len()).sum();
        if total == 0 {
            return None;
        }
        let mut draw = rng.below(total);
        for net in nets {
            let open = &self.open[*net];
            if draw < open.len() {
                let group = open.select(rng).expect("an open count above zero");
                return self.groups.get(&group).and_then(|bag| bag.select(rng));
            }
            draw -= open.len();
        }
        None
    }

    /// An address of a closed netgroup.
    pub(super) fn select_shut(&self, rng: &mut Rng) -> Option<Address> {
        let group = self.shut.select(rng)?;
        self.groups.get(&group).and_then(|bag| bag.select(rng))
    }

    pub(super) fn has_open(&self, nets: &[Net]) -> bool {
        nets.iter().any(|net| !self.open[*net].is_empty())
    }

    /// Candidates in open netgroups.
    pub(super) fn open_len(&self) -> usize {
        let groups = self.open.values().flat_map(Bag::iter);
        groups.filter_map(|group| self.groups.get(&group)).map(Bag::len).sum()
    }
}
