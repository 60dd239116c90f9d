//! Swarm runs: everything is drawn from a seed, the network's size and make-up, the pools' policies
//! and the faults. A safety phase with faults comes first, in which the checkers must hold; then
//! the faults end, and each pool must be full again within a time that its policy fixes.

mod faults;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::slots::NamedPool;
use peerpool_core::time::Monotonic;

use crate::actor::{Ages, Kind, Mix, SeedKind};
use crate::check::Breach;
use crate::draw;
use crate::link_model::{Breaks, LinkModel};
use crate::world::churn::Churn;
use crate::world::{Attacker, Injected, Plan, PoolPlan, PoolUnderTest, World};

pub use faults::Fault;

/// How long a run is: a virtual day.
pub const LENGTH: Duration = Duration::from_secs(86_400);
/// When the faults end, at the latest.
const SAFETY: Duration = Duration::from_secs(17 * 3600);
/// How often pools are looked at while they recover.
const LOOK: Duration = Duration::from_secs(1);
/// In one of so many runs the book is checked after each turn, which takes most of its time.
const CHECKED_ALWAYS: u64 = 32;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How many faults of each kind there were.
    pub faults: BTreeMap<Fault, u64>,
    /// Inputs that engines took.
    pub events: u64,
    /// The trace's hash.
    pub hash: u64,
    /// What the network did to links besides.
    pub injected: Injected,
    /// Whether every pool lost all its links just when the faults ended.
    pub emptied: bool,
    /// Whether netgroups are so few that pools need not be full: one peer is enough then.
    pub cramped: bool,
    /// How long the slowest pool took once the faults had ended until it was full of peers that are
    /// there, to within a second; `None` if it is not yet.
    pub recovery: Option<Duration>,
}

/// A run that failed.
#[derive(Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What a checker found.
    pub breach: Breach,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, breach } = self;
        write!(
            f,
            "seed {seed}: {breach}\nreplay: peerpool sim --scenario swarm --seed {seed} --trace"
        )
    }
}

impl std::error::Error for Failed {}

/// A run that goes on as long as it is told to.
#[derive(Debug)]
pub struct Swarm {
    seed: u64,
    world: World,
    rng: Rng,
    faults: BTreeMap<Fault, u64>,
    next_fault: Monotonic,
    mean_pause: Duration,
    calm: Option<Calm>,
    leases: u64,
}

/// The faults have ended.
#[derive(Clone, Copy, Debug)]
struct Calm {
    since: Monotonic,
    /// Whether the pools began it with nobody.
    emptied: bool,
    /// How long it took until all pools were full.
    recovery: Option<Duration>,
}

impl Swarm {
    /// The run of a seed, at its beginning.
    ///
    /// # Panics
    /// A plan that was drawn is out of its bounds: a fault of this module.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(draw::hash(seed, &[SWARM]));
        let plan = plan(seed, &mut rng);
        let mean_pause = rng.between(secs(120), secs(3 * 3600));
        let world = World::new(plan).expect("what is drawn is within its bounds");
        let (faults, next_fault) = (BTreeMap::new(), Monotonic::default());
        Self { seed, world, rng, faults, next_fault, mean_pause, calm: None, leases: 0 }
    }

    /// The world it runs in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The attacker's share of the nodes that answer now, if there is an attacker.
    pub fn hostile_share(&mut self) -> Option<f64> {
        self.world.hostile_share()
    }

    /// Has each event told in a line: see [`World::set_lines`].
    pub fn set_lines(&mut self, line: impl FnMut(&str) + Send + 'static) {
        self.world.set_lines(line);
    }

    /// Lets time pass, faults included; true once the run is over.
    ///
    /// # Errors
    /// A checker found a breach.
    pub fn run_for(&mut self, duration: Duration) -> Result<bool, Box<Failed>> {
        let seed = self.seed;
        self.advance(duration).map_err(|breach| Box::new(Failed { seed, breach }))
    }

    fn advance(&mut self, duration: Duration) -> Result<bool, Breach> {
        let start = Monotonic::default();
        let end = (self.world.now().mono + duration).min(start + LENGTH);
        loop {
            let fault_at = self.next_fault.min(start + SAFETY);
            if self.calm.is_some() || fault_at > end {
                self.rest_until(end)?;
                break;
            }
            self.world.run_until(fault_at)?;
            if fault_at == start + SAFETY {
                self.be_calm()?;
            } else {
                self.inject()?;
                let pause = draw::exponential(self.mean_pause, &mut self.rng);
                self.next_fault = fault_at + pause.max(secs(1));
            }
        }
        let over = end == start + LENGTH;
        if over {
            self.world.finish()?;
            for pool in 0..self.world.pools().len() {
                self.world.close(pool)?;
            }
        }
        Ok(over)
    }

    /// Lets time pass without faults, and notes when all pools are full again.
    fn rest_until(&mut self, end: Monotonic) -> Result<(), Breach> {
        while let Some(Calm { since, emptied, recovery: None }) = self.calm {
            let now = self.world.now().mono;
            let cramped = self.world.is_cramped();
            let full = |pool: &PoolUnderTest| {
                let target = pool.policy().target_connect_count;
                pool.served(now) >= if cramped { 1 } else { target }
            };
            if self.world.pools().iter().all(full) {
                let recovery = Some(now.since(since));
                self.calm = Some(Calm { since, emptied, recovery });
            } else if now >= end {
                break;
            } else {
                self.world.run_until((now + LOOK).min(end))?;
            }
        }
        self.world.run_until(end)
    }

    /// What came of it so far.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            seed: self.seed,
            faults: self.faults.clone(),
            events: self.world.events(),
            hash: self.world.trace_hash(),
            injected: self.world.injected(),
            emptied: self.calm.is_some_and(|calm| calm.emptied),
            cramped: self.world.is_cramped(),
            recovery: self.calm.and_then(|calm| calm.recovery),
        }
    }

    /// Faults end; every pool is to be full in time, and to stay so.
    fn be_calm(&mut self) -> Result<(), Breach> {
        let since = self.world.now().mono;
        // Many are full just then: half of the runs have them begin with nobody.
        let emptied = self.rng.chance(0.5);
        if emptied {
            (0..self.world.pools().len()).for_each(|pool| self.world.drop_links(pool));
            self.world.run_until(since)?;
        }
        faults::end_all(&mut self.world)?;
        // Netgroups may be too few for more than one.
        let peers = if self.world.is_cramped() { 1 } else { usize::MAX };
        for pool in 0..self.world.pools().len() {
            // So may they be for pools that share none.
            let separate = self.world.pool(pool).engine().pools().any(|pool| pool.separate);
            let peers = if separate { 1 } else { peers };
            let policy = self.world.pool(pool).policy();
            let (allowed, replaces) = (time_to_recover(policy), time_to_replace(policy));
            self.world.expect_peers(pool, peers, since + allowed, replaces);
        }
        self.calm = Some(Calm { since, emptied, recovery: None });
        Ok(())
    }
}

/// How long a pool may take to be full once the network allows it: burns fade, and whoever is
/// discouraged is forgotten, and only then, at
/// the next round of asking the seeds, is a node heard of anew; whoever backs off is waited for;
/// dials and handshakes take their time, more than once where nodes are slow.
fn time_to_recover(policy: &Policy) -> Duration {
    let memory = policy.burn_memory.max(policy.discourage_memory).max(policy.useless_memory);
    memory + policy.pong_deadline + policy.ping_interval + time_to_replace(policy)
}

/// How long it may be short of a peer after that: whoever else it knows may back off, or the seeds
/// must be asked.
fn time_to_replace(policy: &Policy) -> Duration {
    let backs_off = policy.backoff_max.mul_f64(1.25);
    let attempt = policy.dial_timeout + policy.handshake_deadline;
    policy.seed_retry_max * 2 + backs_off + attempt * 8 + policy.probe_interval * 6
}

fn plan(seed: u64, rng: &mut Rng) -> Plan {
    let nodes = 30 + rng.below(170);
    let churn = Churn {
        steady: rng.below(100) as f64 / 100.0,
        moving: rng.below(40) as f64 / 100.0,
        turnover: rng.below(20) as f64 / 100.0,
        pace: 1 + rng.below(60) as u32,
    };
    let attacker = rng.chance(0.3).then(|| Attacker {
        share: 0.02 + rng.below(20) as f64 / 100.0,
        groups: 1 + rng.below(10),
        kind: pick(rng, &[Kind::Sybil, Kind::NearSybil, Kind::Spammer, Kind::Shadow]),
        relayed: rng.chance(0.5).then_some(0.5),
    });
    let pools = (0..1 + rng.below(2)).map(|_| pool(rng)).collect();
    // Few netgroups, now and then: pools, whose peers are spread over them, can hardly be full.
    let sites = if rng.chance(0.15) { 1 + rng.below(8) } else { nodes };
    let quirks = if rng.chance(0.5) { rng.below(20) as f64 / 100.0 } else { 0.0 };
    Plan {
        seed,
        nodes,
        sites: Some(sites),
        quirks,
        mix: mix(rng),
        attacker,
        churn,
        churns: rng.chance(0.8),
        horizon: LENGTH,
        lasting: LENGTH,
        ages: pick(rng, &Ages::ALL),
        seed_share: rng.below(101) as f64 / 100.0,
        links: links(rng),
        bytes: rng.chance(0.2),
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED,
        as_map: rng.chance(0.2),
        checks_always: seed.is_multiple_of(CHECKED_ALWAYS),
        pools,
        ..Plan::default()
    }
}

/// A third of the nodes are honest, the rest of any kind.
fn mix(rng: &mut Rng) -> Mix {
    let mut mix = Mix::only(Kind::Honest).with(Kind::Honest, 100);
    for kind in Kind::ALL {
        let share = match kind {
            Kind::Honest => continue,
            Kind::Refusing | Kind::Silent => rng.below(80),
            // A megabyte each: few, so that a run stays short.
            Kind::Flooder => usize::from(rng.chance(0.05)),
            kind if kind.is_hostile() => 0,
            _ => rng.below(12),
        };
        mix = mix.with(kind, share as u16);
    }
    mix
}

fn links(rng: &mut Rng) -> LinkModel {
    let least = Duration::from_millis(1 + rng.below(100) as u64);
    let breaks = rng.chance(0.5).then(|| Breaks {
        mean: rng.between(secs(600), secs(86_400)),
        silent: rng.below(101) as f64 / 100.0,
    });
    LinkModel {
        latency: (least, least * (1 + rng.below(6) as u32)),
        jitter: rng.below(100) as f64 / 100.0,
        bandwidth: 20_000 << rng.below(8),
        dial_loss: rng.below(20) as f64 / 100.0,
        breaks,
        ..LinkModel::default()
    }
}

fn pool(rng: &mut Rng) -> PoolPlan {
    let mut seeds = vec![SeedKind::Honest; 1 + rng.below(3)];
    if rng.chance(0.3) {
        seeds.push(pick(rng, &[SeedKind::Poisoned, SeedKind::Failing]));
    }
    let remembers = rng.chance(0.8);
    let policy = policy(rng);
    let pools = pools(rng, policy.target_connect_count);
    PoolPlan { policy, seeds, remembers, pools, ..PoolPlan::default() }
}

/// Now and then the slots are divided among several pools, some of which share no node.
fn pools(rng: &mut Rng, mut left: usize) -> Vec<NamedPool> {
    let mut pools = Vec::new();
    while left > 1 && pools.len() < 4 && rng.chance(0.3) {
        let target = 1 + rng.below(left - 1);
        left -= target;
        let name = format!("pool{}", pools.len());
        pools.push(NamedPool { name, target, separate: rng.chance(0.4) });
    }
    pools
}

/// A policy that is full again within some hours of the last fault.
fn policy(rng: &mut Rng) -> Policy {
    let backoff_min = rng.between(secs(5), secs(120));
    let seed_retry_min = rng.between(secs(10), secs(120));
    Policy {
        target_connect_count: 1 + rng.below(10),
        max_dials: 1 + rng.below(64),
        max_dials_per_netgroup: 1 + rng.below(3),
        max_peers_per_netgroup: 1 + rng.below(2),
        max_source_share: 10 + rng.below(91),
        min_peers_per_net: rng.below(3),
        even_netgroups: rng.chance(0.7),
        enough_known: 1 + rng.below(64),
        max_anchors: rng.below(12),
        max_addr_fetch: rng.below(3),
        addr_fetch_timeout: rng.between(secs(10), secs(300)),
        addr_fetch_interval: rng.between(secs(600), secs(6 * 3600)),
        max_address_age: rng.between(secs(1800), secs(4 * 3600)),
        burn_memory: rng.between(secs(600), secs(3 * 3600)),
        discourage_memory: rng.between(secs(600), secs(3 * 3600)),
        useless_memory: rng.between(secs(60), secs(3600)),
        max_bans: 1 + rng.below(20),
        max_discouraged: 16 + rng.below(50),
        experience_age: rng.between(secs(3600), secs(30 * 86_400)),
        quick_drop: rng.between(secs(5), secs(120)),
        dial_timeout: rng.between(secs(2), secs(10)),
        handshake_deadline: rng.between(secs(5), secs(30)),
        hedge_delay: rng.between(Duration::from_millis(100), secs(2)),
        block_relay_count: rng.below(4),
        feeler_interval: if rng.chance(0.3) { secs(0) } else { rng.between(secs(20), secs(600)) },
        rotation_interval: if rng.chance(0.3) {
            secs(0)
        } else {
            rng.between(secs(60), secs(7200))
        },
        rotation_retry: rng.between(secs(5), secs(300)),
        backoff_min,
        backoff_max: rng.between(backoff_min, secs(3600)),
        max_failures: 1 + rng.below(12),
        seed_retry_min,
        seed_retry_max: rng.between(seed_retry_min, secs(600)),
        ping_interval: rng.between(secs(30), secs(300)),
        pong_deadline: rng.between(secs(20), secs(120)),
        inactivity: rng.between(secs(600), secs(1800)),
        max_addresses: 16 + rng.below(500),
        max_burned: 16 + rng.below(500),
        slots_per_peer: 1 + rng.below(4),
        max_waiters: 1 + rng.below(20),
        addr_burst: if rng.chance(0.3) { 1 + rng.below(20) } else { 1000 },
        ..Policy::default()
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len())]
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What a hash is for.
const SWARM: u64 = 50;

#[cfg(test)]
mod tests;
