//! What is remembered of one address.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::id::BurnReason;
use crate::netgroup::NetGroup;
use crate::rng::Rng;
use crate::time::{Monotonic, UnixTime};

use super::tables::Place;

/// Where an address was first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From DNS seed number so-and-so.
    Seed(usize),
    /// From the peer at this address.
    Peer(Address),
    /// From the user.
    User,
    /// From a file of addresses that the user took in.
    Import,
}

/// Which of the book's shelves an address stands on. It stands on exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shelf {
    /// A connection to it, or to another port of its host, is being made or up.
    InUse,
    /// Its verdict waits for evidence that the network is up.
    Waiting,
    /// We know it from experience, or the user named it. It failed, and is tried again later.
    BackingOff,
    /// Hearsay that failed while nothing showed that the network was up; tried again later.
    Deferred,
    /// The user named it, and it may be dialled.
    Manual,
    /// We handshook with it lately; a candidate.
    Experienced,
    /// Heard of lately; a candidate.
    Hearsay,
    /// It is banned.
    Banned,
    /// Its host is discouraged.
    Discouraged,
    /// Too old.
    Idle,
}

impl Shelf {
    pub(super) const ALL: [Shelf; 10] = [
        Shelf::InUse,
        Shelf::Waiting,
        Shelf::BackingOff,
        Shelf::Deferred,
        Shelf::Manual,
        Shelf::Experienced,
        Shelf::Hearsay,
        Shelf::Banned,
        Shelf::Discouraged,
        Shelf::Idle,
    ];
}

/// Our own experience with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Experience {
    pub(super) last_success: UnixTime,
    /// Whether the peer once stayed for `quick_drop`, or was closed by us.
    pub(super) proven: bool,
}

/// The services by which candidates can be asked for, beyond those that all must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceClass(u8);

impl ServiceClass {
    const FLAGS: [ServiceFlags; 4] = [
        ServiceFlags::NETWORK,
        ServiceFlags::COMPACT_FILTERS,
        ServiceFlags::P2P_V2,
        ServiceFlags::BLOOM,
    ];

    /// The class of these services.
    pub(super) fn of(services: ServiceFlags) -> Self {
        let bits = Self::FLAGS.iter().enumerate();
        Self(bits.map(|(at, flag)| u8::from(services.has(*flag)) << at).sum())
    }

    /// Whether whoever is of this class has all that the other asks for.
    pub(super) const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// A record, by its place in memory: used again once the record is gone, so it never runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RecordId(pub(super) u32);

/// Places that one address may have at once in the new table. Core's
/// `ADDRMAN_NEW_BUCKETS_PER_ADDRESS`.
pub(super) const PLACES: usize = 8;

/// What is remembered of one address.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) address: Address,
    /// Its netgroup, by the rule of the book.
    pub(super) group: NetGroup,
    pub(super) source: Source,
    /// When it was first heard of.
    pub(super) heard_at: UnixTime,
    pub(super) services: ServiceFlags,
    /// When it was last seen, as others say.
    pub(super) last_seen: UnixTime,
    pub(super) manual: bool,
    pub(super) experience: Option<Experience>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Exponent of the next back-off: failures, and losses after a short stay.
    pub(super) strikes: u32,
    pub(super) retry_at: Option<Monotonic>,
    pub(super) verdict: Option<(Monotonic, BurnReason)>,
    pub(super) asked_at: Option<Monotonic>,
    /// When it was last dialled. Changes only while it stands on no shelf that is ordered by it.
    pub(super) tried_at: Option<Monotonic>,
    pub(super) shelf: Shelf,
    /// The entry of this record in the book's expiry queue.
    pub(super) expires: Option<UnixTime>,
    /// Its places in the tables, the first `place_count` of them.
    places: [Place; PLACES],
    place_count: u8,
    /// Where it is in the list of candidates of its netgroup, if it is one.
    pub(super) spot: u32,
}

impl Record {
    pub(super) fn new(
        address: Address,
        group: NetGroup,
        source: Source,
        heard_at: UnixTime,
        services: ServiceFlags,
        last_seen: UnixTime,
    ) -> Self {
        Self {
            address,
            group,
            source,
            heard_at,
            services,
            last_seen,
            manual: false,
            experience: None,
            failures: 0,
            strikes: 0,
            retry_at: None,
            verdict: None,
            asked_at: None,
            tried_at: None,
            shelf: Shelf::Idle,
            expires: None,
            places: [Place::NONE; PLACES],
            place_count: 0,
            spot: 0,
        }
    }

    /// Where it stands in the tables.
    pub(super) fn places(&self) -> &[Place] {
        &self.places[..usize::from(self.place_count)]
    }

    /// Notes one more place, or that there is no room for one.
    pub(super) fn add_place(&mut self, place: Place) -> bool {
        let Some(free) = self.places.get_mut(usize::from(self.place_count)) else { return false };
        *free = place;
        self.place_count += 1;
        true
    }

    pub(super) fn remove_place(&mut self, place: Place) {
        if let Some(at) = self.places().iter().position(|held| *held == place) {
            self.place_count -= 1;
            self.places.swap(at, self.place_count.into());
        }
    }

    /// Whether it stands in the tried table.
    pub(super) fn is_tried(&self) -> bool {
        self.places().first().is_some_and(|place| place.is_tried())
    }

    /// In which lane of an index it runs.
    pub(super) fn lane(&self) -> (Net, ServiceClass) {
        (self.address.net(), ServiceClass::of(self.services))
    }

    /// Makes every time it speaks of `now` at the latest.
    pub(super) fn cap_times(&mut self, now: UnixTime) {
        self.last_seen = self.last_seen.min(now);
        self.heard_at = self.heard_at.min(now);
        if let Some(experience) = &mut self.experience {
            experience.last_success = experience.last_success.min(now);
        }
    }

    /// Whether failures back this address off instead of burning it.
    pub(super) fn backs_off(&self, now: UnixTime, experience_age: Duration) -> bool {
        self.manual
            || self.experience.is_some_and(|experience| {
                experience.proven && now.since(experience.last_success) < experience_age
            })
    }
}

/// All records.
#[derive(Clone, Debug, Default)]
pub(super) struct Slab {
    records: Vec<Option<Record>>,
    free: Vec<RecordId>,
}

impl Slab {
    pub(super) fn insert(&mut self, record: Record) -> RecordId {
        match self.free.pop() {
            Some(id) => {
                self.records[id.0 as usize] = Some(record);
                id
            }
            None => {
                self.records.push(Some(record));
                RecordId(self.records.len() as u32 - 1)
            }
        }
    }

    pub(super) fn remove(&mut self, id: RecordId) -> Option<Record> {
        let record = self.records.get_mut(id.0 as usize)?.take()?;
        self.free.push(id);
        Some(record)
    }

    /// A record drawn at random, or nobody.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<RecordId> {
        if self.records.is_empty() {
            return None;
        }
        let id = RecordId(rng.below(self.records.len()) as u32);
        self.get(id).map(|_| id)
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        self.records.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
}
