//! What peers, gossip and outages may try: nobody else pays for it.

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::LeaseId;
use peerpool_core::io::Input;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::require::Require;
use peerpool_core::wire::Control;

use crate::script::{Node, Script, address, config, ips, nth};

const HOUR: u64 = 3600;

#[test]
fn a_manual_peer_finds_a_slot_though_every_peer_is_leased() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(60);
    for lease in 0..10 {
        let lease = LeaseId(lease);
        script.input(Input::Lease { lease, require: Require::any(), wait: false });
    }
    assert!(script.status().ready.iter().all(|peer| peer.leases > 0));
    script.input(Input::AddManual(nth(9)));
    script.run_secs(10);
    assert_eq!(script.dialled(nth(9)).len(), 1, "not knocked at again and again");
    assert!(script.ready().contains(&nth(9)) && script.ready().len() == 2);
}

#[test]
fn an_outage_that_a_pong_ends_is_over_at_once() {
    let all: Vec<_> = (0..100).map(nth).collect();
    let mut config = config(|policy| {
        policy.target_connect_count = 3;
        policy.max_dials = 4;
        policy.max_seed_addresses = 100;
        policy.recovery_jitter = Duration::from_secs(HOUR);
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&all))];
    script.run_secs(1000);
    script.others = Node::Silent;
    script.answers_pings = false;
    let stays = script.status().ready[0].clone();
    for gone in script.ready() {
        if gone != stays.address {
            script.drop_peer(gone);
        }
    }
    script.run_secs(50);
    assert!(script.status().offline && script.status().available > 0);
    let before = script.dials.len();
    script.others = Node::Alive;
    // Its pong is late, and for an older ping; but it is a sign of life.
    script.input(Input::Control { peer: stays.id, message: Control::Pong(1) });
    assert!(!script.status().offline);
    assert!(script.dials.len() > before, "candidates are there, so they are dialled");
}

#[test]
fn ten_quick_drops_in_a_row_make_an_experienced_address_hearsay_again() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(2 * HOUR);
    script.seeds = vec![Err("gone".to_owned())];
    script.drop_peer(nth(2));
    for _ in 0..(10 * HOUR / 10) {
        script.run_secs(10);
        if script.ready().contains(&nth(2)) {
            script.drop_peer(nth(2));
        }
    }
    assert_eq!(script.dialled(nth(2)).len(), 1 + 10);
}

#[test]
fn not_starved_while_someone_is_left_to_dial() {
    let all: Vec<_> = (0..30).map(nth).collect();
    let mut config = config(|policy| {
        policy.target_connect_count = 1;
        policy.max_dials = 1;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&all))];
    script.others = Node::Silent;
    script.run_secs(25);
    assert!(script.dials.len() >= 4 && script.status().available > 0);
    assert!(!script.events.iter().any(|event| matches!(event, Event::Starved { .. })));
}

#[test]
fn gossip_of_dead_ports_keeps_no_node_out_for_longer_than_a_burn() {
    let port = |port| Address { port, ..nth(9) };
    let mut script = Script::seeded(2, &[nth(1)]);
    script.others = Node::Refusing;
    script.nodes.extend([(nth(1), Node::Alive), (port(5000), Node::Alive)]);
    script.run_secs(1);
    let dead = (1..=4).map(|n| script.seen(port(4000 + n), Duration::ZERO)).collect();
    script.gossip_from(nth(1), dead);
    script.run_secs(60);
    assert_eq!(script.status().burned.values().sum::<usize>(), 4);
    let alive = script.seen(port(5000), Duration::ZERO);
    script.gossip_from(nth(1), vec![alive]);
    script.run_secs(24 * HOUR);
    assert!(script.status().burned.is_empty(), "what has faded is not told as burned");
    let alive = script.seen(port(5000), Duration::ZERO);
    script.gossip_from(nth(1), vec![alive]);
    script.run_secs(60);
    assert!(script.ready().contains(&port(5000)));
}

#[test]
fn an_address_without_a_route_holds_up_no_other() {
    let mut script = Script::seeded(2, &[nth(1)]);
    script.run_secs(1);
    script.nodes.insert(nth(2), Node::Unreachable);
    for n in [2, 3] {
        let entry = script.seen(nth(n), Duration::ZERO);
        script.gossip_from(nth(1), vec![entry]);
        script.run(Duration::from_millis(100));
    }
    assert!(script.ready().contains(&nth(3)));
}

#[test]
fn a_peer_on_this_machine_is_no_witness_for_the_network() {
    let all: Vec<_> = (0..40).map(nth).collect();
    let mut config = config(|policy| policy.target_connect_count = 4);
    config.seeds = vec!["seed.test".to_owned()];
    config.manual = vec![address("127.0.0.1:8333")];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&all))];
    script.run_secs(HOUR);
    // The cable is pulled. The peer on this machine talks on.
    script.others = Node::Silent;
    script.nodes.insert(address("127.0.0.1:8333"), Node::Alive);
    for gone in script.ready() {
        if gone != address("127.0.0.1:8333") {
            script.drop_peer(gone);
        }
    }
    let local = script.status().ready[0].id;
    for nonce in 0..600 {
        script.run_secs(1);
        script.input(Input::Control { peer: local, message: Control::Ping(nonce) });
    }
    assert!(script.status().burned.is_empty(), "an outage is nobody's fault");
    assert!(script.status().offline);
    script.others = Node::Alive;
    script.run_secs(21);
    assert_eq!(script.ready().len(), 4);
}

#[test]
fn whom_the_user_names_is_dialled_though_its_verdict_waits() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.others = Node::Refusing;
    script.run_secs(1);
    assert_eq!(script.status().known.waiting, 1);
    script.others = Node::Alive;
    script.input(Input::AddManual(nth(1)));
    script.run_secs(60);
    assert_eq!(script.ready(), [nth(1)]);
    assert!(script.status().burned.is_empty(), "manual addresses never burn");
}

#[test]
fn ourselves_are_not_dialled_again_though_the_user_insists() {
    let mut script = Script::seeded(2, &[nth(1)]);
    script.nodes.insert(nth(9), Node::Itself);
    for _ in 0..3 {
        script.input(Input::AddManual(nth(9)));
        script.run_secs(HOUR);
    }
    assert_eq!(script.dialled(nth(9)).len(), 1);
}

#[test]
fn probes_of_an_outage_keep_to_two_dials_a_netgroup() {
    let crowd: Vec<_> =
        (1..5).flat_map(|n| [1, 2].map(|g| address(&format!("11.{g}.1.{n}")))).collect();
    let mut config = config(|policy| {
        policy.target_connect_count = 1;
        policy.dial_timeout = Duration::from_secs(300);
        policy.hedge_delay = Duration::from_secs(60);
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&crowd))];
    script.others = Node::Refusing;
    script.run_secs(60);
    assert!(script.status().offline);
    script.others = Node::Silent;
    for _ in 0..600 {
        script.run_secs(1);
        let mut groups = BTreeMap::<_, usize>::new();
        for peer in script.status().connecting {
            *groups.entry(NetGroup::of(&peer.address.host)).or_default() += 1;
        }
        assert!(groups.values().all(|dials| *dials <= 2), "{groups:?}");
    }
}

#[test]
fn a_route_that_is_gone_does_not_make_us_try_all_we_know_at_once() {
    let known: Vec<_> = (0..4).map(nth).collect();
    let mut script = Script::seeded(4, &known);
    script.run_secs(60);
    let (gone, stays) = (script.ready()[0], script.ready()[1]);
    let hearsay: Vec<_> = (100..900).map(|n| script.seen(nth(n), Duration::ZERO)).collect();
    script.gossip_from(stays, hearsay);
    // The links that are up do not know yet, and so are no reason to believe in the route.
    script.others = Node::Unreachable;
    script.drop_peer(gone);
    let before = script.dials.len();
    script.run_secs(10);
    let dials = script.dials.len() - before;
    assert!((50..=110).contains(&dials), "{dials} dials in 10 s: one each 100 ms");
    script.others = Node::Alive;
    script.run_secs(1);
    assert_eq!(script.ready().len(), 4, "and nobody is held up for long");
}
