//! What a world is made from.

use std::time::Duration;

use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::address::Address;
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use peerpool_core::slots::NamedPool;

use super::churn::Churn;
use crate::actor::{Ages, Kind, Listing, Mix, SeedKind};
use crate::link_model::LinkModel;

/// What a world is made from. The default is as much like the internet as is known: most of what is
/// heard of is dead, and nodes come and go as published (see [`churn`](super::churn)).
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of everything random. Default 1.
    pub seed: u64,
    /// Addresses, dead and hostile ones included. Default 1000.
    pub nodes: usize,
    /// These nodes and no others, there to stay; `nodes`, `sites`, `mix` and `attacker` are not
    /// looked at then. Default none: nodes are drawn.
    pub listings: Vec<Listing>,
    /// Netgroups that ordinary nodes live in; a quarter of their number if `None`, at most 12,000.
    pub sites: Option<usize>,
    /// Kinds of the ordinary nodes. Default [`Plan::internet`].
    pub mix: Mix,
    /// Who wants all slots of the pools, if anybody does. Default nobody.
    pub attacker: Option<Attacker>,
    /// How nodes come and go, if they do at all. Default as published.
    pub churn: Churn,
    /// Whether nodes come and go at all. Default true.
    pub churns: bool,
    /// The time in which each node that moves does so once, and after which all begins anew.
    /// Default 30 days.
    pub horizon: Duration,
    /// How long it is going to run, for the samples of reports. Default 30 days.
    pub lasting: Duration,
    /// How old gossip is. Default as Core's.
    pub ages: Ages,
    /// Addresses in the answer of an honest DNS seed, at most. Default 30, about as many as UDP
    /// holds.
    pub seed_answer: usize,
    /// Share of good addresses among those that an honest DNS seed gives. Default 0.95.
    pub seed_share: f64,
    /// What happens to packets. Default [`LinkModel::default`]: 10 to 150 ms, 1 % of dials lost.
    pub links: LinkModel,
    /// Whether every link carries bytes, through the real
    /// [`Link`](peerpool_core::link::Link) and rust-bitcoin's codec; else only links to nodes whose
    /// ways show in their bytes do. Default false.
    pub bytes: bool,
    /// First four bytes of each message, where there are bytes. Default mainnet's.
    pub magic: Magic,
    /// Port that nodes listen on. Default 8333.
    pub port: u16,
    /// Services that nodes offer. Default NETWORK, WITNESS and NETWORK_LIMITED.
    pub services: ServiceFlags,
    /// How long a vanishing node lives after its first connection. Default 5 to 30 s.
    pub vanish_after: (Duration, Duration),
    /// How long a flapping node stays, and how long it stays away. Default 5 to 30 s.
    pub flap: (Duration, Duration),
    /// Share of the links to honest nodes on which the node has a [quirk](crate::actor::Quirk).
    /// Default none.
    pub quirks: f64,
    /// Bytes a second that a slow node sends. Default 1.
    pub slow_rate: u32,
    /// Whether a book of up to 512 addresses is checked after each turn, even if it says that it
    /// has not changed: such runs take several times as long. Default false.
    pub checks_always: bool,
    /// Whether pools have an AS map that knows every node. Default false.
    pub as_map: bool,
    /// The pools under test. Default one, as the library makes it.
    pub pools: Vec<PoolPlan>,
}

const MINUTE: Duration = Duration::from_secs(60);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Somebody who wants all slots of the pools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attacker {
    /// Share of all addresses that are the attacker's. They always answer.
    pub share: f64,
    /// Netgroups that they lie in; nobody else lives there.
    pub groups: usize,
    /// How they behave: a kind that is [hostile](Kind::is_hostile).
    pub kind: Kind,
    /// Share of the attacker's addresses among those that honest nodes relay, where it floods them
    /// too. Default their natural share, if `None`.
    pub relayed: Option<f64>,
}

/// One pool under test.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// Every number. Default as the library's.
    pub policy: Policy,
    /// Its DNS seeds. Default three honest ones.
    pub seeds: Vec<SeedKind>,
    /// Addresses that its user names. Default none.
    pub manual: Vec<Address>,
    /// Pools beside the main one, counted in the policy's target. Default none.
    pub pools: Vec<NamedPool>,
    /// Whether it dials only those. Default false.
    pub connect_only: bool,
    /// Who belongs together, as it sees it. Default by prefix; [`Plan::as_map`] sets it.
    pub groups: NetGroups,
    /// When it starts. Default at once.
    pub starts_at: Duration,
    /// Whether a restart finds its addr book and its bans again, as a data directory keeps them.
    /// Default true.
    pub remembers: bool,
}

impl Default for PoolPlan {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            seeds: vec![SeedKind::Honest; 3],
            manual: Vec::new(),
            pools: Vec::new(),
            connect_only: false,
            groups: NetGroups::default(),
            starts_at: Duration::ZERO,
            remembers: true,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 1000,
            listings: Vec::new(),
            sites: None,
            mix: Self::internet(),
            attacker: None,
            churn: Churn::default(),
            churns: true,
            horizon: MONTH,
            lasting: MONTH,
            ages: Ages::Core,
            seed_answer: 30,
            seed_share: 0.95,
            links: LinkModel::default(),
            bytes: false,
            magic: Magic::BITCOIN,
            port: 8333,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED,
            vanish_after: (Duration::from_secs(5), Duration::from_secs(30)),
            flap: (Duration::from_secs(5), Duration::from_secs(30)),
            quirks: 0.0,
            slow_rate: 1,
            checks_always: false,
            as_map: false,
            pools: vec![PoolPlan::default()],
        }
    }
}

impl Plan {
    /// Most nodes of a world.
    pub const NODES_MAX: usize = 1_000_000;

    /// The kinds of node among the addresses that are known on the internet: 16 % can be reached,
    /// of which a few are of little use; four of five cannot, most of those without an answer.
    pub const fn internet() -> Mix {
        Mix::only(Kind::Honest)
            .with(Kind::Honest, 140)
            .with(Kind::Pruned, 15)
            .with(Kind::Lagging, 5)
            .with(Kind::Rude, 15)
            .with(Kind::Mute, 4)
            .with(Kind::Serviceless, 4)
            .with(Kind::Dropper, 2)
            .with(Kind::Flapping, 2)
            .with(Kind::WrongMagic, 2)
            .with(Kind::Slow, 1)
            .with(Kind::Refusing, 230)
            .with(Kind::Silent, 580)
    }

    /// How nodes of a kind come and go; `None`: they stay.
    pub(super) fn churn_of(&self, kind: Kind) -> Option<Churn> {
        let moves =
            self.churns && self.listings.is_empty() && !kind.is_hostile() && kind != Kind::Flapping;
        moves.then_some(self.churn)
    }

    /// How many addresses are the attacker's.
    pub(super) fn attackers(&self) -> usize {
        let share = self.attacker.map_or(0.0, |attacker| attacker.share);
        ((self.nodes as f64 * share + 0.5) as usize).min(self.nodes)
    }

    /// Holds what cannot be built against its bounds.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let bound = |name: &str, given: String, allowed: &str| {
            Err(format!("{name} = {given} is not allowed; allowed: {allowed}"))
        };
        if !(1..=Self::NODES_MAX).contains(&self.nodes) {
            return bound("nodes", self.nodes.to_string(), "1 to 1000000");
        }
        if self.pools.is_empty() || self.pools.len() > 1000 {
            return bound("pools", self.pools.len().to_string(), "1 to 1000");
        }
        // A /16 has room for 65,536: half of that is soon found.
        let crowded = |nodes: usize, sites: usize| nodes / sites.max(1) > 2000;
        let attackers = self.attackers();
        if self.attacker.is_some_and(|attacker| crowded(attackers, attacker.groups)) {
            return bound("groups", "too few".to_owned(), "one for each 2000 hostile addresses");
        }
        // There are 55,000 /16s, and the attacker needs some.
        let sites = |count: usize| (1..=40_000).contains(&count);
        if !self.sites.is_none_or(sites) || !self.attacker.is_none_or(|at| sites(at.groups)) {
            return bound("sites or groups", "so many".to_owned(), "1 to 40000");
        }
        if self.sites.is_some_and(|sites| crowded(self.nodes - attackers, sites)) {
            return bound("sites", "too few".to_owned(), "one for each 2000 nodes");
        }
        if self.attacker.is_some_and(|attacker| attacker.share > 0.0) && attackers == 0 {
            let text = format!("{}, of which none is the attacker's", self.nodes);
            return bound("nodes", text, "as many as make one hostile address");
        }
        let relayed = self.attacker.and_then(|attacker| attacker.relayed);
        for (name, share) in [
            ("attacker.share", self.attacker.map_or(0.0, |attacker| attacker.share)),
            ("attacker.relayed", relayed.unwrap_or(0.0)),
            ("seed_share", self.seed_share),
            ("quirks", self.quirks),
            ("dial_loss", self.links.dial_loss),
            ("jitter", self.links.jitter),
            ("steady", self.churn.steady),
            ("moving", self.churn.moving),
            ("turnover", self.churn.turnover),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return bound(name, share.to_string(), "a share from 0 to 1");
            }
        }
        if self.horizon < MINUTE {
            return bound("horizon", format!("{:?}", self.horizon), "a minute or more");
        }
        for pool in &self.pools {
            pool.policy.check().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
