//! Starved is a state with a way out, and is said aloud.

use expect_test::expect;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason};
use peerpool_core::time::UnixTime;
use peerpool_core::wire::AddrEntry;

use crate::script::{Node, SERVICES, START, Script, address, config, ips, nth};

#[test]
fn starved_is_said_once_and_the_seeds_are_asked_again_1_min_doubling_to_10() {
    let mut script = Script::seeded(1, &[]);
    script.seeds = vec![Err("no such name".to_owned())];
    script.run_secs(3600);
    let starved =
        script.events.iter().filter(|event| matches!(event, Event::Starved { .. })).count();
    assert_eq!(starved, 1);
    let asked: Vec<String> = (script.log().lines())
        .filter(|line| line.contains("seed_asked"))
        .map(|line| line.split_whitespace().next().expect("a time").to_owned())
        .collect();
    expect!["0.000 60.000 180.000 420.000 900.000 1500.000 2100.000 2700.000 3300.000"]
        .assert_eq(&asked.join(" "));
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.run_secs(600);
    assert_eq!(script.ready(), [nth(1)]);
    expect![[r#"
         3900.000 seed_asked seed.test
         3900.001 seed_answered seed.test 1 of 1
         3900.001 connecting #1 11.2.1.1:8333 OutboundFullRelay
         3900.001 fed
         3900.002 connected #1 11.2.1.1:8333
         3900.003 ready #1 11.2.1.1:8333
         3900.003 full 3900.003s
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn a_pool_without_sources_says_so_at_once() {
    let mut script = Script::new(config(|_| ()));
    script.run_secs(1);
    expect![[r#"
        0.000 starved Known { blocked: 0, backing_off: 0, waiting: 0, burned: 0, ineligible: 0, banned: 0, discouraged: 0 }
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn starved_asks_experienced_addresses_by_addr_fetch() {
    // Two nodes in one netgroup: one fills the group, the other can only be asked.
    let (one, other) = (address("11.1.1.1"), address("11.1.1.2"));
    let mut script = Script::seeded(2, &[one, other]);
    script.run_secs(3600);
    // Whoever is up leaves after an hour; the other takes the group. Now the first is experienced,
    // blocked, and was asked when it was up: not again within 24 h.
    let first = script.ready()[0];
    script.drop_peer(first);
    script.run_secs(60);
    let second = script.ready()[0];
    assert_ne!(first, second);
    script.run_secs(3600);
    let fetches = |script: &Script| {
        let fetch = ConnectionType::AddrFetch;
        let is_fetch = |event: &&Event| matches!(event, Event::Connecting { connection_type, .. } if *connection_type == fetch);
        script.events.iter().filter(is_fetch).count()
    };
    assert_eq!(fetches(&script), 0);
    script.gossip = [nth(500), nth(501)]
        .map(|address| AddrEntry { time: UnixTime(START + 86_400), services: SERVICES, address })
        .to_vec();
    script.log();
    script.run_secs(86_400 - 3600);
    assert_eq!(fetches(&script), 1);
    assert!(script.events.iter().any(|event| matches!(event,
        Event::Disconnected { address, reason: DisconnectReason::AddrFetchDone, .. }
            if *address == first
    )));
    assert_eq!(script.ready().len(), 2, "what it told filled the pool");
    let log = script.log();
    let told: Vec<_> = log.lines().filter(|line| !line.contains("seed_")).collect();
    expect![[r#"
        86520.002 connecting #3 11.1.1.1:8333 AddrFetch
        86520.003 connected #3 11.1.1.1:8333
        86520.004 ready #3 11.1.1.1:8333
        86520.005 gossip #3 11.1.1.1:8333 2 of 2
        86520.005 disconnected #3 11.1.1.1:8333 Ready addr_fetch_done
        86520.005 connecting #4 13.101.1.1:8333 OutboundFullRelay
        86520.005 fed
        86520.006 connected #4 13.101.1.1:8333
        86520.007 ready #4 13.101.1.1:8333
        86520.007 full 86520.007s
        86520.008 gossip #4 13.101.1.1:8333 0 of 2"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn an_addr_fetch_that_brings_nothing_ends_by_itself() {
    let (one, other) = (address("11.1.1.1"), address("11.1.1.2"));
    let mut script = Script::seeded(2, &[one, other]);
    script.run_secs(3600);
    let first = script.ready()[0];
    script.drop_peer(first);
    script.run_secs(2 * 86_400);
    let ended: Vec<_> = (script.log().lines())
        .filter(|line| line.contains("addr_fetch_done") || line.contains("AddrFetch"))
        .map(str::to_owned)
        .collect();
    expect![[r#"
        86520.002 connecting #3 11.1.1.1:8333 AddrFetch
        86820.004 disconnected #3 11.1.1.1:8333 Ready addr_fetch_done
        173040.002 connecting #4 11.1.1.1:8333 AddrFetch
        173340.004 disconnected #4 11.1.1.1:8333 Ready addr_fetch_done"#]]
    .assert_eq(&ended.join("\n"));
}

#[test]
fn a_first_answer_with_none_but_dead_addresses_is_not_the_last() {
    for silent in [false, true] {
        let dead: Vec<_> = (0..32).map(nth).collect();
        let living: Vec<_> = (32..64).map(nth).collect();
        let mut script = Script::seeded(8, &dead);
        let kind = if silent { Node::Silent } else { Node::Refusing };
        script.nodes.extend(dead.iter().map(|&at| (at, kind)));
        script.run_secs(45);
        assert!(script.status().offline, "nothing that was heard of answers");
        assert!(script.status().starved, "and that is said");
        script.seeds = vec![Ok(ips(&living))];
        script.run_secs(30);
        let status = script.status();
        assert_eq!((status.ready.len(), status.offline, status.starved), (8, false, false));
    }
}

#[test]
fn an_outage_asks_the_seeds_ever_more_seldom_and_dials_no_more_than_probes() {
    let mut script = Script::seeded(8, &(0..8).map(nth).collect::<Vec<_>>());
    script.run_secs(3600);
    assert_eq!(script.ready().len(), 8);
    script.others = Node::Refusing;
    for gone in script.ready() {
        script.drop_peer(gone);
    }
    script.log();
    let dials = script.status().dials;
    script.run_secs(3600);
    let log = script.log();
    let asked = log.matches("seed_asked").count();
    assert!((6..=9).contains(&asked), "1, 2, 4, 8 and then each 10 min: {asked}\n{log}");
    let (_, after) = log.split_once(" offline").expect("it goes offline");
    assert!(script.status().starved && !after.contains("starved "), "said once: {after}");
    assert!(!after.contains(" fed"), "a probe feeds nobody: {after}");
    assert!(script.status().dials - dials <= 360 + 8 * 6, "a probe each 10 s");
}
