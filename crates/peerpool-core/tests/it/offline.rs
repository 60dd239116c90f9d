//! No burning while offline.

use std::time::Duration;

use expect_test::expect;
use peerpool_core::event::Event;

use crate::script::{Node, Script, address, config, ips, nth};

#[test]
fn a_failure_burns_only_if_evidence_lies_within_30_s() {
    // Evidence 20 s after: the verdict waits, then holds.
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.nodes.insert(nth(1), Node::Refusing);
    script.nodes.insert(nth(2), Node::Refusing);
    script.run_secs(20);
    assert_eq!((script.status().known.waiting, script.status().known.burned), (2, 0));
    script.input(peerpool_core::io::Input::AddManual(nth(3)));
    script.run_secs(1);
    assert_eq!((script.status().known.waiting, script.status().known.burned), (0, 2));
    assert_eq!(script.dialled(nth(1)).len() + script.dialled(nth(2)).len(), 2, "not redialled");
    expect![[r#"
        0.000 seed_asked seed.test
        0.001 seed_answered seed.test 2 of 2
        0.001 connecting #1 11.3.1.1:8333 OutboundFullRelay
        0.002 dial_failed #1 11.3.1.1:8333 refused
        0.002 verdict_waits 11.3.1.1:8333 refused
        0.002 connecting #2 11.2.1.1:8333 OutboundFullRelay
        0.003 dial_failed #2 11.2.1.1:8333 refused
        0.003 verdict_waits 11.2.1.1:8333 refused
        0.003 starved Known { blocked: 0, backing_off: 0, waiting: 2, burned: 0, ineligible: 0, banned: 0, discouraged: 0 }
        20.000 connecting #3 11.4.1.1:8333 Manual
        20.000 fed
        20.001 burned 11.2.1.1:8333 refused
        20.001 burned 11.3.1.1:8333 refused
        20.001 connected #3 11.4.1.1:8333
        20.002 ready #3 11.4.1.1:8333
        20.002 full 20.002s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn offline_nothing_burns_one_probe_every_10_s_and_all_is_well_again() {
    let all: Vec<_> = (0..40).map(nth).collect();
    let mut script = Script::seeded(4, &all);
    script.run_secs(3600);
    script.log();
    // The cable is pulled: links break, and nobody answers.
    script.others = Node::Silent;
    for gone in script.ready() {
        script.drop_peer(gone);
    }
    script.run_secs(60);
    assert!(script.status().offline);
    let before = script.dials.len();
    script.run_secs(600);
    let probes = script.dials.len() - before;
    assert!((59..=61).contains(&probes), "{probes} dials in ten minutes offline");
    assert!(script.status().burned.is_empty(), "an outage is nobody's fault");
    // The cable is back.
    script.others = Node::Alive;
    script.log();
    script.run_secs(21);
    assert_eq!(script.ready().len(), 4, "a probe within 10 s, the rest within 10 s after it");
    assert!(script.status().burned.is_empty());
    let lines = script.log();
    expect!["4265.000 connecting #97 11.30.1.1:8333 OutboundFullRelay"]
        .assert_eq(lines.lines().next().expect("an event"));
    assert_eq!(lines.matches(" online").count(), 1);
}

#[test]
fn refusals_in_one_netgroup_are_no_outage() {
    let crowd = [1, 2, 3].map(|n| address(&format!("11.1.1.{n}")));
    let mut script = Script::seeded(1, &crowd);
    script.others = Node::Refusing;
    script.run_secs(600);
    assert!(!script.events.contains(&Event::Offline));
    let status = script.status();
    assert!(status.burned.is_empty(), "nothing shows that the network is up");
    assert!(script.dials.len() <= 3 * 6, "and nobody is pestered: {} dials", script.dials.len());
    script.others = Node::Alive;
    script.run_secs(3600);
    assert_eq!(script.ready().len(), 1, "the way out");
}

#[test]
fn a_quiet_full_pool_that_loses_a_peer_is_not_offline() {
    let all: Vec<_> = (0..3).map(nth).collect();
    let mut script = Script::seeded(3, &all);
    script.run(Duration::from_secs(3600 + 100));
    script.others = Node::Silent;
    let (gone, stays) = (script.ready()[0], script.ready()[1]);
    script.nodes.insert(stays, Node::Alive);
    let fresh: Vec<_> = (10..30).map(|n| script.seen(nth(n), Duration::ZERO)).collect();
    script.gossip_from(stays, fresh);
    script.run_secs(45);
    script.drop_peer(gone);
    script.run_secs(120);
    assert!(!script.events.contains(&Event::Offline), "pings are hastened, and pongs are evidence");
    assert!(script.status().known.burned > 0, "so the dead are burned");
}

#[test]
fn probes_go_to_those_we_know_before_hearsay_that_is_mostly_dead() {
    let known: Vec<_> = (0..8).map(nth).collect();
    let mut config = config(|policy| {
        policy.target_connect_count = 4;
        // Not so many that all hearsay is tried before the outage is noticed.
        policy.max_dials = 4;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&known))];
    script.run_secs(600);
    let hearsay: Vec<_> = (100..900).map(|n| script.seen(nth(n), Duration::ZERO)).collect();
    let from = script.ready()[0];
    script.gossip_from(from, hearsay);
    script.others = Node::Silent;
    let known = script.ready();
    for gone in &known {
        script.drop_peer(*gone);
    }
    script.run_secs(3600);
    assert!(script.status().offline);
    let out = 600..4200;
    let tries = |address| {
        let tries = script.dialled(address).into_iter().filter(|at| out.contains(at));
        tries.collect::<Vec<_>>()
    };
    // The back-off of each ends after 1, 2, 4, 8, 16 and 32 min; between, each is tried every 12,
    // and once it waits for its turn.
    for address in &known {
        let tries = tries(*address);
        assert!(tries.len() <= 12, "{address}: {tries:?}");
        let longest = tries.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest.is_some_and(|gap| gap < 1440), "{address}: {tries:?}");
    }
    // Once each has had two turns, they follow each other as evenly as four in 12 min can.
    let mut turns: Vec<u64> = known.iter().flat_map(|address| tries(*address)).collect();
    turns.retain(|at| *at > 3000);
    turns.sort_unstable();
    let longest = turns.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest.is_some_and(|gap| gap <= 190), "{turns:?}");
    for address in known {
        script.nodes.insert(address, Node::Alive);
    }
    script.run_secs(600);
    assert!(!script.status().offline, "hearsay is dead, but we know whom to ask");
}
