//! Who is banned or discouraged is neither dialled nor kept, and nobody is without a reason.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, DisconnectReason, LinkFault, PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::time::UnixTime;

use super::forge::{Forge, dial, dial_as, disconnect, event, gossip, said_gone};
use super::town::{SERVICES, Town, config, greeting, nth};
use crate::check::Rule;

fn forge() -> Forge {
    let mut forge = Forge::new(&(0..20).map(nth).collect::<Vec<_>>());
    forge.ready(1, nth(1));
    forge
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

/// A ban of this subnet for an hour, and what is told of it.
fn ban(forge: &Forge, subnet: Subnet) -> (Input, Output) {
    let (since, until) = (forge.now.unix, forge.now.unix + Duration::from_secs(3600));
    let told = Event::Banned { ban: Ban { subnet, since, until } };
    (Input::Ban { subnet, until }, event(told))
}

fn dropped(id: u64, address: Address, reason: DisconnectReason) -> Vec<Output> {
    let (peer, state) = (PeerId(id), PeerState::Ready);
    vec![disconnect(id), event(Event::Disconnected { peer, address, state, reason })]
}

fn report(misbehavior: Misbehavior) -> Input {
    let reason = String::new();
    Input::Report { peer: PeerId(1), address: nth(1), misbehavior, reason }
}

fn misbehaved(id: u64, address: Address, misbehavior: Misbehavior) -> Output {
    let reason = String::new();
    event(Event::Misbehaved { peer: PeerId(id), address, misbehavior, reason })
}

fn discouraged(address: Address, secs: u64) -> Output {
    event(Event::Discouraged { address, lasts: Duration::from_secs(secs) })
}

#[test]
fn nobody_banned_is_dialled_or_kept() {
    let near = Subnet::new(nth(2).host, 16).expect("a subnet");
    let mut forge = forge();
    let (input, told) = ban(&forge, near);
    forge.fine(input, vec![told]);
    forge.wait(3599);
    forge.breaks(Input::Wake, dial(2, nth(2)), Rule::Barred, "is dialled, and banned");

    // Nor as the user's own.
    let mut forge = self::forge();
    forge.fine(Input::AddManual(nth(2)), vec![]);
    let (input, told) = ban(&forge, near);
    forge.fine(input, vec![told]);
    let manual = dial_as(2, nth(2), ConnectionType::Manual);
    forge.breaks(Input::Wake, manual, Rule::Barred, "is dialled, and banned");

    let mut forge = self::forge();
    let (input, told) = ban(&forge, Subnet::of(nth(1).host));
    forge.breaks(input, vec![told], Rule::Barred, "is kept, and banned");

    // Once it is over, it is over.
    let mut forge = self::forge();
    let (input, told) = ban(&forge, Subnet::of(nth(1).host));
    let mut outputs = vec![told];
    outputs.extend(dropped(1, nth(1), DisconnectReason::Banned));
    forge.fine(input, outputs);
    forge.fine(super::forge::closed(1), vec![super::forge::starved()]);
    forge.wait(3600);
    let over = event(Event::Unbanned { subnet: Subnet::of(nth(1).host), expired: true });
    forge.fine(Input::Wake, [vec![over], dial(2, nth(1))].concat());
}

#[test]
fn bans_are_the_users_alone_and_end_in_time() {
    let barred = |words: &str, plant: &dyn Fn(&mut Forge) -> (Input, Vec<Output>)| {
        let mut forge = forge();
        let (input, outputs) = plant(&mut forge);
        forge.breaks(input, outputs, Rule::Barred, words);
    };
    let other = subnet("99.0.0.0/8");
    barred("nothing calls for it", &|forge| (Input::Wake, vec![ban(forge, other).1]));
    barred("is not told", &|forge| (ban(forge, other).0, vec![]));
    barred("nothing calls for it", &|forge| {
        (ban(forge, other).0, vec![ban(forge, subnet("99.0.0.0/16")).1])
    });
    // One that is covered, and one that would be over, are none.
    barred("nothing calls for it", &|forge| {
        let (input, told) = ban(forge, other);
        forge.fine(input, vec![told]);
        let (input, told) = ban(forge, subnet("99.7.0.0/16"));
        (input, vec![told])
    });
    barred("nothing calls for it", &|forge| {
        let (_, told) = ban(forge, other);
        (Input::Ban { subnet: other, until: forge.now.unix }, vec![told])
    });
    let unbanned = |expired| event(Event::Unbanned { subnet: other, expired });
    barred("nothing calls for it", &|_| (Input::Unban { subnet: other }, vec![unbanned(false)]));
    for (input, told) in [
        (Input::Wake, vec![unbanned(true)]),
        (Input::Wake, vec![unbanned(false)]),
        (Input::Unban { subnet: other }, vec![]),
    ] {
        let mut forge = forge();
        let (begins, told_so) = ban(&forge, other);
        forge.fine(begins, vec![told_so]);
        forge.wait(60);
        forge.breaks(input, told, Rule::Barred, "told");
    }
    let gone = dropped(1, nth(1), DisconnectReason::Banned);
    forge().breaks(Input::Wake, gone, Rule::Barred, "is dropped as banned, and is not");

    // By a clock that is set ahead it is over at once; the pool notices in an hour.
    let mut forge = forge();
    let (input, told) = ban(&forge, other);
    forge.fine(input, vec![told]);
    forge.now.unix = UnixTime(forge.now.unix.0 + 100_000);
    forge.fine(Input::Progress { peer: PeerId(1) }, vec![]);
    forge.checks.peers = Default::default();
    forge.wait(3601);
    let outputs = vec![super::forge::starved(), Output::AskSeed { seed: 0 }];
    forge.breaks(Input::Wake, outputs, Rule::Late, "a ban is over");
}

#[test]
fn nobody_discouraged_is_dialled_or_kept_until_it_is_forgotten() {
    let invalid = Misbehavior::InvalidData;
    let told = || vec![misbehaved(1, nth(1), invalid), discouraged(nth(1), 86_400)];
    let mut kept = forge();
    kept.breaks(report(invalid), told(), Rule::Barred, "is kept, and discouraged");

    let gone = || {
        let mut forge = forge();
        let outputs = [told(), dropped(1, nth(1), DisconnectReason::Discouraged)].concat();
        forge.fine(report(invalid), outputs);
        forge.fine(super::forge::closed(1), vec![super::forge::starved()]);
        forge
    };
    let mut again = gone();
    again.wait(86_399);
    again.breaks(Input::Wake, dial(2, nth(1)), Rule::Barred, "is dialled, and discouraged");
    let mut again = gone();
    again.wait(86_400);
    again.fine(Input::Wake, dial(2, nth(1)));
    // On whatever port; but the user may.
    let other = Address { port: 8334, ..nth(1) };
    gone().breaks(Input::Wake, dial(2, other), Rule::Barred, "is dialled, and discouraged");
    let mut named = gone();
    named.fine(Input::AddManual(other), vec![]);
    named.fine(Input::Wake, dial_as(2, other, ConnectionType::Manual));
}

#[test]
fn only_first_hand_proof_counts() {
    let barred = |words: &str, input: Input, outputs: Vec<Output>| {
        forge().breaks(input, outputs, Rule::Barred, words);
    };
    let (invalid, useless) = (Misbehavior::InvalidData, Misbehavior::Useless);
    let broken = |fault| Input::Closed { peer: PeerId(1), reason: DisconnectReason::Fault(fault) };
    let left = |misbehavior| {
        let gone = said_gone(1, nth(1), PeerState::Ready);
        vec![gone, misbehaved(1, nth(1), misbehavior), discouraged(nth(1), 86_400)]
    };
    forge().fine(broken(LinkFault::TooMany), left(Misbehavior::TooMany));
    for fault in [LinkFault::BadFrames, LinkFault::Flood, LinkFault::StalledMessage] {
        barred("nothing calls for it", broken(fault), left(Misbehavior::TooMany));
    }
    let closed = super::forge::closed(1);
    barred("nothing calls for it", closed, left(Misbehavior::BadMagic));
    // What is relayed is nobody's fault.
    let told = gossip(1, nth(5), UnixTime(0));
    barred("nothing calls for it", told, vec![misbehaved(1, nth(1), invalid)]);
    // Another than who did it, or for another thing, or for too long.
    barred("nothing calls for it", report(invalid), vec![misbehaved(2, nth(2), invalid)]);
    barred("nothing calls for it", report(invalid), vec![misbehaved(1, nth(1), useless)]);
    let said = misbehaved(1, nth(1), invalid);
    let other = vec![said.clone(), discouraged(nth(2), 86_400)];
    barred("nothing calls for it", report(invalid), other);
    let said_useless = misbehaved(1, nth(1), useless);
    let long = vec![said_useless, discouraged(nth(1), 86_400)];
    barred("nothing calls for it", report(useless), long);
    // And what is proved is told, and something comes of it.
    barred("is not told", report(invalid), vec![]);
    barred("is not told", report(invalid), vec![said]);
    let gone = vec![said_gone(1, nth(1), PeerState::Ready)];
    barred("is not told", broken(LinkFault::Oversized), gone);

    // Whom the user named is not discouraged.
    let mut forge = forge();
    forge.fine(Input::AddManual(nth(1)), vec![]);
    let outputs = vec![misbehaved(1, nth(1), invalid), discouraged(nth(1), 86_400)];
    forge.breaks(report(invalid), outputs, Rule::Barred, "nothing calls for it");
}

/// The link of peer 1 breaks through this fault of its.
fn broken(fault: LinkFault) -> Input {
    Input::Closed { peer: PeerId(1), reason: DisconnectReason::Fault(fault) }
}

#[test]
fn nobody_is_blamed_for_what_another_did() {
    let invalid = Misbehavior::InvalidData;
    let blamed = |address, misbehavior| {
        vec![misbehaved(1, address, misbehavior), discouraged(address, 86_400)]
    };
    let words = "nothing calls for it";
    forge().breaks(report(invalid), blamed(nth(2), invalid), Rule::Barred, words);
    let too_many = Misbehavior::TooMany;
    let gone = vec![said_gone(1, nth(1), PeerState::Ready)];
    let outputs = [gone, blamed(nth(2), too_many)].concat();
    forge().breaks(broken(LinkFault::TooMany), outputs, Rule::Barred, words);
    // Nor is one blamed whom the user named, of whom nothing is to come.
    let mut forge = forge();
    forge.fine(Input::AddManual(nth(2)), vec![]);
    let outputs = vec![misbehaved(1, nth(2), invalid)];
    forge.breaks(report(invalid), outputs, Rule::Barred, words);
    // Of a link that is up the pool knows where it leads, whatever a report says.
    let wrong = Input::Report {
        peer: PeerId(1),
        address: nth(2),
        misbehavior: invalid,
        reason: String::new(),
    };
    self::forge().breaks(wrong, blamed(nth(2), invalid), Rule::Barred, words);
}

#[test]
fn every_fault_that_proves_something_is_told_as_what_it_is() {
    let faults = [
        (LinkFault::BadMagic, Misbehavior::BadMagic),
        (LinkFault::Oversized, Misbehavior::Oversized),
        (LinkFault::Undecodable, Misbehavior::Undecodable),
        (LinkFault::TooMany, Misbehavior::TooMany),
    ];
    for (fault, proof) in faults {
        let told = |misbehavior, secs| {
            let gone = said_gone(1, nth(1), PeerState::Ready);
            vec![gone, misbehaved(1, nth(1), misbehavior), discouraged(nth(1), secs)]
        };
        forge().fine(broken(fault), told(proof, 86_400));
        // What is told as less would be forgotten sooner.
        let less = told(Misbehavior::Useless, 3600);
        forge().breaks(broken(fault), less, Rule::Barred, "nothing calls for it");
        let silent = told(proof, 86_400)[..1].to_vec();
        forge().breaks(broken(fault), silent, Rule::Barred, "is not told");
        let lenient = told(proof, 86_400)[..2].to_vec();
        forge().breaks(broken(fault), lenient, Rule::Barred, "is not told");
    }
}

#[test]
fn an_engine_that_discourages_nobody_is_caught() {
    let repeats = |peer: PeerId| {
        let [version, _] = greeting(SERVICES, 2);
        Input::Control { peer, message: version }
    };
    let breaks =
        |peer: PeerId| Input::Closed { peer, reason: DisconnectReason::Fault(LinkFault::BadMagic) };
    for lenient in [false, true] {
        for fault in [&repeats as &dyn Fn(PeerId) -> Input, &breaks] {
            let mut town = Town::new(config(|policy| policy.target_connect_count = 2), 1);
            town.seeded = (0..20).filter_map(|n| nth(n).host.ip()).collect();
            town.run(Duration::from_secs(60)).expect("a quiet minute");
            let (peer, _) = town.ready()[0];
            // Once may be a slip.
            town.input(repeats(peer)).expect("a slip");
            if lenient {
                town.meddle = Some(Box::new(|_, outputs| {
                    let bars = |event: &Event| {
                        matches!(event, Event::Misbehaved { .. } | Event::Discouraged { .. })
                    };
                    outputs.retain(|it| !matches!(it, Output::Event(event) if bars(event)));
                }));
            }
            let judged = town.input(fault(peer)).map_err(|breach| breach.rule);
            assert_eq!(judged, if lenient { Err(Rule::Barred) } else { Ok(()) });
        }
    }
}

#[test]
fn an_engine_that_dials_banned_addresses_is_caught() {
    let mut town = Town::new(config(|policy| policy.target_connect_count = 2), 1);
    town.seeded = (0..20).filter_map(|n| nth(n).host.ip()).collect();
    town.run(Duration::from_secs(60)).expect("a quiet minute");
    let banned = nth(30);
    let until = UnixTime(town.now.unix.0 + 86_400);
    town.input(Input::Ban { subnet: Subnet::of(banned.host), until }).expect("a ban");
    town.meddle = Some(Box::new(move |_, outputs| {
        for output in outputs {
            match output {
                Output::Dial { address, .. } | Output::Event(Event::Connecting { address, .. }) => {
                    *address = banned
                }
                _ => {}
            }
        }
    }));
    let peers = town.ready();
    let leaves = peers.iter().try_for_each(|(peer, _)| town.leave(*peer));
    let breach = leaves.expect_err("a banned address was dialled");
    assert_eq!(breach.rule, Rule::Barred, "{breach}");
}
