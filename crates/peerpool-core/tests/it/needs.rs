//! What somebody waits for and no peer is: `try_connect` looks for it.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::event::Event;
use peerpool_core::id::{Chosen, DisconnectReason, LeaseId};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::wire::AddrEntry;

use crate::script::{Node, Script, address, config, ips, nth};

const FILTERS: ServiceFlags = ServiceFlags::COMPACT_FILTERS;
/// Peers kept.
const TARGET: usize = 4;
/// Addresses of each kind.
const EACH: u32 = 12;

fn six(n: u32) -> Address {
    address(&format!("[2a00:{n}::1]:8333"))
}

/// A full pool of IPv4 peers that knows of IPv6 ones.
fn full(change: impl FnOnce(&mut Policy)) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = TARGET;
        policy.min_peers_per_net = 0;
        change(policy);
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&(0..EACH).map(nth).collect::<Vec<_>>()))];
    script.run_secs(60);
    assert_eq!(script.ready().len(), TARGET);
    script
}

/// Tells the pool of addresses that serve these.
fn tell(script: &mut Script, addresses: impl IntoIterator<Item = Address>, more: ServiceFlags) {
    let peer = script.status().ready[0].address;
    let entry = |address| {
        let entry = script.seen(address, Duration::ZERO);
        AddrEntry { services: entry.services | more, ..entry }
    };
    let entries = addresses.into_iter().map(entry).collect();
    script.gossip_from(peer, entries);
}

fn ask(script: &mut Script, lease: u64, require: Require) {
    script.input(Input::Lease { lease: LeaseId(lease), require, wait: true });
}

fn chosen_for_need(script: &Script) -> Vec<Address> {
    let need = |event: &Event| match event {
        Event::Connecting { address, chosen: Chosen::Need, .. } => Some(*address),
        _ => None,
    };
    script.events.iter().filter_map(need).collect()
}

fn replaced(script: &Script) -> usize {
    let replaced = |event: &&Event| {
        matches!(event, Event::Disconnected { reason: DisconnectReason::Replaced, .. })
    };
    script.events.iter().filter(replaced).count()
}

#[test]
fn a_full_pool_looks_for_what_somebody_waits_for_and_one_peer_makes_room() {
    let mut script = full(|_| ());
    tell(&mut script, (1..EACH).map(six), ServiceFlags::NONE);
    script.run_secs(600);
    assert_eq!(chosen_for_need(&script), [], "nobody waits");
    ask(&mut script, 1, Require::any().on(Net::Ipv6));
    script.run_secs(2);
    let peer = script.granted[&LeaseId(1)];
    assert_eq!(script.peers[&peer].net(), Net::Ipv6);
    assert_eq!((script.ready().len(), replaced(&script)), (TARGET, 1));
    assert_eq!(chosen_for_need(&script).len(), 1, "one is enough");
    // Whoever comes now has it, too.
    ask(&mut script, 2, Require::any().on(Net::Ipv6));
    script.run_secs(60);
    assert_eq!(script.granted[&LeaseId(2)], peer);
    assert_eq!(chosen_for_need(&script).len(), 1);
}

#[test]
fn services_that_nobody_has_are_looked_for_where_they_are_said_to_be() {
    let mut script = full(|_| ());
    let serving: Vec<Address> = (100..110).map(nth).collect();
    for address in &serving {
        script.nodes.insert(*address, Node::Serving(FILTERS));
    }
    // One lies, and is not kept.
    let liar = nth(99);
    script.nodes.insert(liar, Node::Alive);
    tell(&mut script, serving.iter().copied().chain([liar]), FILTERS);
    ask(&mut script, 1, Require::services(FILTERS));
    script.run_secs(30);
    assert!(serving.contains(&script.peers[&script.granted[&LeaseId(1)]]));
    let tried = chosen_for_need(&script);
    assert!(tried.iter().all(|it| *it == liar || serving.contains(it)), "{tried:?}");
    assert_eq!(replaced(&script), 1);
}

#[test]
fn what_is_nowhere_is_looked_for_no_more_often_than_it_may() {
    let mut script = full(|policy| policy.need_interval = Duration::from_secs(2));
    let more: Vec<Address> = (200..500).map(nth).collect();
    tell(&mut script, more, ServiceFlags::NONE);
    // None of them has a chain as high as that.
    ask(&mut script, 1, Require::any().min_height(1_000_000));
    script.run_secs(30);
    let tried = chosen_for_need(&script).len();
    assert!((14..=16).contains(&tried), "{tried} in 30 s");
    assert_eq!((replaced(&script), script.ready().len()), (0, TARGET), "nobody leaves for them");
    // Who waits no longer needs nobody.
    script.input(Input::Release { lease: LeaseId(1) });
    script.run_secs(30);
    assert_eq!(chosen_for_need(&script).len(), tried);
}

#[test]
fn a_pool_that_may_not_looks_for_nobody() {
    let mut script = full(|policy| policy.need_interval = Duration::ZERO);
    tell(&mut script, (1..EACH).map(six), ServiceFlags::NONE);
    ask(&mut script, 1, Require::any().on(Net::Ipv6));
    script.run_secs(60);
    assert_eq!((chosen_for_need(&script).len(), script.status().waiters), (0, 1));
}

#[test]
fn whoever_is_merely_busy_or_excepted_is_no_need() {
    let mut script = full(|policy| policy.slots_per_peer = 1);
    tell(&mut script, (200..220).map(nth), ServiceFlags::NONE);
    for lease in 0..=TARGET as u64 {
        ask(&mut script, lease, Require::any());
    }
    let ready: Vec<_> = script.status().ready.iter().map(|peer| peer.id).collect();
    ask(&mut script, 9, Require::any().except(ready));
    script.run_secs(60);
    assert_eq!((script.status().waiters, chosen_for_need(&script).len()), (2, 0));
}

#[test]
fn who_makes_room_serves_the_fewest_leases_and_was_there_longest() {
    let mut script = full(|_| ());
    tell(&mut script, (1..EACH).map(six), ServiceFlags::NONE);
    let mut ready: Vec<_> = script.status().ready.iter().map(|peer| peer.id).collect();
    ready.sort();
    // All but the second are lent.
    let second = ready.remove(1);
    ask(&mut script, 1, Require::any().except([second]));
    for (lease, peer) in (2..).zip(ready.iter().copied()) {
        let status = script.status();
        let others = status.ready.iter().map(|it| it.id).filter(|it| *it != peer);
        let require = Require::any().except(others);
        ask(&mut script, lease, require);
    }
    ask(&mut script, 9, Require::any().on(Net::Ipv6));
    script.run_secs(2);
    assert!(script.granted.contains_key(&LeaseId(9)));
    let left = |event: &Event| match event {
        Event::Disconnected { peer, reason: DisconnectReason::Replaced, .. } => Some(*peer),
        _ => None,
    };
    assert_eq!(script.events.iter().find_map(left), Some(second));
}

#[test]
fn free_slots_go_to_what_is_waited_for_first() {
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    let addresses: Vec<Address> = (0..31).map(nth).chain([six(1)]).collect();
    script.seeds = vec![Ok(ips(&addresses))];
    ask(&mut script, 1, Require::any().on(Net::Ipv6));
    script.run_secs(1);
    assert_eq!(script.dials[0].1, six(1), "before anybody else");
    assert_eq!(script.peers[&script.granted[&LeaseId(1)]], six(1));
}

#[test]
fn what_can_be_found_is_not_held_up_by_what_cannot() {
    for seed in 0..8 {
        let mut script = full(|policy| policy.explore_share = seed);
        tell(&mut script, (100..110).map(nth), FILTERS);
        (100..110).for_each(|n| {
            script.nodes.insert(nth(n), Node::Serving(FILTERS));
        });
        // Nobody is known there.
        ask(&mut script, 1, Require::any().on(Net::Ipv6));
        ask(&mut script, 2, Require::services(FILTERS));
        script.run_secs(3);
        assert!(script.granted.contains_key(&LeaseId(2)) && script.status().waiters == 1);
    }
}

#[test]
fn a_service_of_which_the_book_takes_no_note_is_looked_for_among_all() {
    let rare = ServiceFlags::from(1 << 20);
    let mut script = full(|_| ());
    script.nodes.insert(nth(99), Node::Serving(rare));
    tell(&mut script, (50..60).map(nth).chain([nth(99)]), ServiceFlags::NONE);
    ask(&mut script, 1, Require::services(rare));
    script.run_secs(60);
    assert_eq!(script.peers[&script.granted[&LeaseId(1)]], nth(99));
}

#[test]
fn nobody_who_is_lent_leaves_for_who_is_waited_for_and_needs_do_not_drive_out_each_other() {
    let mut script = full(|policy| policy.target_connect_count = TARGET);
    tell(&mut script, (1..EACH).map(six), ServiceFlags::NONE);
    for lease in 0..script.policy().slots_per_peer as u64 * TARGET as u64 {
        ask(&mut script, lease, Require::any());
    }
    ask(&mut script, 900, Require::any().on(Net::Ipv6));
    script.run_secs(30);
    assert_eq!((replaced(&script), chosen_for_need(&script).len()), (0, 0));
    (0..script.policy().slots_per_peer as u64 * TARGET as u64)
        .for_each(|lease| script.input(Input::Release { lease: LeaseId(lease) }));
    script.run_secs(2);
    assert!(script.granted.contains_key(&LeaseId(900)));

    // Neither is ever near enough, and one slot is free.
    let mut script = full(|_| ());
    script.latency = Duration::from_millis(50);
    script.nodes.insert(nth(99), Node::Serving(FILTERS));
    tell(&mut script, (1..EACH).map(six).chain([nth(99)]), FILTERS);
    let near = |require: Require| require.max_round_trip(Duration::from_millis(1));
    ask(&mut script, 1, near(Require::any().on(Net::Ipv6)));
    ask(&mut script, 2, near(Require::services(FILTERS)));
    script.run_secs(120);
    assert!(replaced(&script) <= 4, "{} have left in two minutes", replaced(&script));
}
