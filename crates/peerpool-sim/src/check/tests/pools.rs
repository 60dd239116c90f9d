//! Faults planted in whom peers serve, and in connections that one lease has for itself.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState, PoolId};
use peerpool_core::io::{Input, Output};
use peerpool_core::require::Require;
use peerpool_core::slots::NamedPool;
use peerpool_core::wire::Control;

use super::forge::{
    Forge, closed, dial, dial_as, disconnect, event, grant, lease, lease_of, message, said_gone,
    said_ready, said_ready_beside, send,
};
use super::town::{config, nth};
use crate::check::Rule;

/// A pool of two, one of them for another, which may share no node.
fn two(separate: bool) -> Forge {
    let mut config = config(|policy| policy.target_connect_count = 2);
    config.pools = vec![NamedPool { name: "a".to_owned(), target: 1, separate }];
    Forge::with(config, &(0..9).map(nth).collect::<Vec<_>>())
}

/// A peer comes up, and serves this pool.
fn placed(forge: &mut Forge, id: u64, address: Address) -> Input {
    forge.fine(Input::Wake, dial(id, address));
    forge.connected(id, address);
    message(id, Control::Verack)
}

fn serving(id: u64, address: Address, pool: u64) -> Vec<Output> {
    let Output::Event(Event::Ready { peer, address, version, .. }) = said_ready(id, address) else {
        return vec![];
    };
    vec![event(Event::Ready { peer, address, version, pool: Some(PoolId(pool)) })]
}

#[test]
fn no_pool_has_more_than_its_target_and_there_are_no_others() {
    let mut forge = two(false);
    let verack = placed(&mut forge, 1, nth(1));
    forge.fine(verack, serving(1, nth(1), 1));
    let verack = placed(&mut forge, 2, nth(2));
    forge.breaks(verack, serving(2, nth(2), 1), Rule::Target, "2 ready peers of 1 in pool 1");
    let mut forge = two(false);
    let verack = placed(&mut forge, 1, nth(1));
    forge.breaks(verack, serving(1, nth(1), 2), Rule::Order, "serves pool 2");
    let mut forge = two(false);
    let verack = placed(&mut forge, 1, nth(1));
    forge.breaks(verack, vec![said_ready_beside(1, nth(1))], Rule::Order, "serves None");
}

#[test]
fn who_served_a_separate_pool_serves_no_other() {
    let again = |separate, pool, breaks: bool| {
        let mut forge = two(separate);
        let verack = placed(&mut forge, 1, nth(1));
        forge.fine(verack, serving(1, nth(1), 1));
        forge.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready)]);
        // Another of the same netgroup.
        let neighbour = super::town::beside(nth(1));
        forge.hear_more(&[neighbour]);
        let verack = placed(&mut forge, 2, neighbour);
        match breaks {
            true => forge.breaks(verack, serving(2, neighbour, pool), Rule::Twice, "has served"),
            false => forge.fine(verack, serving(2, neighbour, pool)),
        }
    };
    again(true, 0, true);
    again(true, 1, false);
    again(false, 0, false);
}

#[test]
fn a_lease_is_of_its_own_pool() {
    let one = || {
        let mut forge = two(false);
        let verack = placed(&mut forge, 1, nth(1));
        forge.fine(verack, serving(1, nth(1), 1));
        forge
    };
    let of = |pool| lease_of(1, Require::any().of_pool(PoolId(pool)), true);
    one().fine(of(1), grant(1, 1));
    one().fine(of(0), vec![]);
    one().breaks(of(0), grant(1, 1), Rule::Order, "lease 1 wants");
    one().breaks(of(1), vec![], Rule::Late, "and peer 1 is free");
}

// ---- connections that one lease has for itself ----

const KIND: ConnectionType = ConnectionType::PrivateBroadcast;

/// A pool of one, which is full, and somebody waits for a connection of its own.
fn wanted() -> Forge {
    let mut config = config(|policy| policy.target_connect_count = 1);
    config.policy.private_lifetime = Duration::from_secs(30);
    config.policy.max_private = 1;
    let mut forge = Forge::with(config, &(0..9).map(nth).collect::<Vec<_>>());
    forge.ready(1, nth(1));
    forge.fine(private(1), vec![]);
    forge
}

fn private(n: u64) -> Input {
    lease_of(n, Require::any().private(), true)
}

/// It has it.
fn had() -> Forge {
    let mut forge = wanted();
    forge.fine(Input::Wake, dial_as(2, nth(2), KIND));
    forge.connected(2, nth(2));
    let outputs = [vec![said_ready_beside(2, nth(2))], grant(1, 2)].concat();
    forge.fine(message(2, Control::Verack), outputs);
    forge
}

fn done() -> Vec<Output> {
    let (peer, address, state) = (PeerId(2), nth(2), PeerState::Ready);
    let reason = DisconnectReason::PrivateBroadcastDone;
    vec![disconnect(2), event(Event::Disconnected { peer, address, state, reason })]
}

#[test]
fn a_private_connection_is_dialled_for_who_waits_for_one_and_for_nobody_else() {
    let mut nobody = Forge::with(config(|_| ()), &(0..9).map(nth).collect::<Vec<_>>());
    nobody.breaks(Input::Wake, dial_as(1, nth(2), KIND), Rule::Target, "is dialled as Private");
    let mut twice = wanted();
    twice.fine(Input::Wake, dial_as(2, nth(2), KIND));
    twice.breaks(Input::Wake, dial_as(3, nth(3), KIND), Rule::Target, "number 2, 1 allowed");
}

#[test]
fn a_private_connection_is_its_leases_alone_and_ends_with_it() {
    had().breaks(private(2), grant(2, 2), Rule::Order, "beside others");
    had().breaks(lease(2, true), grant(2, 2), Rule::Order, "lease 2 wants");
    had().breaks(Input::Wake, vec![send(2, Control::GetAddr)], Rule::Order, "is asked");
    let back = || Input::Release { lease: LeaseId(1) };
    let over = || event(Event::Released { lease: LeaseId(1), peer: PeerId(2) });
    had().fine(back(), [vec![over()], done()].concat());
    had().breaks(back(), vec![over()], Rule::Late, "is one lease's own, and has none");
    let mut idle = wanted();
    idle.fine(Input::Wake, dial_as(2, nth(2), KIND));
    idle.connected(2, nth(2));
    let ready = vec![said_ready_beside(2, nth(2))];
    idle.breaks(message(2, Control::Verack), ready, Rule::Late, "is one lease's own");
}

#[test]
fn a_private_connection_has_its_time() {
    let mut forge = had();
    forge.wait(31);
    forge.breaks(Input::Wake, vec![], Rule::Late, "private_lifetime");
    let over = event(Event::Released { lease: LeaseId(1), peer: PeerId(2) });
    let mut forge = had();
    forge.wait(30);
    let [disconnect, ended] = done().try_into().expect("two outputs");
    forge.fine(Input::Wake, vec![over, disconnect, ended]);
}
