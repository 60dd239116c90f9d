//! What is remembered of one address.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::Address;
use crate::id::BurnReason;
use crate::time::{Monotonic, UnixTime};

/// Where an address was first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From DNS seed number so-and-so.
    Seed(usize),
    /// From the peer at this address.
    Peer(Address),
    /// From the user.
    User,
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
    /// Too old.
    Idle,
}

impl Shelf {
    pub(super) const ALL: [Shelf; 8] = [
        Shelf::InUse,
        Shelf::Waiting,
        Shelf::BackingOff,
        Shelf::Deferred,
        Shelf::Manual,
        Shelf::Experienced,
        Shelf::Hearsay,
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

/// What is remembered of one address.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) source: Source,
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
    pub(super) tried_at: Monotonic,
    pub(super) shelf: Shelf,
    /// The entry of this record in the book's expiry queue.
    pub(super) expires: Option<UnixTime>,
}

impl Record {
    pub(super) fn new(source: Source, services: ServiceFlags, last_seen: UnixTime) -> Self {
        Self {
            source,
            services,
            last_seen,
            manual: false,
            experience: None,
            failures: 0,
            strikes: 0,
            retry_at: None,
            verdict: None,
            asked_at: None,
            tried_at: Monotonic::default(),
            shelf: Shelf::Idle,
            expires: None,
        }
    }

    /// Makes every time it speaks of `now` at the latest.
    pub(super) fn cap_times(&mut self, now: UnixTime) {
        self.last_seen = self.last_seen.min(now);
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
