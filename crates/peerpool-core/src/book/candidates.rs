//! The eligibility index of one class of addresses: which may be dialled now, by their places in
//! the tables and by netgroup. Kept on change; selection samples from it and never scans.
//!
//! As in Core, a bucket is drawn first and a place in it second, so that whoever crowds a few
//! buckets is drawn no more often than those buckets are. An address of a netgroup that is closed
//! is passed over; where that happens too often, an open netgroup is drawn instead and an address
//! in it, so that an answer is found wherever there is one.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::address::{Net, PerNet};
use crate::netgroup::NetGroup;
use crate::rng::Rng;

use super::groups::{GroupId, Groups};
use super::record::{Record, RecordId, ServiceClass, Source};
use super::records::Slab;
use super::select::after_failures;
use super::sources::Sources;
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
    /// Bits set.
    set: usize,
}

impl Lane {
    fn new() -> Self {
        Self { masks: vec![0; BUCKETS], filled: Vec::new(), at: vec![0; BUCKETS], set: 0 }
    }

    pub(super) fn insert(&mut self, place: Place) {
        let (bucket, bit) = (place.bucket(), 1 << place.position());
        if self.masks[bucket] == 0 {
            self.at[bucket] = self.filled.len() as u16;
            self.filled.push(bucket as u16);
        }
        self.set += usize::from(self.masks[bucket] & bit == 0);
        self.masks[bucket] |= bit;
    }

    fn remove(&mut self, place: Place) {
        let (bucket, bit) = (place.bucket(), 1 << place.position());
        let before = self.masks[bucket];
        self.masks[bucket] &= !bit;
        self.set -= usize::from(before & bit != 0);
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

    /// Places that can be drawn.
    pub(super) fn len(&self) -> usize {
        let bits = |bucket: &u16| self.masks[usize::from(*bucket)].count_ones() as usize;
        self.filled.iter().map(bits).sum()
    }

    /// Whether the buckets said to be filled are, are where they are said to be, and hold all.
    pub(super) fn is_sound(&self) -> bool {
        let lies = |(at, bucket): (usize, &u16)| {
            let bucket = usize::from(*bucket);
            self.masks[bucket] != 0 && usize::from(self.at[bucket]) == at
        };
        self.filled.iter().enumerate().all(lies) && self.len() == self.set
    }

    /// Whether a place can be drawn.
    pub(super) fn has(&self, place: Place) -> bool {
        let bucket = place.bucket();
        let listed = self.filled.get(usize::from(self.at[bucket]));
        self.masks[bucket] & (1 << place.position()) != 0
            && listed.is_some_and(|listed| usize::from(*listed) == bucket)
    }
}

/// The candidates of a netgroup on some network, and where each is. Most netgroups have few.
#[derive(Clone, Debug)]
pub(super) enum List {
    Few(u8, [RecordId; 3]),
    Many(Vec<RecordId>),
}

impl Default for List {
    fn default() -> Self {
        Self::Few(0, [RecordId::NONE; 3])
    }
}

impl Deref for List {
    type Target = [RecordId];

    fn deref(&self) -> &[RecordId] {
        match self {
            Self::Few(len, few) => &few[..usize::from(*len)],
            Self::Many(many) => many,
        }
    }
}

impl List {
    pub(super) fn push(&mut self, id: RecordId) {
        match self {
            Self::Many(many) => many.push(id),
            Self::Few(len, few) => match few.get_mut(usize::from(*len)) {
                Some(free) => {
                    *free = id;
                    *len += 1;
                }
                None => {
                    let [a, b, c] = *few;
                    *self = Self::Many(vec![a, b, c, id]);
                }
            },
        }
    }

    fn swap_remove(&mut self, at: usize) {
        match self {
            Self::Few(len, few) => {
                *len -= 1;
                few[at] = few[usize::from(*len)];
            }
            Self::Many(many) => {
                many.swap_remove(at);
                if many.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }
}

/// Where a netgroup that is in no list of netgroups is.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The candidates of a netgroup: those on IPv6, and those on its other network. A netgroup that
/// spans networks spans these.
#[derive(Clone, Debug)]
pub(super) struct Members {
    lists: [List; 2],
    /// Where it is in the list of open netgroups of each of these networks.
    open_at: [u32; 2],
    /// Where it is in the list of closed ones.
    pub(super) shut_at: u32,
}

impl Default for Members {
    fn default() -> Self {
        Self { lists: Default::default(), open_at: [NOWHERE; 2], shut_at: NOWHERE }
    }
}

impl Members {
    /// Those on the same side as `net`.
    pub(super) fn on(&self, net: Net) -> &List {
        &self.lists[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn on_mut(&mut self, net: Net) -> &mut List {
        &mut self.lists[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn open_on(&self, net: Net) -> u32 {
        self.open_at[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn open_at(&mut self, net: Net) -> &mut u32 {
        &mut self.open_at[usize::from(net == Net::Ipv6)]
    }

    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }

    /// How many are on one of `nets`; one is on `net`.
    fn count_on(&self, nets: &[Net], net: Net) -> usize {
        let other = if net == Net::Ipv6 { Net::Ipv4 } else { net };
        let on = |net| if nets.contains(&net) { self.on(net).len() } else { 0 };
        on(Net::Ipv6) + on(other)
    }
}

/// Lists a netgroup, unless it is listed; `at` says where.
fn list(listed: &mut Vec<GroupId>, id: GroupId, at: &mut u32) {
    if *at == NOWHERE {
        *at = listed.len() as u32;
        listed.push(id);
    }
}

/// Who may be dialled, of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) lanes: BTreeMap<(Net, ServiceClass), Lane>,
    /// By the number of the netgroup; those without a candidate are empty.
    pub(super) members: Vec<Members>,
    /// Netgroups with a candidate.
    pub(super) groups: usize,
    /// Netgroups that are open, by network: one that spans two is on both, if it has candidates
    /// on both.
    pub(super) open: PerNet<Vec<GroupId>>,
    /// Netgroups with a candidate that are closed.
    pub(super) shut: Vec<GroupId>,
    pub(super) len: usize,
    /// Whether each of them has answered us.
    pub(super) answered: bool,
}

impl Candidates {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The candidates of a netgroup that has some.
    pub(super) fn of(&self, id: GroupId) -> Option<&Members> {
        self.members.get(id.0 as usize).filter(|members| members.len() > 0)
    }

    /// Takes in a record that is in none of these, of a netgroup that is `closed` or not.
    pub(super) fn insert(&mut self, id: RecordId, record: &mut Record, closed: bool) {
        let lane = self.lanes.entry(record.lane()).or_insert_with(Lane::new);
        record.places().iter().for_each(|place| lane.insert(*place));
        let (group, net) = (record.group, record.address.net());
        let nth = group.0 as usize;
        if nth >= self.members.len() {
            self.members.resize_with(nth + 1, Members::default);
        }
        let members = &mut self.members[nth];
        self.groups += usize::from(members.len() == 0);
        let on = members.on_mut(net);
        record.spot = on.len() as u32;
        on.push(id);
        self.len += 1;
        if record.spot == 0 {
            if closed {
                list(&mut self.shut, group, &mut members.shut_at);
            } else {
                list(&mut self.open[net], group, members.open_at(net));
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
        let members = self.members.get_mut(group.0 as usize)?;
        let on = members.on_mut(net);
        on.swap_remove(record.spot as usize);
        self.len -= 1;
        let moved = on.get(record.spot as usize).map(|id| (*id, record.spot));
        if on.is_empty() {
            let none = members.len() == 0;
            self.not_open(group, net);
            if none {
                self.groups -= 1;
                self.not_shut(group);
            }
        }
        moved
    }

    pub(super) fn set_closed(&mut self, id: GroupId, group: NetGroup, closed: bool) {
        if self.of(id).is_none() {
            return;
        }
        if closed {
            group.nets().iter().for_each(|net| self.not_open(id, *net));
            let members = &mut self.members[id.0 as usize];
            return list(&mut self.shut, id, &mut members.shut_at);
        }
        self.not_shut(id);
        let members = &mut self.members[id.0 as usize];
        for &net in group.nets() {
            if !members.on(net).is_empty() {
                list(&mut self.open[net], id, members.open_at(net));
            }
        }
    }

    /// Takes a netgroup from the list of those open on a network, if it is there.
    pub(super) fn not_open(&mut self, id: GroupId, net: Net) {
        let at = std::mem::replace(self.members[id.0 as usize].open_at(net), NOWHERE);
        if at != NOWHERE {
            let listed = &mut self.open[net];
            listed.swap_remove(at as usize);
            if let Some(moved) = listed.get(at as usize) {
                *self.members[moved.0 as usize].open_at(net) = at;
            }
        }
    }

    fn not_shut(&mut self, id: GroupId) {
        let at = std::mem::replace(&mut self.members[id.0 as usize].shut_at, NOWHERE);
        if at != NOWHERE {
            self.shut.swap_remove(at as usize);
            if let Some(moved) = self.shut.get(at as usize) {
                self.members[moved.0 as usize].shut_at = at;
            }
        }
    }

    /// Somebody of an open netgroup on one of `nets` with services of a class, each by the chance
    /// that `chance` gives it, from 0 to what its failures leave it. Somebody is found if there is
    /// anybody; if services are asked for, all but always.
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
        let usual = self.len as f64 / self.groups as f64;
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
                let brief = from.records.brief(id);
                if !from.groups.is_closed(brief.group) {
                    // What else makes it less likely is looked at only if it counts.
                    let most = after_failures(brief.failures.into()) * factor;
                    let drawn = (most < 1.0).then(|| rng.fraction());
                    if drawn.is_none_or(|drawn| drawn < most) {
                        let record = from.records.get(id)?;
                        let even = if from.even { self.evenness(from, record, usual) } else { 1.0 };
                        let chance = chance(record) * even * factor;
                        if chance >= 1.0 || drawn.unwrap_or_else(|| rng.fraction()) < chance {
                            return Some(id);
                        }
                    }
                    factor *= PATIENCE;
                }
                break;
            }
        }
        if from.strict { None } else { self.select_by_group(from, rng) }
    }

    /// How likely one of the candidates of a netgroup is taken, from 0 to 1, next to one of a
    /// netgroup of its own. Anybody may name addresses anywhere: hearsay is evened out down to what
    /// is `usual`, lest a netgroup gain by being named once. DNS seeds name who answers, so in what
    /// they name each netgroup is as likely as another: a new pool knows nobody else, and most of
    /// those may be one operator's. Where each address has answered us, the more of them a netgroup
    /// has the less likely it is as a whole, too, for the same reason.
    fn evenness(&self, from: &From<'_>, record: &Record, usual: f64) -> f64 {
        let members = self.of(record.group);
        let net = record.address.net();
        let crowd = members.map_or(1, |members| members.count_on(from.nets, net)) as f64;
        if self.answered {
            return 1.0 / (crowd * crowd.sqrt());
        }
        let by_seed = matches!(from.sources.get(record.source), Source::Seed(_));
        if by_seed { 1.0 / crowd } else { (usual / crowd).min(1.0) }
    }

    fn select_by_group(&self, from: &From<'_>, rng: &mut Rng) -> Option<RecordId> {
        let total = self.open_groups(from.nets);
        for _ in 0..DRAWS {
            let mut draw = rng.below(total.max(1));
            let net = *from.nets.iter().find(|net| {
                let len = self.open[**net].len();
                let here = draw < len;
                draw = if here { draw } else { draw - len };
                here
            })?;
            let open = &self.open[net];
            let members = self.of(open[rng.below(open.len())])?.on(net);
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
        if self.shut.is_empty() {
            return None;
        }
        let members = self.of(self.shut[rng.below(self.shut.len())])?;
        let [first, second] = &members.lists;
        let nth = rng.below(members.len());
        Some(*first.get(nth).unwrap_or_else(|| &second[nth - first.len()]))
    }

    /// Candidates of a netgroup.
    pub(super) fn crowd(&self, group: GroupId) -> usize {
        self.of(group).map_or(0, Members::len)
    }

    /// Open netgroups with a candidate on one of `nets`; one that spans two of them counts twice.
    pub(super) fn open_groups(&self, nets: &[Net]) -> usize {
        nets.iter().map(|net| self.open[*net].len()).sum()
    }

    pub(super) fn has_open(&self, nets: &[Net]) -> bool {
        nets.iter().any(|net| !self.open[*net].is_empty())
    }

    /// Candidates in open netgroups.
    pub(super) fn open_len(&self) -> usize {
        let shut = self.shut.iter().filter_map(|group| self.of(*group));
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
    pub(super) groups: &'a Groups,
    pub(super) sources: &'a Sources,
    pub(super) tables: &'a Tables,
    pub(super) records: &'a Slab,
}
