//! What is remembered of one address.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::id::BurnReason;
use crate::time::{Monotonic, UnixTime};

use super::groups::GroupId;
use super::sources::SourceId;
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

impl RecordId {
    /// What stands for none where an `Option` would take twice the memory.
    pub(super) const NONE: Self = Self(u32::MAX);

    /// None, if it stands for that.
    pub(super) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// Places that one address may have at once in the new table. Core's
/// `ADDRMAN_NEW_BUCKETS_PER_ADDRESS`.
pub(super) const PLACES: usize = 8;

/// A time that may be none, in half the memory of an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(u64);

impl Time {
    const NONE: Self = Self(u64::MAX);

    fn some(self) -> Option<u64> {
        (self != Self::NONE).then_some(self.0)
    }

    /// In seconds of unix time.
    fn unix(at: Option<UnixTime>) -> Self {
        at.map_or(Self::NONE, |at| Self(at.0.min(u64::MAX - 1)))
    }

    /// In nanoseconds of the monotonic clock, which lasts 584 years so.
    fn monotonic(at: Option<Monotonic>) -> Self {
        let nanos = |at: Monotonic| u64::try_from(at.since_origin().as_nanos()).ok();
        at.map_or(Self::NONE, |at| Self(nanos(at).unwrap_or(u64::MAX).min(u64::MAX - 1)))
    }
}

/// Where a record stands in the tables: mostly in one place.
#[derive(Clone, Debug)]
enum Places {
    One(Place),
    Many(Box<[Place; PLACES]>),
}

/// What we ourselves know of an address: nothing of most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) experience: Option<Experience>,
    /// Exponent of the next back-off: failures, and losses after a short stay.
    pub(super) strikes: u32,
    pub(super) retry_at: Option<Monotonic>,
    pub(super) verdict: Option<(Monotonic, BurnReason)>,
    pub(super) asked_at: Option<Monotonic>,
}

impl Past {
    const NONE: Self =
        Self { experience: None, strikes: 0, retry_at: None, verdict: None, asked_at: None };
}

/// A past, in memory of its own once something is written to it.
#[derive(Clone, Debug)]
pub(super) struct MaybePast(Option<Box<Past>>);

impl Deref for MaybePast {
    type Target = Past;

    fn deref(&self) -> &Past {
        self.0.as_deref().unwrap_or(&Past::NONE)
    }
}

impl DerefMut for MaybePast {
    fn deref_mut(&mut self) -> &mut Past {
        self.0.get_or_insert_with(|| Box::new(Past::NONE))
    }
}

/// What is remembered of one address. What selection reads comes first, in one line of the cache.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Record {
    tried_at: Time,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Its netgroup, by the rule of the book; set when the record is taken in.
    pub(super) group: GroupId,
    /// Who named it first; set when the record is taken in.
    pub(super) source: SourceId,
    /// Where it is in the list of candidates of its netgroup, if it is one.
    pub(super) spot: u32,
    pub(super) address: Address,
    pub(super) shelf: Shelf,
    pub(super) manual: bool,
    place_count: u8,
    // ---- the second line ----
    places: Places,
    pub(super) past: MaybePast,
    /// When it was first heard of.
    pub(super) heard_at: UnixTime,
    pub(super) services: ServiceFlags,
    /// When it was last seen, as others say.
    pub(super) last_seen: UnixTime,
    expires: Time,
    /// The record of the next port of its host.
    sister: u32,
}

const _: () = assert!(size_of::<Option<Record>>() == 128, "a record takes two lines");

impl Record {
    pub(super) fn new(
        address: Address,
        heard_at: UnixTime,
        services: ServiceFlags,
        last_seen: UnixTime,
    ) -> Self {
        Self {
            tried_at: Time::NONE,
            failures: 0,
            group: GroupId(u32::MAX),
            source: SourceId(u32::MAX),
            spot: 0,
            address,
            shelf: Shelf::Idle,
            manual: false,
            place_count: 0,
            places: Places::One(Place::NONE),
            past: MaybePast(None),
            heard_at,
            services,
            last_seen,
            expires: Time::NONE,
            sister: RecordId::NONE.0,
        }
    }

    /// Writes down what we know of it; nothing takes no memory.
    pub(super) fn set_past(&mut self, past: Past) {
        self.past = MaybePast((past != Past::NONE).then(|| Box::new(past)));
    }

    /// When it was last dialled. Changes only while it stands on no shelf that is ordered by it.
    pub(super) fn tried_at(&self) -> Option<Monotonic> {
        self.tried_at.some().map(|nanos| Monotonic::new(Duration::from_nanos(nanos)))
    }

    pub(super) fn set_tried_at(&mut self, at: Option<Monotonic>) {
        self.tried_at = Time::monotonic(at);
    }

    /// The entry of this record in the book's expiry queue.
    pub(super) fn expires(&self) -> Option<UnixTime> {
        self.expires.some().map(UnixTime)
    }

    pub(super) fn set_expires(&mut self, at: Option<UnixTime>) {
        self.expires = Time::unix(at);
    }

    pub(super) fn sister(&self) -> Option<RecordId> {
        RecordId(self.sister).some()
    }

    pub(super) fn set_sister(&mut self, sister: Option<RecordId>) {
        self.sister = sister.unwrap_or(RecordId::NONE).0;
    }

    /// Where it stands in the tables.
    pub(super) fn places(&self) -> &[Place] {
        let all = match &self.places {
            Places::One(place) => std::slice::from_ref(place),
            Places::Many(places) => &places[..],
        };
        &all[..usize::from(self.place_count)]
    }

    /// Notes one more place, or that there is no room for one.
    pub(super) fn add_place(&mut self, place: Place) -> bool {
        match (&mut self.places, usize::from(self.place_count)) {
            (Places::One(one), 0) => *one = place,
            (Places::One(one), _) => {
                let mut places = [Place::NONE; PLACES];
                [places[0], places[1]] = [*one, place];
                self.places = Places::Many(Box::new(places));
            }
            (Places::Many(places), count) => match places.get_mut(count) {
                Some(free) => *free = place,
                None => return false,
            },
        }
        self.place_count += 1;
        true
    }

    pub(super) fn remove_place(&mut self, place: Place) {
        let Some(at) = self.places().iter().position(|held| *held == place) else { return };
        self.place_count -= 1;
        if let Places::Many(places) = &mut self.places {
            places.swap(at, self.place_count.into());
            if self.place_count == 1 {
                self.places = Places::One(places[0]);
            }
        }
    }

    /// Notes that it stands nowhere.
    pub(super) fn clear_places(&mut self) {
        self.places = Places::One(Place::NONE);
        self.place_count = 0;
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
        // Looked at before it is written to, which would give it memory.
        if self.past.experience.is_some_and(|experience| experience.last_success > now) {
            if let Some(experience) = &mut self.past.experience {
                experience.last_success = now;
            }
        }
    }

    /// Whether failures back this address off instead of burning it.
    pub(super) fn backs_off(&self, now: UnixTime, experience_age: Duration) -> bool {
        self.manual
            || self.past.experience.is_some_and(|experience| {
                experience.proven && now.since(experience.last_success) < experience_age
            })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::address::Host;
    use crate::book::tables::Tables;
    use crate::netgroup::NetGroups;
    use crate::rng::Rng;

    fn address(n: u32) -> Address {
        Address { host: Host::Ipv4(Ipv4Addr::from_bits(n)), port: 1 }
    }

    #[test]
    fn places_are_a_list_of_eight_at_most() {
        let mut rng = Rng::from_u64(1);
        let tables = Tables::new(NetGroups::default(), &mut rng);
        let zero = UnixTime(0);
        let mut record = Record::new(address(0), zero, ServiceFlags::NONE, zero);
        let mut model: Vec<Place> = Vec::new();
        for n in 1..5_000 {
            if rng.chance(0.55) {
                let place = tables.tried_place(&address(n));
                if model.contains(&place) {
                    continue;
                }
                assert_eq!(record.add_place(place), model.len() < PLACES);
                if model.len() < PLACES {
                    model.push(place);
                }
            } else if !model.is_empty() {
                let place = model.swap_remove(rng.below(model.len()));
                record.remove_place(place);
            }
            assert_eq!(record.places(), model);
        }
    }

    #[test]
    fn a_time_is_none_or_what_it_was_set_to() {
        let zero = UnixTime(0);
        let mut record = Record::new(address(0), zero, ServiceFlags::NONE, zero);
        assert_eq!((record.tried_at(), record.expires()), (None, None));
        let (at, nanos) = (Monotonic::new(Duration::new(1 << 33, 7)), u64::MAX - 1);
        record.set_tried_at(Some(at));
        record.set_expires(Some(UnixTime(0)));
        assert_eq!((record.tried_at(), record.expires()), (Some(at), Some(UnixTime(0))));
        record.set_tried_at(Some(Monotonic::new(Duration::MAX)));
        record.set_expires(Some(UnixTime(u64::MAX)));
        assert_eq!(record.tried_at(), Some(Monotonic::new(Duration::from_nanos(nanos))));
        assert_eq!(record.expires(), Some(UnixTime(nanos)));
    }
}
