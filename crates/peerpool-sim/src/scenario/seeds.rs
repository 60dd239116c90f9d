//! DNS seeds: poisoned ones, one hostile among others, and none that answers.

use std::collections::BTreeSet;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::book::{Book, Source};
use peerpool_core::policy::Policy;

use super::bench::{Bench, Seed};
use super::slots::run_until_full;
use super::{Expected, Failure, Figure, Outcome, Scenario, Setting};
use crate::actor::{Kind, SeedKind};
use crate::world::{Attacker, Plan, PoolPlan, World};

pub(super) const POISONED: Scenario = Scenario {
    name: "a12-poisoned-seed",
    row: "A12",
    says: "the only seed names up to 10,000 of the attacker's nodes behind loopback, private, \
           multicast and unspecified addresses",
    accepts: "at most 32 of its addresses are kept, and nothing unroutable is dialled",
    expected: Expected::Pass,
    run: run_poisoned,
};

pub(super) const ONE_OF_THREE: Scenario = Scenario {
    name: "a12-one-poisoned-seed",
    row: "A12",
    says: "one of three seeds is poisoned like that, at the start of 20 pools",
    accepts: "at most 40 % of what the seeds put into the book is from it, in each run: when all \
              have answered, and when the pool is full",
    expected: Expected::Pass,
    run: |setting| run_one_of_three(setting, SeedKind::Poisoned, 2),
};

pub(super) const ONE_BELIEVABLE: Scenario = Scenario {
    name: "a12-one-hostile-seed",
    row: "A12",
    says: "one of three seeds names 10,000 of the attacker's nodes and nothing else, at the start of \
           20 pools",
    accepts: "the same",
    expected: Expected::Pass,
    run: |setting| run_one_of_three(setting, SeedKind::Hostile, 20),
};

pub(super) const ALL_FAIL: Scenario = Scenario {
    name: "a12-all-seeds-fail",
    row: "A12",
    says: "every seed of a pool that knows nobody fails: with SERVFAIL, with NXDOMAIN, or by never \
           answering",
    accepts: "it dials addresses that it has from elsewhere within 60 to 70 s, each time",
    expected: Expected::Fail { why: "fixed seeds" },
    run: |setting| {
        let mut outcome = Outcome::new();
        for (name, way) in [
            ("first dial after SERVFAIL", Seed::Fails("the seed answered SERVFAIL")),
            ("after NXDOMAIN", Seed::Fails("no such name (NXDOMAIN)")),
            ("where none answers", Seed::Silent),
        ] {
            let mut bench = Bench::new(setting.seed, Policy::default(), vec![Vec::new(); 3])?;
            bench.seeds = vec![way; 3];
            bench.run_for(SECOND * 70)?;
            let first = bench.dials.first().map(|(at, ..)| at.since_origin());
            let in_time = first.is_some_and(|at| at >= SECOND * 60);
            outcome.demand(name, Figure::Time(first), in_time);
        }
        Ok(outcome)
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64, seeds: Vec<SeedKind>, target: usize) -> Result<World, Failure> {
    let attacker = Attacker { share: 0.5, groups: 2000, kind: Kind::Sybil, relayed: None };
    let policy = Policy { target_connect_count: target, ..Policy::default() };
    let pools = vec![PoolPlan { policy, seeds, ..PoolPlan::default() }];
    let plan = Plan { seed, nodes: 20_000, attacker: Some(attacker), pools, ..Plan::default() };
    Ok(World::new(plan)?)
}

/// Addresses in a book that this seed named.
fn named_by(world: &World, book: &Book, seed: usize) -> usize {
    let population = world.population();
    let address = |id| Address::from(population.listing(id).address);
    let is_its = |id: &_| book.source(&address(*id)) == Some(Source::Seed(seed));
    population.ids().filter(is_its).count()
}

fn run_poisoned(setting: &Setting) -> Result<Outcome, Failure> {
    // More peers than the seed can give, so that whatever it names is dialled.
    let mut world = world(setting.seed, vec![SeedKind::Poisoned], 100)?;
    world.keep_contacts();
    world.run_for(SECOND)?;
    let kept = named_by(&world, world.pool(0).engine().book(), 0);
    world.run_for(SECOND * 3600)?;
    let dials: BTreeSet<Address> = world.contacts().iter().map(|dial| dial.address).collect();
    let unroutable = dials.iter().filter(|address| !address.host.is_routable()).count();
    let mut outcome = Outcome::new();
    outcome.demand_count("kept of its answer", kept, |kept| (1..=32).contains(&kept));
    outcome.demand_count("unroutable addresses dialled", unroutable, |dialled| dialled == 0);
    outcome.note_count("addresses dialled", dials.len());
    Ok(outcome)
}

/// What seeds put into a book, and how much of that the second one, over so many runs.
#[derive(Default)]
struct Share {
    hostile: usize,
    all: usize,
    most: f64,
}

impl Share {
    fn count(&mut self, world: &World) {
        let of_each = [0, 1, 2].map(|seed| named_by(world, world.pool(0).engine().book(), seed));
        let sum: usize = of_each.iter().sum();
        self.hostile += of_each[1];
        self.all += sum;
        self.most = self.most.max(super::share(of_each[1], sum));
    }
}

fn run_one_of_three(setting: &Setting, kind: SeedKind, least: usize) -> Result<Outcome, Failure> {
    let runs = setting.of(20, least);
    let (mut answered, mut full) = (Share::default(), Share::default());
    for run in 0..runs {
        let seeds = vec![SeedKind::Honest, kind, SeedKind::Honest];
        let mut world = world(setting.seed_of(run), seeds, 8)?;
        // Each has answered, and hardly a failed dial has burned an address that one had named.
        world.run_for(SECOND / 5)?;
        answered.count(&world);
        run_until_full(&mut world, SECOND * 60)?;
        full.count(&world);
    }
    let Share { hostile, all, most } = answered;
    let mut outcome = Outcome::new();
    outcome.note_count("runs", runs);
    outcome.demand_share("named by the hostile one", hostile, all, |share| share > 0.0);
    outcome.demand("the most in one run", Figure::Share(most), most <= 0.4);
    outcome.demand("the most when full", Figure::Share(full.most), full.most <= 0.4);
    Ok(outcome)
}
