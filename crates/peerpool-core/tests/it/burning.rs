//! Burned; back-offs; burns fade; reasons; quick drops; ourselves.

use std::time::Duration;

use expect_test::expect;
use peerpool_core::event::Event;
use peerpool_core::id::BurnReason;
use peerpool_core::io::Input;

use crate::script::{Node, SERVICES, Script, config, greeting, ips, nth};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// A pool of one peer, ready, that knows `bad` from gossip as well.
fn with_bad(kind: Node) -> Script {
    let mut script = Script::seeded(2, &[nth(1)]);
    script.nodes.insert(nth(9), kind);
    script.run_secs(1);
    script.log();
    let entry = script.seen(nth(9), Duration::ZERO);
    script.gossip_from(nth(1), vec![entry]);
    script
}

#[test]
fn burned_is_not_tried_again_however_often_it_is_heard_of() {
    let mut script = with_bad(Node::Refusing);
    for _ in 0..23 {
        script.run_secs(HOUR);
        let entry = script.seen(nth(9), Duration::ZERO);
        script.gossip_from(nth(1), vec![entry]);
    }
    assert_eq!(script.dialled(nth(9)), [1]);
    assert_eq!(script.status().burned[&BurnReason::Refused], 1);
}

#[test]
fn burns_fade_after_burn_memory_and_only_if_heard_of_anew() {
    let mut script = with_bad(Node::Refusing);
    script.run_secs(2 * DAY);
    assert_eq!(script.dialled(nth(9)).len(), 1, "a faded burn alone brings nobody back");
    let stale = script.seen(nth(9), Duration::from_secs(3 * HOUR));
    script.gossip_from(nth(1), vec![stale]);
    script.run_secs(60);
    assert_eq!(script.dialled(nth(9)).len(), 1, "nor does a stale timestamp");
    let fresh = script.seen(nth(9), Duration::from_secs(2 * HOUR));
    script.gossip_from(nth(1), vec![fresh]);
    script.run_secs(60);
    assert_eq!(script.dialled(nth(9)).len(), 2);
}

#[test]
fn each_burn_keeps_its_reason() {
    let kinds = [
        (Node::Refusing, BurnReason::Refused),
        (Node::Silent, BurnReason::TimedOut),
        (Node::Mute, BurnReason::HandshakeTimedOut),
        (Node::Rude, BurnReason::ClosedBeforeVersion),
        (Node::Poor, BurnReason::Services),
        (Node::Itself, BurnReason::Itself),
    ];
    for (kind, reason) in kinds {
        let mut script = with_bad(kind);
        script.run_secs(30);
        assert_eq!(script.status().burned.keys().collect::<Vec<_>>(), [&reason], "{kind:?}");
        assert_eq!(script.dialled(nth(9)).len(), 1, "{kind:?}");
    }
}

#[test]
fn an_attempt_is_one_verdict_with_one_event() {
    let mut script = with_bad(Node::Mute);
    script.run_secs(60);
    expect![[r#"
        1.000 gossip #1 11.2.1.1:8333 1 of 1
        1.000 connecting #2 11.10.1.1:8333 OutboundFullRelay
        1.000 fed
        1.001 connected #2 11.10.1.1:8333
        11.001 disconnected #2 11.10.1.1:8333 Connected handshake_timed_out
        11.001 burned 11.10.1.1:8333 handshake_timed_out
        11.002 starved Known { blocked: 0, backing_off: 0, waiting: 0, burned: 1, ineligible: 0, banned: 0, discouraged: 0 }
        60.000 seed_asked seed.test
        60.001 seed_answered seed.test 0 of 1
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn ourselves_are_dropped_and_never_dialled_again_even_if_manual() {
    let mut config = config(|_| ());
    config.manual = vec![nth(1)];
    let mut script = Script::new(config);
    script.nodes.insert(nth(1), Node::Itself);
    script.run_secs(3 * DAY);
    assert_eq!(script.dialled(nth(1)).len(), 1);
    assert_eq!(script.status().burned[&BurnReason::Itself], 1);
}

#[test]
fn quick_drop_counts_as_failed() {
    let mut script = with_bad(Node::Alive);
    script.run_secs(59);
    script.drop_peer(nth(9));
    // The quiet pool asks the other peer for a sign of life before it calls this a verdict.
    script.run_secs(20);
    assert_eq!(script.status().burned[&BurnReason::QuickDrop], 1);

    let mut script = with_bad(Node::Alive);
    script.run_secs(61);
    script.drop_peer(nth(9));
    assert!(script.status().burned.is_empty(), "after a minute it is a loss, not a failure");
    script.run_secs(120);
    assert!(script.ready().contains(&nth(9)), "and the address is taken back");
}

#[test]
fn manual_addresses_back_off_at_most_6_dials_in_the_first_hour_and_28_a_day() {
    for seed in 0..50 {
        let mut config = config(|_| ());
        config.manual = vec![nth(1), nth(2)];
        let mut script = Script::with_seed(config, seed);
        script.nodes.insert(nth(1), Node::Refusing);
        script.run_secs(3 * DAY);
        let dials = script.dialled(nth(1));
        let most = |window: u64| {
            let within =
                |from: &u64| dials.iter().filter(|at| (*from..from + window).contains(*at)).count();
            dials.iter().map(within).max()
        };
        assert_eq!(most(HOUR), Some(6), "seed {seed}: {dials:?}");
        let a_day = most(DAY).expect("there were dials");
        assert!((24..=28).contains(&a_day), "seed {seed}: {a_day} dials in a day");
        assert!(script.status().burned.is_empty(), "manual addresses never burn");
    }
}

#[test]
fn experienced_addresses_back_off_and_after_10_failures_are_hearsay_again() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(2 * HOUR);
    script.seeds = vec![Err("gone".to_owned())];
    script.nodes.insert(nth(2), Node::Refusing);
    script.drop_peer(nth(2));
    script.log();
    script.run_secs(3 * DAY);
    // One dial made it a peer; ten failed.
    assert_eq!(script.dialled(nth(2)).len(), 11);
    assert!(script.status().burned.is_empty());
    let failures: Vec<u32> = (script.events.iter())
        .filter_map(|event| match event {
            Event::BackedOff { failures, .. } => Some(*failures),
            _ => None,
        })
        .collect();
    assert_eq!(failures, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    // Hearsay again: heard of anew it is dialled once more, and now it burns.
    let entry = script.seen(nth(2), Duration::ZERO);
    script.gossip_from(nth(1), vec![entry]);
    script.run_secs(2 * DAY);
    assert_eq!(script.dialled(nth(2)).len(), 12);
}

#[test]
fn a_peer_that_comes_and_goes_is_not_dialled_more_often_than_one_that_is_dead() {
    let mut config = config(|_| ());
    config.manual = vec![nth(1)];
    config.connect_only = true;
    let mut script = Script::new(config);
    for _ in 0..(DAY / 10) {
        script.run_secs(10);
        let flapping = script.status().ready.iter().any(|peer| peer.age.as_secs() > 70);
        if flapping {
            script.drop_peer(nth(1));
        }
    }
    let dials = script.dialled(nth(1));
    assert!(dials.len() <= 28, "{} dials in a day", dials.len());
    assert!(dials.iter().filter(|at| **at < HOUR).count() <= 6);
}

#[test]
fn experience_ages_in_days() {
    let mut config = config(|policy| policy.probe_interval = Duration::from_secs(HOUR));
    config.seeds = vec!["seed.test".to_owned()];
    let mut script = Script::new(config);
    script.seeds = vec![Ok(ips(&[nth(1), nth(2)]))];
    script.run_secs(2 * HOUR);
    // Both go at once and come back 29 days later: still candidates, though hearsay of that age
    // is long forgotten. (Local errors keep failures from counting.)
    script.others = Node::Unreachable;
    script.drop_peer(nth(1));
    script.drop_peer(nth(2));
    script.seeds = vec![Err("no such name".to_owned())];
    script.run_secs(29 * DAY);
    script.others = Node::Alive;
    script.run_secs(2 * HOUR);
    assert_eq!(script.ready().len(), 2);
    script.others = Node::Unreachable;
    script.drop_peer(nth(1));
    script.drop_peer(nth(2));
    script.run_secs(31 * DAY);
    script.others = Node::Alive;
    let before = script.dials.len();
    script.run_secs(DAY);
    assert_eq!(script.dials.len(), before, "after 30 days experience is no reason any more");
}

#[test]
fn local_errors_never_burn() {
    let all: Vec<_> = (0..10).map(nth).collect();
    let mut script = Script::seeded(4, &all);
    script.others = Node::Unreachable;
    script.run_secs(HOUR);
    assert!(script.status().burned.is_empty());
    // Without any evidence this is an outage: one probe every 10 s, and a few dials before.
    assert!(script.dials.len() < 380, "{} dials into a missing route", script.dials.len());
    script.others = Node::Alive;
    script.run_secs(600);
    assert_eq!(script.ready().len(), 4);
}

#[test]
fn a_handshake_that_ends_after_the_pool_is_full_is_closed_and_its_address_is_good() {
    let all: Vec<_> = (0..4).map(nth).collect();
    let mut script = Script::seeded(2, &all);
    script.others = Node::Mute;
    script.run(Duration::from_millis(900));
    // Two mute ones are late by now, so others were dialled in their place. All wake up at once.
    let waiting: Vec<_> = script.status().connected.iter().map(|peer| peer.id).collect();
    assert_eq!(waiting.len(), 4);
    for peer in waiting {
        for message in greeting(SERVICES) {
            script.input(Input::Control { peer, message });
        }
    }
    script.run_secs(1);
    let status = script.status();
    assert_eq!((status.ready.len(), status.surplus, status.burned.len()), (2, 2, 0));
    // Good from experience: one of them fills the next gap.
    script.others = Node::Alive;
    let gone = script.ready()[0];
    script.run_secs(HOUR);
    script.drop_peer(gone);
    script.run_secs(5);
    assert_eq!(script.ready().len(), 2);
}
