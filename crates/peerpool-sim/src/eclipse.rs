//! The baseline that an addr book has to beat: how many of a pool's slots an attacker holds who has
//! some of all addresses.

use std::ops::RangeInclusive;
use std::time::Duration;

use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;

use crate::actor::{Kind, SeedKind};
use crate::check::Breach;
use crate::report::Atlas as _;
use crate::world::{Attacker, Plan, PoolPlan, World};

/// How long a run is, a restart left out.
pub const DAYS: u32 = 30;
/// Addresses that a network may have in which every [case](Case::all) can be met: 1 % of fewer
/// would not fill 10 netgroups, and 20 % of more would not fit into 10.
pub const NODES: RangeInclusive<usize> = 1000..=100_000;
/// How long a restarted pool may take to settle before its slots are counted.
pub const SETTLED: Duration = Duration::from_secs(3600);
/// Of what honest nodes relay, an attacker who floods makes this share his own: his nodes have
/// links to all others, and a ration like Core's gives each link as much room as all of honest
/// gossip needs.
const FLOODED: f64 = 0.5;

/// Anchors that Bitcoin Core keeps.
const CORE_ANCHORS: usize = 2;
/// How long what others name is a candidate in Bitcoin Core.
const CORE_HORIZON: Duration = Duration::from_secs(30 * 86_400);
/// How soon Bitcoin Core may try again what failed.
const CORE_RETRY: Duration = Duration::from_secs(600);
/// Of the peers of one source there may be as many as of all.
const ANY_SHARE: usize = 100;
/// More netgroups than any network of a case has: what is known never is enough to leave hearsay
/// to feelers.
const NEVER_ENOUGH: usize = 1_000_000;

/// One attacker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Share of all addresses that are his. They always answer, which most others do not: of the
    /// nodes that do, [`Held::answering`] are his.
    pub share: f64,
    /// Netgroups that they lie in.
    pub groups: usize,
    /// Whether he floods gossip: [`Kind::Spammer`] in place of [`Kind::Sybil`], and half of what
    /// honest nodes relay is his.
    pub floods: bool,
    /// Whether one of the pool's three DNS seeds is his.
    pub poisons: bool,
}

/// By which rules the pool chooses and keeps its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// The library's defaults.
    #[default]
    Pool,
    /// What differs in Bitcoin Core, as far as a policy can say it: 8 full-relay and 2
    /// block-relay-only peers, feelers, 2 anchors; no rotation; what others name is a candidate for
    /// 30 days, and what fails is tried again; addresses are drawn whatever their netgroup or
    /// source. Dials, time-outs and DNS are the pool's.
    Core,
}

impl Rules {
    /// As policies say them.
    pub fn policy(self) -> Policy {
        match self {
            Self::Pool => Policy::default(),
            Self::Core => Policy {
                rotation_interval: Duration::ZERO,
                max_anchors: CORE_ANCHORS,
                max_address_age: CORE_HORIZON,
                burn_memory: CORE_RETRY,
                max_source_share: ANY_SHARE,
                even_netgroups: false,
                enough_known: NEVER_ENOUGH,
                ..Policy::default()
            },
        }
    }
}

/// What an attacker came to in one run. Slots are ready peers of the pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// The seed of the run.
    pub seed: u64,
    /// His slots after 1, 7 and 30 days.
    pub after: [u32; 3],
    /// His slots an hour after the pool was restarted at the end.
    pub after_restart: u32,
    /// His share of slots over the 30 days.
    pub mean: f64,
    /// His share, at the start, of the nodes that answer and may be kept.
    pub answering: f64,
    /// Whether he ever held every slot.
    pub all: bool,
    /// Inputs that the engine took.
    pub events: u64,
}

impl Case {
    /// Every attacker of the table: 1, 5 and 20 % of addresses, in 10 or 1000 netgroups, with and
    /// without flooding, with and without a poisoned seed.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for share in [0.01, 0.05, 0.2] {
            for groups in [10, 1000] {
                for (floods, poisons) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    all.push(Self { share, groups, floods, poisons });
                }
            }
        }
        all
    }

    /// The world in which he is met.
    pub fn plan(&self, policy: &Policy, nodes: usize, seed: u64) -> Plan {
        let attacker = Attacker {
            share: self.share,
            groups: self.groups,
            kind: if self.floods { Kind::Spammer } else { Kind::Sybil },
            relayed: self.floods.then_some(FLOODED),
        };
        let mut pool = PoolPlan { policy: policy.clone(), ..PoolPlan::default() };
        if self.poisons {
            pool.seeds[0] = SeedKind::Hostile;
        }
        Plan { seed, nodes, attacker: Some(attacker), pools: vec![pool], ..Plan::default() }
    }

    /// One run: 30 days, then a restart, which finds the addr book again.
    ///
    /// # Errors
    /// A checker found a breach.
    ///
    /// # Panics
    /// The case cannot be met among so many `nodes`, or with this `policy`: those of the table can
    /// within [`NODES`].
    pub fn run(&self, policy: &Policy, nodes: usize, seed: u64) -> Result<Held, Box<Breach>> {
        let plan = self.plan(policy, nodes, seed);
        let mut world = World::new(plan).expect("a case is met within NODES");
        let answering = world.population_mut().hostile_share();
        let end = Monotonic::default() + Duration::from_secs(u64::from(DAYS) * 86_400);
        world.run_until(end)?;
        let figures = world.pool(0).report().figures(world.now());
        let marks = &figures.hostile.marks;
        let after = [1, 7, DAYS].map(|day| {
            let mark = marks.iter().find(|mark| mark.day == day);
            mark.expect("the run has reached each of its marks").hostile
        });
        world.restart(0)?;
        world.run_for(SETTLED)?;
        world.finish()?;
        let status = world.pool(0).status(world.now().mono);
        let hostile = |address| world.population().is_hostile(address);
        let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
        let after_restart = counting.filter(|peer| hostile(&peer.address)).count();
        Ok(Held {
            seed,
            after,
            after_restart: after_restart as u32,
            mean: figures.hostile.share,
            answering,
            all: figures.hostile.held_all,
            events: world.events(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_attacker_once() {
        let all = Case::all();
        assert_eq!(all.len(), 24);
        for (at, case) in all.iter().enumerate() {
            assert!(!all[..at].contains(case));
            World::new(case.plan(&Policy::default(), 5000, 1)).expect("within bounds");
        }
    }

    #[test]
    fn every_attacker_can_be_met_within_the_bounds_and_not_far_beyond() {
        let every = |nodes| {
            Case::all()
                .iter()
                .all(|case| case.plan(&Rules::Core.policy(), nodes, 1).check().is_ok())
        };
        assert!(every(*NODES.start()) && every(*NODES.end()));
        assert!(!every(NODES.end() + 1000));
    }
}
