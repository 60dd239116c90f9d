//! One pool under test: its engine, its links, and those who watch it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::Status;
use peerpool_core::id::PeerId;
use peerpool_core::io::Output;
use peerpool_core::policy::{Policy, PolicyError};
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

use super::end::{NodeEnd, PoolEnd};
use super::plan::{Plan, PoolPlan};
use super::population::NodeId;
use crate::actor::SeedKind;
use crate::check::Checks;
use crate::draw;
use crate::report::Report;

/// The unix time at which every world begins: 14 November 2023.
pub const START: UnixTime = UnixTime(1_700_000_000);

/// One pool under test.
#[derive(Debug)]
pub struct PoolUnderTest {
    pub(super) plan: PoolPlan,
    pub(super) engine: Engine,
    pub(super) checks: Checks,
    pub(super) report: Report,
    pub(super) links: BTreeMap<PeerId, PoolLink>,
    /// When the engine is woken, as far as the heap knows.
    pub(super) wake: Option<Monotonic>,
    /// How often it was restarted: what was meant for a former life is ignored.
    pub(super) generation: u32,
    /// How far its unix clock is off, in seconds.
    pub(super) unix_error: i64,
    pub(super) outputs: Vec<Output>,
    /// The key of its book's tables, as its data directory keeps it.
    key: [u8; 16],
}

/// A dial of a pool's, and the link that came of it.
#[derive(Debug)]
pub(super) struct PoolLink {
    pub(super) address: Address,
    pub(super) node: Option<NodeId>,
    /// The pool's address, as the node sees it.
    pub(super) from: SocketAddr,
    pub(super) latency: Duration,
    /// When what was sent last arrives, on either side.
    pub(super) at_pool: Monotonic,
    pub(super) at_node: Monotonic,
    /// Gone once the node has closed.
    pub(super) node_end: Option<NodeEnd>,
    /// Only where bytes cross.
    pub(super) pool_end: Option<PoolEnd>,
    /// When the node speaks of itself, as far as the heap knows.
    pub(super) node_wake: Option<Monotonic>,
    /// When the pool's end is woken, as far as the heap knows.
    pub(super) pool_wake: Option<Monotonic>,
    /// Nothing arrives any more, and neither side knows.
    pub(super) silent: bool,
    /// The pool has asked for the end.
    pub(super) closing: bool,
}

impl PoolUnderTest {
    pub(super) fn new(
        world: &Plan,
        index: usize,
        generation: u32,
        plan: PoolPlan,
    ) -> Result<Self, PolicyError> {
        let seeds = (0..plan.seeds.len()).map(|seed| format!("seed{seed}.test")).collect();
        let config = Config {
            policy: plan.policy.clone(),
            seeds,
            default_port: world.port,
            manual: plan.manual.clone(),
            connect_only: plan.connect_only,
            user_agent: "/peerpool-sim/".to_owned(),
            only_nets: vec![],
            groups: plan.groups.clone(),
            height: 0,
            pools: plan.pools.clone(),
        };
        let seed = draw::hash(world.seed, &[ENGINE, index as u64, u64::from(generation)]);
        let mut checks = Checks::new(&config);
        if world.checks_always {
            checks.check_book_always();
        }
        let mut engine = Engine::new(config, Rng::from_u64(seed))?;
        let word = |n: u64| u128::from(draw::hash(world.seed, &[KEY, index as u64, n]));
        let key = (word(0) << 64 | word(1)).to_le_bytes();
        let starts_at = Monotonic::default() + plan.starts_at;
        if plan.remembers {
            // The key is drawn as the data directory is made, which has nothing in it yet.
            engine.restore(Now { mono: starts_at, unix: true_unix(starts_at) }, key, Vec::new());
        }
        Ok(Self {
            checks,
            engine,
            report: Report::new(plan.policy.target_connect_count, starts_at, world.lasting),
            plan,
            links: BTreeMap::new(),
            wake: None,
            generation,
            unix_error: 0,
            outputs: Vec::new(),
            key,
        })
    }

    /// Takes over what a data directory would have kept of a former life.
    pub(super) fn recall(&mut self, old: &mut Self, now: Now) {
        if !self.plan.remembers {
            return;
        }
        let (_, kept) = old.engine.take_all(now);
        let restored = self.engine.restore(now, self.key, kept);
        self.engine.restore_bans(now, old.engine.book().banned().entries());
        self.checks.recall(now, &mut old.checks, restored.refused > 0);
    }

    /// The pool's own clocks.
    pub(crate) fn now(&self, mono: Monotonic) -> Now {
        let unix = true_unix(mono).0.saturating_add_signed(self.unix_error);
        Now { mono, unix: UnixTime(unix) }
    }

    /// Every number it decides by.
    pub fn policy(&self) -> &Policy {
        &self.plan.policy
    }

    /// Its DNS seeds, as they are now.
    pub fn seeds(&self) -> &[SeedKind] {
        &self.plan.seeds
    }

    /// Its engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What it was given and did, in figures.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ready peers that fill a slot and whose node is still there, whatever the pool knows of that.
    pub fn served(&self, mono: Monotonic) -> usize {
        let is_there = |peer: &PeerId| {
            let link = self.links.get(peer);
            link.is_some_and(|link| link.node_end.is_some() && !link.silent && !link.closing)
        };
        let status = self.status(mono);
        let filling = status.ready.iter().filter(|peer| peer.connection_type.counts());
        filling.filter(|peer| is_there(&peer.id)).count()
    }

    /// A snapshot of it.
    pub fn status(&self, mono: Monotonic) -> Status {
        self.engine.status(self.now(mono))
    }
}

impl PoolLink {
    pub(super) fn new(address: Address, node: Option<NodeId>, from: SocketAddr) -> Self {
        Self {
            address,
            node,
            from,
            latency: Duration::ZERO,
            at_pool: Monotonic::default(),
            at_node: Monotonic::default(),
            node_end: None,
            pool_end: None,
            node_wake: None,
            pool_wake: None,
            silent: false,
            closing: false,
        }
    }
}

/// What a right clock shows.
pub(super) fn true_unix(mono: Monotonic) -> UnixTime {
    UnixTime(START.0 + mono.since_origin().as_secs())
}

/// What a hash is for.
const ENGINE: u64 = 30;
const KEY: u64 = 31;
