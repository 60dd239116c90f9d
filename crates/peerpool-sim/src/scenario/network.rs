//! Networks other than the plain internet: onions, and a pool that sees one network only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use peerpool_core::address::{Address, Host, Net};
use peerpool_core::event::Event;
use peerpool_core::policy::Policy;

use super::bench::{self, Bench, PORT};
use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const ONIONS: Scenario = Scenario {
    name: "a19-hostile-onions",
    row: "A19",
    says: "a pool with a proxy is told of 100 nodes of IPv4 and of 1000 onions, of which 900 are \
           hostile and name each other only",
    accepts: "it has onions among its peers, and at least two peers that are none; without a proxy \
              no onion is dialled",
    expected: Expected::Fail { why: "proxies" },
    run: run_onions,
};

pub(super) const ONE_NETWORK: Scenario = Scenario {
    name: "a19-one-network",
    row: "A19",
    says: "a pool has peers of IPv4 only, where another has IPv6, too",
    accepts: "it tells its user of that: an event whose name speaks of networks, and that the \
              other pool does not tell",
    expected: Expected::Fail { why: "an event where a network is left without a peer" },
    run: run_one_network,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn onion(number: u16) -> Address {
    let mut key = [0; 32];
    let [high, low] = number.to_be_bytes();
    // The first half byte is the netgroup.
    (key[0], key[1], key[2]) = (low << 4, high, low);
    Address { host: Host::Onion(key), port: PORT }
}

/// The same policy, with a proxy through which onions are dialled; `None`: there is no setting for
/// one yet. The one place to connect, the day there is.
const fn with_proxy(_policy: &Policy) -> Option<Policy> {
    None
}

fn run_onions(setting: &Setting) -> Result<Outcome, Failure> {
    const ONIONS: u16 = 1000;
    const HOSTILE: u16 = 900;
    let seed = (0..4).map(|group| bench::ip(group, 1)).collect();
    let proxied = with_proxy(&Policy::default());
    let proxies = usize::from(proxied.is_some());
    let mut bench = Bench::new(setting.seed, proxied.unwrap_or_default(), vec![seed])?;
    let hostile: BTreeSet<Address> = (0..HOSTILE).map(onion).collect();
    let allies = hostile.clone();
    bench.answer = Box::new(move |to, now| {
        // A message has room for all of IPv4, the honest onions, and 800 others.
        let onions = (0..ONIONS).rev().map(onion);
        let ipv4 = (0..100).map(|group| bench::address(100 + group, 1));
        let named: Vec<Address> = match allies.contains(to) {
            true => allies.iter().copied().collect(),
            false => ipv4.chain(onions).collect(),
        };
        named.into_iter().take(1000).map(|at| bench::entry(at, now, MINUTE)).collect()
    });
    bench.run_for(HOUR)?;
    let ready = bench.ready();
    let is_onion = |address: &Address| address.net() == Net::Onion;
    let onions = ready.iter().filter(|(_, address)| is_onion(address)).count();
    let dialled = bench.dials.iter().filter(|(.., to)| is_onion(to)).count();
    let beside = if proxies == 0 { dialled } else { 0 };
    let mut outcome = Outcome::new();
    outcome.demand_count("pools with a proxy", proxies, |proxies| proxies == 1);
    outcome.demand_count("onions among the peers", onions, |onions| onions > 0);
    outcome.note_count("hostile ones", ready.iter().filter(|it| hostile.contains(&it.1)).count());
    outcome.demand_count("other peers", ready.len() - onions, |others| others >= 2);
    outcome.demand_count("onions dialled without a proxy", beside, |beside| beside == 0);
    Ok(outcome)
}

/// Whether an event speaks of networks, by its name: of those that there are, none does.
fn speaks_of_networks(event: &Event) -> bool {
    let words = ["net", "nets", "network", "networks"];
    event.as_str().split('_').any(|word| words.contains(&word))
}

/// On how many networks a pool has peers whose seed names these, and what events it tells that
/// speak of networks.
fn told(setting: &Setting, seed: Vec<IpAddr>) -> Result<(usize, BTreeSet<&'static str>), Failure> {
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![seed])?;
    bench.run_for(HOUR)?;
    let nets: BTreeSet<Net> = bench.ready().iter().map(|(_, address)| address.net()).collect();
    let told = bench.events.iter().filter(|event| speaks_of_networks(event));
    Ok((nets.len(), told.map(Event::as_str).collect()))
}

fn run_one_network(setting: &Setting) -> Result<Outcome, Failure> {
    let ipv4 = || (0..4).map(|group| bench::ip(group, 1));
    let others = (4..8).map(|group| bench::ip(group, 1));
    let ipv6 = (0..4_u16).map(|group| [0x2a01, 0x100 + group, 0, 0, 0, 0, 0, 1].into());
    let (one, alone) = told(setting, ipv4().chain(others).collect())?;
    let (two, both) = told(setting, ipv4().chain(ipv6).collect())?;
    let mut outcome = Outcome::new();
    outcome.demand_count("networks of the one pool", one, |nets| nets == 1);
    outcome.demand_count("networks of the other", two, |nets| nets == 2);
    let more = alone.difference(&both).count();
    outcome.demand_count("events of it that only the one tells", more, |more| more > 0);
    Ok(outcome)
}
