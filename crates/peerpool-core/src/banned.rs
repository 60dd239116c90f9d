//! Bans: hosts and subnets that the user wants nothing to do with, until a time that the user says.
//! Unlike what a peer's misbehavior comes to, they are listed, kept over a restart, and never made
//! by the pool itself.

mod subnet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::address::{Host, PerNet};
use crate::time::UnixTime;

pub use subnet::{Subnet, SubnetError};

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ban {
    /// Who is banned.
    pub subnet: Subnet,
    /// Since when.
    pub since: UnixTime,
    /// Until when; from that second on no more. At most [`Ban::FOREVER`].
    pub until: UnixTime,
}

impl Ban {
    /// Ends no ban that anybody lives to see: the last second of the year 9999, which every form of
    /// time and date can hold.
    pub const FOREVER: UnixTime = UnixTime(253_402_300_799);
}

/// Why a ban is not made, or not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BanError {
    /// A ban covers all of it already; to change that one, end it first. As in Core.
    AlreadyBanned {
        /// Who was to be banned.
        subnet: Subnet,
        /// The ban that covers it.
        by: Ban,
    },
    /// The ban would be over.
    Past {
        /// When it was to end.
        until: UnixTime,
        /// The time.
        now: UnixTime,
    },
    /// There are as many bans as `Policy::max_bans` allows.
    Full {
        /// That many.
        max_bans: usize,
    },
    /// There is no ban of just this subnet.
    NotBanned {
        /// The subnet.
        subnet: Subnet,
        /// A ban of more than it, which covers it.
        by: Option<Ban>,
    },
    /// The pool is closed.
    Closed,
}

impl fmt::Display for BanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyBanned { subnet, by } => {
                write!(f, "{subnet} is already banned")?;
                if by.subnet != *subnet {
                    write!(f, ", by the ban of {}", by.subnet)?;
                }
                write!(f, ", until unix time {}", by.until.0)
            }
            Self::Past { until, now } => {
                write!(f, "a ban until unix time {} would be over; now it is {}", until.0, now.0)
            }
            Self::Full { max_bans } => write!(f, "there are {max_bans} bans, and no more allowed"),
            Self::Closed => f.write_str("the pool is closed"),
            Self::NotBanned { subnet, by: None } => write!(f, "{subnet} is not banned"),
            Self::NotBanned { subnet, by: Some(by) } => {
                write!(f, "{subnet} is not banned by itself; the ban of {} covers it", by.subnet)
            }
        }
    }
}

impl std::error::Error for BanError {}

/// All bans: a bounded table. Whether a host is banned is looked up once for each length of prefix
/// in use, whatever the number of bans.
#[derive(Clone, Debug)]
pub struct Banned {
    capacity: usize,
    bans: BTreeMap<Subnet, Ban>,
    /// When each ends, the first first.
    ends: BTreeSet<(UnixTime, Subnet)>,
    /// Bans by the length of their prefix.
    prefixes: PerNet<BTreeMap<u8, usize>>,
}

impl Banned {
    /// A table of `capacity` bans at most.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, bans: BTreeMap::new(), ends: BTreeSet::new(), prefixes: PerNet::default() }
    }

    /// How many bans there are.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether nobody is banned.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// Every ban, by subnet: what a store keeps.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Ban> + '_ {
        self.bans.values().copied()
    }

    /// The widest ban that covers all of `subnet`.
    pub fn covering(&self, subnet: &Subnet) -> Option<Ban> {
        if self.bans.is_empty() {
            return None;
        }
        let prefixes = self.prefixes[subnet.host().net()].range(..=subnet.prefix());
        prefixes.filter_map(|(prefix, _)| self.bans.get(&subnet.widened(*prefix))).next().copied()
    }

    /// Whether `host` is banned. Bans that are over count until they are ended.
    pub fn contains(&self, host: &Host) -> bool {
        self.covering(&Subnet::of(*host)).is_some()
    }

    /// The ban that [`Banned::ban`] would make.
    ///
    /// # Errors
    /// It is over already, covered by another ban, or one too many.
    pub fn check(&self, now: UnixTime, subnet: Subnet, until: UnixTime) -> Result<Ban, BanError> {
        if until <= now {
            return Err(BanError::Past { until, now });
        }
        if let Some(by) = self.covering(&subnet).filter(|ban| now < ban.until) {
            return Err(BanError::AlreadyBanned { subnet, by });
        }
        // One that is over leaves its place to the same anew.
        if self.bans.len() >= self.capacity && !self.bans.contains_key(&subnet) {
            return Err(BanError::Full { max_bans: self.capacity });
        }
        Ok(Ban { subnet, since: now, until: until.min(Ban::FOREVER) })
    }

    /// Bans a subnet until a time. Bans of parts of it stay beside it.
    ///
    /// # Errors
    /// See [`Banned::check`].
    pub fn ban(&mut self, now: UnixTime, subnet: Subnet, until: UnixTime) -> Result<Ban, BanError> {
        let ban = self.check(now, subnet, until)?;
        self.insert(ban);
        Ok(ban)
    }

    /// Takes in a ban of an earlier run, with the time that is left of it. False: it is over, or
    /// there is no room, or its subnet has one. In whatever order they come, wide ones beside their
    /// parts, what was listed is listed again.
    pub fn restore(&mut self, now: UnixTime, ban: Ban) -> bool {
        let room = self.bans.len() < self.capacity && !self.bans.contains_key(&ban.subnet);
        let fits = room && now < ban.until;
        if fits {
            self.insert(Ban { until: ban.until.min(Ban::FOREVER), ..ban });
        }
        fits
    }

    /// Ends the ban of just this subnet.
    ///
    /// # Errors
    /// There is none.
    pub fn unban(&mut self, subnet: &Subnet) -> Result<Ban, BanError> {
        let ban = self.find(subnet)?;
        self.remove(&ban);
        Ok(ban)
    }

    /// The ban of just this subnet.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, subnet: &Subnet) -> Result<Ban, BanError> {
        let missing = || BanError::NotBanned { subnet: *subnet, by: self.covering(subnet) };
        self.bans.get(subnet).copied().ok_or_else(missing)
    }

    /// Ends the bans that are over, and returns them.
    pub fn expire(&mut self, now: UnixTime) -> Vec<Ban> {
        let mut over = Vec::new();
        while let Some((_, subnet)) = self.ends.first().filter(|(until, _)| *until <= now) {
            let Some(ban) = self.bans.get(subnet).copied() else { break };
            self.remove(&ban);
            over.push(ban);
        }
        over
    }

    /// When the first ban ends.
    pub fn first_end(&self) -> Option<UnixTime> {
        self.ends.first().map(|(until, _)| *until)
    }

    fn insert(&mut self, ban: Ban) {
        if let Some(former) = self.bans.get(&ban.subnet).copied() {
            self.remove(&former);
        }
        self.bans.insert(ban.subnet, ban);
        self.ends.insert((ban.until, ban.subnet));
        *self.prefixes[ban.subnet.host().net()].entry(ban.subnet.prefix()).or_default() += 1;
    }

    fn remove(&mut self, ban: &Ban) {
        self.bans.remove(&ban.subnet);
        self.ends.remove(&(ban.until, ban.subnet));
        let (net, prefix) = (ban.subnet.host().net(), ban.subnet.prefix());
        let prefixes = &mut self.prefixes[net];
        if let Some(count) = prefixes.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                prefixes.remove(&prefix);
            }
        }
    }

    /// Checks that the table, its order and its counts agree, and its bound.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub(crate) fn check_table(&self) -> Result<(), String> {
        let mut prefixes: PerNet<BTreeMap<u8, usize>> = PerNet::default();
        for (subnet, ban) in &self.bans {
            *prefixes[subnet.host().net()].entry(subnet.prefix()).or_default() += 1;
            if ban.subnet != *subnet || !self.ends.contains(&(ban.until, *subnet)) {
                return Err(format!("the ban of {subnet} has no end"));
            }
        }
        if !prefixes.values().eq(self.prefixes.values()) || self.ends.len() != self.bans.len() {
            return Err("the order or the counts of bans differ from them".to_owned());
        }
        if self.bans.len() > self.capacity {
            return Err("there are more bans than allowed".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
