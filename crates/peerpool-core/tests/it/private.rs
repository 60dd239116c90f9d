//! Leases that have a connection of their own.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Net;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId, PeerState};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::{Require, Spread};
use peerpool_core::wire::Control;

use crate::script::{Node, Script, config, ips, nth};

/// A full pool of 2, and 20 nodes.
fn full(change: impl FnOnce(&mut Policy)) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = 2;
        change(policy);
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&(0..20).map(nth).collect::<Vec<_>>()))];
    script.run_secs(60);
    assert_eq!(script.ready().len(), 2);
    script
}

fn ask(script: &mut Script, lease: u64) {
    let require = Require::any().private();
    script.input(Input::Lease { lease: LeaseId(lease), require, wait: true });
}

fn private(script: &Script) -> usize {
    let ready = script.status().ready;
    ready.iter().filter(|it| it.connection_type == ConnectionType::PrivateBroadcast).count()
}

fn ends(script: &Script, reason: DisconnectReason) -> usize {
    let ended = |event: &&Event| matches!(event, Event::Disconnected { reason: it, state: PeerState::Ready, .. } if *it == reason);
    script.events.iter().filter(ended).count()
}

#[test]
fn a_private_lease_has_a_connection_of_its_own_that_ends_with_it() {
    let mut script = full(|_| ());
    let before = script.greetings.len();
    ask(&mut script, 1);
    script.run_secs(1);
    let peer = script.granted[&LeaseId(1)];
    let ready = script.ready();
    assert_eq!((private(&script), ready.len()), (1, 3));
    // Nobody else has it.
    for lease in 2..40 {
        script.input(Input::Lease { lease: LeaseId(lease), require: Require::any(), wait: false });
        assert_ne!(script.granted.get(&LeaseId(lease)), Some(&peer));
    }
    script.input(Input::Release { lease: LeaseId(1) });
    script.run_secs(1);
    assert_eq!((private(&script), script.ready().len()), (0, 2));
    assert_eq!(ends(&script, DisconnectReason::PrivateBroadcastDone), 1);
    // What was said of us is what Core says of everybody.
    let said = &script.greetings[before];
    assert_eq!((said.services, said.timestamp, said.height), (ServiceFlags::NONE, 0, 0));
    assert_eq!((said.user_agent.to_string(), said.relay), ("/pynode:0.0.1/".to_owned(), false));
    assert_eq!(script.sent_to(peer), ["version", "verack"], "and nothing else");
}

#[test]
fn private_connections_are_bounded_in_number_and_in_time() {
    let mut script = full(|policy| {
        policy.max_private = 2;
        policy.private_lifetime = Duration::from_secs(60);
    });
    for lease in 1..=5 {
        ask(&mut script, lease);
    }
    script.run_secs(1);
    assert_eq!((private(&script), script.status().waiters), (2, 3));
    script.run_secs(61);
    assert_eq!((private(&script), script.status().waiters), (2, 1), "others have had their time");
    script.run_secs(180);
    assert_eq!((private(&script), script.status().waiters, script.status().leases), (0, 0, 0));
    assert_eq!(ends(&script, DisconnectReason::PrivateBroadcastDone), 5);
}

#[test]
fn whoever_does_not_answer_or_waits_no_longer_has_none() {
    let mut script = full(|_| ());
    // Nobody further is alive.
    for n in 0..20 {
        if !script.ready().contains(&nth(n)) {
            script.nodes.insert(nth(n), Node::Refusing);
        }
    }
    ask(&mut script, 1);
    script.run_secs(600);
    assert_eq!((private(&script), script.status().waiters), (0, 1));
    script.input(Input::Release { lease: LeaseId(1) });
    script.run_secs(600);
    assert_eq!((script.status().waiters, script.status().connecting.len()), (0, 0));
}

#[test]
fn where_nobody_may_be_dialled_a_private_lease_is_refused() {
    let mut config = config(|_| ());
    config.manual = vec![nth(1)];
    config.connect_only = true;
    let mut script = Script::new(config);
    script.run_secs(1);
    script.log();
    ask(&mut script, 1);
    assert!(script.log().contains("lease 1: Unsatisfiable(Private)"));
    let mut script = full(|policy| policy.max_private = 0);
    script.log();
    ask(&mut script, 1);
    assert!(script.log().contains("lease 1: Unsatisfiable(Private)"));
}

#[test]
fn nothing_more_is_said_than_core_says() {
    let mut script = full(|_| ());
    ask(&mut script, 1);
    script.run_secs(1);
    let peer = script.granted[&LeaseId(1)];
    script.input(Input::Control { peer, message: Control::Ping(7) });
    script.run_secs(100);
    assert_eq!(script.sent_to(peer), ["version", "verack"], "no pong, and no ping");
    // Nor before the handshake is done, and no verack where nobody takes transactions.
    let mut script = full(|_| ());
    for n in 0..20 {
        script.nodes.insert(nth(n), Node::Deaf);
    }
    ask(&mut script, 1);
    script.run_secs(30);
    let private: Vec<_> = script.kinds(ConnectionType::PrivateBroadcast);
    assert!((50..=61).contains(&private.len()), "{} in 30 s, one in half a second", private.len());
    assert!(private.iter().all(|peer| script.sent_to(*peer) == ["version"]));
    assert_eq!(script.status().burned.len(), 0, "they did nothing wrong");
}

#[test]
fn our_nonce_on_a_private_connection_proves_nothing_elsewhere() {
    let mut script = full(|_| ());
    ask(&mut script, 1);
    script.run_secs(1);
    let nonce = script.greetings.last().expect("it was greeted").nonce;
    // Whoever else says it is not told that it is ours.
    script.nodes.insert(nth(77), Node::Says(nonce));
    script.input(Input::AddManual(nth(77)));
    script.run_secs(2);
    assert!(script.ready().contains(&nth(77)));
}

#[test]
fn of_a_private_connection_nothing_is_remembered_but_failures() {
    let mut script = full(|_| ());
    ask(&mut script, 1);
    script.run_secs(1);
    let peer = script.granted[&LeaseId(1)];
    let address = script.peers[&peer];
    script.input(Input::Closed { peer, reason: DisconnectReason::ClosedByPeer });
    assert_eq!((script.status().leases, script.status().burned.len()), (0, 0));
    let told = |event: &&Event| matches!(event, Event::BackedOff { address: it, .. } | Event::Burned { address: it, .. } if *it == address);
    assert_eq!(script.events.iter().filter(told).count(), 0);
    assert!(script.engine.book().is_candidate(&address));
    script.run_secs(4 * 3600);
    assert!(!script.engine.book().is_candidate(&address), "hearsay, as if it had never answered");
}

#[test]
fn who_can_have_a_connection_does_not_wait_for_who_cannot() {
    let mut script = full(|_| ());
    // Nobody is known on IPv6.
    let six = Require::any().private().on(Net::Ipv6);
    script.input(Input::Lease { lease: LeaseId(1), require: six, wait: true });
    ask(&mut script, 2);
    script.run_secs(1);
    assert!(script.granted.contains_key(&LeaseId(2)) && script.status().waiters == 1);
    let nobody = Require::any().private().max_round_trip(Duration::from_secs(1));
    script.log();
    script.input(Input::Lease { lease: LeaseId(3), require: nobody, wait: true });
    assert!(script.log().contains("lease 3: Unsatisfiable(Private)"));
}

#[test]
fn whoever_is_too_near_to_others_is_not_dialled_for_it() {
    let mut script = full(|_| ());
    let free = (0..20).map(nth).find(|address| !script.ready().contains(address)).expect("18 are");
    let told: Vec<_> = (0..20).map(nth).filter(|address| *address != free).collect();
    let require = Require::any().private().apart(Spread::Netgroup, told);
    script.input(Input::Lease { lease: LeaseId(1), require, wait: true });
    script.run_secs(60);
    assert_eq!(script.peers[&script.granted[&LeaseId(1)]], free);
    assert_eq!(script.kinds(ConnectionType::PrivateBroadcast).len(), 1, "nobody else was");
}
