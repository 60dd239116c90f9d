//! Parallel, hedged dialling; budgets; one node counts once; netgroups; manual peers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use expect_test::expect;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason};
use peerpool_core::netgroup::NetGroup;
use peerpool_core::rng::Rng;

use crate::script::{Node, Script, address, config, ips, nth};

/// A pool of 8 with `count` addresses of which `alive` live; half of the dead are silent.
fn with_share(seed: u64, count: u32, alive: f64) -> Script {
    let all: Vec<_> = (0..count).map(nth).collect();
    let mut config = config(|policy| policy.max_seed_addresses = 1000);
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::with_seed(config, seed);
    script.seeds = vec![Ok(ips(&all))];
    let mut rng = Rng::from_u64(seed);
    for at in all {
        if !rng.chance(alive) {
            let dead = if rng.chance(0.5) { Node::Silent } else { Node::Refusing };
            script.nodes.insert(at, dead);
        }
    }
    script
}

/// Fills a pool of 8, 20 times for each share alive, where every step (dial, handshake, ...) takes
/// `latency` ms, and up to `spread` ms more with some peers.
fn fill_table(latency: u64, spread: u64, shares: &[f64]) -> String {
    const SEEDS: u64 = 20;
    let mut table = String::from("alive  dials  need  surplus  time to 8\n");
    for &alive in shares {
        let (mut dials, mut surplus, mut times) = (0, 0, Vec::new());
        for seed in 0..SEEDS {
            let mut script = with_share(seed, 1000, alive);
            script.latency = Duration::from_millis(latency);
            script.spread = Duration::from_millis(spread);
            script.run_secs(60);
            let status = script.status();
            assert_eq!(status.ready.len(), 8, "seed {seed} at {alive}");
            dials += status.dials;
            surplus += status.surplus;
            times.extend(script.events.iter().find_map(|event| match event {
                Event::Full { took } => Some(*took),
                _ => None,
            }));
        }
        times.sort();
        let (mean, need) = (dials as f64 / SEEDS as f64, 8.0 / alive);
        assert!(mean <= 1.5 * need, "{mean} dials where {need} would do");
        table += &format!(
            "{alive:>5}  {mean:>5.1}  {need:>4.0}  {:>7.1}  {:>8.2}s\n",
            surplus as f64 / SEEDS as f64,
            times[times.len() / 2].as_secs_f64(),
        );
    }
    table
}

#[test]
fn dials_stay_within_one_and_a_half_times_an_oracles_need() {
    let table = fill_table(20, 0, &[1.0, 0.9, 0.3, 0.05]);
    expect![[r#"
        alive  dials  need  surplus  time to 8
            1   10.0     8      2.0      0.06s
          0.9   10.4     9      1.8      0.06s
          0.3   27.1    27      9.9      0.18s
         0.05  196.3   160     89.7      0.20s
    "#]]
    .assert_eq(&table);
    let far = fill_table(80, 0, &[1.0, 0.9, 0.3, 0.05]);
    expect![[r#"
        alive  dials  need  surplus  time to 8
            1   10.0     8      2.0      0.24s
          0.9   10.4     9      1.8      0.24s
          0.3   26.9    27      9.8      0.58s
         0.05  196.2   160     94.7      0.64s
    "#]]
    .assert_eq(&far);
}

#[test]
fn an_unanswered_dial_stops_counting_after_400_ms_but_goes_on() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.others = Node::Silent;
    script.run(Duration::from_millis(390));
    assert_eq!(script.dials.len(), 1, "one dial is expected to do");
    script.run(Duration::from_millis(20));
    assert_eq!(script.dials.len(), 2, "it is late: another");
    assert_eq!(script.status().connecting.len(), 2, "and both go on");
    script.run_secs(5);
    assert_eq!(script.status().connecting.len(), 0, "until their time-out");
}

#[test]
fn where_answers_come_at_once_an_unanswered_dial_is_not_waited_for_400_ms() {
    let mut script = with_share(1, 1000, 0.3);
    script.run(Duration::from_millis(300));
    let full = script.events.iter().find_map(|event| match event {
        Event::Full { took } => Some(*took),
        _ => None,
    });
    let full = full.expect("full before the first delay would have passed");
    assert!(full >= Duration::from_millis(50), "{full:?}: never shorter than the least delay");
}

#[test]
fn where_answer_times_differ_widely_few_dials_are_made_in_vain() {
    let table = fill_table(20, 300, &[1.0, 0.9, 0.3]);
    expect![[r#"
        alive  dials  need  surplus  time to 8
            1   10.0     8      2.0      0.48s
          0.9   10.4     9      1.9      0.48s
          0.3   28.6    27     11.2      0.81s
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_pool_of_the_quickest_goes_on_hearing_of_the_others() {
    const SEEDS: u64 = 8;
    for (quick, latency, rest) in [(25, 1, 350), (128, 1, 150), (128, 20, 200)] {
        let (mut dials, mut locked) = (0, 0);
        for seed in 0..SEEDS {
            let mut script = with_share(seed, 1000, 1.0);
            script.latency = Duration::from_millis(latency);
            script.spread = Duration::from_millis(rest - latency);
            script.quick_of_256 = Some(quick);
            script.run_secs(5);
            let refill = |script: &mut Script| {
                for n in 0..50 {
                    let ready = script.ready();
                    script.drop_peer(ready[n % ready.len()]);
                    script.run_secs(5);
                }
                script.status().dials
            };
            let before = refill(&mut script);
            let made = refill(&mut script) - before;
            dials += made;
            locked += usize::from(made > 100);
        }
        let mean = dials as f64 / (SEEDS * 50) as f64;
        assert_eq!(locked, 0, "{quick} of 256 quick: {mean} dials a refill");
        assert!(mean <= 1.2, "{quick} of 256 quick: {mean} dials a refill");
    }
}

#[test]
fn never_more_than_max_dials_in_flight() {
    let mut script = with_share(1, 1000, 0.0);
    for _ in 0..100 {
        script.run(Duration::from_millis(100));
        let status = script.status();
        assert!(status.connecting.len() + status.connected.len() <= 128);
    }
    assert!(script.dials.len() > 200, "but as many as that where nothing answers");
}

#[test]
fn never_more_than_two_dials_in_flight_to_one_netgroup() {
    let crowd: Vec<_> = (1..200).map(|n| address(&format!("11.1.1.{n}"))).collect();
    let mut script = Script::seeded(8, &crowd);
    script.others = Node::Silent;
    let mut most = 0;
    for _ in 0..100 {
        script.run(Duration::from_millis(100));
        most = most.max(script.status().connecting.len());
    }
    assert_eq!(most, 2);
}

#[test]
fn one_automatic_peer_per_netgroup_and_status_says_who_is_blocked() {
    let crowd: Vec<_> = (1..20).map(|n| address(&format!("11.1.1.{n}"))).collect();
    let mut script = Script::seeded(8, &crowd);
    script.run_secs(30);
    assert_eq!(script.ready().len(), 1);
    let status = script.status();
    assert!(status.starved, "peers are missing");
    // One or two found their place taken: one netgroup that one source names has one bucket.
    let blocked = script.engine.book().len() - 1;
    assert!(blocked >= 14, "{blocked} others");
    assert_eq!(status.known.blocked, blocked, "and the netgroup rule holds the others back");
}

#[test]
fn one_node_counts_once_whatever_its_port() {
    let mut config = config(|policy| {
        policy.target_connect_count = 8;
        policy.max_peers_per_netgroup = 1000;
        policy.max_dials_per_netgroup = 1000;
    });
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1)]))];
    script.run_secs(1);
    let ports = (9000..9004).map(|port| address(&format!("{}:{port}", nth(2).host)));
    let entries = ports.map(|address| script.seen(address, Duration::ZERO)).collect();
    script.gossip_from(nth(1), entries);
    script.run_secs(60);
    assert_eq!(script.ready().len(), 2);
}

#[test]
fn manual_peers_are_told_apart_by_ip_and_port() {
    let mut config = config(|_| ());
    config.manual = (1..=3).map(|n| address(&format!("127.0.0.1:1844{n}"))).collect();
    config.connect_only = true;
    let manual = config.manual.clone();
    let mut script = Script::new(config);
    script.run_secs(1);
    let ready: BTreeSet<_> = script.ready().into_iter().collect();
    assert_eq!(ready, manual.into_iter().collect());
    assert!(!script.status().starved);
}

#[test]
fn a_manual_peer_takes_the_slot_of_the_youngest_automatic_one() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(60);
    script.log();
    let youngest = script.ready()[1];
    script.input(peerpool_core::io::Input::AddManual(address("127.0.0.1:9")));
    script.run_secs(1);
    let ready = script.ready();
    assert!(ready.len() == 2 && ready.contains(&address("127.0.0.1:9")));
    assert!(script.events.iter().any(|event| matches!(event,
        Event::Disconnected { address, reason: DisconnectReason::Replaced, .. } if *address == youngest
    )));
}

#[test]
fn connect_only_dials_nobody_else() {
    let mut config = config(|_| ());
    config.manual = vec![nth(1)];
    config.connect_only = true;
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(2)]))];
    script.gossip = vec![script.seen(nth(3), Duration::ZERO)];
    script.run_secs(3600);
    assert_eq!(script.ready(), [nth(1)]);
    assert_eq!(script.dials.len(), 1);
    assert_eq!(script.status().ready[0].connection_type, ConnectionType::Manual);
    assert_eq!(script.status().target, 1, "there is nobody else to want");
}

#[test]
fn a_lost_peer_is_replaced() {
    let all: Vec<_> = (0..30).map(nth).collect();
    let mut script = Script::seeded(4, &all);
    script.run_secs(3600);
    for gone in script.ready() {
        script.drop_peer(gone);
    }
    script.run_secs(1);
    let ready = script.ready();
    assert_eq!(ready.len(), 4);
    let groups: BTreeMap<_, _> = ready.iter().map(|at| (NetGroup::of(&at.host), at)).collect();
    assert_eq!(groups.len(), 4);
}

#[test]
fn a_silent_peer_is_pinged_and_dropped() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.run_secs(3600);
    script.log();
    script.answers_pings = false;
    script.run_secs(181);
    script.answers_pings = true;
    script.run_secs(1);
    expect![[r#"
        3660.003 disconnected #1 11.3.1.1:8333 Ready pong_timed_out
        3660.003 backed_off 11.3.1.1:8333 failures=0 retry_in=73s
        3660.003 connecting #2 11.2.1.1:8333 OutboundFullRelay
        3660.004 connected #2 11.2.1.1:8333
        3660.005 ready #2 11.2.1.1:8333
        3660.005 full 0.002s
        3720.005 disconnected #2 11.2.1.1:8333 Ready pong_timed_out
        3720.005 backed_off 11.2.1.1:8333 failures=0 retry_in=64s
        3720.006 starved Known { blocked: 0, backing_off: 2, waiting: 0, burned: 0, ineligible: 0, banned: 0, discouraged: 0 }
        3720.006 seed_asked seed.test
        3720.007 seed_answered seed.test 0 of 2
        3733.632 connecting #3 11.3.1.1:8333 OutboundFullRelay
        3733.632 fed
        3733.633 connected #3 11.3.1.1:8333
        3733.634 ready #3 11.3.1.1:8333
        3733.634 full 13.629s
    "#]]
    .assert_eq(&script.log());
}
