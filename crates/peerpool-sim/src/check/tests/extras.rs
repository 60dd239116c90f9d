//! Faults planted in what a full pool dials beside its target, and in who leaves for a newcomer.

use std::time::Duration;

use peerpool_core::engine::Config;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;
use peerpool_core::wire::Control;

use super::forge::{
    Forge, closed, dial, dial_as, disconnect, event, gossip, grant, lease, message, said_gone,
    said_ready, said_ready_beside, send,
};
use super::town::{config, nth};
use crate::check::Rule;
use crate::check::paces::Paces;

fn with_extras(extras: usize) -> Config {
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.policy.block_relay_count = extras;
    config.policy.feeler_interval = Duration::from_secs(120 * extras as u64);
    config.policy.rotation_interval = Duration::from_secs(600 * extras as u64);
    config
}

/// A full pool of two that may have this many extras of each kind.
fn full(extras: usize) -> Forge {
    let mut forge = Forge::with(with_extras(extras), &(0..9).map(nth).collect::<Vec<_>>());
    for id in [1, 2] {
        forge.ready(id, nth(id as usize));
    }
    forge
}

fn left(id: u64, state: PeerState, reason: DisconnectReason) -> Vec<Output> {
    let (peer, address) = (PeerId(id), nth(id as usize));
    vec![disconnect(id), event(Event::Disconnected { peer, address, state, reason })]
}

#[test]
fn what_a_full_pool_dials_beside_its_target_has_bounds() {
    let (relay, feeler) = (ConnectionType::BlockRelayOnly, ConnectionType::Feeler);
    for kind in [relay, feeler] {
        full(0).breaks(Input::Wake, dial_as(3, nth(3), kind), Rule::Target, "0 allowed");
        let mut short = full(1);
        short.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready)]);
        short.breaks(Input::Wake, dial_as(3, nth(3), kind), Rule::Target, "with 1 ready of 2");
        let mut forge = full(1);
        forge.fine(Input::Wake, dial_as(3, nth(3), kind));
        if kind == relay {
            // One more is a newcomer.
            forge.fine(Input::Wake, dial_as(4, nth(4), kind));
            let third = dial_as(5, nth(5), kind);
            forge.breaks(Input::Wake, third, Rule::Target, "number 3, 2 allowed");
        } else {
            let second = dial_as(4, nth(4), kind);
            forge.breaks(Input::Wake, second, Rule::Target, "number 2, 1 allowed");
        }
    }
    full(0).breaks(Input::Wake, dial(3, nth(3)), Rule::Target, "with 2 ready of 2");
    let mut forge = full(1);
    forge.fine(Input::Wake, dial(3, nth(3)));
    forge.breaks(Input::Wake, dial(4, nth(4)), Rule::Target, "with 2 ready of 2");
}

fn rotated(id: u64) -> Vec<Output> {
    left(id, PeerState::Ready, DisconnectReason::Rotated)
}

/// A full pool whose newcomer, peer 3 and of this kind, has but to send its verack.
fn rotating(kind: ConnectionType, prepare: impl FnOnce(&mut Forge)) -> Forge {
    let mut forge = full(1);
    prepare(&mut forge);
    forge.fine(Input::Wake, dial_as(3, nth(3), kind));
    forge.connected(3, nth(3));
    forge
}

#[test]
fn who_leaves_for_a_newcomer_leaves_as_it_is_ready_and_for_nothing_else() {
    let full_relay = ConnectionType::OutboundFullRelay;
    let ready = vec![said_ready(3, nth(3))];
    let verack = || message(3, Control::Verack);
    let mut good = rotating(full_relay, |_| ());
    good.fine(verack(), [rotated(1), ready.clone()].concat());
    let mut greedy = rotating(full_relay, |_| ());
    greedy.breaks(verack(), ready.clone(), Rule::Target, "3 ready peers of 2");
    // Not before, not for one of another kind, and not into a slot that is free.
    let words = "for nobody who is there";
    full(1).breaks(Input::Wake, rotated(1), Rule::Target, words);
    rotating(full_relay, |_| ()).breaks(Input::Wake, rotated(1), Rule::Target, words);
    let mut other = rotating(ConnectionType::BlockRelayOnly, |_| ());
    other.breaks(verack(), [rotated(1), ready.clone()].concat(), Rule::Target, words);
    let mut free = rotating(full_relay, |_| ());
    free.fine(closed(2), vec![said_gone(2, nth(2), PeerState::Ready)]);
    free.breaks(verack(), [rotated(1), ready.clone()].concat(), Rule::Target, words);
    // And one leaves, not two.
    let mut both = rotating(full_relay, |_| ());
    let outputs = [rotated(1), rotated(2), ready].concat();
    both.breaks(verack(), outputs, Rule::Target, words);
}

#[test]
fn who_leaves_for_a_newcomer_serves_fewest_leases_and_was_ready_longest() {
    let full_relay = ConnectionType::OutboundFullRelay;
    let verack = || message(3, Control::Verack);
    let outputs = |freed: &[u64], leaves: u64| {
        let over = |n: &u64| event(Event::Released { lease: LeaseId(*n), peer: PeerId(leaves) });
        let freed: Vec<Output> = freed.iter().map(over).collect();
        [freed, rotated(leaves), vec![said_ready(3, nth(3))]].concat()
    };
    // Peer 1 is a minute older than peer 2, and the first to be leased.
    let aged = |leases: &[(u64, u64)]| {
        let mut forge = Forge::with(with_extras(1), &(0..9).map(nth).collect::<Vec<_>>());
        forge.ready(1, nth(1));
        forge.wait(60);
        forge.ready(2, nth(2));
        for (n, peer) in leases {
            forge.fine(lease(*n, false), grant(*n, *peer));
        }
        forge.fine(Input::Wake, dial_as(3, nth(3), full_relay));
        forge.connected(3, nth(3));
        forge
    };
    let breaks = |leases: &[(u64, u64)], wrong: Vec<Output>, words: &str| {
        aged(leases).breaks(verack(), wrong, Rule::Target, words);
    };
    aged(&[]).fine(verack(), outputs(&[], 1));
    breaks(&[], outputs(&[], 2), "peer 2 leaves for a newcomer before peer 1");
    aged(&[(1, 1)]).fine(verack(), outputs(&[], 2));
    breaks(&[(1, 1)], outputs(&[1], 1), "peer 1 leaves for a newcomer before peer 2");
    let leased = [(1, 1), (2, 1), (3, 2)];
    aged(&leased).fine(verack(), outputs(&[3], 2));
    breaks(&leased, outputs(&[1, 2], 1), "peer 1 leaves for a newcomer before peer 2");
}

#[test]
fn extras_say_what_they_are_and_end_as_they_should() {
    let (relay, feeler) = (ConnectionType::BlockRelayOnly, ConnectionType::Feeler);
    let with = |kind| {
        let mut forge = full(1);
        forge.fine(Input::Wake, dial_as(3, nth(3), kind));
        forge.connected(3, nth(3));
        forge
    };
    let ready = || vec![said_ready_beside(3, nth(3))];
    with(feeler).breaks(message(3, Control::Verack), ready(), Rule::Order, "and a feeler");
    let done = || left(3, PeerState::Connected, DisconnectReason::FeelerDone);
    with(feeler).fine(message(3, Control::Verack), done());
    with(feeler).breaks(Input::Wake, done(), Rule::Target, "is left");
    with(relay).breaks(message(3, Control::Verack), done(), Rule::Target, "is left");
    let mut forge = with(relay);
    forge.fine(message(3, Control::Verack), ready());
    let yielded = || left(3, PeerState::Ready, DisconnectReason::Yielded);
    let get_addr = vec![send(3, Control::GetAddr)];
    forge.breaks(Input::Wake, get_addr, Rule::Order, "relays blocks only");
    let mut forge = with(relay);
    forge.fine(message(3, Control::Verack), ready());
    forge.breaks(Input::Wake, yielded(), Rule::Target, "is left");
    let mut forge = with(relay);
    forge.fine(message(3, Control::Verack), ready());
    forge.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready)]);
    forge.fine(Input::Wake, yielded());
    let told = |peer, address| event(Event::Gossip { peer, address, received: 1, kept: 0 });
    let mut forge = with(relay);
    forge.fine(message(3, Control::Verack), ready());
    let gossip = gossip(3, nth(7), forge.now.unix);
    forge.breaks(gossip, vec![told(PeerId(3), nth(3))], Rule::Order, "gossips");
}

#[test]
fn feelers_newcomers_and_rotations_come_no_more_often_than_chance_allows() {
    let dials = |kind: ConnectionType, most: u64, words: &str| {
        let mut forge = full(1);
        for id in 3..3 + most {
            forge.wait(1);
            forge.fine(Input::Wake, dial_as(id, nth(3), kind));
            forge.give_up(id, nth(3));
        }
        forge.wait(1);
        let more = dial_as(3 + most, nth(3), kind);
        forge.breaks(Input::Wake, more, Rule::Budget, words);
    };
    dials(ConnectionType::Feeler, 60, "one feeler too many");
    dials(ConnectionType::OutboundFullRelay, 61, "one newcomer too many");

    let policy = with_extras(1).policy;
    // Twice as often as it should be is found in the end.
    let (mut paces, mut now) = (Paces::default(), Monotonic::default());
    let late = (1..1000).find(|_| {
        now = now + policy.rotation_interval / 2;
        paces.on_rotated(now, nth(1), &policy).is_err()
    });
    assert!(late.is_some_and(|events| (200..230).contains(&events)), "{late:?}");
    // And what is drawn as it should be never is.
    let mut rng = Rng::from_u64(1);
    for _ in 0..50_000 {
        now = now + rng.exponential(policy.feeler_interval);
        paces.on_feeler(now, nth(1), &policy).expect("as chance has it");
    }
}
