//! What a peer can learn of the pool: addresses it knows, and where it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::wire::Control;

use super::bench::{self, Bench, PLACED_PERCENT};
use super::{Expected, Failure, Outcome, Scenario, Setting};
use crate::world::START;

pub(super) const FINGERPRINT: Scenario = Scenario {
    name: "a9-addr-fingerprint",
    row: "A9",
    says: "a dialled peer sends getaddr 100 times to a pool that knows 1000 addresses",
    accepts: "no address is told, and so no time. (That times of addresses in the files which the \
              pool exports are a day coarse is shown by the tests of those files, and not here.)",
    expected: Expected::Pass,
    run: |setting| {
        let mut bench = planted(setting, 1000)?;
        let peers = bench.ready();
        let Some(&(peer, _)) = peers.first() else {
            return Err(Failure::Stage("no peer".to_owned()));
        };
        ask(&mut bench, peer, 100)?;
        Ok(told(&bench, 1000))
    },
};

pub(super) const COOKIE: Scenario = Scenario {
    name: "a10-planted-addresses",
    row: "A10",
    says: "a peer plants 100 addresses that nobody else names; all peers ask for addresses, on the \
           same network (to plant through a proxy and ask beside it takes proxies)",
    accepts: "none is told, and so none of the planted ones",
    expected: Expected::Pass,
    run: |setting| {
        let mut bench = planted(setting, 100)?;
        for (peer, _) in bench.ready() {
            ask(&mut bench, peer, 1)?;
        }
        Ok(told(&bench, 100))
    },
};

pub(super) const VERSION: Scenario = Scenario {
    name: "a11-version-leaks",
    row: "A11",
    says: "1000 version messages of a pool whose own address is known to it are read",
    accepts: "addr_from is zero, each nonce is new, the own address is nowhere in them, the user \
              agent is the one it was given, the height is 0 and the time its own clock's",
    expected: Expected::Pass,
    run: run_version,
};

const MINUTE: Duration = Duration::from_secs(60);

/// The `number`th planted address.
fn plant(number: usize) -> Address {
    bench::address(1000 + number, 7)
}

/// A full pool, one of whose peers has planted so many addresses.
fn planted(setting: &Setting, count: usize) -> Result<Bench, Failure> {
    let seed = (0..12).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![seed])?;
    let mut done = false;
    bench.answer = Box::new(move |_, now| {
        if std::mem::replace(&mut done, true) {
            return Vec::new();
        }
        (0..count).map(|number| bench::entry(plant(number), now, MINUTE)).collect()
    });
    bench.run_for(MINUTE)?;
    Ok(bench)
}

fn ask(bench: &mut Bench, peer: PeerId, times: usize) -> Result<(), Failure> {
    for _ in 0..times {
        bench.input(Input::Control { peer, message: Control::GetAddr })?;
        bench.run_for(MINUTE / 60)?;
    }
    Ok(())
}

fn told(bench: &Bench, planted: usize) -> Outcome {
    let planted: Vec<Address> = (0..planted).map(plant).collect();
    let mut outcome = Outcome::new();
    let known = bench::stored(&bench.engine, &planted);
    outcome.demand_count("planted addresses in the book", known, |known| {
        known >= planted.len() * PLACED_PERCENT / 100
    });
    outcome.demand_count("addresses told", bench.told.len(), |told| told == 0);
    outcome
}

fn run_version(setting: &Setting) -> Result<Outcome, Failure> {
    const OWN: [u8; 4] = [99, 88, 77, 66];
    let count = setting.of(1000, 100);
    // Some find no place in the tables, whatever the key. One seed may not name so many.
    let each = count * 5 / 8;
    let policy =
        Policy { target_connect_count: count, max_seed_addresses: each, ..Policy::default() };
    let seed = |nth: usize| (0..each).map(|group| bench::ip(nth * each + group, 1)).collect();
    let mut bench = Bench::new(setting.seed, policy, vec![seed(0), seed(1)])?;
    bench.local = Some(IpAddr::V4(Ipv4Addr::from(OWN)));
    bench.run_for(MINUTE * 2)?;
    let (mut from_zero, mut without_own, mut agent, mut plain) = (0, 0, 0, 0);
    let mut nonces = BTreeSet::new();
    for (receiver, version) in &bench.greetings {
        let message = Control::Version(Box::new(version.clone()));
        let bytes = message.encode(Magic::BITCOIN.to_bytes(), Some(*receiver));
        let version = read_version(&bytes)?;
        from_zero += usize::from(version.sender.address == [0; 8] && version.sender.port == 0);
        without_own += usize::from(!bytes.windows(OWN.len()).any(|window| window == OWN));
        agent += usize::from(version.user_agent == bench::USER_AGENT);
        let late = version.timestamp.abs_diff(START.0 as i64);
        let silent = version.services == ServiceFlags::NONE && version.start_height == 0;
        plain += usize::from(silent && late <= 120);
        nonces.insert(version.nonce);
    }
    let all = |share: f64| share >= 1.0;
    let sent = bench.greetings.len();
    let mut outcome = Outcome::new();
    outcome.demand_count("versions read", sent, |sent| sent >= count);
    outcome.demand_share("with addr_from zero", from_zero, sent, all);
    outcome.demand_share("with a nonce of their own", nonces.len(), sent, all);
    outcome.demand_share("without the own address", without_own, sent, all);
    outcome.demand_share("with the user agent given", agent, sent, all);
    outcome.demand_share("with height 0, no services, our own time", plain, sent, all);
    Ok(outcome)
}

/// Reads a version with a codec that is not the pool's.
fn read_version(frame: &[u8]) -> Result<VersionMessage, Failure> {
    let message: RawNetworkMessage = deserialize(frame).map_err(|error| error.to_string())?;
    match message.into_payload() {
        NetworkMessage::Version(version) => Ok(version),
        other => Err(Failure::Stage(format!("a {} is no version", other.cmd()))),
    }
}
