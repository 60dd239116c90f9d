//! Small worlds, and what must hold of every one.

use std::collections::BTreeSet;
use std::time::Duration;

use peerpool_core::address::Net;
use peerpool_core::banned::Subnet;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;

use super::*;
use crate::actor::{Ages, Kind, Mix, SeedKind};
use crate::report::Figures;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn small() -> Plan {
    Plan { nodes: 300, ..Plan::default() }
}

fn run(plan: Plan, time: Duration) -> World {
    let mut world = World::new(plan).expect("a good plan");
    world.run_for(time).unwrap_or_else(|breach| panic!("{breach}"));
    world.finish().unwrap_or_else(|breach| panic!("{breach}"));
    world
}

fn figures(world: &World) -> Figures {
    world.pool(0).report().figures(world.now())
}

fn ready(world: &World, pool: usize) -> usize {
    world.pool(pool).status(world.now().mono).ready_count()
}

#[test]
fn a_pool_is_soon_full_and_stays_so_while_nodes_come_and_go() {
    let world = run(small(), DAY);
    let figures = figures(&world);
    assert_eq!(ready(&world, 0), 8);
    assert!(figures.time_to_full.is_some_and(|took| took < MINUTE), "{:?}", figures.time_to_full);
    assert!(figures.at_target > 0.99, "{}", figures.at_target);
    assert!(figures.held.peers > 8, "nobody left");
    assert!(figures.received > 100_000);
}

#[test]
fn one_seed_is_one_run_and_another_another() {
    let hash = |seed| run(Plan { seed, ..small() }, HOUR * 6).trace_hash();
    let first = hash(1);
    assert_eq!(first, hash(1));
    assert_ne!(first, hash(2));
}

#[test]
fn slices_of_time_do_not_matter() {
    let whole = run(small(), HOUR);
    let mut sliced = World::new(small()).expect("a good plan");
    for _ in 0..360 {
        sliced.run_for(Duration::from_secs(10)).expect("no breach");
    }
    assert_eq!(sliced.trace_hash(), whole.trace_hash());
    assert_eq!(sliced.events(), whole.events());
}

#[test]
fn bytes_or_messages_make_no_difference_to_what_becomes_of_nodes() {
    // Without randomness in transit, the same is heard at the same time.
    let plan = |bytes| {
        let links = LinkModel { jitter: 0.0, bandwidth: 1_000_000_000, ..LinkModel::default() };
        let mix =
            Mix::only(Kind::Honest).with_each([Kind::Refusing, Kind::Serviceless, Kind::Rude]);
        Plan { bytes, links, mix, nodes: 60, sites: Some(60), ages: Ages::Kind, ..Plan::default() }
    };
    let outcome = |world: &World| {
        let status = world.pool(0).status(world.now().mono);
        let peers: BTreeSet<_> = status.ready.iter().map(|peer| peer.address).collect();
        (peers, status.burned, status.dials)
    };
    let (in_bytes, in_messages) = (run(plan(true), HOUR), run(plan(false), HOUR));
    assert_eq!(outcome(&in_bytes), outcome(&in_messages));
    // What each weighs is worked out for messages, and counted for bytes.
    let (counted, worked_out) = (figures(&in_bytes).sent, figures(&in_messages).sent);
    assert_eq!(counted, worked_out);
}

#[test]
fn every_kind_of_node_is_met_in_a_world() {
    let mix = Kind::ALL.into_iter().fold(Mix::only(Kind::Honest), |mix, kind| mix.with(kind, 1));
    let mut plan =
        Plan { mix, nodes: 500, sites: Some(500), seed_share: 0.0, ages: Ages::Kind, ..small() };
    plan.pools[0].policy = Policy { target_connect_count: 40, ..Policy::default() };
    let world = run(plan, HOUR * 3);
    let outcomes = figures(&world).outcomes;
    assert!(outcomes.len() >= 6, "{outcomes:?}");
    assert_eq!(ready(&world, 0), 40);
}

#[test]
fn pools_do_not_depend_on_each_other_and_all_are_full() {
    let pools = vec![PoolPlan::default(); 3];
    let world = run(Plan { pools, ..small() }, HOUR);
    let peers = |pool| {
        let status = world.pool(pool).status(world.now().mono);
        status.ready.iter().map(|peer| peer.address).collect::<BTreeSet<_>>()
    };
    assert_eq!((0..3).map(|pool| ready(&world, pool)).collect::<Vec<_>>(), [8, 8, 8]);
    assert!(peers(0) != peers(1) && peers(1) != peers(2), "each draws for itself");
}

#[test]
fn an_outage_is_noticed_and_over_once_it_ends() {
    let mut world = run(small(), HOUR);
    let from = world.now().mono;
    let until = from + HOUR;
    world.cut(Cut { pool: None, from, until, apart: Apart::All, no_route: false });
    let burned = world.pool(0).engine().book().known().burned;
    world.run_for(MINUTE * 59).expect("no breach");
    assert_eq!(ready(&world, 0), 0);
    assert!(world.pool(0).status(world.now().mono).offline);
    let more = world.pool(0).engine().book().known().burned.saturating_sub(burned);
    assert!(more <= 30, "{more} burned in the first half minute");
    world.expect_full(0, until + MINUTE * 3, MINUTE);
    world.run_for(MINUTE * 5).expect("full again within three minutes");
    assert_eq!(ready(&world, 0), 8);
}

#[test]
fn what_waits_for_the_end_of_a_cut_waits_for_that_of_a_later_one_too() {
    let mut world = run(small(), HOUR);
    let from = world.now().mono;
    let cut = |from, until| Cut { pool: None, from, until, apart: Apart::All, no_route: false };
    world.cut(cut(from, from + MINUTE));
    let before = figures(&world).received;
    // Half a minute of gossip waits by now, for the end of the only cut there is.
    world.run_for(MINUTE / 2).expect("no breach");
    world.cut(cut(from + MINUTE / 2, from + HOUR));
    world.run_until(from + MINUTE * 59).expect("no breach");
    assert_eq!(figures(&world).received, before, "bytes came through a link that is down");
    world.run_for(MINUTE * 5).expect("no breach");
    assert!(figures(&world).received > before);
}

#[test]
fn whoever_is_cut_off_is_replaced_by_others() {
    let mut world = run(Plan { nodes: 1000, ..small() }, HOUR);
    let now = world.now().mono;
    let apart = Apart::Share(0.5, 7);
    world.cut(Cut { pool: None, from: now, until: now + HOUR, apart, no_route: false });
    world.run_for(MINUTE * 10).expect("no breach");
    assert_eq!(ready(&world, 0), 8);
    assert!(figures(&world).refills.count > 0, "nobody was cut off");
}

#[test]
fn a_restarted_pool_begins_anew() {
    let mut forgetful = small();
    forgetful.pools[0].remembers = false;
    let mut world = run(forgetful, HOUR);
    let old = world.restart(0).expect("no breach");
    assert!(old.engine().book().len() > 8);
    assert!(world.pool(0).engine().book().is_empty());
    world.run_for(MINUTE).expect("no breach");
    assert_eq!(ready(&world, 0), 8);
}

#[test]
fn a_restarted_pool_remembers_its_book_and_goes_back_to_its_peers() {
    let mut plan = small();
    plan.pools[0].seeds = vec![SeedKind::Honest];
    let mut world = run(plan, HOUR);
    let old = world.restart(0).expect("no breach");
    let before: BTreeSet<Address> =
        old.status(world.now().mono).ready.iter().map(|peer| peer.address).collect();
    assert_eq!(before.len(), 10, "with two block-relay-only peers");
    let kept = world.pool(0).engine().book();
    assert!(kept.len() > old.engine().book().len() / 2);
    // Somebody who was lost may be one still.
    assert!(kept.anchors().into_iter().collect::<BTreeSet<_>>().is_superset(&before));
    world.keep_contacts();
    world.run_for(MINUTE).expect("no breach");
    assert_eq!(ready(&world, 0), 8);
    let first = world.contacts().iter().filter(|contact| !contact.accepted).take(8);
    let back = first.filter(|contact| before.contains(&contact.address)).count();
    assert!(back >= 7, "{back} of the first 8 dials go to those that were ready");
}

#[test]
fn a_restarted_pool_keeps_its_bans_and_the_places_of_its_addresses() {
    let mut world = run(small(), HOUR);
    let address = world.pool(0).status(world.now().mono).ready[0].address;
    let until = world.now().unix + HOUR;
    world.input(0, Input::Ban { subnet: Subnet::of(address.host), until }).expect("no breach");
    let old = world.restart(0).expect("no breach");
    let (before, after) = (old.engine().book(), world.pool(0).engine().book());
    assert!(after.banned().entries().eq(before.banned().entries()) && after.banned().len() == 1);
    // Of an address with several places one is kept, which may be another's.
    assert!(after.len() * 100 >= before.len() * 99, "{} of {}", after.len(), before.len());
    world.keep_contacts();
    world.run_for(MINUTE * 50).expect("no breach");
    assert!(world.contacts().iter().all(|contact| contact.address != address));
    assert_eq!(ready(&world, 0), 8);
}

#[test]
fn a_poisoned_seed_and_failing_ones_do_what_they_are_for() {
    let attacker = Attacker { share: 0.1, groups: 30, kind: Kind::Sybil, relayed: None };
    let mut plan = Plan { attacker: Some(attacker), ..small() };
    plan.pools[0].seeds = vec![SeedKind::Poisoned, SeedKind::Failing];
    let world = run(plan, HOUR);
    let hostile = figures(&world).hostile;
    assert_eq!((hostile.now, hostile.most), (8, 8), "nobody else was ever heard of");
}

#[test]
fn the_population_is_as_planned() {
    let attacker = Attacker { share: 0.2, groups: 10, kind: Kind::Shadow, relayed: None };
    let plan = Plan { nodes: 10_000, attacker: Some(attacker), ..Plan::default() };
    let mut population = Population::new(&plan);
    let (mut nets, mut groups, mut hostile_groups) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut present = [0; 2];
    for id in population.ids().collect::<Vec<_>>() {
        let listing = population.listing(id);
        let address = listing.address.into();
        assert_eq!(population.find(&address), Some(id));
        let hostile = crate::report::Atlas::is_hostile(&population, &address);
        let shadow = crate::report::Atlas::asn(&population, &address) == SHADOW_ASN;
        assert_eq!((hostile, shadow), (listing.kind == Kind::Shadow, hostile));
        if hostile {
            hostile_groups.insert(NetGroup::of(&address.host));
        } else {
            groups.insert(NetGroup::of(&address.host));
            nets.insert(address.net());
            present[usize::from(listing.kind.is_usable())] +=
                usize::from(population.is_present(id));
        }
    }
    assert_eq!((population.len(), population.hostile_len()), (10_000, 2000));
    assert_eq!(hostile_groups.len(), 10);
    assert!(groups.is_disjoint(&hostile_groups) && groups.len() > 1000);
    assert_eq!(nets.into_iter().collect::<Vec<_>>(), [Net::Ipv4, Net::Ipv6]);
    let ratio = present[0] as f64 / present[1] as f64;
    assert!((1.5..2.5).contains(&ratio), "unreachable to reachable nodes: {ratio}");
}

#[test]
fn as_many_nodes_are_there_after_a_year_as_at_first() {
    let mut population = Population::new(&Plan { nodes: 5000, ..Plan::default() });
    let mut there = |days: u32| {
        population.set_now(Monotonic::default() + DAY * days);
        let ids: Vec<NodeId> = population.ids().collect();
        ids.into_iter().filter(|&id| population.is_present(id)).count()
    };
    let first = there(0);
    for days in [1, 10, 29, 31, 100, 365] {
        let then = there(days);
        assert!(then.abs_diff(first) < first / 10, "day {days}: {then}, at first {first}");
    }
}

#[test]
fn few_addresses_can_be_relied_on() {
    let mut population = Population::new(&Plan { nodes: 5000, ..Plan::default() });
    let ids: Vec<NodeId> = population.ids().collect();
    let mut there = vec![0; ids.len()];
    const LOOKS: u32 = 60;
    for look in 0..LOOKS {
        population.set_now(Monotonic::default() + DAY / 2 * look);
        for (&id, there) in ids.iter().zip(&mut there) {
            let usable = population.listing(id).kind.is_usable();
            *there += u32::from(usable && population.is_present(id));
        }
    }
    let half = there.iter().filter(|&&there| there >= LOOKS / 2).count();
    // See `churn` for what is published.
    let percent = half * 100 / ids.len();
    assert!((7..=10).contains(&percent), "{half} of {} are up for half of the time", ids.len());
}

#[test]
fn a_plan_that_cannot_be_built_says_why() {
    let fails = |plan: Plan| World::new(plan).expect_err("out of bounds");
    assert!(fails(Plan { nodes: 0, ..small() }).starts_with("nodes = 0"));
    assert!(fails(Plan { pools: vec![], ..small() }).starts_with("pools = 0"));
    assert!(fails(Plan { nodes: 100_000, sites: Some(1), ..small() }).starts_with("sites"));
    let attacker = Attacker { share: 0.5, groups: 1, kind: Kind::Sybil, relayed: None };
    let crowded = Plan { nodes: 100_000, attacker: Some(attacker), ..small() };
    assert!(fails(crowded).starts_with("groups"));
    let nobody = Attacker { share: 0.01, groups: 1, kind: Kind::Sybil, relayed: None };
    let empty = Plan { nodes: 9, attacker: Some(nobody), ..small() };
    assert!(fails(empty).starts_with("nodes = 9, of which none"));
    assert!(fails(Plan { seed_share: f64::NAN, ..small() }).starts_with("seed_share = NaN"));
    assert!(fails(Plan { quirks: 1.5, ..small() }).starts_with("quirks = 1.5"));
    assert!(fails(Plan { horizon: Duration::ZERO, ..small() }).starts_with("horizon = 0ns"));
}
