//! The addr book: every address we know, what we know of it, and which may be dialled now.
//!
//! Each address stands on exactly one shelf, kept on change and on expiry, so that selection
//! samples and never scans. The book decides what an address *is*; whom to dial, and whether a
//! failure is a verdict, is the dialer's business.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "an array has a place for each shelf; what holds is said at each expect, and checked"
)]

mod bag;
mod burned;
mod candidates;
mod check;
mod hear;
mod outcome;
mod record;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::{Address, Host, Net};
use crate::event::Known;
use crate::id::BurnReason;
use crate::netgroup::NetGroup;
use crate::policy::{Policy, meets};
use crate::time::{Monotonic, Now, UnixTime};

use bag::Bag;
use burned::{Burned, ports};
use candidates::Candidates;
pub use record::Source;
use record::{Record, Shelf};

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
    /// services, ourselves, on a network we cannot dial, or one port too many of its host.
    Refused,
}

/// The addr book.
#[derive(Clone, Debug)]
pub struct Book {
    policy: Policy,
    default_port: u16,
    nets: Vec<Net>,
    records: BTreeMap<Address, Record>,
    all: Bag<Address>,
    manual: BTreeSet<Address>,
    in_use: BTreeSet<Address>,
    closed: BTreeSet<NetGroup>,
    hearsay: Candidates,
    experienced: Candidates,
    /// Addresses that we know from experience or that the user named, and that wait for the end of
    /// their back-off, the one tried longest ago first.
    backing_off: BTreeSet<(Monotonic, Address)>,
    /// The same for hearsay, and for addresses that wait for evidence.
    resting: BTreeSet<(Monotonic, Address)>,
    /// Addresses with a verdict that waits; those in use stand on another shelf.
    verdicts: BTreeSet<Address>,
    manual_due: Bag<Address>,
    /// Records per shelf.
    counts: [usize; Shelf::ALL.len()],
    burned: Burned,
    own: BTreeSet<Host>,
    /// The unix time of the last advance.
    unix: UnixTime,
    expiries: BTreeSet<(UnixTime, Address)>,
    retries: BTreeSet<(Monotonic, Address)>,
    revision: u64,
}

impl Book {
    /// An empty book. Only addresses on one of `nets` are kept.
    pub fn new(policy: &Policy, default_port: u16, nets: &[Net]) -> Self {
        Self {
            policy: policy.clone(),
            default_port,
            nets: nets.to_vec(),
            records: BTreeMap::new(),
            all: Bag::default(),
            manual: BTreeSet::new(),
            in_use: BTreeSet::new(),
            closed: BTreeSet::new(),
            hearsay: Candidates::default(),
            experienced: Candidates::default(),
            backing_off: BTreeSet::new(),
            resting: BTreeSet::new(),
            verdicts: BTreeSet::new(),
            manual_due: Bag::default(),
            counts: [0; Shelf::ALL.len()],
            burned: Burned::new(policy.burn_memory, policy.max_burned),
            own: BTreeSet::new(),
            unix: UnixTime::default(),
            expiries: BTreeSet::new(),
            retries: BTreeSet::new(),
            revision: 0,
        }
    }

    fn insert(&mut self, now: Now, address: Address, record: Record) {
        debug_assert_eq!(record.shelf, Shelf::Idle, "a new record stands on the idle shelf");
        self.revision += 1;
        self.counts[Shelf::Idle as usize] += 1;
        self.records.insert(address, record);
        self.all.insert(address);
        self.shelve(now, address);
    }

    fn remove(&mut self, address: &Address) {
        let Some(record) = self.records.remove(address) else { return };
        self.revision += 1;
        self.take_off(&record, address);
        self.all.remove(address);
        self.verdicts.remove(address);
        if let Some(at) = record.retry_at {
            self.retries.remove(&(at, *address));
        }
        if let Some(at) = record.expires {
            self.expiries.remove(&(at, *address));
        }
    }

    /// Changes a record and puts it where it then belongs. Unknown addresses are left unknown.
    fn update(&mut self, now: Now, address: Address, change: impl FnOnce(&mut Record)) {
        let Some(record) = self.records.get_mut(&address) else { return };
        self.revision += 1;
        let old = record.retry_at;
        change(record);
        let (new, waits) = (record.retry_at, record.verdict.is_some());
        if let Some(at) = old {
            self.retries.remove(&(at, address));
        }
        if let Some(at) = new {
            self.retries.insert((at, address));
        }
        if waits {
            self.verdicts.insert(address);
        } else {
            self.verdicts.remove(&address);
        }
        self.shelve(now, address);
    }

    /// Puts a record on the shelf it belongs to, and its expiry in the queue.
    fn shelve(&mut self, now: Now, address: Address) {
        let Some(record) = self.records.get(&address) else { return };
        let (shelf, expires) = self.standing(now, &address, record);
        let old_expires = record.expires;
        // What is heard of again lives longer, and most is, time and again: that is seen to when
        // the time comes at which it would have ended.
        let puts_off = |old: &UnixTime| *old > now.unix && expires.is_some_and(|new| *old <= new);
        let expires = old_expires.filter(puts_off).or(expires);
        self.revision += u64::from(shelf != record.shelf || expires != old_expires);
        if shelf != record.shelf {
            let record = record.clone();
            self.take_off(&record, &address);
            self.put_on(shelf, &record, address);
        }
        if expires != old_expires {
            if let Some(at) = old_expires {
                self.expiries.remove(&(at, address));
            }
            if let Some(at) = expires {
                self.expiries.insert((at, address));
            }
        }
        let record = self.records.get_mut(&address).expect("the record was just read");
        (record.shelf, record.expires) = (shelf, expires);
    }

    /// Where a record belongs, and when that changes by itself on the unix clock.
    fn standing(&self, now: Now, address: &Address, record: &Record) -> (Shelf, Option<UnixTime>) {
        let busy = if record.manual {
            self.in_use.contains(address)
        } else {
            self.in_use.range(ports(address.host)).next().is_some()
        };
        self.place(now, record, busy)
    }

    /// The same, once it is known whether its host is `busy` (if manual: itself).
    fn place(&self, now: Now, record: &Record, busy: bool) -> (Shelf, Option<UnixTime>) {
        if busy {
            return (Shelf::InUse, None);
        }
        if record.verdict.is_some() {
            return (Shelf::Waiting, None);
        }
        let (shelf, until) = self.worth(now, record);
        let rests = record.retry_at.is_some_and(|at| at > now.mono);
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
        if let Some(experience) = record.experience {
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

    fn take_off(&mut self, record: &Record, address: &Address) {
        self.counts[record.shelf as usize] -= 1;
        match record.shelf {
            Shelf::Hearsay => self.hearsay.remove(address),
            Shelf::Experienced => self.experienced.remove(address),
            Shelf::BackingOff => {
                self.backing_off.remove(&(record.tried_at, *address));
            }
            Shelf::Waiting | Shelf::Deferred => {
                self.resting.remove(&(record.tried_at, *address));
            }
            Shelf::Manual => self.manual_due.remove(address),
            Shelf::InUse | Shelf::Idle => {}
        }
    }

    fn put_on(&mut self, shelf: Shelf, record: &Record, address: Address) {
        self.counts[shelf as usize] += 1;
        match shelf {
            Shelf::Hearsay => self.hearsay.insert(address, &self.closed),
            Shelf::Experienced => self.experienced.insert(address, &self.closed),
            Shelf::BackingOff => {
                self.backing_off.insert((record.tried_at, address));
            }
            Shelf::Waiting | Shelf::Deferred => {
                self.resting.insert((record.tried_at, address));
            }
            Shelf::Manual => self.manual_due.insert(address),
            Shelf::InUse | Shelf::Idle => {}
        }
    }

    /// Addresses in the book, burned ones left out.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the book knows no address.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
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
        self.records.get(address).map(|record| record.source)
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
