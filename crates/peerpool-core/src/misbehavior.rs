//! Misbehavior: what a peer did that no honest one does, and the hosts that are discouraged for it.
//!
//! Only first-hand proof counts: bytes that the peer itself sent over its own connection, or what a
//! holder of a lease says of it. What others tell of a host, and what an honest peer may come to be
//! (slow, stale, full, gone), never does: else whoever can tell tales, or stand in the way, takes
//! honest peers from us.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::Host;
use crate::id::LinkFault;
use crate::policy::Policy;
use crate::time::Monotonic;

/// What a ready peer did that no honest one does. One strike is enough, as in Core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Misbehavior {
    /// Its handshake done, it sent what is no frame of this chain.
    BadMagic,
    /// A frame longer than `max_message_size`.
    Oversized,
    /// More undecodable control messages than `max_undecodable`, or one that no honest peer sends.
    Undecodable,
    /// A list longer than the protocol allows. Core's `addr` of more than 1000 entries.
    TooMany,
    /// It repeats its `version`, as no honest peer does.
    Protocol,
    /// What it answered is invalid, as the holder of a lease says: a header without proof of work,
    /// a block that breaks the rules, a transaction that nobody may relay.
    InvalidData,
    /// It is of no use, as the holder of a lease says: it answers pings and nothing else. Nothing
    /// is proved by that, so it is forgotten sooner: after `useless_memory`.
    Useless,
}

impl Misbehavior {
    /// What a fault of a ready peer's link proves, if it proves anything. A wrong checksum may be
    /// the path's doing, a flood may be late answers to a lease just given back, and who stalls
    /// may have lost its line.
    pub const fn of(fault: LinkFault) -> Option<Self> {
        match fault {
            LinkFault::BadMagic => Some(Self::BadMagic),
            LinkFault::Oversized => Some(Self::Oversized),
            LinkFault::Undecodable => Some(Self::Undecodable),
            LinkFault::TooMany => Some(Self::TooMany),
            LinkFault::BadFrames | LinkFault::Flood | LinkFault::StalledMessage => None,
        }
    }

    /// How long the peer's host is discouraged for it.
    pub const fn memory(self, policy: &Policy) -> Duration {
        match self {
            Self::Useless => policy.useless_memory,
            _ => policy.discourage_memory,
        }
    }

    /// The word for it in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMagic => LinkFault::BadMagic.as_str(),
            Self::Oversized => LinkFault::Oversized.as_str(),
            Self::Undecodable => LinkFault::Undecodable.as_str(),
            Self::TooMany => LinkFault::TooMany.as_str(),
            Self::Protocol => "protocol",
            Self::InvalidData => "invalid_data",
            Self::Useless => "useless",
        }
    }
}

/// Discouraged hosts, whatever their port: a bounded table that forgets by itself, and is never
/// saved. Who is forgotten soonest makes room.
#[derive(Clone, Debug)]
pub struct Discouraged {
    capacity: usize,
    hosts: BTreeMap<Host, Monotonic>,
    /// Until when each is discouraged, the first first.
    ends: BTreeSet<(Monotonic, Host)>,
}

impl Discouraged {
    /// A table of `capacity` hosts at most.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, hosts: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// How many hosts are discouraged.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether nobody is discouraged.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether `host` is discouraged. One whose time is over counts until it is forgotten.
    pub fn contains(&self, host: &Host) -> bool {
        self.hosts.contains_key(host)
    }

    /// Until when `host` is discouraged.
    pub fn until(&self, host: &Host) -> Option<Monotonic> {
        self.hosts.get(host).copied()
    }

    /// Every discouraged host, and until when.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Host, Monotonic)> + '_ {
        self.hosts.iter().map(|(host, until)| (*host, *until))
    }

    /// Discourages a host until then, or for longer if it is so already. Returns who made room.
    pub fn insert(&mut self, host: Host, until: Monotonic) -> Option<Host> {
        if let Some(former) = self.hosts.get(&host).copied() {
            if former < until {
                self.remove(&host);
                self.put(host, until);
            }
            return None;
        }
        let full = self.hosts.len() >= self.capacity;
        let first = self.ends.first().filter(|_| full).map(|(_, host)| *host);
        if let Some(first) = first {
            self.remove(&first);
        }
        self.put(host, until);
        first
    }

    /// Forgets those whose time is over, and returns them.
    pub fn expire(&mut self, now: Monotonic) -> Vec<Host> {
        let mut over = Vec::new();
        while let Some((_, host)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(&host);
            over.push(host);
        }
        over
    }

    /// When the first is forgotten.
    pub fn first_end(&self) -> Option<Monotonic> {
        self.ends.first().map(|(until, _)| *until)
    }

    fn put(&mut self, host: Host, until: Monotonic) {
        self.hosts.insert(host, until);
        self.ends.insert((until, host));
    }

    fn remove(&mut self, host: &Host) {
        if let Some(until) = self.hosts.remove(host) {
            self.ends.remove(&(until, *host));
        }
    }

    /// Checks that the table and its order agree, and its bound.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub(crate) fn check_table(&self) -> Result<(), String> {
        let ordered = |(host, until): (&Host, &Monotonic)| self.ends.contains(&(*until, *host));
        if !self.hosts.iter().all(ordered) || self.ends.len() != self.hosts.len() {
            return Err("the order of discouraged hosts differs from them".to_owned());
        }
        if self.hosts.len() > self.capacity {
            return Err("there are more discouraged hosts than allowed".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> Host {
        Host::Ipv4([1, 2, 3, n].into())
    }

    fn at(secs: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(secs))
    }

    #[test]
    fn nobody_is_discouraged_for_longer_than_its_time() {
        let mut discouraged = Discouraged::new(16);
        discouraged.insert(host(1), at(10));
        discouraged.insert(host(2), at(20));
        // Another strike lengthens it, and none shortens it.
        discouraged.insert(host(1), at(30));
        discouraged.insert(host(1), at(5));
        assert_eq!(discouraged.first_end(), Some(at(20)));
        assert_eq!(discouraged.expire(at(19)), []);
        assert_eq!(discouraged.expire(at(20)), [host(2)]);
        assert!(discouraged.contains(&host(1)) && !discouraged.contains(&host(2)));
        assert_eq!(discouraged.expire(at(30)), [host(1)]);
        assert!(discouraged.is_empty() && discouraged.first_end().is_none());
    }

    #[test]
    fn the_table_is_bounded_and_who_is_forgotten_soonest_makes_room() {
        let mut discouraged = Discouraged::new(16);
        for n in 0..100 {
            let room = discouraged.insert(host(n), at(100 + u64::from(n)));
            assert_eq!(room, n.checked_sub(16).map(host));
            discouraged.check_table().expect("the table is sound");
        }
        assert_eq!(discouraged.len(), 16);
        assert_eq!(discouraged.insert(host(99), at(500)), None, "it has a place");
    }

    #[test]
    fn what_an_honest_peer_may_come_to_be_proves_nothing() {
        for fault in [LinkFault::BadFrames, LinkFault::Flood, LinkFault::StalledMessage] {
            assert_eq!(Misbehavior::of(fault), None, "{fault:?}");
        }
        for fault in
            [LinkFault::BadMagic, LinkFault::Oversized, LinkFault::Undecodable, LinkFault::TooMany]
        {
            let proof = Misbehavior::of(fault).expect("a proof");
            assert_eq!(proof.as_str(), fault.as_str());
        }
    }
}
