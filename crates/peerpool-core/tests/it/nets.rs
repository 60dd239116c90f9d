//! Networks: which ones automatic dials use, and that none is left without a peer.

use std::time::Duration;

use peerpool_core::address::{Address, Net};
use peerpool_core::book::Source;
use peerpool_core::engine::Config;
use peerpool_core::event::{Event, Variety};
use peerpool_core::netgroup::{AsMap, NetGroups};

use crate::cores_as_map::CORES;
use crate::script::{Node, Script, address, config, ips, nth};

/// The `n`th address of IPv6, each in a netgroup of its own.
fn sixth(n: u32) -> Address {
    address(&format!("[2a01:{:x}::1]:8333", 1 + n))
}

#[test]
fn only_networks_that_the_user_named_are_dialled_and_kept() {
    for (net, near, far) in [
        (Net::Ipv4, nth as fn(u32) -> Address, sixth as fn(u32) -> Address),
        (Net::Ipv6, sixth, nth),
    ] {
        let mut config = config(|policy| policy.target_connect_count = 4);
        config.seeds = vec!["seed.test".to_owned()];
        config.only_nets = vec![net, net];
        // The user's own choice is not second-guessed.
        config.manual = vec![far(100)];
        let mut script = Script::new(config);
        script.seeds = vec![Ok(ips(&[far(1), near(1), far(2)]))];
        script.gossip = [far(3), near(2), near(3), far(4), near(4)]
            .map(|at| script.seen(at, Duration::ZERO))
            .into();
        script.run_secs(60);
        let ready = script.ready();
        assert_eq!(ready.len(), 4, "{net:?}");
        assert!(ready.contains(&far(100)));
        assert!(ready.iter().all(|at| at.net() == net || *at == far(100)), "{ready:?}");
        let book = script.engine.book();
        assert!((1..=4).all(|n| book.source(&far(n)).is_none()));
        assert_eq!(book.source(&near(1)), Some(Source::Seed(0)), "seeds are asked all the same");
    }
}

#[test]
fn a_network_that_cannot_be_dialled_is_refused_by_name() {
    let mut config = config(|_| ());
    config.only_nets = vec![Net::Ipv6, Net::Cjdns];
    let rng = peerpool_core::rng::Rng::from_u64(1);
    let error = peerpool_core::engine::Engine::new(config, rng).expect_err("no way to dial it");
    assert_eq!(
        error.to_string(),
        "onlynet = \"cjdns\" is not allowed; allowed: a list of ipv4, ipv6"
    );
}

fn on(addresses: &[Address], net: Net) -> usize {
    addresses.iter().filter(|at| at.net() == net).count()
}

/// A pool of four with many candidates on IPv4 and some on IPv6, that has had both for a while.
fn both(named: &[Net]) -> Script {
    let mut config = config(|policy| policy.target_connect_count = 4);
    config.seeds = vec!["seed.test".to_owned()];
    config.only_nets = named.to_vec();
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[sixth(0), nth(0), nth(1), nth(2)]))];
    let told = (3..200).map(nth).chain((1..30).map(sixth));
    script.gossip = told.map(|at| script.seen(at, Duration::ZERO)).collect();
    script.run_secs(90);
    assert_eq!((script.ready().len(), on(&script.ready(), Net::Ipv6)), (4, 1));
    script
}

fn drop_sixth(script: &mut Script) {
    let ready = script.ready();
    for gone in ready.iter().filter(|at| at.net() == Net::Ipv6) {
        script.drop_peer(*gone);
    }
    script.events.clear();
}

/// Time until the pool is full again.
fn refill(script: &mut Script) -> Duration {
    script.run_secs(90);
    let full = script.events.iter().find_map(|event| match event {
        Event::Full { took } => Some(*took),
        _ => None,
    });
    full.expect("the pool is full again")
}

#[test]
fn a_network_that_was_reached_keeps_a_peer() {
    for named in [&[][..], &[Net::Ipv4, Net::Ipv6]] {
        let mut script = both(named);
        for round in 0..20 {
            drop_sixth(&mut script);
            assert!(refill(&mut script) < Duration::from_millis(500));
            assert_eq!(on(&script.ready(), Net::Ipv6), 1, "round {round}");
            // The slot of another goes to anyone.
            let other = script.ready().into_iter().find(|at| at.net() == Net::Ipv4);
            script.drop_peer(other.expect("three of IPv4"));
            script.run_secs(90);
            assert_eq!(script.ready().len(), 4);
        }
        // With so few candidates there, chance alone would not have done it.
        let sixths = script.dials.iter().filter(|(_, at)| at.net() == Net::Ipv6).count();
        assert!(sixths >= 20, "{sixths}");
    }
}

#[test]
fn no_slot_waits_long_for_a_network_that_went_away() {
    for (node, most) in [(Node::Silent, 7), (Node::Refusing, 1), (Node::Unreachable, 1)] {
        let mut script = both(&[]);
        script.nodes = (0..30).map(|n| (sixth(n), node)).collect();
        drop_sixth(&mut script);
        let took = refill(&mut script);
        assert!(took < Duration::from_secs(most), "{node:?}: {took:?}");
        // Once it is known to be away, nobody waits for it at all.
        for _ in 0..3 {
            let gone = script.ready()[0];
            script.drop_peer(gone);
            script.events.clear();
            let took = refill(&mut script);
            assert!(took < Duration::from_secs(1), "{node:?}: {took:?}");
        }
    }
}

#[test]
fn a_network_that_was_never_reached_is_not_waited_for() {
    let mut config = config(|policy| policy.target_connect_count = 4);
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.nodes = (0..30).map(|n| (sixth(n), Node::Silent)).collect();
    script.seeds = vec![Ok(ips(&(0..8).flat_map(|n| [nth(n), sixth(n)]).collect::<Vec<_>>()))];
    script.run_secs(1);
    assert_eq!(script.ready().len(), 4);
}

fn mapped(texts: &[&str], change: impl FnOnce(&mut Config)) -> Script {
    let mut config = config(|_| ());
    config.seeds = vec!["seed.test".to_owned()];
    let map = AsMap::from_bytes(CORES.to_vec()).expect("Core's map");
    config.groups = NetGroups::with_as_map(map);
    change(&mut config);
    let mut script = Script::new(config);
    let all: Vec<_> = texts.iter().map(|text| address(text)).collect();
    script.seeds = vec![Ok(ips(&all))];
    script
}

#[test]
fn one_autonomous_system_has_one_automatic_peer() {
    // Two of IPv4 in AS8, one of IPv6 that embeds one more, AS3, and one that the map does not
    // know.
    let all = ["101.8.1.1", "101.9.1.1", "2002:650a:101::1", "101.3.1.1", "102.1.1.1"];
    let mut script = mapped(&all, |_| ());
    for _ in 0..12 {
        script.run_secs(4000);
        let ready = script.ready();
        assert_eq!(ready.len(), 3, "{ready:?}");
        let eighth = all[..3].iter().map(|text| address(text));
        let eighth: Vec<_> = eighth.filter(|at| ready.contains(at)).collect();
        let [peer] = eighth[..] else { panic!("{ready:?}") };
        let variety = script.status().variety;
        assert_eq!((variety.netgroups, variety.asns, variety.unmapped), (3, Some(2), 1));
        script.drop_peer(peer);
    }
    let dialled = all.map(|text| !script.dialled(address(text)).is_empty());
    assert_eq!(dialled, [true; 5], "each of the system had its turn");
    let none = script.status().variety;
    assert_eq!(none.addresses, [(Net::Ipv4, 4), (Net::Ipv6, 1)].into());
}

#[test]
fn four_addresses_in_three_systems_are_told_as_that() {
    let all = ["101.1.0.1", "101.2.0.1", "101.3.0.1", "101.1.0.2"].map(address);
    let mut script = mapped(&[], |config| config.manual = all.to_vec());
    script.run_secs(1);
    let variety = script.status().variety;
    let expected = Variety {
        sources: 0,
        of_one_source: 0,
        nets: [(Net::Ipv4, 4)].into(),
        netgroups: 3,
        asns: Some(3),
        unmapped: 0,
        addresses: [(Net::Ipv4, 4)].into(),
    };
    assert_eq!(variety, expected);
    let mut script = Script::seeded(2, &[nth(1), sixth(1)]);
    script.run_secs(1);
    let variety = script.status().variety;
    assert_eq!((variety.netgroups, variety.asns, variety.unmapped), (2, None, 0));
}
