//! Networks other than the plain internet: onions, and a pool that sees one network only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use peerpool_core::address::{Address, Host, Net};
use peerpool_core::policy::Policy;

use super::bench::{self, Bench, PORT};
use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const ONIONS: Scenario = Scenario {
    name: "a19-hostile-onions",
    row: "A19",
    says: "peers gossip 900 onions and 100 nodes of IPv4",
    accepts: "the pool has onions among its peers, and at least two that are none",
    expected: Expected::Fail { why: "proxies" },
    run: run_onions,
};

pub(super) const ONE_NETWORK: Scenario = Scenario {
    name: "a19-one-network",
    row: "A19",
    says: "a pool has peers of IPv4 only, where another has IPv6, too",
    accepts: "it tells its user of that: an event that the other pool does not tell",
    expected: Expected::Fail { why: "an event for slots that are all on one network" },
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

fn run_onions(setting: &Setting) -> Result<Outcome, Failure> {
    const ONIONS: u16 = 900;
    let seed = (0..4).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![seed])?;
    bench.answer = Box::new(|_, now| {
        let ipv4 = (0..100).map(|group| bench::address(100 + group, 1));
        ipv4.chain((0..ONIONS).map(onion)).map(|at| bench::entry(at, now, MINUTE)).collect()
    });
    bench.run_for(HOUR)?;
    let ready = bench.ready();
    let onions = ready.iter().filter(|(_, address)| address.net() == Net::Onion).count();
    let all: Vec<Address> = (0..ONIONS).map(onion).collect();
    let mut outcome = Outcome::new();
    outcome.demand_count("onions among the peers", onions, |onions| onions > 0);
    outcome.demand_count("other peers", ready.len() - onions, |others| others >= 2);
    outcome.note_count("onions in the book", bench::stored(&bench.engine, &all));
    Ok(outcome)
}

/// What kinds of event a full pool tells whose seed names these.
fn told(setting: &Setting, seed: Vec<IpAddr>) -> Result<(usize, BTreeSet<&'static str>), Failure> {
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![seed])?;
    bench.run_for(HOUR)?;
    let nets: BTreeSet<Net> = bench.ready().iter().map(|(_, address)| address.net()).collect();
    Ok((nets.len(), bench.events.iter().map(|event| event.as_str()).collect()))
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
    outcome.demand_count("events that only the one tells", more, |more| more > 0);
    Ok(outcome)
}
