//! Named pools over one addr book: slots, leases and waiters of their own.

use std::collections::BTreeMap;

use peerpool_core::address::{Address, Net};
use peerpool_core::engine::{Config, Engine};
use peerpool_core::event::Event;
use peerpool_core::id::{Chosen, DisconnectReason, LeaseId, PoolId};
use peerpool_core::io::Input;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::slots::NamedPool;

use crate::script::{Node, Script, address, config, ips, nth};

const MAIN: PoolId = PoolId::MAIN;
const OTHER: PoolId = PoolId(1);

fn named(name: &str, target: usize, separate: bool) -> NamedPool {
    NamedPool { name: name.to_owned(), target, separate }
}

/// A pool of `target` in all, these of it named, and `nodes` that its seed names.
fn pools(
    target: usize,
    named: Vec<NamedPool>,
    nodes: u32,
    change: impl FnOnce(&mut Policy),
) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = target;
        change(policy);
    });
    config.pools = named;
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&(0..nodes).map(nth).collect::<Vec<_>>()))];
    script
}

/// Ready peers of each pool, by its place.
fn counts(script: &Script) -> Vec<usize> {
    script.status().pools.iter().map(|pool| pool.ready).collect()
}

fn ask(script: &mut Script, lease: u64, require: Require) {
    script.input(Input::Lease { lease: LeaseId(lease), require, wait: true });
}

/// Which pool each address has served, as far as was told; one that served two is told.
fn served(script: &Script) -> BTreeMap<Address, PoolId> {
    let mut served = BTreeMap::new();
    for event in &script.events {
        if let Event::Ready { address, pool: Some(pool), .. } = event {
            let before = *served.entry(*address).or_insert(*pool);
            assert_eq!(before, *pool, "{address}");
        }
    }
    served
}

#[test]
fn each_pool_has_its_slots_and_none_more() {
    let mut script = pools(9, vec![named("a", 3, false), named("b", 2, false)], 30, |_| ());
    script.run_secs(60);
    assert_eq!((script.status().target, counts(&script)), (9, vec![4, 3, 2]));
    let names: Vec<_> = script.status().pools.iter().map(|pool| pool.name.clone()).collect();
    assert_eq!(names, ["main", "a", "b"]);
    // Whoever leaves is replaced in the pool it left.
    for _ in 0..6 {
        let gone = script.ready()[script.dials.len() % 9];
        script.drop_peer(gone);
        script.run_secs(60);
        assert_eq!(counts(&script), [4, 3, 2]);
    }
}

#[test]
fn a_lease_is_of_its_own_pool() {
    let mut script = pools(3, vec![named("a", 1, false)], 9, |policy| policy.slots_per_peer = 1);
    script.run_secs(60);
    let of = |script: &Script, lease: u64| {
        let peer = script.granted[&LeaseId(lease)];
        let status = script.status();
        status.ready.iter().find(|it| it.id == peer).and_then(|it| it.pool)
    };
    ask(&mut script, 1, Require::any().of_pool(OTHER));
    assert_eq!(of(&script, 1), Some(OTHER));
    for lease in [2, 3] {
        ask(&mut script, lease, Require::any());
        assert_eq!(of(&script, lease), Some(MAIN));
    }
    ask(&mut script, 4, Require::any().of_pool(OTHER));
    ask(&mut script, 5, Require::any());
    script.run_secs(60);
    assert_eq!(script.status().waiters, 2, "nobody is lent to another pool");
    script.input(Input::Release { lease: LeaseId(2) });
    assert_eq!(of(&script, 5), Some(MAIN));
    assert!(!script.granted.contains_key(&LeaseId(4)));
    script.input(Input::Release { lease: LeaseId(1) });
    assert_eq!(of(&script, 4), Some(OTHER));
}

#[test]
fn no_node_serves_two_pools_that_are_separate() {
    let named = vec![named("a", 2, true), named("b", 2, true), named("c", 2, false)];
    let mut script = pools(8, named, 30, |policy| {
        policy.rotation_interval = std::time::Duration::from_secs(300);
    });
    let more: Vec<_> = (30..150).map(nth).collect();
    script.run_secs(60);
    let entries = more.iter().map(|it| script.seen(*it, std::time::Duration::ZERO)).collect();
    let teller = script.ready()[0];
    script.gossip_from(teller, entries);
    script.run_secs(60);
    assert_eq!(counts(&script), [2, 2, 2, 2]);
    // Rotations and losses bring everybody in.
    for round in 0..100 {
        let ready = script.ready();
        script.drop_peer(ready[round % ready.len()]);
        script.run_secs(600);
    }
    let classes = |pool: &PoolId| if *pool == PoolId(3) { MAIN } else { *pool };
    let mut seen: BTreeMap<Address, PoolId> = BTreeMap::new();
    for event in &script.events {
        if let Event::Ready { address, pool: Some(pool), .. } = event {
            let class = classes(pool);
            assert_eq!(*seen.entry(*address).or_insert(class), class, "{address}");
        }
    }
    assert!(seen.len() > 20, "{} have served", seen.len());
    assert!([MAIN, PoolId(1), PoolId(2)].iter().all(|it| seen.values().any(|pool| pool == it)));
}

#[test]
fn separate_pools_keep_theirs_over_a_restart() {
    let restarted = |seed| {
        let mut script = pools(6, vec![named("a", 2, true), named("b", 2, true)], 30, |_| ());
        script.restart(seed);
        let now = script.now;
        script.engine.restore(now, [7; 16], Vec::new());
        script.run_secs(3600);
        served(&script)
    };
    let (first, second) = (restarted(1), restarted(2));
    let both: Vec<_> = first.keys().filter(|address| second.contains_key(address)).collect();
    assert!(!both.is_empty());
    assert!(both.iter().all(|address| first[address] == second[address]));
}

#[test]
fn a_pool_that_is_short_lacks_what_another_has_too_much_of_and_says_so() {
    // Nobody but one netgroup: it serves one of the two.
    let mut script = pools(2, vec![named("a", 1, true)], 1, |_| ());
    script.run_secs(60);
    assert_eq!(counts(&script).iter().sum::<usize>(), 1);
    assert!(script.status().starved, "it says so");
}

#[test]
fn what_somebody_waits_for_is_looked_for_in_its_pool() {
    let mut script = pools(4, vec![named("a", 2, false)], 12, |_| ());
    script.run_secs(60);
    let teller = script.ready()[0];
    let six: Vec<Address> = (1..9).map(|n| address(&format!("[2a00:{n}::1]:8333"))).collect();
    let entries = six.iter().map(|it| script.seen(*it, std::time::Duration::ZERO)).collect();
    script.gossip_from(teller, entries);
    ask(&mut script, 1, Require::any().on(Net::Ipv6).of_pool(OTHER));
    script.run_secs(5);
    assert_eq!(counts(&script), [2, 2]);
    let peer = script.granted[&LeaseId(1)];
    let status = script.status();
    assert_eq!(status.ready.iter().find(|it| it.id == peer).and_then(|it| it.pool), Some(OTHER));
    let need = |event: &&Event| matches!(event, Event::Connecting { chosen: Chosen::Need, .. });
    assert_eq!(script.events.iter().filter(need).count(), 1);
    let left = |event: &&Event| {
        matches!(event, Event::Disconnected { reason: DisconnectReason::Replaced, .. })
    };
    assert_eq!(script.events.iter().filter(left).count(), 1);
}

#[test]
fn an_engine_with_pools_that_cannot_be_does_not_begin() {
    let config = Config { pools: vec![named("main", 1, false)], ..config(|_| ()) };
    let error = Engine::new(config, Rng::from_u64(1)).expect_err("its name is taken");
    assert!(error.to_string().contains("main"), "{error}");
}

#[test]
fn whoever_is_waited_for_goes_to_who_waits_though_another_pool_has_room() {
    let mut script = pools(4, vec![named("a", 2, false)], 12, |_| ());
    script.run_secs(60);
    // The main pool is short of one, and nobody else is there for it.
    for n in 0..12 {
        if !script.ready().contains(&nth(n)) {
            script.nodes.insert(nth(n), Node::Refusing);
        }
    }
    let six = address("[2a00:1::1]:8333");
    let entries = vec![script.seen(six, std::time::Duration::ZERO)];
    let teller = script.ready()[0];
    let main = script.status().ready.iter().find(|it| it.pool == Some(MAIN)).map(|it| it.address);
    ask(&mut script, 1, Require::any().on(Net::Ipv6).of_pool(OTHER));
    script.drop_peer(main.expect("it has one"));
    let teller = if script.ready().contains(&teller) { teller } else { script.ready()[0] };
    script.gossip_from(teller, entries);
    script.run_secs(5);
    let peer = script.granted.get(&LeaseId(1)).expect("it is served");
    assert_eq!(script.peers[peer], six);
}

#[test]
fn peers_that_the_user_named_serve_all_pools_in_turn() {
    let mut config = config(|policy| policy.target_connect_count = 10);
    config.pools = vec![named("a", 2, false)];
    config.manual = (0..3).map(nth).collect();
    config.connect_only = true;
    let mut script = Script::new(config);
    script.run_secs(10);
    assert_eq!(counts(&script), [2, 1]);
}

#[test]
fn of_two_pools_that_wait_for_private_leases_each_has_one_of_its_own_nodes() {
    let mut both = 0;
    for seed in 0..20 {
        let mut script = pools(4, vec![named("a", 2, true)], 30, |_| ());
        script.restart(seed);
        script.spread = std::time::Duration::from_millis(500);
        script.run_secs(60);
        ask(&mut script, 1, Require::any().private());
        ask(&mut script, 2, Require::any().private().of_pool(OTHER));
        script.run_secs(5);
        let book = script.engine.book();
        let of_a = |lease: u64| {
            let group = NetGroup::of(&script.peers[script.granted.get(&LeaseId(lease))?].host);
            Some(book.weight("a", group) > book.weight("main", group))
        };
        assert_ne!(of_a(1), Some(true));
        assert_ne!(of_a(2), Some(false));
        both += usize::from(of_a(1).is_some() && of_a(2).is_some());
    }
    assert!(both > 10, "{both} of 20 had both");
}

#[test]
fn a_private_lease_of_a_separate_pool_is_of_a_node_that_may_serve_it() {
    let mut script = pools(4, vec![named("a", 2, true)], 30, |_| ());
    script.run_secs(60);
    let book = script.engine.book();
    let own = |address: &Address| {
        let group = NetGroup::of(&address.host);
        book.weight("a", group) > book.weight("main", group)
    };
    let own: Vec<Address> = (0..30).map(nth).filter(own).collect();
    for lease in 0..10 {
        ask(&mut script, lease, Require::any().private().of_pool(OTHER));
        script.run_secs(10);
        if let Some(peer) = script.granted.get(&LeaseId(lease)) {
            assert!(own.contains(&script.peers[peer]));
        }
        script.input(Input::Release { lease: LeaseId(lease) });
        script.run_secs(1);
    }
    assert!(script.granted.len() > 3);
}
