//! Ports: gossip that wants a port scanner of the pool.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;

use super::bench::{self, Bench, Manner};
use super::{Expected, Failure, Figure, Outcome, Scenario, Setting};

pub(super) const PORT_SCAN: Scenario = Scenario {
    name: "a37-port-scan",
    row: "A37",
    says: "gossip names one victim's host on 10,000 ports, to a pool that needs peers",
    accepts: "no more is kept than the limit of ports of a host and the default one; at most 6 \
              dials in the hour",
    expected: Expected::Pass,
    run: run_port_scan,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn run_port_scan(setting: &Setting) -> Result<Outcome, Failure> {
    const PORTS: usize = 10_000;
    const GOSSIPS: usize = 20;
    // One more than there are peers, so that it goes on dialling.
    let policy = Policy { target_connect_count: GOSSIPS + 1, ..Policy::default() };
    let cap = policy.max_ports_per_host + 1;
    let seed = (0..GOSSIPS).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, policy, vec![seed])?;
    let victim = bench::ip(99, 1);
    let group = NetGroup::of(&victim.into());
    bench.manner =
        Box::new(
            move |to| {
                if NetGroup::of(&to.host) == group { Manner::Silent } else { Manner::Honest }
            },
        );
    let at_port = move |port: u16| Address { host: victim.into(), port };
    // The default port among them, and those of other services.
    let ports = 1..=PORTS as u16;
    let named = ports.clone();
    let mut asked = 0;
    bench.answer = Box::new(move |_, now| {
        let from = asked * 1000 % PORTS;
        asked += 1;
        let some = named.clone().skip(from).take(1000);
        some.map(|port| bench::entry(at_port(port), now, MINUTE)).collect()
    });
    bench.run_for(HOUR)?;
    let book = bench.engine.book();
    let known = |to: &Address| book.source(to).is_some() || book.is_burned(to);
    let kept = ports.map(at_port).filter(known).count();
    let dials = bench.dials.iter().filter(|(.., to)| to.host == victim.into()).count();
    let mut outcome = Outcome::new();
    outcome.note_count("ports named", PORTS);
    outcome.demand_count("kept, burned ones included", kept, |kept| kept <= cap);
    outcome.demand("dials to the victim", Figure::Count(dials as u64), (1..=6).contains(&dials));
    Ok(outcome)
}
