//! The faults of swarm runs.

use std::fmt;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::banned::Subnet;
use peerpool_core::id::{LeaseId, PeerId, PoolId};
use peerpool_core::io::Input;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::require::Require;

use super::{Swarm, pick, secs};
use crate::actor::{Kind, SeedKind};
use crate::check::Breach;
use crate::link_model::{Apart, Cut};
use crate::world::{NodeId, World};

/// What goes wrong, or is done to a pool by its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A pool's own link is down: dials go unanswered.
    Outage,
    /// The same, and its own system says so.
    NoRoute,
    /// Some netgroups cannot be reached.
    Partition,
    /// All links of a pool end at once.
    LinksDropped,
    /// A node becomes one of another kind.
    NodeTurned,
    /// A third of all nodes become so.
    NodesTurned,
    /// A pool's unix clock jumps, by minutes up to a year, ahead or back.
    ClockJump,
    /// A pool is killed and started anew.
    Restart,
    /// A DNS seed fails from now on, or answers again.
    SeedTurned,
    /// A user takes and gives back leases.
    Leases,
    /// A user names a node, dead or alive.
    Named,
    /// A user bans a node, or the subnet it is in, for minutes up to hours, or ends a ban.
    Banned,
    /// A user says of a ready peer that it is of no use, or that what it says is invalid.
    Reported,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 13] = [
        Fault::Outage,
        Fault::NoRoute,
        Fault::Partition,
        Fault::LinksDropped,
        Fault::NodeTurned,
        Fault::NodesTurned,
        Fault::ClockJump,
        Fault::Restart,
        Fault::SeedTurned,
        Fault::Leases,
        Fault::Named,
        Fault::Banned,
        Fault::Reported,
    ];

    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Outage => "outage",
            Fault::NoRoute => "no_route",
            Fault::Partition => "partition",
            Fault::LinksDropped => "links_dropped",
            Fault::NodeTurned => "node_turned",
            Fault::NodesTurned => "nodes_turned",
            Fault::ClockJump => "clock_jump",
            Fault::Restart => "restart",
            Fault::SeedTurned => "seed_turned",
            Fault::Leases => "leases",
            Fault::Named => "named",
            Fault::Banned => "banned",
            Fault::Reported => "reported",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What nodes become.
const KINDS: [Kind; 10] = [
    Kind::Honest,
    Kind::Honest,
    Kind::Refusing,
    Kind::Silent,
    Kind::Mute,
    Kind::Rude,
    Kind::Dropper,
    Kind::Flapping,
    Kind::Echo,
    Kind::Liar,
];
/// What a caller wants of the peer it leases: mostly nothing; now and then what some lack, or all.
const WANTED: [ServiceFlags; 6] = [
    ServiceFlags::NONE,
    ServiceFlags::NONE,
    ServiceFlags::WITNESS,
    ServiceFlags::NETWORK_LIMITED,
    ServiceFlags::NETWORK,
    ServiceFlags::COMPACT_FILTERS,
];
const YEAR: i64 = 365 * 86_400;

impl Swarm {
    /// One fault, of a kind that is drawn.
    pub(super) fn inject(&mut self) -> Result<(), Breach> {
        let fault = pick(&mut self.rng, &Fault::ALL);
        *self.faults.entry(fault).or_default() += 1;
        let pool = self.rng.below(self.world.pools().len());
        match fault {
            Fault::Outage => self.cut(pool, Apart::All, false),
            Fault::NoRoute => self.cut(pool, Apart::All, true),
            Fault::Partition => {
                let share = 0.1 + self.rng.below(90) as f64 / 100.0;
                let salt = self.rng.u64();
                self.cut(pool, Apart::Share(share, salt), false);
            }
            Fault::LinksDropped => self.world.drop_links(pool),
            Fault::NodeTurned => self.turn_nodes(1),
            Fault::NodesTurned => self.turn_nodes(self.world.population().len() / 3),
            Fault::ClockJump => {
                let reach = pick(&mut self.rng, &[600, 86_400, YEAR]);
                let seconds = self.rng.below(2 * reach as usize) as i64 - reach;
                self.world.set_unix_error(pool, seconds);
            }
            Fault::Restart => {
                self.world.restart(pool)?;
            }
            Fault::SeedTurned => {
                let seeds = self.world.pool(pool).seeds().len();
                let seed = self.rng.below(seeds);
                let kind = pick(&mut self.rng, &[SeedKind::Honest, SeedKind::Failing]);
                self.world.set_seed(pool, seed, kind);
            }
            Fault::Leases => return self.lease(pool),
            Fault::Named => {
                let node = self.select_node();
                let address = Address::from(self.world.population().listing(node).address);
                let port = if self.rng.chance(0.3) { 9000 } else { address.port };
                let named = Address { port, ..address };
                return self.world.input(pool, Input::AddManual(named));
            }
            Fault::Banned => return self.ban(pool),
            Fault::Reported => return self.report(pool),
        }
        Ok(())
    }

    fn cut(&mut self, pool: usize, apart: Apart, no_route: bool) {
        let from = self.world.now().mono;
        let until = from + self.rng.between(secs(1), secs(3600));
        self.world.cut(Cut { pool: Some(pool), from, until, apart, no_route });
    }

    fn select_node(&mut self) -> NodeId {
        let ids: Vec<NodeId> = self.world.population().ids().collect();
        pick(&mut self.rng, &ids)
    }

    fn turn_nodes(&mut self, count: usize) {
        for _ in 0..count {
            let (node, kind) = (self.select_node(), pick(&mut self.rng, &KINDS));
            if !self.world.population().listing(node).kind.is_hostile() {
                self.world.population_mut().set_kind(node, kind);
            }
        }
    }

    fn ban(&mut self, pool: usize) -> Result<(), Breach> {
        let bans: Vec<Subnet> = bans(&self.world, pool);
        if !bans.is_empty() && self.rng.chance(0.3) {
            let subnet = pick(&mut self.rng, &bans);
            return self.world.input(pool, Input::Unban { subnet });
        }
        let node = self.select_node();
        let host = Address::from(self.world.population().listing(node).address).host;
        let prefix = pick(&mut self.rng, &[4, 8, 16, 24, 32]);
        let subnet = Subnet::new(host, prefix).unwrap_or_else(|_| Subnet::of(host));
        let lasts = self.rng.between(secs(60), secs(4 * 3600));
        let until = self.world.pool(pool).now(self.world.now().mono).unix + lasts;
        self.world.input(pool, Input::Ban { subnet, until })
    }

    fn report(&mut self, pool: usize) -> Result<(), Breach> {
        let Some((peer, address)) = self.ready(pool) else { return Ok(()) };
        let kinds = [Misbehavior::Useless, Misbehavior::InvalidData];
        let (misbehavior, reason) = (pick(&mut self.rng, &kinds), "as drawn".to_owned());
        self.world.input(pool, Input::Report { peer, address, misbehavior, reason })
    }

    fn lease(&mut self, pool: usize) -> Result<(), Breach> {
        for _ in 0..1 + self.rng.below(8) {
            self.leases += 1;
            let lease = LeaseId(self.leases);
            let require = self.require(pool);
            let wait = self.rng.chance(0.5);
            self.world.input(pool, Input::Lease { lease, require, wait })?;
            let lease = LeaseId(1 + self.rng.below(self.leases as usize) as u64);
            self.world.input(pool, Input::Release { lease })?;
        }
        if let Some((peer, _)) = self.ready(pool) {
            let requests = self.rng.below(100);
            self.world.input(pool, Input::Load { peer, requests })?;
        }
        Ok(())
    }

    fn require(&mut self, pool: usize) -> Require {
        let mut require = Require::services(pick(&mut self.rng, &WANTED));
        if self.rng.chance(0.1) {
            require = require.on(pick(&mut self.rng, &[Net::Ipv4, Net::Ipv6]));
        }
        if self.rng.chance(0.1) {
            require = require.except(self.ready(pool).map(|(peer, _)| peer));
        }
        let pools = self.world.pool(pool).engine().pools().count() - 1;
        require = require.of_pool(PoolId(self.rng.below(1 + pools) as u64));
        match self.rng.below(10) {
            0 => require.exclusive(),
            1 => Require::any().private(),
            _ => require,
        }
    }

    /// One of a pool's ready peers.
    fn ready(&mut self, pool: usize) -> Option<(PeerId, Address)> {
        let status = self.world.pool(pool).status(self.world.now().mono);
        let ready: Vec<_> = status.ready.iter().map(|peer| (peer.id, peer.address)).collect();
        (!ready.is_empty()).then(|| pick(&mut self.rng, &ready))
    }
}

/// Whom a pool's user has banned.
fn bans(world: &World, pool: usize) -> Vec<Subnet> {
    world.pool(pool).engine().book().banned().entries().map(|ban| ban.subnet).collect()
}

/// Faults end: every ordinary node is honest and there to stay, nothing is lost, clocks are right,
/// seeds answer, nobody is banned.
pub(super) fn end_all(world: &mut World) -> Result<(), Breach> {
    world.heal();
    for pool in 0..world.pools().len() {
        world.set_unix_error(pool, 0);
        for seed in 0..world.pool(pool).seeds().len() {
            world.set_seed(pool, seed, SeedKind::Honest);
        }
        for subnet in bans(world, pool) {
            world.input(pool, Input::Unban { subnet })?;
        }
    }
    Ok(())
}
