//! The first lease: any ready peer, or one with given services.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use expect_test::expect;
use peerpool_core::id::{LeaseId, PeerId};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::wire::Control;

use crate::script::{SERVICES, Script, nth};

fn ask(script: &mut Script, lease: u64, services: ServiceFlags, wait: bool) {
    script.input(Input::Lease {
        lease: LeaseId(lease),
        require: Require::services(services),
        wait,
    });
}

#[test]
fn a_lease_is_granted_at_once_or_waits_first_come_first_served() {
    let mut script = Script::seeded(1, &[nth(1)]);
    for lease in 1..=3 {
        ask(&mut script, lease, ServiceFlags::NONE, true);
    }
    ask(&mut script, 4, ServiceFlags::COMPACT_FILTERS, true);
    ask(&mut script, 5, ServiceFlags::NONE, false);
    script.run_secs(1);
    assert_eq!(script.granted.keys().map(|lease| lease.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((script.status().leases, script.status().waiters), (3, 1));
    ask(&mut script, 6, SERVICES, false);
    assert!(script.granted.contains_key(&LeaseId(6)));
    for lease in [1, 2, 3, 4, 6, 6, 77] {
        script.input(Input::Release { lease: LeaseId(lease) });
    }
    assert_eq!((script.status().leases, script.status().waiters), (0, 0));
    expect![[r#"
            0.000 seed_asked seed.test
            0.000 lease 5: NoneFree
            0.001 seed_answered seed.test 1 of 1
            0.001 connecting #1 11.2.1.1:8333 OutboundFullRelay
            0.002 connected #1 11.2.1.1:8333
            0.003 ready #1 11.2.1.1:8333
            0.003 leased #1 lease 1
            0.003 leased #1 lease 2
            0.003 leased #1 lease 3
            0.003 full 0.003s
            1.000 leased #1 lease 6
            1.000 released #1 lease 1
            1.000 released #1 lease 2
            1.000 released #1 lease 3
            1.000 released #1 lease 6
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn a_peer_serves_slots_per_peer_and_no_more() {
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(1);
    for lease in 0..20 {
        ask(&mut script, lease, ServiceFlags::NONE, true);
    }
    assert_eq!((script.status().leases, script.status().waiters), (16, 4));
    script.input(Input::Release { lease: LeaseId(3) });
    assert!(script.granted.contains_key(&LeaseId(16)), "the first of those who waited");
    assert!(!script.granted.contains_key(&LeaseId(17)));
}

#[test]
fn a_pruned_peer_is_kept_but_not_lent_to_whoever_wants_all_blocks() {
    let mut config = crate::script::config(|policy| {
        policy.required_services = ServiceFlags::NETWORK;
    });
    config.manual = vec![nth(1)];
    let mut script = Script::new(config);
    script.run_secs(1);
    ask(&mut script, 1, ServiceFlags::NETWORK, false);
    ask(&mut script, 2, ServiceFlags::NETWORK_LIMITED, false);
    assert_eq!(script.granted.keys().collect::<Vec<_>>(), [&LeaseId(2)]);
}

#[test]
fn a_lost_peer_ends_its_leases() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.run_secs(90);
    ask(&mut script, 1, ServiceFlags::NONE, true);
    let gone = script.ready()[0];
    script.drop_peer(gone);
    assert_eq!(script.status().leases, 0);
    script.run_secs(1);
    assert_eq!(script.ready().len(), 1);
    ask(&mut script, 2, ServiceFlags::NONE, false);
    assert_eq!(script.status().leases, 1);
}

#[test]
fn a_closed_pool_refuses() {
    let mut script = Script::seeded(1, &[]);
    ask(&mut script, 1, ServiceFlags::NONE, true);
    script.log();
    script.input(Input::Close);
    ask(&mut script, 2, ServiceFlags::NONE, true);
    expect![[r#"
            0.000 lease 1: Closed
            0.000 lease 2: Closed
    "#]]
    .assert_eq(&script.log());
}

#[test]
fn ten_thousand_waiters_are_served_in_order_whoever_gives_up() {
    const WAITERS: u64 = 10_000;
    let mut script = Script::seeded(1, &[nth(1)]);
    script.run_secs(1);
    // Holders of all slots, then the waiters.
    let slots = script.policy().slots_per_peer as u64;
    for lease in 0..slots + WAITERS {
        ask(&mut script, lease, ServiceFlags::NONE, true);
    }
    assert_eq!(script.status().waiters, WAITERS as usize);
    ask(&mut script, slots + WAITERS, ServiceFlags::NONE, true);
    assert!(script.log().contains("TooManyWaiters"));
    let mut rng = Rng::from_u64(1);
    let mut gone = BTreeSet::new();
    let mut waiting: Vec<u64> = (slots..slots + WAITERS).collect();
    let mut held: Vec<u64> = (0..slots).collect();
    while !waiting.is_empty() || !held.is_empty() {
        if !waiting.is_empty() && rng.chance(0.5) {
            let lease = waiting.remove(rng.below(waiting.len()));
            gone.insert(lease);
            script.input(Input::Release { lease: LeaseId(lease) });
            continue;
        }
        let lease = held.swap_remove(rng.below(held.len()));
        script.input(Input::Release { lease: LeaseId(lease) });
        if !waiting.is_empty() {
            let next = waiting.remove(0);
            assert!(script.granted.contains_key(&LeaseId(next)), "{next} is the first who waits");
            held.push(next);
        }
    }
    assert_eq!((script.status().leases, script.status().waiters), (0, 0));
    assert!(gone.iter().all(|lease| !script.granted.contains_key(&LeaseId(*lease))));
    assert_eq!(script.granted.len() + gone.len(), (slots + WAITERS) as usize);
}

/// Two peers whose round trips are `[one, other]`, and which of many leases goes to the first.
fn share_of_the_first(round_trips: [u64; 2], change: impl FnOnce(&mut Policy)) -> usize {
    let mut config = crate::script::config(|policy| {
        policy.target_connect_count = 2;
        policy.slots_per_peer = 10_000;
        change(policy);
    });
    config.manual = vec![nth(1), nth(2)];
    let mut script = Script::new(config);
    script.answers_pings = false;
    script.run(Duration::from_millis(2));
    let pings = std::mem::take(&mut script.pings);
    let mut waited = 0;
    for (place, (peer, nonce)) in pings.into_iter().enumerate() {
        script.run(Duration::from_millis(round_trips[place] - waited));
        waited = round_trips[place];
        script.input(Input::Control { peer, message: Control::Pong(nonce) });
    }
    let first = script.status().ready[0].id;
    let mut count = 0;
    for lease in 0..1000 {
        ask(&mut script, lease, ServiceFlags::NONE, false);
        count += usize::from(script.granted[&LeaseId(lease)] == first);
        script.input(Input::Release { lease: LeaseId(lease) });
    }
    count
}

#[test]
fn the_nearer_peer_has_more_leases_and_never_more_than_its_cap() {
    // Of two drawn, each may be both: a quarter, beside half of what is given at random.
    let far = share_of_the_first([150, 1000], |_| ());
    assert!((680..=770).contains(&far), "{far} of 1000");
    let all_the_same = share_of_the_first([150, 1000], |policy| policy.explore_share = 100);
    assert!((450..=550).contains(&all_the_same), "{all_the_same} of 1000");
    // So near that it must want to be: no better than the least that counts.
    let bought = share_of_the_first([2, 100], |_| ());
    assert!((450..=550).contains(&bought), "{bought} of 1000");
    let near = share_of_the_first([250, 1000], |_| ());
    assert!((450..=550).contains(&near), "{near} of 1000: both are as far as counts");
}

#[test]
fn whoever_has_more_to_do_has_fewer_leases() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.run_secs(60);
    let busy = script.status().ready[0].id;
    script.input(Input::Load { peer: busy, requests: 5 });
    assert_eq!(script.status().ready[0].requests, 5);
    let mut of_it = 0;
    for lease in 0..1000 {
        ask(&mut script, lease, ServiceFlags::NONE, false);
        of_it += usize::from(script.granted[&LeaseId(lease)] == busy);
        script.input(Input::Release { lease: LeaseId(lease) });
    }
    // A quarter of the time nobody else is drawn; and half of what is given at random.
    assert!((230..=320).contains(&of_it), "{of_it} of 1000");
    // Of one who is gone, and of one who never was, nothing is kept.
    script.drop_peer(nth(1));
    script.input(Input::Load { peer: busy, requests: 5 });
    script.input(Input::Load { peer: PeerId(999), requests: 5 });
}
