//! Faults planted in what a pool remembers: of its former life, and of whom it forgot.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::engine::Config;
use peerpool_core::event::Event;
use peerpool_core::id::{PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::misbehavior::Misbehavior;

use super::forge::{
    Forge, backed_off, burned, closed, dial, event, failed, gossip, said_gone, starved,
};
use super::town::{config, nth};
use crate::check::{Checks, Rule};

/// Burns that there may be.
const BURNED: usize = 16;

fn small() -> Config {
    config(|policy| {
        policy.target_connect_count = 2;
        policy.max_burned = BURNED;
    })
}

fn known() -> Vec<Address> {
    (0..40).map(nth).collect()
}

/// Peer 1 is ready, and as many addresses are burned as there may be, a second apart, from the
/// second on.
fn burnt() -> Forge {
    let mut forge = Forge::with(small(), &known());
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, vec![starved()]);
    for n in 2..2 + BURNED {
        burn(&mut forge, n as u64, nth(n));
        forge.wait(1);
        forge.fine(Input::Progress { peer: PeerId(1) }, vec![]);
    }
    forge
}

fn burn(forge: &mut Forge, id: u64, address: Address) {
    forge.fine(Input::Wake, dial(id, address));
    let (input, told) = failed(id, address);
    forge.fine(input, vec![told, burned(address)]);
}

/// The pool is started again, finds peer 1, and hears of all addresses anew.
fn restart(forge: &mut Forge) {
    let mut checks = Checks::new(&small());
    checks.fates.demanded = false;
    checks.recall(forge.now, &mut forge.checks, false);
    forge.checks = checks;
    forge.fine(Input::Wake, vec![Output::AskSeed { seed: 0 }]);
    forge.hear(&known());
    forge.ready(1, nth(1));
}

#[test]
fn a_full_table_of_burns_outlives_a_restart() {
    for n in 2..2 + BURNED {
        let mut forge = burnt();
        restart(&mut forge);
        forge.breaks(Input::Wake, dial(2, nth(n)), Rule::Burned, "is dialled, burned");
    }
}

#[test]
fn the_oldest_burn_alone_makes_room_after_a_restart() {
    let after = |restarts: usize, dialled: usize| {
        let mut forge = burnt();
        (0..restarts).for_each(|_| restart(&mut forge));
        burn(&mut forge, 20, nth(30));
        forge.turn(Input::Wake, dial(21, nth(dialled))).map_err(|breach| breach.rule)
    };
    for restarts in 1..3 {
        assert_eq!(after(restarts, 2), Ok(()), "{restarts} restarts");
        for n in 3..2 + BURNED {
            assert_eq!(after(restarts, n), Err(Rule::Burned), "{restarts} restarts, address {n}");
        }
    }
}

#[test]
fn nobody_has_a_past_no_more_but_who_is_named_anew() {
    // Peer 1 left, and rests; the book had its address before it came.
    let resting = |prepare: &dyn Fn(&mut Forge)| {
        let mut forge = Forge::with(small(), &known());
        let (start, known) = (forge.now.unix, &mut forge.checks.known);
        known.note_heard(forge.now.mono, nth(1), Some(start));
        forge.ready(1, nth(1));
        forge.ready(2, nth(2));
        forge.wait(60);
        let gone = said_gone(1, nth(1), PeerState::Ready);
        forge.fine(closed(1), vec![gone, starved(), backed_off(nth(1), 0, 64)]);
        forge.wait(2);
        prepare(&mut forge);
        let (mono, unix) = (forge.now.mono, forge.now.unix);
        forge.checks.known.note_heard(mono, nth(1), Some(unix));
        forge
    };
    let dials = |prepare: &dyn Fn(&mut Forge)| {
        resting(prepare).turn(Input::Wake, dial(3, nth(1))).map_err(|breach| breach.rule)
    };
    assert_eq!(dials(&|_| ()), Err(Rule::Budget), "nobody spoke of it");
    let other = |forge: &mut Forge| forge.fine(gossip(2, nth(3), forge.now.unix), vec![]);
    assert_eq!(dials(&other), Err(Rule::Budget), "nobody spoke of it");
    let named = |forge: &mut Forge| forge.fine(gossip(2, nth(1), forge.now.unix), vec![]);
    assert_eq!(dials(&named), Ok(()));
    let before = |forge: &mut Forge| {
        named(forge);
        forge.wait(1);
    };
    assert_eq!(dials(&before), Err(Rule::Budget), "it was named before that");
    // By a clock that is set back all is as old, and so what may be forgotten counts no more.
    let set_back = |forge: &mut Forge| {
        forge.now.unix = forge.now.unix - Duration::from_secs(86_400);
        forge.fine(Input::Wake, vec![]);
    };
    assert_eq!(dials(&set_back), Err(Rule::Budget), "nobody spoke of it");
    let both = |forge: &mut Forge| {
        named(forge);
        set_back(forge);
    };
    assert_eq!(dials(&both), Ok(()));
}

#[test]
fn bans_outlive_a_restart_and_nobody_stays_discouraged() {
    let mut forge = Forge::with(small(), &known());
    let (since, until) = (forge.now.unix, forge.now.unix + Duration::from_secs(60));
    let subnet = Subnet::of(nth(2).host);
    let told = event(Event::Banned { ban: Ban { subnet, since, until } });
    forge.fine(Input::Ban { subnet, until }, vec![told]);
    let (peer, address, misbehavior) = (PeerId(9), nth(3), Misbehavior::InvalidData);
    let reason = String::new();
    let told = Event::Misbehaved { peer, address, misbehavior, reason: reason.clone() };
    let lasts = Duration::from_secs(86_400);
    let outputs = vec![event(told), event(Event::Discouraged { address, lasts })];
    forge.fine(Input::Report { peer, address, misbehavior, reason }, outputs);
    restart(&mut forge);
    forge.fine(Input::Wake, dial(2, nth(3)));
    forge.breaks(Input::Wake, dial(3, nth(2)), Rule::Barred, "is dialled, and banned");
}
