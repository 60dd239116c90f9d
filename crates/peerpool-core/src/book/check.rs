//! The book's own invariants, checked by tests and by the simulator.
//!
//! The simulator does so after each change of a small book, so this reads every table once, in its
//! own order, and looks nothing up: tables in the order of the records are walked beside them, the
//! others are compared with the records by the sums of their members' hashes.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::address::{Net, PerNet};
use crate::id::BurnReason;
use crate::netgroup::NetGroup;
use crate::time::Now;

use super::Book;
use super::bag::Bag;
use super::burned::Burned;
use super::candidates::{Candidates, Lane, Members};
use super::groups::GroupId;
use super::record::{Record, RecordId, Shelf};
use super::records::Brief;
use super::sources::SourceId;

impl Book {
    /// Checks every invariant; takes some 60 ns for each address.
    /// `now` is the time it was last advanced to, or later.
    ///
    /// # Errors
    /// The first one that does not hold, in words.
    pub fn check(&self, now: Now) -> Result<(), String> {
        let counted = self.check_records(now)?;
        if counted.shelves != self.counts {
            return Err(format!("shelf counts {:?}, counted {:?}", self.counts, counted.shelves));
        }
        if counted.per_net != self.per_net {
            return Err(format!("by network {:?}, counted {:?}", self.per_net, counted.per_net));
        }
        let indices = [
            ("hearsay", counted.hearsay, self.check_candidates(&self.hearsay)?),
            ("experienced", counted.experienced, self.check_candidates(&self.experienced)?),
            ("manual", counted.manual_due, self.manual_due.sum()?),
            ("idle", counted.idle, self.check_idle()?),
            ("backing off", counted.backing_off, Sum::of(&self.backing_off)),
            ("resting", counted.resting, Sum::of(&self.resting)),
            ("verdicts", counted.verdicts, Sum::of(&self.verdicts)),
            ("retries", counted.retries, Sum::of(&self.retries)),
            ("expiries", counted.expiries, Sum::of(&self.expiries)),
        ];
        for (name, records, index) in indices {
            if records != index {
                let text = format!("{} in it, {} in the records", index.len, records.len);
                return Err(format!("index {name} differs from the records: {text}"));
            }
        }
        if self.tables.len() != counted.places {
            let (taken, held) = (self.tables.len(), counted.places);
            return Err(format!("{taken} places are taken, by records that have {held}"));
        }
        if self.records.hosts() != counted.hosts || self.manual.len() != counted.manual {
            return Err("hosts or manual addresses are listed that have no record".to_owned());
        }
        self.check_groups(counted.groups)?;
        let mut sources = counted.sources.iter();
        if self.sources.len() != sources.len()
            || !sources.all(|(id, len)| self.sources.is_sound(SourceId(*id), *len))
        {
            return Err("sources differ from those of the records".to_owned());
        }
        if let Some(lost) = self.anchors.iter().find(|anchor| self.id(anchor).is_none()) {
            return Err(format!("{lost}: an anchor, and not in the book"));
        }
        self.burned.check()?;
        self.banned.check_table()?;
        self.discouraged.check_table()?;
        if self.records.len() > self.policy.max_addresses + self.manual.len()
            || self.burned.len() > self.policy.max_burned
        {
            return Err("a table is over its bound".to_owned());
        }
        Ok(())
    }

    /// Checks each record by itself and against the tables in the same order, and counts what the
    /// other tables must hold.
    fn check_records(&self, now: Now) -> Result<Counted, String> {
        let mut counted = Counted::default();
        for (id, record) in self.records.entries() {
            let (address, shelf) = (&record.address, record.shelf);
            if self.id(address) != Some(id) {
                return Err(format!("{address}: known by the name of another"));
            }
            if self.records.brief(id) != Brief::of(record) {
                return Err(format!("{address}: selection knows it as it was"));
            }
            counted.count(id, record);
            counted.hosts += usize::from(self.records.is_first(id));
            let due = record.past.retry_at.is_some_and(|at| at <= now.mono)
                || record.expires().is_some_and(|at| at <= now.unix);
            let belongs = self.standing(now, record).0;
            if !due && belongs != shelf {
                return Err(format!("{address}: on {shelf:?}, belongs on {belongs:?}"));
            }
            if record.manual && !self.manual.contains(address) {
                return Err(format!("{address}: manual, but not listed"));
            }
            if !record.manual && self.burned.contains(address) {
                return Err(format!("{address}: burned and on shelf {shelf:?}"));
            }
            self.check_places(id, record)?;
        }
        Ok(counted)
    }

    /// A record stands in one table, and there is where it thinks it is.
    fn check_places(&self, id: RecordId, record: &Record) -> Result<(), String> {
        let (address, places) = (record.address, record.places());
        if places.is_empty() && !record.manual {
            return Err(format!("{address}: stands nowhere"));
        }
        let tried = places.iter().filter(|place| place.is_tried()).count();
        if tried > 1 || tried == 1 && places.len() > 1 {
            return Err(format!("{address}: stands in both tables, or twice in one"));
        }
        for place in places {
            if self.tables.at(*place) != Some(id) {
                return Err(format!("{address}: its place {place:?} is another's"));
            }
            if place.is_tried() && *place != self.tables.tried_place(&address) {
                return Err(format!("{address}: {place:?} is not its place in the tried table"));
            }
        }
        Ok(())
    }

    /// Each netgroup has the records that are of it, and is closed if it is said to be.
    fn check_groups(&self, of_records: Sum) -> Result<(), String> {
        let (mut sum, mut len) = (Sum::default(), 0);
        for (id, group) in self.groups.entries() {
            len += 1;
            (0..group.records).for_each(|_| sum.add(&id));
            if self.groups.is_closed(id) != self.groups.closed.contains(&group.name) {
                return Err(format!("netgroup {:?} is closed, or is not", group.name));
            }
            if self.groups.id(group.name) != Some(id) {
                return Err(format!("netgroup {:?}: {MISPLACED}", group.name));
            }
        }
        if sum != of_records || len != self.groups.indexed() {
            return Err("netgroups differ from those of the records".to_owned());
        }
        Ok(())
    }

    fn check_idle(&self) -> Result<Sum, String> {
        let mut sum = Sum::default();
        for (spot, id) in self.idle.iter().enumerate() {
            if self.records.get(*id).is_none_or(|record| record.spot as usize != spot) {
                return Err(MISPLACED.to_owned());
            }
            sum.add(id);
        }
        Ok(sum)
    }

    /// Checks that a candidate is where its index has it; returns how many places it has.
    fn check_candidate(
        &self,
        index: &Candidates,
        (id_of, group): (GroupId, NetGroup),
        net: Net,
        spot: usize,
        id: RecordId,
    ) -> Result<usize, String> {
        let record = self.records.get(id).ok_or(MISPLACED)?;
        let address = record.address;
        if record.group != id_of || self.tables.groups().of(&address.host) != group {
            return Err(format!("{address}: a candidate in netgroup {group:?}"));
        }
        let lane = index.lanes.get(&record.lane());
        let has = |place| lane.is_some_and(|lane| lane.has(place));
        let lies = record.spot as usize == spot && address.net() == net;
        if !lies || !record.places().iter().all(|at| has(*at)) {
            return Err(format!("{address}: {MISPLACED}"));
        }
        Ok(record.places().len())
    }

    /// Checks places, netgroups and counts of an index; returns the sum of all candidates.
    fn check_candidates(&self, index: &Candidates) -> Result<Sum, String> {
        let (mut all, mut open, mut shut) = (Sum::default(), Sum::default(), Sum::default());
        let (mut places, mut groups) = (0, 0);
        for (nth, group) in self.groups.entries() {
            let Some(members) = index.of(nth) else { continue };
            groups += 1;
            let (is_shut, group) = (self.groups.is_closed(nth), group.name);
            if is_shut {
                shut.add(&nth);
            }
            let mut len = 0;
            for &net in group.nets() {
                let list = members.on(net);
                if !is_shut && !list.is_empty() {
                    open.add(&(net, nth));
                }
                for (spot, id) in list.iter().enumerate() {
                    places += self.check_candidate(index, (nth, group), net, spot, *id)?;
                    all.add(id);
                }
                len += list.len();
            }
            if len != members.len() {
                return Err(format!("netgroup {group:?} has candidates on another network"));
            }
        }
        let mut counted = Sum::default();
        for (net, listed) in Net::ALL.into_iter().zip(index.open.values()) {
            listed.iter().for_each(|group| counted.add(&(net, group)));
        }
        index.check_lists()?;
        let with_members = index.members.iter().filter(|members| members.len() > 0).count();
        if (groups, groups) != (index.groups, with_members) {
            return Err(format!("{groups} netgroups, {with_members} lists of candidates"));
        }
        if counted != open || Sum::of(&index.shut) != shut {
            return Err("open and closed netgroups differ from those with candidates".to_owned());
        }
        if all.len != index.len {
            return Err(format!("{} candidates, counted {}", index.len, all.len));
        }
        let lanes = index.lanes.values();
        if !lanes.clone().all(Lane::is_sound) || lanes.map(Lane::len).sum::<usize>() != places {
            return Err("places by bucket differ from those of the candidates".to_owned());
        }
        Ok(all)
    }
}

impl Candidates {
    /// Checks that each netgroup knows where it is listed.
    fn check_lists(&self) -> Result<(), String> {
        let lies = |ids: &[GroupId], at: &dyn Fn(&Members) -> u32| {
            ids.iter().enumerate().all(|(nth, id)| {
                let members = self.members.get(id.0 as usize);
                members.is_some_and(|members| at(members) as usize == nth)
            })
        };
        let shut = lies(&self.shut, &|members| members.shut_at);
        let open = |(net, ids): (Net, &Vec<GroupId>)| lies(ids, &|members| members.open_on(net));
        let open = Net::ALL.into_iter().zip(self.open.values()).all(open);
        if shut && open { Ok(()) } else { Err(MISPLACED.to_owned()) }
    }
}

impl<T: Copy + Ord> Bag<T> {
    /// The items in order; `None` in place of one that does not lie where it is said to, and at the
    /// end if there are more.
    fn members(&self) -> impl Iterator<Item = Option<&T>> {
        let lies = |(item, place): (&'_ T, &usize)| self.items.get(*place) == Some(item);
        let known = self.places.iter().map(move |place| lies(place).then_some(place.0));
        known.chain((self.items.len() != self.places.len()).then_some(None))
    }

    fn sum(&self) -> Result<Sum, String>
    where
        T: Hash,
    {
        let mut sum = Sum::default();
        for item in self.members() {
            sum.add(item.ok_or(MISPLACED)?);
        }
        Ok(sum)
    }
}

const MISPLACED: &str = "an item is not where it is said to be";

impl Burned {
    /// Checks that the table, its order and its counts agree.
    fn check(&self) -> Result<(), String> {
        let mut burned = Sum::default();
        for (address, (at, reason)) in self.entries() {
            burned.add(&(*reason == BurnReason::Itself, *at, *address));
        }
        if burned != Sum::of(&self.order) || burned.len != self.counts().values().sum::<usize>() {
            return Err("the order or the counts of burned addresses differ from them".to_owned());
        }
        Ok(())
    }
}

/// What the tables that are not in the order of the records must hold.
#[derive(Debug, Default)]
struct Counted {
    shelves: [usize; Shelf::ALL.len()],
    per_net: PerNet<usize>,
    places: usize,
    hosts: usize,
    manual: usize,
    groups: Sum,
    /// Records by source.
    sources: BTreeMap<u32, u32>,
    hearsay: Sum,
    experienced: Sum,
    manual_due: Sum,
    idle: Sum,
    backing_off: Sum,
    resting: Sum,
    verdicts: Sum,
    retries: Sum,
    expiries: Sum,
}

impl Counted {
    fn count(&mut self, id: RecordId, record: &Record) {
        self.shelves[record.shelf as usize] += 1;
        self.per_net[record.address.net()] += 1;
        self.places += record.places().len();
        self.manual += usize::from(record.manual);
        self.groups.add(&record.group);
        *self.sources.entry(record.source.0).or_default() += 1;
        match record.shelf {
            Shelf::Hearsay => self.hearsay.add(&id),
            Shelf::Experienced => self.experienced.add(&id),
            Shelf::Manual => self.manual_due.add(&id),
            Shelf::Idle => self.idle.add(&id),
            Shelf::BackingOff => self.backing_off.add(&(record.tried_at(), id)),
            Shelf::Waiting | Shelf::Deferred => self.resting.add(&(record.tried_at(), id)),
            Shelf::InUse | Shelf::Banned | Shelf::Discouraged => {}
        }
        if record.past.verdict.is_some() {
            self.verdicts.add(&id);
        }
        if let Some(at) = record.past.retry_at {
            self.retries.add(&(at, id));
        }
        if let Some(at) = record.expires() {
            self.expiries.add(&(at, id));
        }
    }
}

/// A set as the number of its members and the sum of their hashes: two that differ are told apart
/// but for one chance in 2^64, in whatever order they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    len: usize,
    hash: u64,
}

impl Sum {
    fn of<'a, T: Hash + 'a>(items: impl IntoIterator<Item = &'a T>) -> Self {
        let mut sum = Self::default();
        items.into_iter().for_each(|item| sum.add(item));
        sum
    }

    fn add(&mut self, item: &impl Hash) {
        let mut mix = Mix(0x243f_6a88_85a3_08d3);
        item.hash(&mut mix);
        self.len += 1;
        self.hash = self.hash.wrapping_add(mix.finish());
    }
}

/// A quick hash: what it is given word by word, multiplied and folded.
struct Mix(u64);

impl Mix {
    fn word(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(4) {
            let word = chunk.first_chunk().map(|word| u32::from_le_bytes(*word).into());
            let fold = |word, byte: &u8| (word << 8) | u64::from(*byte);
            self.word(word.unwrap_or_else(|| chunk.iter().fold(0, fold)));
        }
    }

    fn write_u16(&mut self, word: u16) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.word(word as u64);
    }
}

#[cfg(test)]
mod tests;
