//! What a lease may require of its peer.

use std::time::Duration;

use peerpool_core::address::Net;
use peerpool_core::id::LeaseId;
use peerpool_core::io::Input;
use peerpool_core::require::Require;

use crate::script::{Script, address, config, ips, nth};

fn ask(script: &mut Script, lease: u64, require: Require) {
    script.input(Input::Lease { lease: LeaseId(lease), require, wait: true });
}

fn give_back(script: &mut Script, lease: u64) {
    script.input(Input::Release { lease: LeaseId(lease) });
}

fn has(script: &Script, lease: u64) -> bool {
    script.granted.contains_key(&LeaseId(lease))
}

/// A pool with an IPv4 and an IPv6 peer.
fn both() -> Script {
    let mut script = Script::seeded(2, &[nth(1), address("[2a00:1::1]:8333")]);
    script.run_secs(1);
    assert_eq!(script.ready().len(), 2);
    script
}

#[test]
fn a_network_is_kept_to() {
    let mut script = both();
    for lease in 0..32 {
        let net = if lease % 2 == 0 { Net::Ipv4 } else { Net::Ipv6 };
        ask(&mut script, lease, Require::any().on(net));
        let peer = script.granted[&LeaseId(lease)];
        assert_eq!(script.peers[&peer].net(), net);
    }
}

#[test]
fn a_height_is_what_the_peer_said() {
    let mut script = both();
    ask(&mut script, 1, Require::any().min_height(7));
    ask(&mut script, 2, Require::any().min_height(8));
    assert!(has(&script, 1) && !has(&script, 2));
}

#[test]
fn a_round_trip_is_that_of_the_last_ping_and_waited_for() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.answers_pings = false;
    script.run_secs(1);
    let within = |millis| Require::any().max_round_trip(Duration::from_millis(millis));
    ask(&mut script, 1, within(0));
    ask(&mut script, 2, within(10));
    assert!(!has(&script, 2), "it has answered none yet");
    script.answers_pings = true;
    script.run_secs(300);
    assert!(has(&script, 2) && !has(&script, 1), "a round trip takes 1 ms");
}

#[test]
fn whoever_is_excepted_is_not_lent() {
    let mut script = both();
    let [one, two] = [0, 1].map(|nth: usize| script.status().ready[nth].id);
    for lease in 0..16 {
        ask(&mut script, lease, Require::any().except([one]));
        assert_eq!(script.granted[&LeaseId(lease)], two);
    }
    ask(&mut script, 16, Require::any().except([one]));
    ask(&mut script, 17, Require::any().except([one, two]));
    assert!(!has(&script, 16) && !has(&script, 17));
    give_back(&mut script, 3);
    assert!(has(&script, 16) && !has(&script, 17));
}

#[test]
fn what_can_never_be_met_is_refused_at_once() {
    let mut script = both();
    script.log();
    ask(&mut script, 1, Require::any().on(Net::Onion));
    ask(&mut script, 2, Require::any().v2_only());
    ask(&mut script, 3, Require::any().relay());
    let log = script.log();
    let refused: Vec<&str> = log.lines().map(|line| line.trim()).collect();
    assert_eq!(
        refused,
        [
            "1.000 lease 1: Unsatisfiable(Net(Onion))",
            "1.000 lease 2: Unsatisfiable(V2)",
            "1.000 lease 3: Unsatisfiable(Relay)",
        ]
    );
    assert_eq!(script.status().waiters, 0);
}

#[test]
fn a_peer_relays_if_the_pool_wants_it_and_the_peer_does() {
    let mut config = config(|policy| {
        policy.target_connect_count = 1;
        policy.relay = true;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.run_secs(1);
    ask(&mut script, 1, Require::any().relay());
    assert!(has(&script, 1));
}

/// A pool with one peer of two slots.
fn narrow(others: &[u32]) -> Script {
    narrow_of(1, others)
}

fn narrow_of(target: usize, others: &[u32]) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = target;
        policy.slots_per_peer = 2;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    let seeds: Vec<_> = std::iter::once(1).chain(others.iter().copied()).map(nth).collect();
    script.seeds = vec![Ok(ips(&seeds))];
    script.run_secs(1);
    script
}

#[test]
fn an_exclusive_lease_has_all_slots_and_waits_for_them_in_its_turn() {
    let mut script = narrow(&[]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any().exclusive());
    ask(&mut script, 3, Require::any());
    assert!(has(&script, 1) && !has(&script, 2) && !has(&script, 3), "nobody barges");
    give_back(&mut script, 1);
    assert!(has(&script, 2) && !has(&script, 3));
    ask(&mut script, 4, Require::any());
    assert_eq!((script.status().leases, script.status().waiters), (1, 2));
    give_back(&mut script, 2);
    assert!(has(&script, 3) && has(&script, 4));
    assert_eq!((script.status().leases, script.status().waiters), (2, 0));
}

#[test]
fn an_exclusive_waiter_that_gives_up_leaves_the_slots_to_others() {
    let mut script = narrow(&[]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any().exclusive());
    ask(&mut script, 3, Require::any());
    give_back(&mut script, 2);
    assert!(has(&script, 3));
    assert_eq!((script.status().leases, script.status().waiters), (2, 0));
}

#[test]
fn an_exclusive_waiter_whose_peer_is_lost_has_the_next() {
    let mut script = narrow(&[2]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any().exclusive());
    let gone = script.ready()[0];
    script.drop_peer(gone);
    script.run_secs(10);
    assert!(has(&script, 2));
    assert_eq!((script.status().leases, script.status().waiters), (1, 0));
}

#[test]
fn an_exclusive_waiter_whose_peer_is_lost_keeps_its_turn() {
    let mut script = narrow(&[2]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any().exclusive());
    let gone = script.ready()[0];
    script.drop_peer(gone);
    ask(&mut script, 3, Require::any());
    script.run_secs(10);
    assert!(has(&script, 2) && !has(&script, 3));
    give_back(&mut script, 2);
    assert!(has(&script, 3));
}

#[test]
fn an_exclusive_waiter_does_not_overtake() {
    let mut script = narrow(&[]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any());
    ask(&mut script, 3, Require::any());
    ask(&mut script, 4, Require::any().exclusive());
    ask(&mut script, 5, Require::any());
    give_back(&mut script, 1);
    assert!(has(&script, 3) && !has(&script, 4));
    give_back(&mut script, 2);
    assert!(!has(&script, 4) && !has(&script, 5), "the slot is kept");
    give_back(&mut script, 3);
    assert!(has(&script, 4) && !has(&script, 5));
}

#[test]
fn a_peer_that_was_kept_for_one_who_has_another_is_for_others_at_once() {
    let mut script = narrow_of(2, &[]);
    ask(&mut script, 1, Require::any());
    ask(&mut script, 2, Require::any().exclusive());
    ask(&mut script, 3, Require::any());
    assert!(!has(&script, 2) && !has(&script, 3));
    let entry = script.seen(nth(2), Duration::from_secs(60));
    script.gossip_from(nth(1), vec![entry]);
    script.run_secs(1);
    assert_eq!(script.peers[&script.granted[&LeaseId(2)]], nth(2));
    assert_eq!(script.peers[&script.granted[&LeaseId(3)]], nth(1));
}

#[test]
fn two_exclusive_waiters_have_two_peers() {
    let mut script = both();
    ask(&mut script, 1, Require::any().exclusive());
    ask(&mut script, 2, Require::any().exclusive());
    ask(&mut script, 3, Require::any().exclusive());
    assert!(has(&script, 1) && has(&script, 2) && !has(&script, 3));
    assert_ne!(script.granted[&LeaseId(1)], script.granted[&LeaseId(2)]);
    let gone = script.peers[&script.granted[&LeaseId(1)]];
    script.drop_peer(gone);
    give_back(&mut script, 2);
    assert!(has(&script, 3));
}
