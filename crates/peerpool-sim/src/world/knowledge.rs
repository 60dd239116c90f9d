//! What nodes know of each other. No node sends it to another: it is drawn when a pool asks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bitcoin::p2p::address::AddrV2Message;
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::population::{NodeId, Population};
use crate::actor::{Ages, Listing, Profile, SeedKind, Surroundings, ages};

/// Core answers getaddr with at most this share of what it knows (`MAX_PCT_ADDR_TO_SEND`).
const ANSWER_PERCENT: usize = 23;
/// Below this, a share would leave nothing to learn in small networks.
const ANSWER_FLOOR: usize = 10;
/// Most entries in one addr or addrv2 message, as in Core's `MAX_ADDR_TO_SEND`.
const ANSWER_MAX: usize = 1000;
/// Answers kept at once; the one that was filled first makes room.
const TABLES_MAX: usize = 4096;
/// How old what the attacker's nodes say of each other is, at most.
const HOSTILE_AGE: Duration = Duration::from_secs(600);

/// The answer to getaddr that a node gives until it makes a new one: its small address table.
#[derive(Clone, Debug)]
struct Table {
    until: UnixTime,
    entries: Vec<(NodeId, UnixTime)>,
}

/// What an honest DNS seed names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crawl {
    /// So many addresses, at most.
    pub(super) count: usize,
    /// This share of them good ones.
    pub(super) good_share: f64,
}

/// What nodes know, and how they introduce themselves.
#[derive(Debug)]
pub(super) struct Knowledge {
    pub(super) population: Population,
    pub(super) profile: Profile,
    /// Share of the attacker's addresses among those that honest nodes relay.
    pub(super) hostile_relayed: Option<f64>,
    tables: BTreeMap<NodeId, Table>,
}

impl Knowledge {
    pub(super) fn new(
        population: Population,
        profile: Profile,
        hostile_relayed: Option<f64>,
    ) -> Self {
        Self { population, profile, hostile_relayed, tables: BTreeMap::new() }
    }

    fn entry(&self, id: NodeId, seen: UnixTime) -> AddrV2Message {
        self.profile.entry(self.population.listing(id).address, seen)
    }

    fn answer_of(&mut self, now: UnixTime, id: NodeId, rng: &mut Rng) -> Vec<AddrV2Message> {
        if self.tables.get(&id).is_none_or(|table| table.until <= now) {
            let table = self.fill(now, rng);
            self.make_room();
            self.tables.insert(id, table);
        }
        let entries = &self.tables[&id].entries;
        entries.iter().map(|&(id, seen)| self.entry(id, seen)).collect()
    }

    fn make_room(&mut self) {
        if self.tables.len() >= TABLES_MAX {
            let first = self.tables.iter().min_by_key(|(_, table)| table.until);
            if let Some(id) = first.map(|(id, _)| *id) {
                self.tables.remove(&id);
            }
        }
    }

    /// A sample of all addresses, as old as the ages say. One that nobody asked for lately was made
    /// when somebody else asked, some time ago.
    fn fill(&mut self, now: UnixTime, rng: &mut Rng) -> Table {
        let known = self.population.len();
        let share = (known * ANSWER_PERCENT / 100).clamp(ANSWER_FLOOR, ANSWER_MAX);
        let count = share.min(known);
        let (life, age) = match self.profile.ages {
            Ages::Kind => (Duration::ZERO, Duration::ZERO),
            Ages::Core => {
                let life = rng.between(ages::CACHE_LIFE.0, ages::CACHE_LIFE.1);
                (life, rng.between(Duration::ZERO, life))
            }
        };
        let filled = now - age;
        let mut ids: Vec<NodeId> =
            (0..count).filter_map(|_| self.population.select_any(rng)).collect();
        ids.sort_unstable();
        ids.dedup();
        rng.shuffle(&mut ids);
        let entries = ids.into_iter().filter_map(|id| Some((id, self.seen(now, filled, id, rng)?)));
        let entries = entries.collect();
        Table { until: filled + life, entries }
    }

    /// When a node was seen last, as whoever filled a table then would say; `None` where that is
    /// beyond the horizon.
    fn seen(
        &mut self,
        now: UnixTime,
        filled: UnixTime,
        id: NodeId,
        rng: &mut Rng,
    ) -> Option<UnixTime> {
        let absent = self.population.absent_for(id);
        let age = match self.profile.ages {
            Ages::Kind => absent + ages::kind_age(false, rng),
            Ages::Core => absent.saturating_sub(now.since(filled)) + ages::cached_age(false, rng),
        };
        (age < ages::HORIZON).then(|| filled - age)
    }

    fn hostile(&mut self, now: UnixTime, rng: &mut Rng) -> Option<AddrV2Message> {
        let id = self.population.select_hostile(rng)?;
        Some(self.entry(id, now - rng.between(Duration::ZERO, HOSTILE_AGE)))
    }
}

impl Surroundings for Knowledge {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn gossip(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message> {
        if from.kind.is_hostile() {
            let count = self.population.hostile_len().min(ANSWER_MAX);
            return (0..count).filter_map(|_| self.hostile(now, rng)).collect();
        }
        match self.population.find(&from.address.into()) {
            Some(id) => self.answer_of(now, id, rng),
            None => Vec::new(),
        }
    }

    /// Nothing is sent here, so that they may be of the public internet, and are believed.
    fn dead_ip(&self, rng: &mut Rng) -> Ipv4Addr {
        let [x, y, z, ..] = rng.u64().to_le_bytes();
        Ipv4Addr::new(9, x.max(10), y, z)
    }

    fn relayed(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message> {
        let count = ages::relay_entries(from.kind, rng);
        let mut relayed = Vec::with_capacity(count);
        for _ in 0..count {
            let flooded = self.hostile_relayed.is_some_and(|share| rng.chance(share));
            let entry = if from.kind.is_hostile() || flooded {
                self.hostile(now, rng)
            } else {
                let id = self.population.select_present(rng);
                id.map(|id| self.entry(id, now - ages::relayed_age(rng)))
            };
            relayed.extend(entry);
        }
        relayed
    }
}

impl Knowledge {
    /// What a DNS seed answers. A good share of what an honest one names is good.
    ///
    /// # Errors
    /// The seed fails.
    pub(super) fn ask_seed(
        &mut self,
        kind: SeedKind,
        honest: Crawl,
        rng: &mut Rng,
    ) -> Result<Vec<IpAddr>, String> {
        // Both draw, though only one of them does so for a seed of one kind.
        let this = RefCell::new((self, rng));
        kind.answer(
            || {
                let (this, rng) = &mut *this.borrow_mut();
                this.crawled(honest, rng)
            },
            |count| {
                let (this, rng) = &mut *this.borrow_mut();
                let count = count.min(this.population.hostile_len());
                let ids = (0..count).filter_map(|_| this.population.select_hostile(rng));
                ids.map(|id| this.population.listing(id).address.ip()).collect()
            },
        )
    }

    /// What a crawler names: as many good nodes as the share says, the others any.
    fn crawled(&mut self, crawl: Crawl, rng: &mut Rng) -> Vec<IpAddr> {
        let mut found = Vec::with_capacity(crawl.count);
        for _ in 0..crawl.count {
            let id = if rng.chance(crawl.good_share) {
                self.population.select_good(rng)
            } else {
                self.population.select_any(rng)
            };
            let ip = id.map(|id| self.population.listing(id).address.ip());
            found.extend(ip.filter(|ip| !found.contains(ip)));
        }
        found
    }
}
