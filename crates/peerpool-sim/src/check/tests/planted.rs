//! Each rule has its faults planted, and fires.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::engine::Config;
use peerpool_core::event::{DialError, Event};
use peerpool_core::id::{BurnReason, ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState};
use peerpool_core::io::{Input, Output};
use peerpool_core::time::{Now, UnixTime};
use peerpool_core::wire::Control;

use super::forge::{
    Forge, answered, backed_off, burned, closed, dial, dial_as, disconnect, event, failed, gossip,
    grant, lease, message, said_connected, said_gone, said_ready, send, starved, version, waits,
};
use super::town::{START, Town, address, config, nth};
use crate::check::{Checks, Rule};

fn forge() -> Forge {
    Forge::new(&(0..20).map(nth).collect::<Vec<_>>())
}

fn town() -> Town {
    let mut town = Town::new(config(|_| ()), 1);
    town.seeded = (0..20).filter_map(|n| nth(n).host.ip()).collect();
    town
}

// ---- order ----

#[test]
fn peers_come_and_go_in_order() {
    let order = |words: &str, plant: &dyn Fn(&mut Forge) -> (Input, Vec<Output>)| {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(Input::Wake, dial(2, nth(2)));
        let (input, outputs) = plant(&mut forge);
        forge.breaks(input, outputs, Rule::Order, words);
    };
    order("ids are not reused", &|_| (Input::Wake, dial(2, nth(3))));
    order("should come next", &|_| (Input::Wake, vec![dial(3, nth(3))[0].clone(), starved()]));
    order("the turn ends before", &|_| (Input::Wake, vec![disconnect(1)]));
    order("was not dialled", &|_| (Input::Wake, vec![dial(3, nth(3))[1].clone()]));
    order("is connected", &|_| (Input::Wake, vec![said_connected(2, nth(2))]));
    order("is said to be at", &|_| (answered(2), vec![said_connected(2, nth(3))]));
    order("is ready", &|_| (answered(2), vec![said_ready(2, nth(2))]));
    order("is ready", &|_| (Input::Wake, vec![said_ready(1, nth(1))]));
    order("ended as Connected", &|_| (closed(1), vec![said_gone(1, nth(1), PeerState::Connected)]));
    order("is said to have ended", &|_| {
        (Input::Wake, vec![said_gone(1, nth(1), PeerState::Ready)])
    });
    order("nothing was said of it", &|_| (closed(1), vec![]));
    order("gone or never was", &|forge| {
        forge.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready)]);
        (Input::Wake, vec![send(1, Control::Ping(1))])
    });
    order("whose end was told", &|forge| {
        forge.fine(Input::Wake, vec![disconnect(1), said_gone(1, nth(1), PeerState::Ready)]);
        (Input::Wake, vec![disconnect(1)])
    });
    let mut closed = forge();
    closed.fine(Input::Close, vec![]);
    closed.breaks(Input::Wake, dial(1, nth(1)), Rule::Order, "dialled by a closed pool");
}

#[test]
fn messages_go_out_in_order_to_links_that_are_up() {
    let order = |words: &str, id: u64, sent: Control| {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(Input::Wake, dial(2, nth(2)));
        forge.connected(2, nth(2));
        forge.fine(Input::Wake, vec![send(1, Control::GetAddr), send(1, Control::Ping(7))]);
        forge.breaks(Input::Wake, vec![send(id, sent)], Rule::Order, words);
    };
    order("is sent \"version\"", 1, version());
    order("is sent \"verack\"", 1, Control::Verack);
    order("asked for addresses twice", 1, Control::GetAddr);
    order("before it answered the last", 1, Control::Ping(8));
    order("is sent \"version\"", 2, version());
    order("is sent \"ping\"", 2, Control::Ping(1));
    order("is sent \"getaddr\"", 2, Control::GetAddr);
}

#[test]
fn leases_are_granted_and_end_in_order() {
    let order = |words: &str, input: Input, outputs: Vec<Output>| {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(Input::Wake, dial(2, nth(2)));
        forge.fine(lease(1, false), grant(1, 1));
        forge.breaks(input, outputs, Rule::Order, words);
    };
    order("nobody waits", Input::Wake, grant(1, 1));
    order("nobody waits", Input::Wake, grant(2, 1));
    order("is leased, Connecting", lease(2, true), grant(2, 2));
    order("with 1 leases", closed(1), vec![said_gone(1, nth(1), PeerState::Ready)]);
    order("is not over", Input::Release { lease: LeaseId(1) }, vec![]);
    let (lease, peer) = (LeaseId(2), PeerId(1));
    order("is over, and was", Input::Wake, vec![event(Event::Released { lease, peer })]);
}

// ---- how many ----

#[test]
fn no_more_peers_than_the_target_and_no_dial_beyond_need() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, dial(2, nth(2)));
    forge.fine(Input::Wake, dial(3, nth(3)));
    for id in [2, 3] {
        forge.connected(id, nth(id as usize));
    }
    forge.fine(message(2, Control::Verack), vec![said_ready(2, nth(2))]);
    let mut more = forge;
    more.breaks(Input::Wake, dial(4, nth(4)), Rule::Target, "with 2 ready of 2");
    let outputs = vec![said_ready(3, nth(3))];
    more.breaks(message(3, Control::Verack), outputs, Rule::Target, "3 ready peers of 2");
}

#[test]
fn extras_have_their_bounds() {
    let fetch = |id: u64| dial_as(id, nth(id as usize), ConnectionType::AddrFetch);
    let mut forge = forge();
    forge.breaks(Input::Wake, fetch(1), Rule::Target, "dialled as AddrFetch");
    let mut forge = self::forge();
    for id in [1, 2] {
        forge.ready(id, nth(id as usize));
    }
    for id in [1, 2] {
        forge.fine(closed(id), vec![said_gone(id, nth(id as usize), PeerState::Ready)]);
    }
    forge.fine(Input::Wake, vec![starved()]);
    let again = |id: u64, n: usize| dial_as(id, nth(n), ConnectionType::AddrFetch);
    let mut asked = self::forge();
    asked.ready(1, nth(1));
    asked.fine(Input::Wake, vec![send(1, Control::GetAddr)]);
    asked.wait(3600);
    asked.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready), starved()]);
    asked.breaks(Input::Wake, again(2, 1), Rule::Budget, "asked for addresses, and was");
    forge.fine(Input::Wake, again(3, 1));
    forge.breaks(Input::Wake, again(4, 2), Rule::Target, "AddrFetch number 2");
}

#[test]
fn no_more_dials_than_max_dials() {
    let mut config = config(|policy| policy.target_connect_count = 8);
    config.policy.max_dials = 2;
    let mut forge = Forge::with(config, &(0..9).map(nth).collect::<Vec<_>>());
    forge.fine(Input::Wake, [dial(1, nth(1)), dial(2, nth(2))].concat());
    forge.breaks(Input::Wake, dial(3, nth(3)), Rule::Target, "with 2 dials in flight");
}

#[test]
fn no_node_twice() {
    let other_port = Address { port: 8334, ..nth(1) };
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(gossip(1, other_port, forge.now.unix), vec![]);
    forge.breaks(Input::Wake, dial(2, other_port), Rule::Twice, "is dialled beside peer 1");
    let mut forge = self::forge();
    forge.ready(1, nth(1));
    forge.fine(Input::AddManual(nth(1)), vec![]);
    forge.fine(Input::AddManual(other_port), vec![]);
    forge.fine(Input::Wake, dial_as(2, other_port, ConnectionType::Manual));
    forge.breaks(Input::Wake, dial_as(3, nth(1), ConnectionType::Manual), Rule::Twice, "beside");
}

// ---- whom ----

#[test]
fn no_burned_address_is_dialled_until_the_burn_fades_and_it_is_heard_of_anew() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, dial(2, nth(2)));
    let (input, told) = failed(2, nth(2));
    forge.fine(input, vec![told, burned(nth(2))]);
    forge.fine(gossip(1, nth(2), forge.now.unix), vec![]);
    forge.wait(600);
    forge.breaks(Input::Wake, dial(3, nth(2)), Rule::Burned, "burned 600s ago: refused");

    let faded = |heard: bool| {
        let mut forge = self::forge();
        forge.fine(Input::Wake, dial(1, nth(1)));
        forge.connected(1, nth(1));
        let burn = vec![said_gone(1, nth(1), PeerState::Connected), burned(nth(1)), starved()];
        forge.fine(closed(1), burn);
        forge.wait(86_400);
        forge.fine(Input::Wake, vec![Output::AskSeed { seed: 0 }]);
        forge.hear(&[nth(if heard { 1 } else { 2 })]);
        forge
    };
    faded(true).fine(Input::Wake, dial(2, nth(1)));
    faded(false).breaks(Input::Wake, dial(2, nth(1)), Rule::Stale, "nobody spoke of it");
}

#[test]
fn no_stale_address_is_dialled() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.breaks(Input::Wake, dial(2, nth(30)), Rule::Stale, "nobody spoke of it");
    let stale = forge.now.unix - Duration::from_secs(3 * 3600);
    forge.fine(gossip(1, nth(31), stale), vec![]);
    forge.breaks(Input::Wake, dial(3, nth(31)), Rule::Stale, "nobody spoke of it");
    let future = forge.now.unix + Duration::from_secs(601);
    forge.fine(gossip(1, nth(32), future), vec![]);
    forge.breaks(Input::Wake, dial(4, nth(32)), Rule::Stale, "nobody spoke of it");

    // Hearsay ages in hours, experience in days.
    let mut forge = self::forge();
    forge.ready(1, nth(1));
    forge.fine(closed(1), vec![said_gone(1, nth(1), PeerState::Ready), starved()]);
    forge.wait(3 * 3600);
    forge.fine(Input::Wake, dial(2, nth(1)));
    forge.breaks(Input::Wake, dial(3, nth(2)), Rule::Stale, "seen 10800s ago");
}

#[test]
fn no_unfit_address_is_dialled() {
    let unfit = |address: Address| {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(gossip(1, address, forge.now.unix), vec![]);
        forge.breaks(Input::Wake, dial(2, address), Rule::Unfit, "is dialled");
    };
    unfit(address("10.0.0.1:8333"));
    unfit(address("1.2.3.4:0"));
    unfit(address("1.2.3.4:25"));
    unfit(address("2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333"));
    let mut forge = forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    let local = nth(2).host.ip();
    let connected = vec![said_connected(1, nth(1)), send(1, version())];
    forge.fine(Input::Connected { peer: PeerId(1), local }, connected);
    forge.breaks(Input::Wake, dial(2, nth(2)), Rule::Unfit, "is dialled");
    let manual = dial_as(2, nth(3), ConnectionType::Manual);
    self::forge().breaks(Input::Wake, manual, Rule::Unfit, "whoever named it");
}

// ---- budgets ----

#[test]
fn a_wait_that_was_told_is_kept_and_grows() {
    let lost = || {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(Input::Wake, vec![starved()]);
        forge.wait(60);
        let gone = said_gone(1, nth(1), PeerState::Ready);
        forge.fine(closed(1), vec![gone, backed_off(nth(1), 0, 63)]);
        forge
    };
    let mut forge = lost();
    forge.wait(62);
    forge.breaks(Input::Wake, dial(2, nth(1)), Rule::Budget, "is dialled 1s early");
    let fail = |forge: &mut Forge, rests: u64| {
        forge.wait(63);
        forge.fine(Input::Wake, dial(2, nth(1)));
        let (input, told) = failed(2, nth(1));
        (input, vec![told, backed_off(nth(1), 1, rests)])
    };
    let mut forge = lost();
    let (input, outputs) = fail(&mut forge, 125);
    forge.breaks(input, outputs, Rule::Budget, "rests for 125s, 126s at least");
    let mut forge = lost();
    let (input, outputs) = fail(&mut forge, 4501);
    forge.breaks(input, outputs, Rule::Budget, "rests for 4501s");
}

#[test]
fn a_waiting_verdict_a_host_and_a_netgroup_have_their_budgets() {
    let mut forge = forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    let (input, told) = failed(1, nth(1));
    let reason = BurnReason::Refused;
    forge
        .fine(input, vec![told, event(Event::VerdictWaits { address: nth(1), reason }), starved()]);
    forge.wait(62);
    forge.breaks(Input::Wake, dial(2, nth(1)), Rule::Budget, "while its verdict waits");

    let mut forge = self::forge();
    forge.ready(1, nth(1));
    let ports = (1..=5u16).map(|n| Address { port: 9000 + n, ..nth(2) });
    let mut id = 1;
    for port in ports {
        id += 1;
        forge.fine(gossip(1, port, forge.now.unix), vec![]);
        if id == 6 {
            forge.breaks(Input::Wake, dial(id, port), Rule::Budget, "port number 5");
            break;
        }
        forge.fine(Input::Wake, dial(id, port));
        let (input, told) = failed(id, port);
        forge.fine(input, vec![told, burned(port)]);
    }

    let neighbour = |n: usize| address(&format!("11.2.{n}.1:8333"));
    let mut forge = self::forge();
    forge.hear_more(&[neighbour(2), neighbour(3), neighbour(4)]);
    forge.fine(Input::Wake, dial(1, neighbour(2)));
    forge.fine(Input::Wake, dial(2, neighbour(3)));
    forge.breaks(Input::Wake, dial(3, neighbour(4)), Rule::Budget, "0 ready and 2 in flight");
    let mut forge = self::forge();
    forge.hear_more(&[neighbour(2)]);
    forge.ready(1, nth(1));
    forge.breaks(Input::Wake, dial(2, neighbour(2)), Rule::Budget, "1 ready and 0 in flight");
}

#[test]
fn probes_seeds_and_all_dials_have_their_pace() {
    let mut forge = forge();
    forge.go_offline();
    forge.fine(Input::Wake, dial(3, nth(1)));
    forge.wait(9);
    forge.breaks(Input::Wake, dial(4, nth(2)), Rule::Budget, "10s apart at least");
    let mut forge = self::forge();
    forge.fine(Input::Wake, vec![starved()]);
    forge.wait(59);
    let ask = vec![Output::AskSeed { seed: 0 }];
    forge.breaks(Input::Wake, ask, Rule::Budget, "asked again after 59s");
    let mut forge = self::forge();
    forge.checks.limit_dials(3, 4);
    for id in 1..=3 {
        forge.fine(Input::Wake, dial(id, nth(id as usize)));
        forge.give_up(id, nth(id as usize));
    }
    forge.fine(Input::Wake, vec![starved()]);
    forge.wait(59);
    forge.fine(Input::Wake, dial(4, nth(4)));
    forge.breaks(Input::Wake, dial(5, nth(5)), Rule::Budget, "5 in a minute");
    forge.wait(1);
    let (input, told) = failed(4, nth(4));
    forge.fine(input, [vec![told], dial(6, nth(6))].concat());
    let mut forge = self::forge();
    forge.checks.limit_dials(2, 9);
    let three = [dial(1, nth(1)), dial(2, nth(2)), dial(3, nth(3))].concat();
    forge.breaks(Input::Wake, three, Rule::Budget, "3 dials in a second");
}

// ---- bounds and deadlines ----

#[test]
fn queues_and_turns_have_their_bounds() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, dial(2, nth(2)));
    for n in 1..=16 {
        forge.fine(lease(n, false), grant(n, 1));
    }
    forge.breaks(lease(17, true), grant(17, 1), Rule::Bound, "serves 17 leases");

    let mut config = config(|policy| policy.max_waiters = 1);
    config.policy.max_dials = 2;
    let mut forge = Forge::with(config, &[]);
    forge.fine(Input::Wake, vec![starved()]);
    forge.fine(lease(1, true), vec![]);
    forge.breaks(lease(2, true), vec![], Rule::Bound, "2 wait for a lease, 1 allowed");
    let flood = vec![event(Event::Missed { events: 1 }); 200];
    forge.breaks(Input::Wake, flood, Rule::Bound, "200 outputs in one turn");
}

/// A pool that drops a silent peer before it would ping it.
fn patient() -> Config {
    config(|policy| {
        policy.target_connect_count = 2;
        policy.inactivity = Duration::from_secs(119);
    })
}

#[test]
fn nothing_waits_beyond_its_deadline() {
    let late = |words: &str, seconds: u64, prepare: &dyn Fn(&mut Forge)| {
        let mut forge = forge();
        prepare(&mut forge);
        forge.wait(seconds - 1);
        forge.fine(Input::Wake, vec![]);
        forge.wait(1);
        forge.breaks(Input::Wake, vec![], Rule::Late, words);
    };
    late("dial_timeout", 5, &|forge| forge.fine(Input::Wake, dial(1, nth(1))));
    late("handshake_deadline", 10, &|forge| {
        forge.fine(Input::Wake, dial(1, nth(1)));
        forge.connected(1, nth(1));
    });
    let full = |forge: &mut Forge| {
        forge.ready(1, nth(1));
        forge.ready(2, nth(2));
    };
    late("inactivity", 119, &|forge| {
        *forge = Forge::with(patient(), &[nth(1), nth(2)]);
        full(forge);
    });
    late("pong_deadline", 60, &|forge| {
        full(forge);
        forge.fine(Input::Wake, vec![send(1, Control::Ping(7))]);
    });
}

#[test]
fn what_the_world_leaves_unanswered_is_told_from_what_the_pool_does() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.ready(2, nth(2));
    forge.fine(Input::Wake, vec![disconnect(1), said_gone(1, nth(1), PeerState::Ready)]);
    forge.wait(11);
    forge.breaks(Input::Wake, vec![], Rule::Unanswered, "its end was over");
    let mut forge = self::forge();
    forge.wait(61);
    forge.fine(Input::Wake, vec![starved(), Output::AskSeed { seed: 0 }]);
    forge.wait(15);
    forge.breaks(Input::Wake, vec![], Rule::Unanswered, "a seed has not answered");
    let mut forge = self::forge();
    forge.fine(Input::Wake, vec![starved()]);
    forge.breaks(lease(1, false), vec![], Rule::Unanswered, "its caller would not");
}

// ---- outages, full and starved ----

#[test]
fn nothing_burns_without_evidence_or_a_failure() {
    let dialled = || {
        let mut forge = forge();
        forge.ready(1, nth(1));
        forge.fine(Input::Wake, dial(2, nth(2)));
        forge
    };
    let burns = |forge: &mut Forge, words: &str| {
        let (input, told) = failed(2, nth(2));
        forge.breaks(input, vec![told, burned(nth(2))], Rule::Outage, words);
    };
    let mut forge = forge();
    forge.fine(Input::Wake, dial(2, nth(2)));
    burns(&mut forge, "without any evidence");
    let mut forge = dialled();
    forge.wait(4);
    let (input, told) = failed(2, nth(2));
    forge.fine(input, vec![told]);
    forge.wait(27);
    let ping = vec![send(1, Control::Ping(7))];
    forge.fine(Input::Wake, [ping, dial(3, nth(3))].concat());
    let (input, told) = failed(3, nth(3));
    forge.breaks(input, vec![told, burned(nth(3))], Rule::Outage, "evidence 31s ago");
    dialled().breaks(Input::Wake, vec![burned(nth(2))], Rule::Outage, "has not failed");
    let mut forge = dialled();
    let (peer, address, error) = (PeerId(2), nth(2), DialError::NoRoute);
    let told = event(Event::DialFailed { peer, address, error });
    let input = Input::DialFailed { peer, error };
    forge.breaks(input, vec![told, burned(nth(2))], Rule::Outage, "has not failed");
}

#[test]
fn nothing_burns_during_an_outage_told_or_true() {
    let mut forge = forge();
    forge.go_offline();
    forge.fine(Input::Wake, dial(3, nth(2)));
    let (input, told) = failed(3, nth(2));
    forge.breaks(input, vec![told, burned(nth(2))], Rule::Outage, "says it is offline");
    let mut forge = self::forge();
    forge.checks.on_network(forge.now, false);
    forge.wait(41);
    forge.ready(1, nth(1));
    forge.fine(Input::Wake, dial(2, nth(2)));
    let (input, told) = failed(2, nth(2));
    forge.breaks(input, vec![told, burned(nth(2))], Rule::Outage, "the network went down 41s ago");
}

#[test]
fn offline_and_online_are_told_for_a_reason() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.wait(29);
    let offline = vec![event(Event::Offline)];
    forge.breaks(Input::Wake, offline.clone(), Rule::Outage, "evidence 29s ago");
    let mut forge = self::forge();
    forge.go_offline();
    forge.breaks(Input::Wake, vec![event(Event::Online)], Rule::Outage, "without evidence");
    let mut forge = self::forge();
    forge.go_offline();
    forge.fine(Input::Wake, dial(3, nth(1)));
    let connected = vec![said_connected(3, nth(1)), send(3, version())];
    forge.breaks(answered(3), connected, Rule::Outage, "has heard of a peer");
    let mut forge = self::forge();
    forge.fine(Input::Wake, dial(1, nth(1)));
    let (input, told) = failed(1, nth(1));
    forge.fine(input, vec![told, waits(nth(1)), starved()]);
    forge.wait(30);
    forge.breaks(Input::Wake, offline.clone(), Rule::Outage, "not two netgroups");
    let mut forge = self::forge();
    forge.go_offline();
    forge.breaks(Input::Wake, offline, Rule::Order, "offline is told twice");
    let online = vec![event(Event::Online)];
    self::forge().breaks(Input::Wake, online, Rule::Order, "online is told, not offline");
}

#[test]
fn something_comes_of_every_failure() {
    let mut forge = forge();
    forge.checks.fates.demanded = true;
    forge.fine(Input::Wake, dial(1, nth(1)));
    let (input, output) = failed(1, nth(1));
    let waits = Event::VerdictWaits { address: nth(1), reason: BurnReason::Refused };
    forge.fine(input, vec![output, event(waits)]);
    forge.fine(Input::Wake, dial(2, nth(2)));
    let (input, output) = failed(2, nth(2));
    forge.breaks(input, vec![output], Rule::Burned, "nothing comes of it");
}

#[test]
fn a_pool_that_may_be_full_must_be() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    forge.checks.expect_full(forge.now.mono + Duration::from_secs(2), Duration::ZERO);
    forge.fine(Input::Wake, dial(2, nth(2)));
    forge.wait(3);
    forge.breaks(Input::Wake, vec![], Rule::NotFull, "1 peers ready of 2, 1s late");
    forge.checks.excuse_full();
    forge.fine(Input::Wake, vec![]);
    forge.connected(2, nth(2));
    forge.fine(message(2, Control::Verack), vec![said_ready(2, nth(2))]);
    // Once is not enough: it is to stay so, but for the time that a loss may take.
    forge.checks.expect_full(forge.now.mono, Duration::from_secs(1));
    forge.wait(1);
    forge.fine(closed(2), vec![said_gone(2, nth(2), PeerState::Ready)]);
    forge.wait(1);
    forge.fine(Input::Wake, dial(3, nth(3)));
    forge.wait(1);
    forge.breaks(Input::Wake, vec![], Rule::NotFull, "1 peers ready of 2, 1s late");
}

#[test]
fn a_pool_that_waits_beyond_its_time_without_a_turn_is_found_at_the_end() {
    let mut town = town();
    town.others = super::town::Node::Silent;
    town.input(Input::Wake).expect("a quiet start");
    town.checks.expect_full(town.now.mono + Duration::from_secs(1), Duration::ZERO);
    town.checks.at_end(town.now, &town.engine).expect("there is time yet");
    town.set_time(town.now.mono + Duration::from_secs(2));
    let breach = town.checks.at_end(town.now, &town.engine).expect_err("nobody is ready");
    assert_eq!(breach.rule, Rule::NotFull, "{breach}");
}

#[test]
fn a_pool_with_nothing_to_do_says_that_it_is_starved() {
    let mut forge = forge();
    forge.wait(1);
    forge.breaks(Input::Wake, vec![], Rule::Starved, "nothing was done about it");
    self::forge().breaks(Input::Wake, vec![event(Event::Fed)], Rule::Starved, "fed is told");
    let twice = vec![starved(), starved()];
    self::forge().breaks(Input::Wake, twice, Rule::Starved, "starved is told");
    let full = vec![event(Event::Full { took: Duration::ZERO })];
    self::forge().breaks(Input::Wake, full, Rule::Starved, "0 ready of 2");
}

// ---- the engine's own view ----

#[test]
fn a_view_or_a_book_that_differs_is_found() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    let breach = forge.checks.at_end(forge.now, &forge.engine).expect_err("the engine is idle");
    assert_eq!(breach.rule, Rule::View, "{breach}");

    let mut town = town();
    let age = town.checks.policy.max_address_age;
    town.run(age + Duration::from_secs(100)).expect("a quiet day");
    town.input(Input::Wake).expect("a quiet end");
    town.checks.at_end(town.now, &town.engine).expect("a quiet end");
    // By a clock that is late, what is too old on the shelves would be fresh.
    let late = Now { unix: UnixTime(START) + age - Duration::from_secs(100), ..town.now };
    let fault = town.checks.book.check(late, &town.engine).expect_err("a stale shelf");
    assert_eq!(fault.0, Rule::Book, "{fault:?}");
}

#[test]
fn counts_that_differ_from_the_engines_are_found() {
    let mut forge = Forge::new(&[]);
    forge.fine(lease(1, true), vec![starved()]);
    let breach = forge.checks.at_end(forge.now, &forge.engine).expect_err("the engine is idle");
    assert_eq!(breach.rule, Rule::View, "{breach}");
    assert!(breach.text.contains("(1, 0, true, false)"), "{breach}");
}

#[test]
fn a_table_of_burned_addresses_over_its_bound_is_found() {
    let mut town = Town::new(config(|policy| policy.target_connect_count = 2), 1);
    town.checks = Checks::new(&config(|policy| {
        policy.target_connect_count = 2;
        policy.max_burned = 16;
    }));
    town.seeded = (0..30).filter_map(|n| nth(n).host.ip()).collect();
    town.others = super::town::Node::Refusing;
    town.nodes.insert(nth(0), super::town::Node::Alive);
    town.run(Duration::from_secs(20)).expect("nobody asks the engine how many it keeps");
    let breach = town.checks.at_end(town.now, &town.engine).expect_err("the engine keeps more");
    assert_eq!(breach.rule, Rule::Bound, "{breach}");
}

#[test]
fn a_clock_set_back_after_the_last_turn_is_no_fault() {
    let mut town = town();
    let age = town.checks.policy.max_address_age;
    town.run(age + Duration::from_secs(100)).expect("a quiet day");
    town.input(Input::Wake).expect("a quiet end");
    let unix = UnixTime(START) + age - Duration::from_secs(3600);
    town.checks.at_end(Now { unix, ..town.now }, &town.engine).expect("the engine cannot know");
}

#[test]
fn a_small_book_is_checked_though_it_says_that_nothing_changed() {
    let turns_until_found = |always: bool| {
        let mut town = town();
        let age = town.checks.policy.max_address_age;
        town.run(age + Duration::from_secs(100)).expect("a quiet day");
        town.input(Input::Wake).expect("a quiet end");
        if always {
            town.checks.check_book_always();
        }
        // By a clock that is late, what is too old on the shelves would be fresh.
        town.now.unix = UnixTime(START) + age - Duration::from_secs(100);
        town.checks.clock.unix = town.now.unix;
        (1..300).find_map(|turns| {
            town.now.mono = town.now.mono + Duration::from_millis(1);
            town.checks.on_input(town.now, &Input::Wake);
            let breach = town.checks.on_outputs(town.now, &[], &town.engine).err()?;
            assert_eq!(breach.rule, Rule::Book, "{breach}");
            Some(turns)
        })
    };
    assert_eq!(turns_until_found(true), Some(1));
    assert!(turns_until_found(false).is_some_and(|turns| (1..=256).contains(&turns)));
}

#[test]
fn an_engine_that_is_never_done_is_found() {
    let mut forge = forge();
    // It was woken once already.
    for _ in 1..100 {
        forge.fine(Input::Wake, vec![]);
    }
    forge.breaks(Input::Wake, vec![], Rule::Bound, "woken 101 times");
}

#[test]
fn a_book_over_its_bound_is_found() {
    let mut town = town();
    town.checks = Checks::new(&config(|policy| policy.max_addresses = 16));
    let breach = town.run(Duration::from_secs(1)).expect_err("the engine keeps more");
    assert_eq!(breach.rule, Rule::Bound, "{breach}");
}

// ---- an engine that is meddled with ----

#[test]
fn an_engine_that_swallows_a_disconnect_is_caught() {
    let mut town = town();
    town.meddle = Some(Box::new(|_, outputs| {
        outputs.retain(|output| !matches!(output, Output::Disconnect { .. }));
    }));
    let breach = town.run(Duration::from_secs(60)).expect_err("surplus dials are given up");
    assert_eq!(breach.rule, Rule::Order, "{breach}");
    assert!(breach.text.contains("is said to have ended"), "{breach}");
}

#[test]
fn an_engine_that_dials_burned_addresses_is_caught() {
    let mut town = town();
    for node in 0..6 {
        town.nodes.insert(nth(node), super::town::Node::Refusing);
    }
    town.run(Duration::from_secs(60)).expect("whoever refuses burns, and is not dialled again");
    let burnt = (0..6).map(nth).find(|address| town.engine.book().is_burned(address));
    town.meddle = Some(Box::new(move |_, outputs| {
        for output in outputs {
            match (output, burnt) {
                (Output::Dial { address, .. }, Some(burnt)) => *address = burnt,
                (Output::Event(Event::Connecting { address, .. }), Some(burnt)) => {
                    *address = burnt;
                }
                _ => {}
            }
        }
    }));
    let peers = town.ready();
    let leaves = peers.iter().try_for_each(|(peer, _)| town.leave(*peer));
    let breach = leaves.expect_err("a burned address was dialled");
    assert_eq!(breach.rule, Rule::Burned, "{breach}");
}

#[test]
fn reasons_of_ours_never_burn() {
    let mut forge = forge();
    forge.ready(1, nth(1));
    let reason = DisconnectReason::Surplus;
    let (peer, address, state) = (PeerId(1), nth(1), PeerState::Ready);
    let told = event(Event::Disconnected { peer, address, state, reason });
    let outputs = vec![disconnect(1), told, burned(nth(1))];
    forge.breaks(Input::Wake, outputs, Rule::Outage, "has not failed");
}
