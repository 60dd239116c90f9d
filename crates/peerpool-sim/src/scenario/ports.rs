//! Ports: gossip that wants a port scanner of the pool, or a guest at somebody's mail server.

use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;

use super::bench::{self, Bench, Manner, PORT};
use super::{Expected, Failure, Figure, Outcome, Scenario, Setting};

pub(super) const PORT_SCAN: Scenario = Scenario {
    name: "a37-port-scan",
    row: "A37",
    says: "gossip names one victim's host on 10,000 ports, to a pool that needs peers; and other \
           hosts on port 0 and each of the 80 ports of other services that Core avoids",
    accepts: "of the victim no more is kept than the limit of ports of a host and the default one, \
              with at most 6 dials in the hour; of the others none is kept or dialled",
    expected: Expected::Pass,
    run: |setting| {
        let mut outcome = Outcome::new();
        scan(setting, &mut outcome)?;
        knock(setting, &mut outcome)?;
        Ok(outcome)
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Port 0, and the ports that `IsBadPort` of Core 28.1 lists.
const BAD_PORTS: [u16; 81] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6697, 10080,
];

fn scan(setting: &Setting, outcome: &mut Outcome) -> Result<(), Failure> {
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
    outcome.note_count("ports named", PORTS);
    outcome.demand_count("kept, burned ones included", kept, |kept| kept <= cap);
    outcome.demand("dials to the victim", Figure::Count(dials as u64), (1..=6).contains(&dials));
    Ok(())
}

/// Hosts on ports that are not for Bitcoin, and one more each on a port that may be.
fn knock(setting: &Setting, outcome: &mut Outcome) -> Result<(), Failure> {
    let seed = (0..4).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, Policy::default(), vec![seed])?;
    let at = |host: usize, port: u16| {
        let host_of = |(group, &bad): (usize, &u16)| {
            let ip = bench::ip(100 + group, host);
            Address { host: ip.into(), port: if port == 0 { bad } else { port } }
        };
        BAD_PORTS.iter().enumerate().map(host_of).collect::<Vec<Address>>()
    };
    // All refuse but the seed's, so that the pool goes on to need peers.
    let (bad, good) = (at(1, 0), at(2, PORT + 1));
    let refuse: Vec<Address> = bad.iter().chain(&good).copied().collect();
    let named = refuse.clone();
    bench.manner = Box::new(move |to| match refuse.contains(to) {
        true => Manner::Refuses,
        false => Manner::Honest,
    });
    bench.answer = Box::new(move |_, now| {
        named.iter().map(|address| bench::entry(*address, now, MINUTE)).collect()
    });
    bench.run_for(HOUR)?;
    let book = bench.engine.book();
    let known = |to: &&Address| book.source(to).is_some() || book.is_burned(to);
    let dials = |of: &[Address]| bench.dials.iter().filter(|(.., to)| of.contains(to)).count();
    let kept = bad.iter().filter(known).count();
    outcome.note_count("bad ports named", bad.len());
    outcome.demand_count("kept of them", kept, |kept| kept == 0);
    outcome.demand_count("dials to them", dials(&bad), |dials| dials == 0);
    let others = dials(&good);
    outcome.demand_count("dials to a good port of each netgroup", others, |it| it == good.len());
    Ok(())
}
