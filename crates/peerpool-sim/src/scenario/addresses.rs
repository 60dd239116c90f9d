//! What peers tell of addresses: floods, repeated answers, what nobody wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use peerpool_core::address::{Address, Host};
use peerpool_core::banned::{Subnet, SubnetError};
use peerpool_core::book::Source;
use peerpool_core::event::Event;
use peerpool_core::id::PeerId;
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::AddrEntry;

use super::bench::{self, Bench, PLACED_PERCENT, PORT, stored};
use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const FLOOD: Scenario = Scenario {
    name: "a7-address-flood",
    row: "A7",
    says: "the one peer of a pool without extras has answered getaddr with 1000 addresses, and \
           sends 500 messages of ten more within a minute",
    accepts: "of the answer as many are kept as find a free place, at most 1 + 6 of those, and the \
              book grows by no more (work and memory are measured in threats.md)",
    expected: Expected::Pass,
    run: run_flood,
};

pub(super) const POISONING: Scenario = Scenario {
    name: "a13-getaddr-poisoning",
    row: "A13",
    says: "100 connections to one hostile /16 answer getaddr with 1000 addresses each",
    accepts: "at most 1000 and its own are taken of each, and at most 4096 of all are kept",
    expected: Expected::Pass,
    run: run_poisoning,
};

pub(super) const PRIVATE_ADDRESS: Scenario = Scenario {
    name: "a20-private-address",
    row: "A20",
    says: "a peer gossips 10.1.1.71:8333, as LinkingLion's nodes do",
    accepts: "it is not stored",
    expected: Expected::Pass,
    run: |setting| {
        let mut bench = Bench::new(setting.seed, Policy::default(), vec![vec![bench::ip(0, 1)]])?;
        bench.run_for(SECOND)?;
        let private = Address { host: Host::Ipv4(Ipv4Addr::new(10, 1, 1, 71)), port: PORT };
        let public = bench::address(1, 1);
        let (now, age) = (bench.now().unix, Duration::ZERO);
        let entries = [private, public].map(|address| bench::entry(address, now, age));
        let peer = only_peer(&bench)?;
        bench.gossip(peer, entries.to_vec())?;
        bench.run_for(MINUTE)?;
        let mut outcome = Outcome::new();
        let none = |count| count == 0;
        outcome.demand_count("private addresses stored", stored(&bench.engine, &[private]), none);
        let dialled = bench.dials.iter().filter(|(.., to)| *to == private).count();
        outcome.demand_count("dials to them", dialled, none);
        let heard = stored(&bench.engine, &[public]);
        outcome.demand_count("addresses stored of the same message", heard, |count| count == 1);
        Ok(outcome)
    },
};

pub(super) const DENY_LIST: Scenario = Scenario {
    name: "a20-deny-list",
    row: "A20",
    says: "peers gossip nodes in three /24 and one /32 that the user bans, for 24 h",
    accepts: "no dial to them, and all of them are bans; once they end, they are dialled",
    expected: Expected::Pass,
    run: run_deny_list,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The one ready peer.
fn only_peer(bench: &Bench) -> Result<PeerId, Failure> {
    match bench.ready()[..] {
        [(peer, _)] => Ok(peer),
        ref ready => Err(Failure::Stage(format!("{} peers ready, not one", ready.len()))),
    }
}

/// So many addresses of gossip, from number `from` on, seen a minute ago.
fn batch(from: usize, count: usize, now: UnixTime) -> Vec<AddrEntry> {
    (from..from + count).map(|number| bench::entry(nth(number), now, MINUTE)).collect()
}

/// Any number of addresses, none in the first 100 netgroups.
fn nth(number: usize) -> Address {
    const GROUPS: usize = bench::GROUPS - 100;
    bench::address(100 + number % GROUPS, 1 + number / GROUPS)
}

fn run_flood(setting: &Setting) -> Result<Outcome, Failure> {
    const MESSAGES: usize = 500;
    const EACH: usize = 10;
    const ANSWERED: usize = 1000;
    /// What the ration of gossip allows in a minute, and one at the start.
    const RATION: usize = 1 + 6;
    let policy = Policy { target_connect_count: 1, ..Policy::bare() };
    let mut bench = Bench::new(setting.seed, policy, vec![vec![bench::ip(0, 1)]])?;
    bench.answer = Box::new(|_, now| batch(0, ANSWERED, now));
    bench.run_for(SECOND)?;
    let peer = only_peer(&bench)?;
    let before = bench.events.len();
    for message in 0..MESSAGES {
        bench.run_for(MINUTE / MESSAGES as u32)?;
        let now = bench.now().unix;
        bench.gossip(peer, batch(ANSWERED + message * EACH, EACH, now))?;
    }
    let addresses = |range: std::ops::Range<usize>| range.map(nth).collect::<Vec<_>>();
    let mut outcome = Outcome::new();
    let answer = stored(&bench.engine, &addresses(0..ANSWERED));
    let placed = ANSWERED * PLACED_PERCENT / 100;
    outcome.demand_count("kept of the answer", answer, |kept| kept >= placed);
    let flood = stored(&bench.engine, &addresses(ANSWERED..ANSWERED + MESSAGES * EACH));
    outcome.demand_count("kept of the flood", flood, |kept| kept <= RATION);
    // With the one that the seed named.
    let book = bench.engine.book().len() + bench.status().known.burned;
    outcome.demand_count("addresses in the book", book, |book| book <= 1 + ANSWERED + RATION);
    let told = bench.events[before..].iter().filter(|it| matches!(it, Event::Gossip { .. }));
    outcome.note_count("events told of it", told.count());
    Ok(outcome)
}

fn run_poisoning(setting: &Setting) -> Result<Outcome, Failure> {
    const EACH: usize = 1000;
    let connections = setting.of(100, 10);
    // The user's own, since of one netgroup the pool itself dials one at a time.
    let policy = Policy { target_connect_count: connections, ..Policy::default() };
    let mut bench = Bench::new(setting.seed, policy, Vec::new())?;
    let mut answered = 0;
    bench.answer = Box::new(move |_, now| {
        answered += 1;
        batch((answered - 1) * EACH, EACH, now)
    });
    let hostile: Vec<Address> = (1..=connections).map(|host| bench::address(0, host)).collect();
    for address in &hostile {
        bench.input(Input::AddManual(*address))?;
    }
    bench.run_for(MINUTE)?;
    let offered: Vec<Address> = (0..connections * EACH).map(nth).collect();
    let mut of_each: BTreeMap<Source, usize> = BTreeMap::new();
    for source in offered.iter().filter_map(|address| bench.engine.book().source(address)) {
        *of_each.entry(source).or_default() += 1;
    }
    let mut outcome = Outcome::new();
    outcome.note_count("connections", connections);
    outcome.note_count("addresses offered", offered.len());
    let most = of_each.values().copied().max().unwrap_or(0);
    outcome.demand_count("most kept of one connection", most, |most| most <= EACH + 1);
    let kept = of_each.values().sum();
    outcome.demand_count("kept of all", kept, |kept| kept <= 4096);
    Ok(outcome)
}

fn run_deny_list(setting: &Setting) -> Result<Outcome, Failure> {
    const DENIED: [&str; 4] = ["11.200.1.0/24", "11.201.1.0/24", "11.202.1.0/24", "2a01:1234::/32"];
    let host = |number: u8| -> [IpAddr; 4] {
        let ipv4 = |second| IpAddr::from(Ipv4Addr::new(11, second, 1, number));
        let ipv6 = Ipv6Addr::new(0x2a01, 0x1234, 0, 0, 0, 0, 0, number.into());
        [ipv4(200), ipv4(201), ipv4(202), ipv6.into()]
    };
    let denied: BTreeSet<Host> = (1..=60).flat_map(host).map(Host::from).collect();
    let seeds = vec![vec![bench::ip(0, 1)]];
    let mut bench = Bench::new(setting.seed, Policy::default(), seeds)?;
    let until = bench.now().unix + HOUR * 24;
    for text in DENIED {
        let subnet: Subnet = text.parse().map_err(|error: SubnetError| error.to_string())?;
        bench.input(Input::Ban { subnet, until })?;
    }
    let named = denied.clone();
    bench.answer = Box::new(move |_, now| {
        let address = |host: &Host| Address { host: *host, port: PORT };
        named.iter().map(|host| bench::entry(address(host), now, MINUTE)).collect()
    });
    let bans = bench.status().bans;
    bench.run_for(HOUR * 24 - SECOND)?;
    let dials =
        |bench: &Bench| bench.dials.iter().filter(|(.., to)| denied.contains(&to.host)).count();
    let while_banned = dials(&bench);
    // Peers leave, so that others tell of them once more.
    for _ in 0..3 {
        for (peer, _) in bench.ready() {
            bench.leave(peer)?;
        }
        bench.run_for(MINUTE * 10)?;
    }
    let mut outcome = Outcome::new();
    outcome.demand_count("networks banned", bans, |bans| bans == DENIED.len());
    outcome.demand_count("dials to banned networks", while_banned, |dials| dials == 0);
    outcome.demand_count("dials once they are not", dials(&bench), |dials| dials > 0);
    Ok(outcome)
}
