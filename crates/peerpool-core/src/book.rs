//! The addr book: every address we know, what we know of it, and which may be dialled now.
//!
//! Where an address stands has two sides. Its *places* in the new and tried tables are what keeps
//! an attacker from crowding out others. Its *shelf* says whether it may be dialled, kept on change
//! and on expiry, so that selection samples and never scans. The book decides what an address *is*;
//! whom to dial, and whether a failure is a verdict, is the dialer's business.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "an array has a place for each shelf; what holds is said at each expect, and checked"
)]

mod bag;
mod barred;
mod burned;
mod candidates;
#[cfg(test)]
mod cases;
mod check;
mod collisions;
mod explain;
mod groups;
mod hear;
mod import;
mod index;
mod outcome;
mod record;
mod records;
mod sample;
mod saved;
mod select;
mod sources;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::{Address, Host, Net, PerNet};
use crate::banned::Banned;
use crate::event::Known;
use crate::id::BurnReason;
use crate::misbehavior::Discouraged;
use crate::netgroup::{NetGroup, NetGroups};
use crate::policy::{Policy, meets};
use crate::rng::Rng;
use crate::time::{Monotonic, Now, UnixTime};

use bag::Bag;
use burned::{Burned, ports};
use candidates::Candidates;
use collisions::Collisions;
pub use explain::{Explanation, Rule, Unfit};
use groups::Groups;
pub use import::{Imported, Refusal};
pub use record::Source;
use record::{Record, RecordId, Shelf};
use records::Slab;
use saved::Changes;
pub use saved::{Change, Restored, Saved};
use sources::Sources;
use tables::Tables;

/// How far clocks may differ before a time counts as impossible. Core's ten minutes.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(600);

/// What became of an address the book was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is a new candidate.
    New,
    /// It was known; its timestamp and services are brought up to date.
    Known,
    /// It is burned, and stays so.
    Burned,
    /// It is not kept: unroutable, too old, port 0 or a port of another service, lacking
    /// services, ourselves, banned, discouraged, on a network we cannot dial, or one port too many
    /// of its host; or its place is taken by one that is as good.
    Refused,
}

/// The addr book.
#[derive(Clone, Debug)]
pub struct Book {
    policy: Policy,
    default_port: u16,
    nets: Vec<Net>,
    records: Slab,
    tables: Tables,
    collisions: Collisions,
    manual: BTreeSet<Address>,
    in_use: BTreeSet<Address>,
    groups: Groups,
    sources: Sources,
    /// Sources that have given the pool as many peers as one may, and whether others are awaited.
    crowded: (BTreeSet<Source>, bool),
    hearsay: Candidates,
    experienced: Candidates,
    /// Addresses that we know from experience or that the user named, and that wait for the end of
    /// their back-off, the one tried longest ago first.
    backing_off: BTreeSet<(Option<Monotonic>, RecordId)>,
    /// The same for hearsay, and for addresses that wait for evidence.
    resting: BTreeSet<(Option<Monotonic>, RecordId)>,
    /// Addresses with a verdict that waits; those in use stand on another shelf.
    verdicts: BTreeSet<RecordId>,
    manual_due: Bag<RecordId>,
    /// Addresses that are good for nothing now: they make room for others.
    idle: Vec<RecordId>,
    /// Records per network.
    per_net: PerNet<usize>,
    /// Records per shelf.
    counts: [usize; Shelf::ALL.len()],
    burned: Burned,
    banned: Banned,
    discouraged: Discouraged,
    /// When to look next whether a ban is over.
    bans_end_at: Option<Monotonic>,
    own: BTreeSet<Host>,
    /// Addresses in the book that are to be dialled first after a restart.
    anchors: BTreeSet<Address>,
    changes: Changes,
    /// The unix time of the last advance.
    unix: UnixTime,
    expiries: BTreeSet<(UnixTime, RecordId)>,
    retries: BTreeSet<(Monotonic, RecordId)>,
    revision: u64,
}

impl Book {
    /// A keyed hash of a name, of at most 32 bytes of which count, and a netgroup.
    pub fn weight(&self, name: &str, group: NetGroup) -> u64 {
        self.tables.weight(name, group)
    }

    /// An empty book without an AS map. Only addresses on one of `nets` are kept. The key of its
    /// tables is drawn from `rng`.
    pub fn new(policy: &Policy, default_port: u16, nets: &[Net], rng: &mut Rng) -> Self {
        Self::with_groups(policy, default_port, nets, NetGroups::default(), rng)
    }

    /// The same, with `groups` to say who belongs together.
    pub fn with_groups(
        policy: &Policy,
        default_port: u16,
        nets: &[Net],
        groups: NetGroups,
        rng: &mut Rng,
    ) -> Self {
        let tables = Tables::new(groups, rng);
        Self {
            policy: policy.clone(),
            default_port,
            nets: nets.to_vec(),
            records: Slab::new(tables.key()),
            groups: Groups::new(tables.key()),
            sources: Sources::new(tables.key()),
            tables,
            collisions: Collisions::default(),
            manual: BTreeSet::new(),
            in_use: BTreeSet::new(),
            crowded: (BTreeSet::new(), false),
            hearsay: Candidates::default(),
            experienced: Candidates { answered: true, ..Candidates::default() },
            backing_off: BTreeSet::new(),
            resting: BTreeSet::new(),
            verdicts: BTreeSet::new(),
            manual_due: Bag::default(),
            idle: Vec::new(),
            per_net: PerNet::default(),
            counts: [0; Shelf::ALL.len()],
            burned: Burned::new(policy.burn_memory, policy.max_burned),
            banned: Banned::new(policy.max_bans),
            discouraged: Discouraged::new(policy.max_discouraged),
            bans_end_at: None,
            own: BTreeSet::new(),
            anchors: BTreeSet::new(),
            changes: Changes::default(),
            unix: UnixTime::default(),
            expiries: BTreeSet::new(),
            retries: BTreeSet::new(),
            revision: 0,
        }
    }

    fn id(&self, address: &Address) -> Option<RecordId> {
        self.records.find(address)
    }

    fn record(&self, address: &Address) -> Option<&Record> {
        self.records.get(self.id(address)?)
    }

    /// Takes in a record whose places, if it has any, are free.
    fn insert(&mut self, now: Now, mut record: Record, source: &Source) -> RecordId {
        self.revision += 1;
        let address = record.address;
        self.changes.mark(address);
        self.per_net[address.net()] += 1;
        record.group = self.groups.enter(self.tables.groups().of(&address.host));
        record.source = self.sources.enter(source);
        let id = self.records.insert(record);
        if let Some(record) = self.records.get(id) {
            record.places().iter().for_each(|place| self.tables.set(*place, Some(id)));
            self.retries.extend(record.past.retry_at.map(|at| (at, id)));
        }
        self.settle(now, id);
        id
    }

    /// Whether there are as many addresses as there may be.
    fn is_full(&self) -> bool {
        self.records.len() >= self.policy.max_addresses + self.manual.len()
    }

    fn remove(&mut self, id: RecordId) {
        self.revision += 1;
        self.take_off(id);
        let Some(record) = self.records.remove(id) else { return };
        self.per_net[record.address.net()] -= 1;
        self.groups.leave(record.group);
        self.sources.leave(record.source);
        self.anchors.remove(&record.address);
        self.changes.mark(record.address);
        self.verdicts.remove(&id);
        self.collisions.forget(id);
        if let Some(at) = record.past.retry_at {
            self.retries.remove(&(at, id));
        }
        if let Some(at) = record.expires() {
            self.expiries.remove(&(at, id));
        }
        record.places().iter().for_each(|place| self.tables.set(*place, None));
    }

    /// Changes a record, and puts it where it then belongs.
    fn update(&mut self, now: Now, id: RecordId, change: impl FnOnce(&mut Record)) {
        self.take_off(id);
        let Some(record) = self.records.get_mut(id) else { return };
        self.revision += 1;
        let old = record.past.retry_at;
        let before = self.changes.are_tracked().then(|| record.kept());
        change(record);
        if before.is_some_and(|before| record.kept() != before) {
            self.changes.mark(record.address);
        }
        let (new, waits) = (record.past.retry_at, record.past.verdict.is_some());
        if let Some(at) = old {
            self.retries.remove(&(at, id));
        }
        if let Some(at) = new {
            self.retries.insert((at, id));
        }
        if waits {
            self.verdicts.insert(id);
        } else {
            self.verdicts.remove(&id);
        }
        self.records.update_brief(id);
        self.settle(now, id);
    }

    /// Puts a record on the shelf it belongs to, if time or a connection has changed that.
    fn shelve(&mut self, now: Now, id: RecordId) {
        let Some(record) = self.records.get(id) else { return };
        let (shelf, expires) = self.standing(now, record);
        if shelf == record.shelf {
            self.set_expiry(now, id, expires);
        } else {
            self.revision += 1;
            self.take_off(id);
            self.settle(now, id);
        }
    }

    /// Puts a record that stands on no shelf on the one it belongs to.
    fn settle(&mut self, now: Now, id: RecordId) {
        let Some(record) = self.records.get(id) else { return };
        let (shelf, expires) = self.standing(now, record);
        self.put_on(id, shelf);
        self.set_expiry(now, id, expires);
    }

    fn set_expiry(&mut self, now: Now, id: RecordId, new: Option<UnixTime>) {
        let Some(record) = self.records.get_mut(id) else { return };
        let old = record.expires();
        // What is heard of again lives longer, and most is, time and again: that is seen to when
        // the time comes at which it would have ended.
        let puts_off = |old: &UnixTime| *old > now.unix && new.is_some_and(|new| *old <= new);
        let new = old.filter(puts_off).or(new);
        if new == old {
            return;
        }
        record.set_expires(new);
        self.revision += 1;
        if let Some(at) = old {
            self.expiries.remove(&(at, id));
        }
        if let Some(at) = new {
            self.expiries.insert((at, id));
        }
    }

    /// Where a record belongs, and when that changes by itself on the unix clock.
    fn standing(&self, now: Now, record: &Record) -> (Shelf, Option<UnixTime>) {
        let busy = if record.manual {
            self.in_use.contains(&record.address)
        } else {
            !self.in_use.is_empty()
                && self.in_use.range(ports(record.address.host)).next().is_some()
        };
        self.place(now, record, busy)
    }

    /// The same, once it is known whether its host is `busy` (if manual: itself).
    fn place(&self, now: Now, record: &Record, busy: bool) -> (Shelf, Option<UnixTime>) {
        if busy {
            return (Shelf::InUse, None);
        }
        if let Some(bar) = self.bar(record) {
            // Good for nothing is good for nothing, and makes room for others.
            let (worth, until) = self.worth(now, record);
            return if worth == Shelf::Idle { (worth, until) } else { (bar, until) };
        }
        if record.past.verdict.is_some() {
            return (Shelf::Waiting, None);
        }
        let (shelf, until) = self.worth(now, record);
        let rests = record.past.retry_at.is_some_and(|at| at > now.mono);
        match shelf {
            Shelf::Hearsay if rests => (Shelf::Deferred, until),
            Shelf::Manual | Shelf::Experienced if rests => (Shelf::BackingOff, until),
            _ => (shelf, until),
        }
    }

    /// What makes a record worth dialling, and until when.
    fn worth(&self, now: Now, record: &Record) -> (Shelf, Option<UnixTime>) {
        if record.manual {
            return (Shelf::Manual, None);
        }
        if let Some(experience) = record.past.experience {
            let until = end_of(experience.last_success, self.policy.experience_age);
            if now.unix < until {
                return (Shelf::Experienced, Some(until));
            }
        }
        let until = end_of(record.last_seen, self.policy.max_address_age);
        if now.unix < until && meets(record.services, self.policy.required_services) {
            return (Shelf::Hearsay, Some(until));
        }
        (Shelf::Idle, None)
    }

    fn take_off(&mut self, id: RecordId) {
        let Some(record) = self.records.get(id) else { return };
        let at = (record.tried_at(), id);
        self.counts[record.shelf as usize] -= 1;
        let moved = match record.shelf {
            Shelf::Hearsay => self.hearsay.remove(record),
            Shelf::Experienced => self.experienced.remove(record),
            Shelf::Idle => {
                let spot = record.spot;
                self.idle.swap_remove(spot as usize);
                self.idle.get(spot as usize).map(|moved| (*moved, spot))
            }
            Shelf::BackingOff => {
                self.backing_off.remove(&at);
                None
            }
            Shelf::Waiting | Shelf::Deferred => {
                self.resting.remove(&at);
                None
            }
            Shelf::Manual => {
                self.manual_due.remove(&id);
                None
            }
            Shelf::InUse | Shelf::Banned | Shelf::Discouraged => None,
        };
        if let Some((moved, spot)) = moved {
            if let Some(record) = self.records.get_mut(moved) {
                record.spot = spot;
            }
        }
    }

    fn put_on(&mut self, id: RecordId, shelf: Shelf) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.shelf = shelf;
        self.counts[shelf as usize] += 1;
        match shelf {
            Shelf::Hearsay => {
                let closed = self.groups.is_closed(record.group);
                self.hearsay.insert(id, record, closed);
            }
            Shelf::Experienced => {
                let closed = self.groups.is_closed(record.group);
                self.experienced.insert(id, record, closed);
            }
            Shelf::Idle => {
                record.spot = self.idle.len() as u32;
                self.idle.push(id);
            }
            Shelf::BackingOff => {
                self.backing_off.insert((record.tried_at(), id));
            }
            Shelf::Waiting | Shelf::Deferred => {
                self.resting.insert((record.tried_at(), id));
            }
            Shelf::Manual => self.manual_due.insert(id),
            Shelf::InUse | Shelf::Banned | Shelf::Discouraged => {}
        }
    }

    /// Addresses in the book, burned ones left out.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Addresses in the book by network, burned ones left out.
    pub fn addresses_by_net(&self) -> impl Iterator<Item = (Net, usize)> + '_ {
        Net::ALL.into_iter().map(|net| (net, self.per_net[net]))
    }

    /// Whether the book knows no address.
    pub fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    /// Grows whenever something changes that [`Book::check`] looks at. While it stays the same,
    /// only time can tell the book wrong: an expiry or the end of a back-off passed over.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the user named `address`.
    pub fn is_manual(&self, address: &Address) -> bool {
        self.manual.contains(address)
    }

    /// Where `address` was first heard of.
    pub fn source(&self, address: &Address) -> Option<Source> {
        self.record(address).map(|record| *self.sources.get(record.source))
    }

    /// When `address` was first heard of. One that made room for another and is named again was
    /// first heard of then.
    pub fn heard_at(&self, address: &Address) -> Option<UnixTime> {
        self.record(address).map(|record| record.heard_at)
    }

    /// How many addresses the user named.
    pub fn manual_len(&self) -> usize {
        self.manual.len()
    }

    /// Addresses that could be dialled now: manual ones that are due, and candidates that no
    /// netgroup rule holds back.
    pub fn available(&self) -> usize {
        self.manual_due.len() + self.hearsay.open_len() + self.experienced.open_len()
    }

    /// Addresses that may not be dialled now, by the rule that holds each back.
    pub fn known(&self) -> Known {
        let candidates = self.hearsay.len() + self.experienced.len();
        Known {
            blocked: candidates - self.hearsay.open_len() - self.experienced.open_len(),
            backing_off: self.counts[Shelf::BackingOff as usize]
                + self.counts[Shelf::Deferred as usize],
            waiting: self.counts[Shelf::Waiting as usize],
            burned: self.burned.len(),
            ineligible: self.counts[Shelf::Idle as usize],
            banned: self.counts[Shelf::Banned as usize],
            discouraged: self.counts[Shelf::Discouraged as usize],
        }
    }

    /// Burned addresses by reason.
    pub fn burned(&self) -> &BTreeMap<BurnReason, usize> {
        self.burned.counts()
    }

    /// Why `address` is burned, if it is.
    pub fn burn_reason(&self, address: &Address) -> Option<BurnReason> {
        self.burned.reason(address)
    }

    /// Whether `address` is burned.
    pub fn is_burned(&self, address: &Address) -> bool {
        self.burned.contains(address)
    }
}

/// The first second at which something of age zero at `from` is `age` old. Ages below a second,
/// which only tests use, count as one.
fn end_of(from: UnixTime, age: Duration) -> UnixTime {
    from + age.max(Duration::from_secs(1))
}
