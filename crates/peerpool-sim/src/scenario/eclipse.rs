//! Whole networks in which somebody wants all slots: restarts, books gone stale, shadows of an AS.

use std::collections::BTreeSet;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::id::ConnectionType;

use super::{Expected, Failure, Figure, Outcome, Scenario, Setting, share};
use crate::actor::{Ages, Kind, Mix};
use crate::report::Atlas as _;
use crate::world::{Attacker, Plan, World};

pub(super) const RESTART: Scenario = Scenario {
    name: "a2-restart",
    row: "A2",
    says: "a pool with all its peers is killed and started again; then once more, when all its \
           peers have died with it, and a third time; 100 times",
    accepts: "its first two dials go to two of the peers that were ready when it was killed; those \
              that fail their dial are not tried first again",
    expected: Expected::Pass,
    run: run_restart,
};

pub(super) const STALE_BOOK: Scenario = Scenario {
    name: "a3-stale-book",
    row: "A3",
    says: "of all addresses 85 % are dead, 10 % hostile and 5 % honest, for 24 h",
    accepts: "at least half of what is known from experience is alive and honest; 600 to 840 \
              feelers",
    expected: Expected::Pass,
    run: run_stale_book,
};

pub(super) const EREBUS: Scenario = Scenario {
    name: "a4-erebus",
    row: "A4",
    says: "one AS owns 60 % of 10,000 addresses, in 5000 netgroups; a pool with an AS map fills \
           and runs for an hour, 1000 times",
    accepts: "never more than one peer in that AS, block-relay-only peers counted (slots at every \
              moment, all peers every ten seconds)",
    expected: Expected::Pass,
    run: run_erebus,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Ready peers, those that fill no slot included.
fn ready_or_extra(world: &World) -> BTreeSet<Address> {
    let status = world.pool(0).status(world.now().mono);
    let kept = status.ready.iter().filter(|peer| peer.connection_type != ConnectionType::AddrFetch);
    kept.map(|peer| peer.address).collect()
}

/// The first two that a pool dials which is killed and started again, and whether both were ready
/// when it was killed.
fn first_two(world: &mut World) -> Result<(BTreeSet<Address>, bool), Failure> {
    let peers = ready_or_extra(world);
    let seen = world.contacts().len();
    world.restart(0)?;
    world.run_for(MINUTE)?;
    let dials = world.contacts()[seen..].iter().filter(|contact| !contact.accepted);
    let first: BTreeSet<Address> = dials.take(2).map(|contact| contact.address).collect();
    let back = first.len() == 2 && first.is_subset(&peers);
    Ok((first, back))
}

fn run_restart(setting: &Setting) -> Result<Outcome, Failure> {
    let runs = setting.of(100, 10);
    let (mut kept, mut dropped) = (0, 0);
    for run in 0..runs {
        let plan = Plan { seed: setting.seed_of(run), nodes: 3000, ..Plan::default() };
        let mut world = World::new(plan)?;
        world.keep_contacts();
        world.run_for(MINUTE * 5)?;
        kept += usize::from(first_two(&mut world)?.1);
        world.run_for(MINUTE * 4)?;
        for address in ready_or_extra(&world) {
            if let Some(id) = world.population().find(&address) {
                world.population_mut().set_kind(id, Kind::Refusing);
            }
        }
        let (dead, back) = first_two(&mut world)?;
        world.run_for(MINUTE * 4)?;
        let (after, _) = first_two(&mut world)?;
        dropped += usize::from(back && after.is_disjoint(&dead));
    }
    let mut outcome = Outcome::new();
    let all = |share: f64| share >= 1.0;
    outcome.note_count("runs", runs);
    outcome.demand_share("went back to two of their peers", kept, runs, all);
    outcome.demand_share("tried two dead ones first, and only once", dropped, runs, all);
    Ok(outcome)
}

fn run_stale_book(setting: &Setting) -> Result<Outcome, Failure> {
    let attacker = Attacker { share: 0.1, groups: 20, kind: Kind::Sybil, relayed: None };
    let mut world = World::new(Plan {
        seed: setting.seed,
        nodes: 2000,
        mix: Mix::only(Kind::Honest).with(Kind::Honest, 5).with(Kind::Silent, 85),
        attacker: Some(attacker),
        churns: false,
        // So that the book knows most of them.
        ages: Ages::Kind,
        seed_share: 0.0,
        ..Plan::default()
    })?;
    world.run_for(HOUR * 24)?;
    let (now, pool) = (world.now(), world.pool(0));
    let (mut known, mut honest) = (0, 0);
    for id in world.population().ids() {
        let listing = world.population().listing(id);
        if pool.engine().book().backs_off(now, &listing.address.into()) {
            known += 1;
            honest += usize::from(listing.kind == Kind::Honest);
        }
    }
    let figures = pool.report().figures(now);
    let feelers = figures.dials.iter().filter(|(kind, _)| **kind == ConnectionType::Feeler);
    let feelers = feelers.map(|(_, count)| *count as usize).sum();
    let mut outcome = Outcome::new();
    outcome.demand_share("honest of what is known from experience", honest, known, |it| it >= 0.5);
    outcome.demand_count("feelers", feelers, |feelers| (600..=840).contains(&feelers));
    outcome.note_count("known from experience", known);
    Ok(outcome)
}

/// Lets a world run: the most peers that are the attacker's at any of the times looked at.
fn most_hostile(world: &mut World, lasting: Duration) -> Result<usize, Failure> {
    const STEP: Duration = Duration::from_secs(10);
    let end = world.now().mono + lasting;
    let mut most = 0;
    while world.now().mono < end {
        world.run_for(STEP)?;
        let peers = ready_or_extra(world);
        let hostile = peers.iter().filter(|address| world.population().is_hostile(address));
        most = most.max(hostile.count());
    }
    Ok(most)
}

fn run_erebus(setting: &Setting) -> Result<Outcome, Failure> {
    let runs = setting.of(1000, 2);
    let (mut within, mut most, mut held) = (0, 0, 0.0);
    for run in 0..runs {
        let attacker = Attacker { share: 0.6, groups: 5000, kind: Kind::Shadow, relayed: None };
        let mut world = World::new(Plan {
            seed: setting.seed_of(run),
            nodes: 10_000,
            attacker: Some(attacker),
            as_map: true,
            ..Plan::default()
        })?;
        let peers = most_hostile(&mut world, HOUR)?;
        let figures = world.pool(0).report().figures(world.now());
        let peers = peers.max(figures.hostile.most as usize);
        within += usize::from(peers <= 1);
        most = most.max(peers);
        held += figures.hostile.share;
    }
    let mut outcome = Outcome::new();
    outcome.demand_share("runs with one peer there at most", within, runs, |share| share >= 1.0);
    outcome.note_count("most peers there at once", most);
    outcome.note("the AS's share of slots", Figure::Share(held / share(runs, 1)));
    outcome.note_count("runs", runs);
    Ok(outcome)
}
