//! Numbers that run out. The pool's own count of peers cannot be begun elsewhere from outside, so
//! it is watched from its start; leases are numbered by the caller, so theirs can be any.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::event::Event;
use peerpool_core::id::{LeaseId, PeerId};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;

use super::bench::{self, Bench, Manner};
use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const COUNTER: Scenario = Scenario {
    name: "a8-counter-overflow",
    row: "A8",
    says: "2000 dials are made; 96 leases have numbers around 2^32 and 2^64, or such as differ in \
           their upper half only, and most must wait (the pool's own count of peers begins at its \
           start: nothing outside can begin it near its end)",
    accepts: "no dial has the number of another, and numbers have 64 bits; each lease is granted \
              once, and given back once by the peer that it was granted for",
    expected: Expected::Pass,
    run: |setting| {
        let mut outcome = Outcome::new();
        dial(setting, &mut outcome)?;
        lease(setting, &mut outcome)?;
        Ok(outcome)
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn dial(setting: &Setting, outcome: &mut Outcome) -> Result<(), Failure> {
    const DIALS: usize = 2000;
    let policy = Policy { max_seed_addresses: 1000, ..Policy::default() };
    let seed = |from: usize| (from..from + 1000).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, policy, vec![seed(0), seed(1000)])?;
    // One that answers, or nothing burns.
    bench.manner =
        Box::new(|to| if *to == bench::address(0, 1) { Manner::Honest } else { Manner::Refuses });
    bench.run_for(HOUR)?;
    // Whoever was not dialled is nobody, whatever the number.
    for number in [u64::from(u32::MAX), u64::MAX].map(|top| top - 10) {
        for peer in (0..100).map(|past: u64| PeerId(number.wrapping_add(past))) {
            bench.input(Input::Progress { peer })?;
            bench.input(Input::Connected { peer, local: None })?;
        }
    }
    let numbers: BTreeSet<PeerId> = bench.dials.iter().map(|(_, peer, _)| *peer).collect();
    outcome.demand_count("dials", bench.dials.len(), |dials| dials >= DIALS);
    let again = bench.dials.len() - numbers.len();
    outcome.demand_count("numbers used again", again, |again| again == 0);
    let bits = 8 * size_of::<PeerId>();
    outcome.demand_count("bits of a number", bits, |bits| bits >= 64);
    Ok(())
}

/// Numbers around 2^32 and up to 2^64, and from 0 on: of the latter and those from 2^32 on, each
/// two differ in their upper half only.
fn numbers() -> BTreeSet<LeaseId> {
    const HALF: u64 = 1 << 32;
    let ranges = [0..=31, HALF - 16..=HALF + 31, u64::MAX - 15..=u64::MAX];
    ranges.into_iter().flatten().map(LeaseId).collect()
}

fn lease(setting: &Setting, outcome: &mut Outcome) -> Result<(), Failure> {
    // Room for one lease in three.
    let policy = Policy { target_connect_count: 2, ..Policy::default() };
    let room = policy.target_connect_count * policy.slots_per_peer;
    let seed = (0..2).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, policy, vec![seed])?;
    bench.run_for(MINUTE)?;
    let numbers = numbers();
    for &lease in &numbers {
        bench.input(Input::Lease { lease, require: Require::any(), wait: true })?;
    }
    let at_once = bench.grants.len();
    // Those that are granted first go first, and so the others come in.
    let mut released = 0;
    while let Some(&(lease, _)) = bench.grants.get(released) {
        bench.input(Input::Release { lease })?;
        released += 1;
    }
    let granted: BTreeMap<LeaseId, PeerId> = bench.grants.iter().copied().collect();
    let given_back = bench.events.iter().filter_map(|event| match event {
        Event::Released { lease, peer } => Some((*lease, *peer)),
        _ => None,
    });
    let given_back: Vec<_> = given_back.collect();
    let same = given_back == bench.grants && granted.keys().eq(&numbers);
    outcome.demand_count("leases granted at once", at_once, |count| count == room);
    let all = |count| count == numbers.len();
    outcome.demand_count("leases granted, each once", granted.len(), all);
    outcome.demand_count("grants in all", bench.grants.len(), all);
    let count = if same { given_back.len() } else { 0 };
    outcome.demand_count("given back by whom they were granted for", count, all);
    let left = bench.status().leases + bench.status().waiters + bench.refusals.len();
    outcome.demand_count("leases left, waiting or refused", left, |left| left == 0);
    Ok(())
}
