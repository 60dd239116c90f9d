//! Sources; hearsay ages in hours; what gossip is taken in.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use expect_test::expect;
use peerpool_core::address::Address;
use peerpool_core::book::Source;
use peerpool_core::event::Event;
use peerpool_core::io::Input;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::AddrEntry;

use crate::script::{Node, SERVICES, START, Script, address, config, greeting, ips, nth};

const HOUR: u64 = 3600;

/// A pool that wants more peers than it has, with one ready peer that can gossip.
fn hungry(allow_unroutable: bool) -> Script {
    let mut config = config(|policy| {
        policy.target_connect_count = 100;
        policy.allow_unroutable = allow_unroutable;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.run_secs(1);
    script
}

fn hears(script: &mut Script, entry: AddrEntry) -> bool {
    let before = script.dials.len();
    script.gossip_from(nth(1), vec![entry]);
    script.run_secs(1);
    script.dials.len() > before
}

#[test]
fn sources_a_dns_answer_gets_the_default_port_and_counts_as_seen_now() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.others = Node::Unreachable;
    script.run_secs(2 * HOUR);
    let status = script.status();
    assert!(status.known.ineligible == 0 && status.available + status.known.backing_off == 1);
    script.others = Node::Alive;
    script.seeds = vec![Err("gone".to_owned())];
    script.run_secs(3500);
    assert_eq!(script.ready(), [nth(1)], "an answer of almost three hours ago still counts");
    assert_eq!(script.ready()[0].port, 8333);
}

#[test]
fn a_book_full_of_taken_netgroups_makes_room_for_another() {
    let mut config = config(|policy| {
        policy.target_connect_count = 3;
        policy.max_addresses = 16;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.run_secs(1);
    let same = |n: u32| address(&format!("11.2.{n}.1"));
    let seen = |script: &Script, address| script.seen(address, Duration::from_secs(60));
    let names = (2..17).map(|n| seen(&script, same(n))).collect();
    script.gossip_from(nth(1), names);
    script.run_secs(1);
    assert_eq!(script.status().known.blocked, 15, "and nobody else is known");
    let another = seen(&script, same(17));
    assert!(!hears(&mut script, another) && script.engine.book().source(&same(17)).is_none());
    for n in [2, 3] {
        let entry = seen(&script, nth(n));
        assert!(hears(&mut script, entry), "the {n}th netgroup is open");
    }
    assert_eq!(script.status().known.blocked, 13);
}

#[test]
fn sources_addresses_come_from_peers_too() {
    let mut script = Script::seeded(3, &[nth(1)]);
    script.gossip = [nth(2), nth(3)]
        .map(|address| AddrEntry { time: UnixTime(START - 60), services: SERVICES, address })
        .to_vec();
    script.run_secs(1);
    let ready: BTreeSet<_> = script.ready().into_iter().collect();
    assert_eq!(ready, BTreeSet::from([nth(1), nth(2), nth(3)]));
    let source = |n| script.engine.book().source(&nth(n));
    assert_eq!((source(1), source(2)), (Some(Source::Seed(0)), Some(Source::Peer(nth(1)))));
    expect![[r#"
        0.000 seed_asked seed.test
        0.001 seed_answered seed.test 1 of 1
        0.001 connecting #1 11.2.1.1:8333 OutboundFullRelay
        0.002 connected #1 11.2.1.1:8333
        0.003 ready #1 11.2.1.1:8333
        0.003 starved Known { blocked: 0, backing_off: 0, waiting: 0, burned: 0, ineligible: 0, banned: 0, discouraged: 0 }
        0.004 gossip #1 11.2.1.1:8333 2 of 2
        0.004 connecting #2 11.3.1.1:8333 OutboundFullRelay
        0.004 connecting #3 11.4.1.1:8333 OutboundFullRelay
        0.004 fed
        0.005 connected #2 11.3.1.1:8333
        0.005 connected #3 11.4.1.1:8333
        0.006 ready #2 11.3.1.1:8333
        0.006 ready #3 11.4.1.1:8333
        0.006 full 0.006s
        0.007 gossip #2 11.3.1.1:8333 0 of 2
        0.007 gossip #3 11.4.1.1:8333 0 of 2
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn hearsay_ages_in_hours() {
    let mut script = hungry(false);
    let age = |seconds| Duration::from_secs(seconds);
    let fresh = script.seen(nth(2), age(3 * HOUR - 1));
    assert!(hears(&mut script, fresh), "under 3 h old");
    let stale = script.seen(nth(3), age(3 * HOUR));
    assert!(!hears(&mut script, stale), "3 h old");

    // What was fresh when heard ages in the book: with the route back after 3 h it is no candidate.
    script.others = Node::Unreachable;
    let fresh = script.seen(nth(4), Duration::ZERO);
    assert!(hears(&mut script, fresh));
    script.run_secs(3 * HOUR);
    script.others = Node::Alive;
    script.seeds = vec![];
    let before = script.dialled(nth(4)).len();
    script.run_secs(24 * HOUR);
    assert_eq!(script.dialled(nth(4)).len(), before);
}

#[test]
fn impossible_timestamps_are_corrected_to_days_ago() {
    for time in [0, 100_000_000, START + 700, u64::from(u32::MAX)] {
        let mut script = hungry(false);
        let entry = AddrEntry { time: UnixTime(time), services: SERVICES, address: nth(2) };
        assert!(!hears(&mut script, entry), "{time}");
    }
    let mut script = hungry(false);
    let slightly_ahead = UnixTime(START + 300);
    let entry = AddrEntry { time: slightly_ahead, services: SERVICES, address: nth(2) };
    assert!(hears(&mut script, entry), "clocks may differ by ten minutes");
}

#[test]
fn unroutable_and_senseless_addresses_are_refused() {
    let mut script = hungry(false);
    for text in [
        "127.0.0.1:8333",
        "10.0.0.1:8333",
        "0.0.0.0:8333",
        "224.0.0.1:8333",
        "255.255.255.255:8333",
        "[::1]:8333",
        "[ff02::1]:8333",
        "[fe80::1]:8333",
        "[2001:db8::1]:8333",
        "1.2.3.4:0",
        "1.2.3.4:22",
    ] {
        let entry = script.seen(address(text), Duration::ZERO);
        assert!(!hears(&mut script, entry), "{text}");
    }
    let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333";
    let entry = script.seen(address(onion), Duration::ZERO);
    assert!(!hears(&mut script, entry), "no way to dial an onion address");
    let mut entry = script.seen(nth(5), Duration::ZERO);
    entry.services = ServiceFlags::WITNESS;
    assert!(!hears(&mut script, entry), "lacks a required service");
}

#[test]
fn allow_unroutable_lets_loopback_through_but_nothing_senseless() {
    let mut script = hungry(true);
    let entry = script.seen(address("127.0.0.1:8333"), Duration::ZERO);
    assert!(hears(&mut script, entry));
    for text in ["0.0.0.0:8333", "224.0.0.1:8333", "255.255.255.255:8333", "127.3.0.1:0"] {
        let entry = script.seen(address(text), Duration::ZERO);
        assert!(!hears(&mut script, entry), "{text}");
    }
}

#[test]
fn our_own_address_is_refused() {
    let mut script = Script::seeded(2, &[nth(1)]);
    script.others = Node::Silent;
    script.run_secs(1);
    let peer = script.status().connecting[0].id;
    script.input(Input::Connected { peer, local: nth(7).host.ip() });
    script.others = Node::Alive;
    for message in greeting(SERVICES) {
        script.input(Input::Control { peer, message });
    }
    let entry = script.seen(nth(7), Duration::ZERO);
    assert!(!hears(&mut script, entry));
}

#[test]
fn our_own_address_is_forgotten_though_heard_before() {
    let all: Vec<_> = (0..9).map(nth).collect();
    let mut script = Script::seeded(2, &all);
    script.others = Node::Silent;
    script.run(Duration::from_millis(10));
    let own =
        all.iter().find(|at| script.dialled(**at).is_empty()).copied().expect("nine are many");
    let peer = script.status().connecting[0].id;
    script.input(Input::Connected { peer, local: own.host.ip() });
    script.run_secs(60);
    assert!(script.dialled(own).is_empty());
    assert!(all.iter().all(|at| *at == own || !script.dialled(*at).is_empty()));
}

#[test]
fn a_node_beside_us_is_reached_from_its_own_address_and_kept() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.others = Node::Silent;
    script.run(Duration::from_millis(10));
    let peer = script.status().connecting[0].id;
    script.others = Node::Alive;
    script.input(Input::Connected { peer, local: nth(1).host.ip() });
    script.run_secs(70);
    script.drop_peer(nth(1));
    script.run_secs(120);
    assert_eq!(script.ready(), [nth(1)]);
}

#[test]
fn gossip_is_rationed_as_core_rations_it() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(1);
    let mut kept = Vec::new();
    let mut next = 1000;
    for (wait, count) in [(0, 600), (0, 600), (0, 10), (100, 200), (1000, 200)] {
        script.run_secs(wait);
        let entries: Vec<_> =
            (next..next + count).map(|n| script.seen(nth(n), Duration::ZERO)).collect();
        next += count;
        script.events.clear();
        script.gossip_from(nth(1), entries);
        kept.push(script.events.iter().find_map(|event| match event {
            Event::Gossip { kept, .. } => Some(*kept),
            _ => None,
        }));
    }
    // What brought nothing is not told. Of what is paid for, a few find their place taken: one
    // source has 64 buckets.
    let paid = [Some(600), Some(401), None, Some(10), Some(100)];
    for (kept, paid) in kept.iter().zip(paid) {
        assert_eq!(kept.is_some(), paid.is_some(), "{kept:?}");
        let (kept, paid) = (kept.unwrap_or(0), paid.unwrap_or(0));
        assert!(kept <= paid && kept >= paid * 7 / 10, "{kept} of {paid}");
    }
}

#[test]
fn getaddr_is_sent_once_to_each_peer() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.gossip = vec![script.seen(nth(2), Duration::ZERO)];
    script.run_secs(24 * HOUR);
    let gossip = script.events.iter().filter(|event| matches!(event, Event::Gossip { .. })).count();
    assert_eq!(gossip, 1);
}

#[test]
fn gossip_makes_no_port_scanner_of_us() {
    let mut script = hungry(false);
    script.nodes.extend((1..=20_000).map(|port| (with_port(port), Node::Refusing)));
    for first in (1000..11_000).step_by(1000) {
        let entries = (first..first + 1000)
            .map(|port| script.seen(with_port(port), Duration::ZERO))
            .collect();
        script.gossip_from(nth(1), entries);
        script.run_secs(360);
    }
    let knocks = script.dials.iter().filter(|(_, to)| to.host == with_port(1).host).count();
    assert!(knocks <= 4, "{knocks} dials to one host in an hour");
}

fn with_port(port: u16) -> Address {
    Address { port, ..address("99.1.1.1") }
}

#[test]
fn only_32_addresses_are_kept_from_a_seed() {
    let many: Vec<_> = (0..10_000).map(nth).collect();
    let mut script = Script::seeded(1, &many);
    script.others = Node::Silent;
    script.run(Duration::from_millis(10));
    let status = script.status();
    assert_eq!(status.available + status.connecting.len(), 32);
    expect!["0.001 seed_answered seed.test 32 of 10000"]
        .assert_eq(script.log().lines().nth(1).expect("the answer"));
}
