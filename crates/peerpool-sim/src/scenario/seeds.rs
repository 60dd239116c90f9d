//! DNS seeds: poisoned ones, one hostile among others, and none that answers.

use std::collections::BTreeSet;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::book::{Book, Source};
use peerpool_core::policy::Policy;

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
    name: "a12-one-hostile-seed",
    row: "A12",
    says: "one of three seeds is poisoned, at the start of 20 pools",
    accepts: "at most 40 % of what the seeds put into the book is from it",
    expected: Expected::Pass,
    run: run_one_of_three,
};

pub(super) const ALL_FAIL: Scenario = Scenario {
    name: "a12-all-seeds-fail",
    row: "A12",
    says: "every seed answers SERVFAIL to a pool that knows nobody",
    accepts: "it dials addresses that it has from elsewhere within 60 to 70 s",
    expected: Expected::Fail { why: "fixed seeds" },
    run: |setting| {
        let mut world = world(setting.seed, vec![SeedKind::Failing; 3], 8)?;
        world.keep_contacts();
        world.run_for(SECOND * 70)?;
        let mut outcome = Outcome::new();
        let first = world.contacts().first().map(|dial| dial.at.since_origin());
        let in_time = first.is_some_and(|at| at >= SECOND * 60);
        outcome.demand("first dial", Figure::Time(first), in_time);
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

fn run_one_of_three(setting: &Setting) -> Result<Outcome, Failure> {
    let runs = setting.of(20, 2);
    let (mut hostile, mut all) = (0, 0);
    let mut most = 0.0_f64;
    for run in 0..runs {
        let seeds = vec![SeedKind::Honest, SeedKind::Poisoned, SeedKind::Honest];
        let mut world = world(setting.seed_of(run), seeds, 8)?;
        // Each has answered, and no failed dial has burned an address yet that one had named.
        world.run_for(SECOND / 5)?;
        let of_each = [0, 1, 2].map(|seed| named_by(&world, world.pool(0).engine().book(), seed));
        let sum: usize = of_each.iter().sum();
        most = most.max(super::share(of_each[1], sum));
        hostile += of_each[1];
        all += sum;
    }
    let mut outcome = Outcome::new();
    outcome.demand_share("named by the hostile one", hostile, all, |share| share > 0.0);
    let figure = Figure::Share(most);
    outcome.demand("the most in one run", figure, most <= 0.4);
    Ok(outcome)
}
