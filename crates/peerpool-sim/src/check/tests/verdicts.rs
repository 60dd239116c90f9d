//! Faults planted in what the pool makes of failures, evidence and outages.

use peerpool_core::event::{DialError, Event};
use peerpool_core::id::{ConnectionType, PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::wire::Control;

use super::forge::{
    Forge, answered, backed_off, burned, closed, dial, dial_as, event, failed, failed_as, message,
    said_connected, said_gone, said_ready, send, starved, their_version, version, waits,
};
use super::town::nth;
use crate::check::Rule;

fn forge() -> Forge {
    Forge::new(&(0..20).map(nth).collect::<Vec<_>>())
}

/// Peer 1 is ready, and dial 2 in flight.
fn dialled() -> Forge {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, dial(2, nth(2)));
    forge
}

#[test]
fn hearsay_that_fails_does_not_back_off() {
    let breaks = |forge: &mut Forge, input: Input, told: Output, n: usize| {
        let outputs = vec![told, backed_off(nth(n), 1, 64)];
        forge.breaks(input, outputs, Rule::Burned, "backs off, and is hearsay");
    };
    let mut forge = dialled();
    let (input, told) = failed(2, nth(2));
    breaks(&mut forge, input, told, 2);
    // Nor does who has dropped quickly, unless it stayed once before.
    let mut forge = dialled();
    forge.wait(59);
    breaks(&mut forge, closed(1), said_gone(1, nth(1), PeerState::Ready), 1);
    let mut forge = dialled();
    forge.fine(Input::DialFailed { peer: PeerId(2), error: DialError::Refused }, {
        let (_, told) = failed(2, nth(2));
        vec![told, burned(nth(2)), starved()]
    });
    forge.wait(60);
    let gone = said_gone(1, nth(1), PeerState::Ready);
    forge.fine(closed(1), vec![gone, backed_off(nth(1), 0, 64)]);
    forge.wait(64);
    forge.fine(Input::Wake, dial(3, nth(1)));
    let (input, told) = failed(3, nth(1));
    forge.fine(input, vec![told, backed_off(nth(1), 1, 140)]);
    // A reason that lies here is held against nobody.
    let mut forge = dialled();
    let (input, told) = failed_as(2, nth(2), DialError::NoRoute);
    forge.fine(input, vec![told, backed_off(nth(2), 0, 64)]);
}

#[test]
fn only_a_failure_has_a_verdict_and_only_hearsay_waits_for_it() {
    let mut forge = dialled();
    forge.wait(4);
    let (input, told) = failed_as(2, nth(2), DialError::NoRoute);
    forge.breaks(input, vec![told, waits(nth(2))], Rule::Burned, "and it has not failed");
    let mut forge = self::forge();
    forge.fine(Input::AddManual(nth(1)), vec![]);
    forge.fine(Input::Wake, dial_as(1, nth(1), ConnectionType::Manual));
    let (input, told) = failed(1, nth(1));
    forge.breaks(input, vec![told, waits(nth(1))], Rule::Burned, "whom the user named");
}

#[test]
fn with_evidence_a_failure_burns_at_once() {
    let mut forge = dialled();
    let (input, told) = failed(2, nth(2));
    forge.breaks(input, vec![told, waits(nth(2))], Rule::Burned, "and waits, with evidence");
    // One that waits burns with the first evidence.
    let waiting = || {
        let mut forge = self::forge();
        forge.fine(Input::Wake, [dial(1, nth(1)), dial(2, nth(2))].concat());
        let (input, told) = failed(2, nth(2));
        forge.fine(input, vec![told, waits(nth(2))]);
        forge
    };
    let mut forge = waiting();
    forge.wait(1);
    let connected = answered(1);
    let told = said_connected(1, nth(1));
    let greeting = send(1, version());
    let outputs = vec![told.clone(), greeting.clone()];
    forge.breaks(connected.clone(), outputs, Rule::Burned, "failed 1s ago and waits");
    let mut forge = waiting();
    forge.fine(connected, vec![told, greeting, burned(nth(2))]);
}

#[test]
fn something_comes_of_a_loss() {
    let lost = |stayed: u64| {
        let mut forge = dialled();
        forge.checks.fates.demanded = true;
        forge.give_up(2, nth(2));
        forge.fine(Input::Wake, vec![starved()]);
        forge.wait(stayed);
        forge
    };
    let gone = || said_gone(1, nth(1), PeerState::Ready);
    lost(60).breaks(closed(1), vec![gone()], Rule::Burned, "nothing comes of it");
    lost(60).fine(closed(1), vec![gone(), backed_off(nth(1), 0, 64)]);
    lost(59).breaks(closed(1), vec![gone()], Rule::Burned, "nothing comes of it");
}

#[test]
fn an_outage_is_told_when_two_netgroups_fail() {
    let failing = |second: usize| {
        let mut forge = forge();
        for (id, n) in [(1, 1), (2, second)] {
            forge.fine(Input::Wake, dial(id, nth(n)));
            let (input, told) = failed(id, nth(n));
            forge.fine(input, vec![told, waits(nth(n))]);
        }
        forge.fine(Input::Wake, vec![starved()]);
        forge.wait(31);
        forge
    };
    failing(2).breaks(Input::Wake, vec![], Rule::Outage, "does not say offline");
    let mut forge = failing(2);
    forge.fine(Input::Wake, vec![event(Event::Offline)]);
    // Evidence ends it, and with it what waited.
    forge.fine(Input::Wake, dial(3, nth(3)));
    let connected = answered(3);
    let told = said_connected(3, nth(3));
    let greeting = send(3, version());
    let online = vec![event(Event::Online), told, greeting];
    forge.fine(connected, online);
    let outputs = vec![send(3, Control::Verack), burned(nth(1))];
    let input = message(3, their_version());
    forge.breaks(input, outputs, Rule::Outage, "has not failed");
}

#[test]
fn nobody_is_ready_before_its_verack() {
    let mut forge = forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    forge.connected(1, nth(1));
    let ready = vec![said_ready(1, nth(1))];
    forge.breaks(Input::Wake, ready.clone(), Rule::Order, "before its version and verack");
    let mut forge = self::forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    let greeting = send(1, version());
    let told = said_connected(1, nth(1));
    forge.fine(answered(1), vec![told, greeting]);
    let verack = message(1, Control::Verack);
    forge.breaks(verack, ready, Rule::Order, "before its version and verack");
}
