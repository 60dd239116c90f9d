//! Faults planted in what the pool owes its peers, its callers and the seeds.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Net;
use peerpool_core::event::Event;
use peerpool_core::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState,
};
use peerpool_core::io::{Input, Output, Refusal};
use peerpool_core::require::Require;
use peerpool_core::time::Now;
use peerpool_core::wire::Control;

use super::forge::{
    Forge, answered, backed_off, burned, closed, dial, dial_as, disconnect, event, failed, gossip,
    grant, lease, lease_of, lease_with, message, said_connected, said_gone, said_ready,
    said_ready_beside, send, starved, their_version, version,
};
use super::town::{SERVICES, Town, config, greeting, nth};
use crate::check::Rule;

fn forge() -> Forge {
    Forge::new(&(0..20).map(nth).collect::<Vec<_>>())
}

/// Peer 1 is ready, and peer 2.
fn full() -> Forge {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.ready(2, nth(2));
    forge
}

// ---- peers ----

#[test]
fn pings_are_answered_and_sent_in_time() {
    let mut forge = full();
    forge.fine(message(1, Control::Ping(7)), vec![send(1, Control::Pong(7))]);
    let wrong = vec![send(1, Control::Pong(8))];
    forge.breaks(message(1, Control::Ping(7)), wrong, Rule::Order, "is not answered");
    let ping = |forge: &mut Forge, id: u64| {
        forge.fine(Input::Wake, vec![send(id, Control::Ping(7))]);
        forge.fine(message(id, Control::Pong(7)), vec![]);
    };
    let mut forge = full();
    ping(&mut forge, 1);
    ping(&mut forge, 2);
    forge.wait(59);
    let early = vec![send(1, Control::Ping(8))];
    forge.breaks(Input::Wake, early, Rule::Budget, "pinged Some(59s) after the last ping");
    let mut forge = full();
    ping(&mut forge, 1);
    ping(&mut forge, 2);
    forge.wait(120);
    forge.breaks(Input::Wake, vec![], Rule::Late, "ping_interval");
    // In doubt of the network all are asked for a sign of life.
    let doubtful = || {
        let mut forge = self::forge();
        forge.ready(1, nth(1));
        ping(&mut forge, 1);
        forge.fine(Input::Wake, dial(2, nth(2)));
        let (input, told) = failed(2, nth(2));
        forge.fine(input, vec![told, burned(nth(2)), starved()]);
        forge.wait(15);
        forge
    };
    doubtful().fine(Input::Wake, vec![send(1, Control::Ping(8))]);
    doubtful().breaks(Input::Wake, vec![], Rule::Late, "the network is in doubt, and peer 1");
}

#[test]
fn a_full_pool_that_dials_on_is_found() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, [dial(2, nth(2)), dial(3, nth(3))].concat());
    forge.connected(2, nth(2));
    let ready = vec![said_ready(2, nth(2))];
    forge.breaks(message(2, Control::Verack), ready, Rule::Target, "and still dials: peer 3");
}

#[test]
fn a_version_too_many_ends_a_peer() {
    let mut forge = full();
    forge.fine(message(1, their_version()), vec![]);
    forge.breaks(message(1, their_version()), vec![], Rule::Order, "repeats its version again");
}

#[test]
fn our_own_nonce_burns() {
    let echoed = || {
        let mut forge = forge();
        forge.fine(Input::Wake, dial(1, nth(1)));
        let [ours, _] = greeting(SERVICES, 77);
        forge.fine(answered(1), vec![said_connected(1, nth(1)), send(1, ours)]);
        let [theirs, _] = greeting(SERVICES, 77);
        (forge, message(1, theirs))
    };
    let (mut forge, theirs) = echoed();
    let accepts = vec![send(1, Control::Verack)];
    forge.breaks(theirs, accepts, Rule::Burned, "answers with our own nonce");
    let (mut forge, theirs) = echoed();
    let itself = event(Event::Burned { address: nth(1), reason: BurnReason::Itself });
    let gone = said_gone(1, nth(1), PeerState::Connected);
    forge.fine(theirs, vec![disconnect(1), gone, itself, starved()]);
    forge.fine(closed(1), vec![]);
    // That does not fade.
    forge.wait(86_400);
    forge.fine(Input::Wake, vec![Output::AskSeed { seed: 0 }]);
    forge.hear(&[nth(1)]);
    forge.breaks(Input::Wake, dial(2, nth(1)), Rule::Burned, "burned 86400s ago: self");
}

#[test]
fn gossip_has_its_ration() {
    let told = |received: usize, kept: usize| {
        vec![event(Event::Gossip { peer: PeerId(1), address: nth(1), received, kept })]
    };
    let input = |forge: &Forge| gossip(1, nth(30), forge.now.unix);
    let mut forge = full();
    let message = input(&forge);
    forge.fine(message.clone(), told(2, 2));
    forge.breaks(message.clone(), told(1, 1), Rule::Budget, "3 addresses that were new, 2");
    let mut forge = full();
    forge.fine(Input::Wake, vec![send(1, Control::GetAddr)]);
    forge.fine(message.clone(), told(1002, 1002));
    forge.breaks(message.clone(), told(2, 1), Rule::Budget, "1003 addresses");
    full().breaks(message, told(1, 2), Rule::Budget, "2 addresses");
    let mut forge = self::forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    forge.connected(1, nth(1));
    let message = input(&forge);
    forge.breaks(message, told(1, 1), Rule::Order, "gossips, Connected as it is");
}

// ---- leases ----

#[test]
fn leases_go_to_who_came_first_and_to_peers_that_serve_them() {
    let mut config = config(|policy| policy.slots_per_peer = 1);
    config.policy.target_connect_count = 1;
    let taken = || {
        let mut forge = Forge::with(config.clone(), &[nth(1)]);
        forge.ready(1, nth(1));
        forge.fine(lease(1, true), grant(1, 1));
        forge.fine(lease_with(2, ServiceFlags::NETWORK, true), vec![]);
        forge.fine(lease(3, true), vec![]);
        forge.fine(lease(4, true), vec![]);
        forge
    };
    let back = || Input::Release { lease: LeaseId(1) };
    let over = || event(Event::Released { lease: LeaseId(1), peer: PeerId(1) });
    taken().breaks(back(), vec![over()], Rule::Late, "and peer 1 is free");
    let outputs = [vec![over()], grant(4, 1)].concat();
    taken().breaks(back(), outputs, Rule::Order, "who came first");
    let outputs = [vec![over()], grant(2, 1)].concat();
    taken().breaks(back(), outputs, Rule::Order, "lease 2 wants");
    taken().fine(back(), [vec![over()], grant(3, 1)].concat());
    let refused =
        |lease: u64| vec![Output::Refuse { lease: LeaseId(lease), refusal: Refusal::NoneFree }];
    taken().breaks(Input::Wake, refused(1), Rule::Order, "is refused, and nobody waits");
    let mut forge = full();
    forge.fine(lease(1, true), grant(1, 1));
    let wrong = event(Event::Released { lease: LeaseId(1), peer: PeerId(2) });
    forge.breaks(back(), vec![wrong], Rule::Order, "is over, and was");
}

#[test]
fn whoever_wants_all_slots_has_them_alone_and_is_not_overtaken() {
    let exclusive = |n| lease_of(n, Require::any().exclusive(), true);
    let back = |n| Input::Release { lease: LeaseId(n) };
    let over = |n| event(Event::Released { lease: LeaseId(n), peer: PeerId(1) });
    let one = || {
        let mut config = config(|policy| policy.slots_per_peer = 2);
        config.policy.target_connect_count = 1;
        let mut forge = Forge::with(config, &[nth(1)]);
        forge.ready(1, nth(1));
        forge.fine(lease(1, true), grant(1, 1));
        forge
    };
    one().breaks(exclusive(2), grant(2, 1), Rule::Order, "beside others");
    one().breaks(lease(2, true), vec![], Rule::Late, "and peer 1 is free");
    let mut kept = one();
    kept.fine(exclusive(2), vec![]);
    kept.fine(lease(3, true), vec![]);
    kept.breaks(back(1), vec![over(1)], Rule::Late, "and peer 1 is free");
    let mut kept = one();
    kept.fine(exclusive(2), vec![]);
    kept.fine(lease(3, true), vec![]);
    let outputs = [vec![over(1)], grant(3, 1)].concat();
    kept.breaks(back(1), outputs, Rule::Order, "who came first");
    let mut kept = one();
    kept.fine(exclusive(2), vec![]);
    kept.fine(back(1), [vec![over(1)], grant(2, 1)].concat());
    kept.breaks(lease(3, true), grant(3, 1), Rule::Order, "beside others");
    let mut kept = one();
    let other = lease_of(2, Require::any().except([PeerId(1)]), true);
    kept.breaks(other.clone(), grant(2, 1), Rule::Order, "lease 2 wants");
    one().fine(other, vec![]);
    let six = lease_of(2, Require::any().on(Net::Ipv6), true);
    one().breaks(six, grant(2, 1), Rule::Order, "lease 2 wants");
}

#[test]
fn a_full_pool_dials_for_who_waits_and_for_nobody_else() {
    let for_need = |id: u64| {
        let address = nth(id as usize);
        let (peer, chosen) = (PeerId(id), Chosen::Need);
        let connection_type = ConnectionType::OutboundFullRelay;
        let said = Event::Connecting { peer, address, connection_type, chosen };
        vec![Output::Dial { peer, address, connection_type }, event(said)]
    };
    let replaced = |id: u64| {
        let (peer, address, state) = (PeerId(id), nth(id as usize), PeerState::Ready);
        let reason = DisconnectReason::Replaced;
        vec![disconnect(id), event(Event::Disconnected { peer, address, state, reason })]
    };
    let wants = |services| lease_with(1, services, true);
    full().breaks(Input::Wake, for_need(3), Rule::Target, "nobody waits for such");
    let waits = |services| {
        let mut forge = full();
        forge.fine(wants(services), vec![]);
        forge
    };
    let filters = ServiceFlags::COMPACT_FILTERS;
    waits(filters).fine(Input::Wake, for_need(3));
    waits(filters).breaks(Input::Wake, dial(3, nth(3)), Rule::Target, "with 2 ready of 2");
    let mut twice = waits(filters);
    twice.fine(Input::Wake, for_need(3));
    twice.breaks(Input::Wake, for_need(4), Rule::Budget, "is dialled for who waits");
    let mut later = waits(filters);
    later.fine(Input::Wake, for_need(3));
    later.wait(1);
    later.fine(Input::Wake, for_need(4));
    // Who comes must be what is waited for, and up.
    let mut early = waits(filters);
    early.fine(Input::Wake, for_need(3));
    early.breaks(Input::Wake, replaced(1), Rule::Target, "nobody is there to take its place");
    let mut wrong = waits(filters);
    wrong.fine(Input::Wake, for_need(3));
    wrong.connected(3, nth(3));
    let outputs = [replaced(1), vec![said_ready(3, nth(3))]].concat();
    wrong.breaks(message(3, Control::Verack), outputs, Rule::Target, "whom nobody waits for");
}

#[test]
fn a_closed_pool_lets_go_of_everybody() {
    let closing = |id: u64| {
        let (peer, address, state) = (PeerId(id), nth(id as usize), PeerState::Ready);
        let reason = DisconnectReason::PoolClosed;
        vec![disconnect(id), event(Event::Disconnected { peer, address, state, reason })]
    };
    full().breaks(Input::Close, closing(1), Rule::Order, "does not leave peer Some");
    full().fine(Input::Close, [closing(1), closing(2)].concat());
    let mut forge = Forge::new(&[]);
    forge.fine(Input::Wake, vec![starved()]);
    forge.fine(lease(1, true), vec![]);
    forge.breaks(Input::Close, vec![], Rule::Order, "1 wait for a lease");
}

// ---- seeds, rests and extras ----

#[test]
fn seeds_are_asked_by_a_starved_pool_less_and_less_often() {
    let ask = || vec![Output::AskSeed { seed: 0 }];
    let mut eager = forge();
    eager.ready(1, nth(1));
    eager.ready(2, nth(2));
    eager.wait(60);
    eager.breaks(Input::Wake, ask(), Rule::Target, "the pool is not starved");
    let mut twice = forge();
    twice.hear_more(&[]);
    twice.wait(119);
    twice.breaks(Input::Wake, ask(), Rule::Budget, "asked again after 119s");
    let mut open = forge();
    open.wait(60);
    let starving = vec![starved(), ask()[0].clone()];
    open.fine(Input::Wake, starving);
    open.breaks(Input::Wake, ask(), Rule::Order, "before it has answered");
    let none = vec![Output::AskSeed { seed: 1 }];
    forge().breaks(Input::Wake, none, Rule::Order, "and there is none");
    let mut shut = forge();
    shut.fine(Input::Close, vec![]);
    shut.breaks(Input::Wake, ask(), Rule::Target, "by a pool that needs none");
    let mut only = config(|_| ());
    only.connect_only = true;
    let mut town = Town::new(only, 1);
    town.meddle = Some(Box::new(|_, outputs| outputs.push(Output::AskSeed { seed: 0 })));
    let breach = town.input(Input::Wake).expect_err("it asks a seed");
    assert_eq!(breach.rule, Rule::Target, "{breach}");
}

#[test]
fn the_end_of_an_outage_owes_the_seeds_a_question() {
    let mut forge = forge();
    forge.go_offline();
    forge.fine(Input::Wake, dial(3, nth(3)));
    let told = vec![event(Event::Online), said_connected(3, nth(3)), send(3, version())];
    forge.fine(answered(3), told);
    forge.wait(9);
    forge.fine(Input::Wake, vec![]);
    forge.wait(1);
    let (address, state) = (nth(3), PeerState::Connected);
    let gone = vec![said_gone(3, address, state), burned(address)];
    forge.breaks(closed(3), gone, Rule::Late, "no seed was asked since");
}

#[test]
fn a_rest_that_was_told_ends_in_time() {
    let mut forge = full();
    forge.wait(60);
    let gone = said_gone(1, nth(1), PeerState::Ready);
    forge.fine(closed(1), vec![gone, starved(), backed_off(nth(1), 0, 64)]);
    let fault = forge.checks.known.check_wake(forge.now, None, false, |_| true);
    assert_eq!(fault.expect_err("it sleeps").0, Rule::Late);
    let late = Some(forge.now.mono + Duration::from_secs(65));
    let fault = forge.checks.known.check_wake(forge.now, late, false, |_| true);
    assert_eq!(fault.expect_err("it sleeps too long").0, Rule::Late);
    let in_time = Some(forge.now.mono + Duration::from_secs(64));
    forge.checks.known.check_wake(forge.now, in_time, false, |_| true).expect("it wakes");
    forge.checks.known.check_wake(Now::default(), None, true, |_| true).expect("it is closed");
}

#[test]
fn who_is_asked_for_addresses_was_ready_once_and_is_left_in_time() {
    let fetch = |id: u64, n: usize| dial_as(id, nth(n), ConnectionType::AddrFetch);
    let mut forge = forge();
    forge.fine(Input::Wake, vec![starved()]);
    forge.breaks(Input::Wake, fetch(1, 1), Rule::Stale, "and was never ready");
    let mut forge = full();
    forge.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready), starved()]);
    forge.fine(Input::Wake, fetch(3, 1));
    forge.connected(3, nth(1));
    forge.fine(message(3, Control::Verack), vec![said_ready_beside(3, nth(1))]);
    let ping = |forge: &mut Forge, id: u64| {
        forge.fine(Input::Wake, vec![send(id, Control::Ping(7))]);
        forge.fine(message(id, Control::Pong(7)), vec![]);
    };
    for _ in 0..4 {
        ping(&mut forge, 2);
        ping(&mut forge, 3);
        forge.wait(75);
    }
    forge.breaks(Input::Wake, vec![], Rule::Late, "addr_fetch_timeout");
}

#[test]
fn hearsay_without_the_services_is_not_dialled_however_fresh() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    let Input::Control { peer, message: Control::Addr(mut entries) } =
        gossip(1, nth(30), forge.now.unix)
    else {
        panic!("gossip is an addr message");
    };
    entries[0].services = ServiceFlags::NONE;
    forge.fine(Input::Control { peer, message: Control::Addr(entries) }, vec![]);
    forge.breaks(Input::Wake, dial(2, nth(30)), Rule::Stale, "with services ServiceFlags(NONE)");
}

#[test]
fn more_manual_dials_than_slots_and_too_many_ready_in_a_netgroup_are_found() {
    let mut forge = forge();
    for n in 1..=3 {
        forge.fine(Input::AddManual(nth(n)), vec![]);
    }
    let manual = |id: u64| dial_as(id, nth(id as usize), ConnectionType::Manual);
    forge.fine(Input::Wake, [manual(1), manual(2)].concat());
    forge.breaks(Input::Wake, manual(3), Rule::Target, "dialled as Manual");

    let neighbour = super::town::address("11.2.2.1:8333");
    let mut forge = self::forge();
    forge.hear_more(&[neighbour]);
    forge.fine(Input::Wake, [dial(1, nth(1)), dial(2, neighbour)].concat());
    forge.connected(1, nth(1));
    forge.connected(2, neighbour);
    forge.fine(message(1, Control::Verack), vec![said_ready(1, nth(1))]);
    let ready = vec![said_ready(2, neighbour)];
    forge.breaks(message(2, Control::Verack), ready, Rule::Budget, "makes 2 ready peers in its");
}
