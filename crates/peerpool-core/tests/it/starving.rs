//! Starved is a state with a way out, and is said aloud.

use std::time::Duration;

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
            0.000 starved Known { blocked: 0, backing_off: 0, waiting: 0, burned: 0, ineligible: 0 }
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn starved_asks_experienced_addresses_by_addr_fetch() {
    // Two nodes in one netgroup: one fills the group, the other can only be asked.
    let (one, other) = (address("11.1.1.1"), address("11.1.1.2"));
    let mut script = Script::seeded(2, &[one]);
    script.run_secs(60);
    script.drop_peer(one);
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[one, other]))];
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
    expect![[r#"
        7500.000 seed_asked seed.test
        7500.001 seed_answered seed.test 0 of 2
        8100.000 seed_asked seed.test
        8100.001 seed_answered seed.test 0 of 2
        8700.000 seed_asked seed.test
        8700.001 seed_answered seed.test 0 of 2
        9300.000 seed_asked seed.test
        9300.001 seed_answered seed.test 0 of 2
        9900.000 seed_asked seed.test
        9900.001 seed_answered seed.test 0 of 2
        10500.000 seed_asked seed.test
        10500.001 seed_answered seed.test 0 of 2
        11100.000 seed_asked seed.test
        11100.001 seed_answered seed.test 0 of 2
        11700.000 seed_asked seed.test
        11700.001 seed_answered seed.test 0 of 2
        12300.000 seed_asked seed.test
        12300.001 seed_answered seed.test 0 of 2
        12900.000 seed_asked seed.test
        12900.001 seed_answered seed.test 0 of 2
        13500.000 seed_asked seed.test
        13500.001 seed_answered seed.test 0 of 2
        14100.000 seed_asked seed.test
        14100.001 seed_answered seed.test 0 of 2
        14700.000 seed_asked seed.test
        14700.001 seed_answered seed.test 0 of 2
        15300.000 seed_asked seed.test
        15300.001 seed_answered seed.test 0 of 2
        15900.000 seed_asked seed.test
        15900.001 seed_answered seed.test 0 of 2
        16500.000 seed_asked seed.test
        16500.001 seed_answered seed.test 0 of 2
        17100.000 seed_asked seed.test
        17100.001 seed_answered seed.test 0 of 2
        17700.000 seed_asked seed.test
        17700.001 seed_answered seed.test 0 of 2
        18300.000 seed_asked seed.test
        18300.001 seed_answered seed.test 0 of 2
        18900.000 seed_asked seed.test
        18900.001 seed_answered seed.test 0 of 2
        19500.000 seed_asked seed.test
        19500.001 seed_answered seed.test 0 of 2
        20100.000 seed_asked seed.test
        20100.001 seed_answered seed.test 0 of 2
        20700.000 seed_asked seed.test
        20700.001 seed_answered seed.test 0 of 2
        21300.000 seed_asked seed.test
        21300.001 seed_answered seed.test 0 of 2
        21900.000 seed_asked seed.test
        21900.001 seed_answered seed.test 0 of 2
        22500.000 seed_asked seed.test
        22500.001 seed_answered seed.test 0 of 2
        23100.000 seed_asked seed.test
        23100.001 seed_answered seed.test 0 of 2
        23700.000 seed_asked seed.test
        23700.001 seed_answered seed.test 0 of 2
        24300.000 seed_asked seed.test
        24300.001 seed_answered seed.test 0 of 2
        24900.000 seed_asked seed.test
        24900.001 seed_answered seed.test 0 of 2
        25500.000 seed_asked seed.test
        25500.001 seed_answered seed.test 0 of 2
        26100.000 seed_asked seed.test
        26100.001 seed_answered seed.test 0 of 2
        26700.000 seed_asked seed.test
        26700.001 seed_answered seed.test 0 of 2
        27300.000 seed_asked seed.test
        27300.001 seed_answered seed.test 0 of 2
        27900.000 seed_asked seed.test
        27900.001 seed_answered seed.test 0 of 2
        28500.000 seed_asked seed.test
        28500.001 seed_answered seed.test 0 of 2
        29100.000 seed_asked seed.test
        29100.001 seed_answered seed.test 0 of 2
        29700.000 seed_asked seed.test
        29700.001 seed_answered seed.test 0 of 2
        30300.000 seed_asked seed.test
        30300.001 seed_answered seed.test 0 of 2
        30900.000 seed_asked seed.test
        30900.001 seed_answered seed.test 0 of 2
        31500.000 seed_asked seed.test
        31500.001 seed_answered seed.test 0 of 2
        32100.000 seed_asked seed.test
        32100.001 seed_answered seed.test 0 of 2
        32700.000 seed_asked seed.test
        32700.001 seed_answered seed.test 0 of 2
        33300.000 seed_asked seed.test
        33300.001 seed_answered seed.test 0 of 2
        33900.000 seed_asked seed.test
        33900.001 seed_answered seed.test 0 of 2
        34500.000 seed_asked seed.test
        34500.001 seed_answered seed.test 0 of 2
        35100.000 seed_asked seed.test
        35100.001 seed_answered seed.test 0 of 2
        35700.000 seed_asked seed.test
        35700.001 seed_answered seed.test 0 of 2
        36300.000 seed_asked seed.test
        36300.001 seed_answered seed.test 0 of 2
        36900.000 seed_asked seed.test
        36900.001 seed_answered seed.test 0 of 2
        37500.000 seed_asked seed.test
        37500.001 seed_answered seed.test 0 of 2
        38100.000 seed_asked seed.test
        38100.001 seed_answered seed.test 0 of 2
        38700.000 seed_asked seed.test
        38700.001 seed_answered seed.test 0 of 2
        39300.000 seed_asked seed.test
        39300.001 seed_answered seed.test 0 of 2
        39900.000 seed_asked seed.test
        39900.001 seed_answered seed.test 0 of 2
        40500.000 seed_asked seed.test
        40500.001 seed_answered seed.test 0 of 2
        41100.000 seed_asked seed.test
        41100.001 seed_answered seed.test 0 of 2
        41700.000 seed_asked seed.test
        41700.001 seed_answered seed.test 0 of 2
        42300.000 seed_asked seed.test
        42300.001 seed_answered seed.test 0 of 2
        42900.000 seed_asked seed.test
        42900.001 seed_answered seed.test 0 of 2
        43500.000 seed_asked seed.test
        43500.001 seed_answered seed.test 0 of 2
        44100.000 seed_asked seed.test
        44100.001 seed_answered seed.test 0 of 2
        44700.000 seed_asked seed.test
        44700.001 seed_answered seed.test 0 of 2
        45300.000 seed_asked seed.test
        45300.001 seed_answered seed.test 0 of 2
        45900.000 seed_asked seed.test
        45900.001 seed_answered seed.test 0 of 2
        46500.000 seed_asked seed.test
        46500.001 seed_answered seed.test 0 of 2
        47100.000 seed_asked seed.test
        47100.001 seed_answered seed.test 0 of 2
        47700.000 seed_asked seed.test
        47700.001 seed_answered seed.test 0 of 2
        48300.000 seed_asked seed.test
        48300.001 seed_answered seed.test 0 of 2
        48900.000 seed_asked seed.test
        48900.001 seed_answered seed.test 0 of 2
        49500.000 seed_asked seed.test
        49500.001 seed_answered seed.test 0 of 2
        50100.000 seed_asked seed.test
        50100.001 seed_answered seed.test 0 of 2
        50700.000 seed_asked seed.test
        50700.001 seed_answered seed.test 0 of 2
        51300.000 seed_asked seed.test
        51300.001 seed_answered seed.test 0 of 2
        51900.000 seed_asked seed.test
        51900.001 seed_answered seed.test 0 of 2
        52500.000 seed_asked seed.test
        52500.001 seed_answered seed.test 0 of 2
        53100.000 seed_asked seed.test
        53100.001 seed_answered seed.test 0 of 2
        53700.000 seed_asked seed.test
        53700.001 seed_answered seed.test 0 of 2
        54300.000 seed_asked seed.test
        54300.001 seed_answered seed.test 0 of 2
        54900.000 seed_asked seed.test
        54900.001 seed_answered seed.test 0 of 2
        55500.000 seed_asked seed.test
        55500.001 seed_answered seed.test 0 of 2
        56100.000 seed_asked seed.test
        56100.001 seed_answered seed.test 0 of 2
        56700.000 seed_asked seed.test
        56700.001 seed_answered seed.test 0 of 2
        57300.000 seed_asked seed.test
        57300.001 seed_answered seed.test 0 of 2
        57900.000 seed_asked seed.test
        57900.001 seed_answered seed.test 0 of 2
        58500.000 seed_asked seed.test
        58500.001 seed_answered seed.test 0 of 2
        59100.000 seed_asked seed.test
        59100.001 seed_answered seed.test 0 of 2
        59700.000 seed_asked seed.test
        59700.001 seed_answered seed.test 0 of 2
        60300.000 seed_asked seed.test
        60300.001 seed_answered seed.test 0 of 2
        60900.000 seed_asked seed.test
        60900.001 seed_answered seed.test 0 of 2
        61500.000 seed_asked seed.test
        61500.001 seed_answered seed.test 0 of 2
        62100.000 seed_asked seed.test
        62100.001 seed_answered seed.test 0 of 2
        62700.000 seed_asked seed.test
        62700.001 seed_answered seed.test 0 of 2
        63300.000 seed_asked seed.test
        63300.001 seed_answered seed.test 0 of 2
        63900.000 seed_asked seed.test
        63900.001 seed_answered seed.test 0 of 2
        64500.000 seed_asked seed.test
        64500.001 seed_answered seed.test 0 of 2
        65100.000 seed_asked seed.test
        65100.001 seed_answered seed.test 0 of 2
        65700.000 seed_asked seed.test
        65700.001 seed_answered seed.test 0 of 2
        66300.000 seed_asked seed.test
        66300.001 seed_answered seed.test 0 of 2
        66900.000 seed_asked seed.test
        66900.001 seed_answered seed.test 0 of 2
        67500.000 seed_asked seed.test
        67500.001 seed_answered seed.test 0 of 2
        68100.000 seed_asked seed.test
        68100.001 seed_answered seed.test 0 of 2
        68700.000 seed_asked seed.test
        68700.001 seed_answered seed.test 0 of 2
        69300.000 seed_asked seed.test
        69300.001 seed_answered seed.test 0 of 2
        69900.000 seed_asked seed.test
        69900.001 seed_answered seed.test 0 of 2
        70500.000 seed_asked seed.test
        70500.001 seed_answered seed.test 0 of 2
        71100.000 seed_asked seed.test
        71100.001 seed_answered seed.test 0 of 2
        71700.000 seed_asked seed.test
        71700.001 seed_answered seed.test 0 of 2
        72300.000 seed_asked seed.test
        72300.001 seed_answered seed.test 0 of 2
        72900.000 seed_asked seed.test
        72900.001 seed_answered seed.test 0 of 2
        73500.000 seed_asked seed.test
        73500.001 seed_answered seed.test 0 of 2
        74100.000 seed_asked seed.test
        74100.001 seed_answered seed.test 0 of 2
        74700.000 seed_asked seed.test
        74700.001 seed_answered seed.test 0 of 2
        75300.000 seed_asked seed.test
        75300.001 seed_answered seed.test 0 of 2
        75900.000 seed_asked seed.test
        75900.001 seed_answered seed.test 0 of 2
        76500.000 seed_asked seed.test
        76500.001 seed_answered seed.test 0 of 2
        77100.000 seed_asked seed.test
        77100.001 seed_answered seed.test 0 of 2
        77700.000 seed_asked seed.test
        77700.001 seed_answered seed.test 0 of 2
        78300.000 seed_asked seed.test
        78300.001 seed_answered seed.test 0 of 2
        78900.000 seed_asked seed.test
        78900.001 seed_answered seed.test 0 of 2
        79500.000 seed_asked seed.test
        79500.001 seed_answered seed.test 0 of 2
        80100.000 seed_asked seed.test
        80100.001 seed_answered seed.test 0 of 2
        80700.000 seed_asked seed.test
        80700.001 seed_answered seed.test 0 of 2
        81300.000 seed_asked seed.test
        81300.001 seed_answered seed.test 0 of 2
        81900.000 seed_asked seed.test
        81900.001 seed_answered seed.test 0 of 2
        82500.000 seed_asked seed.test
        82500.001 seed_answered seed.test 0 of 2
        83100.000 seed_asked seed.test
        83100.001 seed_answered seed.test 0 of 2
        83700.000 seed_asked seed.test
        83700.001 seed_answered seed.test 0 of 2
        84300.000 seed_asked seed.test
        84300.001 seed_answered seed.test 0 of 2
        84900.000 seed_asked seed.test
        84900.001 seed_answered seed.test 0 of 2
        85500.000 seed_asked seed.test
        85500.001 seed_answered seed.test 0 of 2
        86100.000 seed_asked seed.test
        86100.001 seed_answered seed.test 0 of 2
        86520.002 connecting #3 11.1.1.2:8333 AddrFetch
        86520.003 connected #3 11.1.1.2:8333
        86520.004 ready #3 11.1.1.2:8333
        86520.005 gossip #3 11.1.1.2:8333 2 of 2
        86520.005 disconnected #3 11.1.1.2:8333 Ready addr_fetch_done
        86520.005 connecting #4 13.102.1.1:8333 OutboundFullRelay
        86520.005 fed
        86520.006 connected #4 13.102.1.1:8333
        86520.007 ready #4 13.102.1.1:8333
        86520.007 full 86520.007s
        86520.008 gossip #4 13.102.1.1:8333 0 of 2
    "#]]
    .assert_eq(&script.log());
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
        86520.002 connecting #3 11.1.1.2:8333 AddrFetch
        86820.004 disconnected #3 11.1.1.2:8333 Ready addr_fetch_done
        173040.002 connecting #4 11.1.1.2:8333 AddrFetch
        173340.004 disconnected #4 11.1.1.2:8333 Ready addr_fetch_done"#]]
    .assert_eq(&ended.join("\n"));
    let _ = (Node::Alive, Duration::ZERO);
}
