//! The eligibility index of one class of addresses: which may be dialled now, by their places in
//! the tables and by netgroup. Kept on change; selection samples from it and never scans.
//!
//! As in Core, a bucket is drawn first and a place in it second, so that whoever crowds a few
//! buckets is drawn no more often than those buckets are. An address of a netgroup that is closed
//! is passed over; where that happens too often, an open netgroup is drawn instead and an address
//! in it, so that an answer is found wherever there is one.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Net, PerNet};
use crate::netgroup::NetGroup;
use crate::rng::Rng;

use super::bag::Bag;
use super::record::{Record, RecordId, ServiceClass, Slab};
use super::tables::{BUCKETS, Place, Tables};

/// Draws before an open netgroup is drawn instead.
const DRAWS: usize = 32;
/// By how much likelier an address is taken after each that was passed over for its chance. Core's.
const PATIENCE: f64 = 1.2;

/// Candidates of one network and class of services, by their places.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// A bit for each place of each bucket.
    masks: Vec<u64>,
    /// Buckets with a bit set.
    filled: Vec<u16>,
    /// Where a bucket is in `filled`.
    at: Vec<u16>,
}

impl Lane {
    fn new() -> Self {
        Self { masks: vec![0; BUCKETS], filled: Vec::new(), at: vec![0; BUCKETS] }
    }

    pub(super) fn insert(&mut self, place: Place) {
        let (bucket, bit) = (place.bucket(), 1 << place.position());
        if self.masks[bucket] == 0 {
            self.at[bucket] = self.filled.len() as u16;
            self.filled.push(bucket as u16);
        }
        self.masks[bucket] |= bit;
    }

    fn remove(&mut self, place: Place) {
        let (bucket, bit) = (place.bucket(), 1 << place.position());
        let before = self.masks[bucket];
        self.masks[bucket] &= !bit;
        if before != 0 && self.masks[bucket] == 0 {
            let at = self.at[bucket];
            self.filled.swap_remove(at.into());
            if let Some(moved) = self.filled.get(usize::from(at)) {
                self.at[usize::from(*moved)] = at;
            }
        }
    }

    /// A place of the `nth` bucket that is filled.
    fn select(&self, nth: usize, rng: &mut Rng) -> (usize, usize) {
        let bucket = usize::from(self.filled[nth]);
        let mut mask = self.masks[bucket];
        for _ in 0..rng.below(mask.count_ones() as usize) {
            mask &= mask - 1;
        }
        (bucket, mask.trailing_zeros() as usize)
    }

    /// Bits set.
    pub(super) fn len(&self) -> usize {
        self.masks.iter().map(|mask| mask.count_ones() as usize).sum()
    }

    /// Whether the buckets said to be filled are those that are.
    pub(super) fn is_sound(&self) -> bool {
        let filled = self.masks.iter().filter(|mask| **mask != 0).count();
        let lies = |(at, bucket): (usize, &u16)| {
            let bucket = usize::from(*bucket);
            self.masks[bucket] != 0 && usize::from(self.at[bucket]) == at
        };
        filled == self.filled.len() && self.filled.iter().enumerate().all(lies)
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.masks[place.bucket()] & (1 << place.position()) != 0
    }
}

/// The candidates of a netgroup: those on IPv6, and those on its other network. A netgroup that
/// spans networks spans these.
#[derive(Clone, Debug, Default)]
pub(super) struct Members([Vec<RecordId>; 2]);

impl Members {
    /// Those on the same side as `net`.
    pub(super) fn on(&self, net: Net) -> &Vec<RecordId> {
        &self.0[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn on_mut(&mut self, net: Net) -> &mut Vec<RecordId> {
        &mut self.0[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

/// Who may be dialled, of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) lanes: BTreeMap<(Net, ServiceClass), Lane>,
    pub(super) groups: BTreeMap<NetGroup, Members>,
    /// Netgroups that are open, by network: one that spans two is on both, if it has candidates
    /// on both.
    pub(super) open: PerNet<Bag<NetGroup>>,
    /// Netgroups with a candidate that are closed.
    pub(super) shut: Bag<NetGroup>,
    pub(super) len: usize,
    /// Whether each of them has answered us.
    pub(super) answered: bool,
}

impl Candidates {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes in a record that is in none of these.
    pub(super) fn insert(
        &mut self,
        id: RecordId,
        record: &mut Record,
        closed: &BTreeSet<NetGroup>,
    ) {
        let lane = self.lanes.entry(record.lane()).or_insert_with(Lane::new);
        record.places().iter().for_each(|place| lane.insert(*place));
        let (group, net) = (record.group, record.address.net());
        let members = self.groups.entry(group).or_default().on_mut(net);
        record.spot = members.len() as u32;
        members.push(id);
        self.len += 1;
        if let [_] = members[..] {
            if closed.contains(&group) {
                self.shut.insert(group);
            } else {
                self.open[net].insert(group);
            }
        }
    }

    /// Takes out one that is. The record that takes its spot in the list of the netgroup is
    /// returned, and where that is.
    pub(super) fn remove(&mut self, record: &Record) -> Option<(RecordId, u32)> {
        if let Some(lane) = self.lanes.get_mut(&record.lane()) {
            record.places().iter().for_each(|place| lane.remove(*place));
        }
        let (group, net) = (record.group, record.address.net());
        let all = self.groups.get_mut(&group)?;
        let members = all.on_mut(net);
        members.swap_remove(record.spot as usize);
        self.len -= 1;
        let moved = members.get(record.spot as usize).map(|id| (*id, record.spot));
        if members.is_empty() {
            self.open[net].remove(&group);
            if all.len() == 0 {
                self.groups.remove(&group);
                self.shut.remove(&group);
            }
        }
        moved
    }

    pub(super) fn set_closed(&mut self, group: NetGroup, closed: bool) {
        let Some(members) = self.groups.get(&group) else { return };
        if closed {
            group.nets().iter().for_each(|net| self.open[*net].remove(&group));
            return self.shut.insert(group);
        }
        self.shut.remove(&group);
        for net in group.nets().iter().filter(|net| !members.on(**net).is_empty()) {
            self.open[*net].insert(group);
        }
    }

    /// Somebody of an open netgroup on one of `nets` with services of a class, each by the chance
    /// that `chance` gives it, from 0 to 1. Somebody is found if there is anybody; if services are
    /// asked for, all but always.
    pub(super) fn select(
        &self,
        from: &From<'_>,
        chance: impl Fn(&Record) -> f64,
        rng: &mut Rng,
    ) -> Option<RecordId> {
        let wanted = |((net, class), lane): (&(Net, ServiceClass), &'_ Lane)| {
            from.nets.contains(net) && class.has(from.class) && !lane.filled.is_empty()
        };
        let total: usize = (self.lanes.iter())
            .filter(|lane| wanted(*lane))
            .map(|(_, lane)| lane.filled.len())
            .sum();
        if total == 0 || !self.has_open(from.nets) {
            return None;
        }
        let usual = self.len as f64 / self.groups.len() as f64;
        let mut factor = 1.0;
        for _ in 0..DRAWS {
            let mut draw = rng.below(total);
            for (_, lane) in self.lanes.iter().filter(|lane| wanted(*lane)) {
                if draw >= lane.filled.len() {
                    draw -= lane.filled.len();
                    continue;
                }
                let (bucket, position) = lane.select(draw, rng);
                let id = from.tables.in_bucket(bucket, position)?;
                let record = from.records.get(id)?;
                let group = record.group;
                if !from.closed.contains(&group) {
                    let nets = group.nets().iter().filter(|net| from.nets.contains(net));
                    let crowd: usize = (self.groups.get(&group))
                        .map_or(1, |members| nets.map(|net| members.on(*net).len()).sum());
                    let even = if from.even { self.evenness(crowd, usual) } else { 1.0 };
                    let chance = chance(record) * even * factor;
                    if chance >= 1.0 || rng.chance(chance) {
                        return Some(id);
                    }
                    factor *= PATIENCE;
                }
                break;
            }
        }
        if from.strict { None } else { self.select_by_group(from, rng) }
    }

    /// How likely one of so many candidates of a netgroup is taken, next to one of a netgroup of its
    /// own. Anybody may name addresses anywhere: hearsay is evened out down to what is `usual`, lest
    /// a netgroup gain by being named once. Where each address has answered, the more of them a
    /// netgroup has the less likely it is as a whole, too: they may all be one operator's.
    fn evenness(&self, crowd: usize, usual: f64) -> f64 {
        let crowd = crowd as f64;
        if self.answered { 1.0 / (crowd * crowd.sqrt()) } else { (usual / crowd).min(1.0) }
    }

    fn select_by_group(&self, from: &From<'_>, rng: &mut Rng) -> Option<RecordId> {
        let total: usize = from.nets.iter().map(|net| self.open[*net].len()).sum();
        for _ in 0..DRAWS {
            let mut draw = rng.below(total.max(1));
            let net = *from.nets.iter().find(|net| {
                let len = self.open[**net].len();
                let here = draw < len;
                draw = if here { draw } else { draw - len };
                here
            })?;
            let members = self.groups.get(&self.open[net].select(rng)?)?.on(net);
            let id = members[rng.below(members.len())];
            let class = from.records.get(id)?.lane().1;
            if class.has(from.class) {
                return Some(id);
            }
        }
        None
    }

    /// Somebody of a closed netgroup.
    pub(super) fn select_shut(&self, rng: &mut Rng) -> Option<RecordId> {
        let members = self.groups.get(&self.shut.select(rng)?)?;
        let [first, second] = &members.0;
        let nth = rng.below(members.len());
        Some(*first.get(nth).unwrap_or_else(|| &second[nth - first.len()]))
    }

    /// Candidates of a netgroup.
    pub(super) fn crowd(&self, group: NetGroup) -> usize {
        self.groups.get(&group).map_or(0, Members::len)
    }

    /// Open netgroups with a candidate on one of `nets`.
    pub(super) fn open_groups(&self, nets: &[Net]) -> usize {
        nets.iter().map(|net| self.open[*net].len()).sum()
    }

    pub(super) fn has_open(&self, nets: &[Net]) -> bool {
        nets.iter().any(|net| !self.open[*net].is_empty())
    }

    /// Candidates in open netgroups.
    pub(super) fn open_len(&self) -> usize {
        let shut = self.shut.iter().filter_map(|group| self.groups.get(&group));
        self.len - shut.map(Members::len).sum::<usize>()
    }
}

/// What a selection is made from.
#[derive(Debug)]
pub(super) struct From<'a> {
    pub(super) nets: &'a [Net],
    pub(super) class: ServiceClass,
    /// Whether nobody is found where chances are too small, instead of anybody.
    pub(super) strict: bool,
    /// Whether a netgroup gets no more than its share.
    pub(super) even: bool,
    pub(super) closed: &'a BTreeSet<NetGroup>,
    pub(super) tables: &'a Tables,
    pub(super) records: &'a Slab,
}
