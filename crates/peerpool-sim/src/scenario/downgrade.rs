//! The encrypted transport (BIP324), and attempts to talk the pool out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::policy::Policy;
use peerpool_core::wire::AddrEntry;

use super::bench::{self, Bench, First, Manner};
use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const V2_OFFERED: Scenario = Scenario {
    name: "a18-v2-offered",
    row: "A18",
    says: "gossip says of 100 nodes that they speak v2; the pool dials some",
    accepts: "at least 95 % of its connections to them that get as far as first bytes begin with a \
              key of BIP324",
    expected: Expected::Fail { why: "v2 transport" },
    run: run_v2_offered,
};

pub(super) const V2_RESET: Scenario = Scenario {
    name: "a21-v2-reset",
    row: "A21",
    says: "somebody on the path resets every connection at its first bytes",
    accepts: "each attempt is two connections, in this order: one that begins with a key of BIP324, \
              one that begins with a version in the clear",
    expected: Expected::Fail { why: "v2 transport" },
    run: run_v2_reset,
};

pub(super) const REQUIRE_V2: Scenario = Scenario {
    name: "a21-require-v2",
    row: "A21",
    says: "the same to a pool that is told to take v2 only",
    accepts: "there is such a setting; connections begin with a key of BIP324, and none with a \
              version in the clear",
    expected: Expected::Fail { why: "v2 transport" },
    run: run_require_v2,
};

const MINUTE: Duration = Duration::from_secs(60);

fn run_v2_offered(setting: &Setting) -> Result<Outcome, Failure> {
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![vec![bench::ip(0, 1)]])?;
    let speaks = |address: &Address| *address != bench::address(0, 1);
    bench.answer = Box::new(|_, now| {
        let entry = |group: usize| {
            let entry = bench::entry(bench::address(100 + group, 1), now, MINUTE);
            AddrEntry { services: entry.services | ServiceFlags::P2P_V2, ..entry }
        };
        (0..100).map(entry).collect()
    });
    bench.run_for(MINUTE)?;
    let firsts = bench.firsts.iter().filter(|(to, _)| speaks(to));
    let (begun, keys) =
        (firsts.clone().count(), firsts.filter(|(_, it)| *it == First::Key).count());
    let mut outcome = Outcome::new();
    outcome.demand_count("connections to them", begun, |begun| begun > 0);
    outcome.demand_share("that began with a key", keys, begun, |share| share >= 0.95);
    Ok(outcome)
}

/// A bench on which every connection is reset at its first bytes, after ten minutes. One node is
/// spared, or nothing would show that the network is up.
fn reset(setting: &Setting, policy: Policy) -> Result<Bench, Failure> {
    let seed = (0..20).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, policy, vec![seed])?;
    bench.manner = Box::new(|to| if is_spared(to) { Manner::Honest } else { Manner::Resets });
    bench.run_for(MINUTE * 10)?;
    Ok(bench)
}

fn is_spared(address: &Address) -> bool {
    *address == bench::address(0, 1)
}

fn run_v2_reset(setting: &Setting) -> Result<Outcome, Failure> {
    let bench = reset(setting, Policy::default())?;
    // Whoever fails is burned, so each address has one attempt.
    let mut attempts: BTreeMap<Address, Vec<First>> = BTreeMap::new();
    for (to, first) in bench.firsts.iter().filter(|(to, _)| !is_spared(to)) {
        attempts.entry(*to).or_default().push(*first);
    }
    let right = attempts.values().filter(|firsts| **firsts == [First::Key, First::Clear]);
    let most = attempts.values().map(Vec::len).max().unwrap_or(0);
    let mut outcome = Outcome::new();
    outcome.demand_count("attempts", attempts.len(), |attempts| attempts > 0);
    outcome.note_count("most connections of one attempt", most);
    outcome.demand_share("v2 first, and v1 once", right.count(), attempts.len(), |it| it >= 1.0);
    Ok(outcome)
}

fn run_require_v2(setting: &Setting) -> Result<Outcome, Failure> {
    let mut policy = Policy::default();
    let settings = usize::from(policy.set("require_v2", "1").is_some_and(|set| set.is_ok()));
    let bench = reset(setting, policy)?;
    let mut outcome = Outcome::new();
    outcome.demand_count("settings that require v2", settings, |settings| settings == 1);
    let began = |with: First| bench.firsts.iter().filter(|(_, it)| *it == with).count();
    outcome.demand_count("began with a key", began(First::Key), |keys| keys > 0);
    outcome.demand_count("began in the clear", began(First::Clear), |clear| clear == 0);
    Ok(outcome)
}
