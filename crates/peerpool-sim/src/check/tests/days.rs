//! The real engine through random days: no rule is broken.

use std::collections::BTreeMap;
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::banned::Subnet;
use peerpool_core::id::{DisconnectReason, LeaseId, LinkFault};
use peerpool_core::io::Input;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::wire::{AddrEntry, Control};

use super::town::{Node, SERVICES, Town, address, config, nth};
use crate::check::Breach;

const KINDS: [Node; 12] = [
    Node::Alive,
    Node::Alive,
    Node::Alive,
    Node::Alive,
    Node::Alive,
    Node::Refusing,
    Node::Silent,
    Node::Mute,
    Node::Rude,
    Node::Poor,
    Node::Unreachable,
    Node::Itself,
];

fn secs(n: usize) -> Duration {
    Duration::from_secs(n as u64)
}

fn draw_policy(policy: &mut Policy, rng: &mut Rng) {
    policy.target_connect_count = 1 + rng.below(8);
    policy.max_dials = 1 + rng.below(20);
    policy.max_dials_per_netgroup = 1 + rng.below(2);
    policy.max_addr_fetch = rng.below(3);
    policy.slots_per_peer = 1 + rng.below(2);
    policy.max_waiters = 1 + rng.below(3);
    if rng.chance(0.3) {
        policy.inactivity = secs(30 + rng.below(200));
    }
    if rng.chance(0.5) {
        policy.max_address_age = secs(300 + rng.below(3000));
        policy.burn_memory = secs(100 + rng.below(5000));
        policy.experience_age = secs(3600 + rng.below(100_000));
        policy.backoff_min = secs(1 + rng.below(60));
        policy.backoff_max = secs(60 + rng.below(1000));
        policy.addr_fetch_interval = secs(600 + rng.below(10_000));
        policy.max_burned = 16 + rng.below(16);
        policy.max_addresses = 16 + rng.below(100);
        policy.max_failures = 1 + rng.below(10);
        policy.max_bans = 1 + rng.below(4);
        policy.max_discouraged = 16;
        policy.discourage_memory = secs(60 + rng.below(5000));
        policy.useless_memory = secs(60 + rng.below(600));
    }
}

struct Day {
    town: Town,
    rng: Rng,
    nodes: usize,
    leases: u64,
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed);
        let nodes = 3 + rng.below(80);
        let config = config(|policy| draw_policy(policy, &mut rng));
        let mut town = Town::new(config, seed);
        town.latency = Duration::from_millis(1 + rng.below(600) as u64);
        town.seeded = (0..rng.below(40)).filter_map(|n| nth(n % nodes).host.ip()).collect();
        let ages = |rng: &mut Rng| secs(rng.below(20_000));
        town.gossip = (0..rng.below(30)).map(|n| (nth(n % nodes), ages(&mut rng))).collect();
        let mut day = Self { town, rng, nodes, leases: 0 };
        (0..nodes).for_each(|n| day.turn(n));
        day
    }

    fn turn(&mut self, n: usize) {
        let kind = KINDS[self.rng.below(KINDS.len())];
        self.town.nodes.insert(nth(n), kind);
    }

    /// A node, another port of its host, or another host in its netgroup.
    fn relative(&mut self) -> Address {
        let node = nth(self.rng.below(self.nodes));
        match self.rng.below(4) {
            0 => Address { port: 9000 + self.rng.below(6) as u16, ..node },
            1 => address(&node.host.to_string().replace(".1.1", ".2.2")),
            2 => [address("10.0.0.1"), Address { port: 0, ..node }][self.rng.below(2)],
            _ => node,
        }
    }

    fn fault(&mut self) -> Result<(), Breach> {
        let ready = self.town.ready();
        let one = if ready.is_empty() { None } else { Some(ready[self.rng.below(ready.len())]) };
        match (self.rng.below(13), one) {
            (0 | 1, _) => {
                let n = self.rng.below(self.nodes);
                self.turn(n);
            }
            (2, _) if self.rng.chance(0.3) => {
                for (peer, _) in ready {
                    self.town.leave(peer)?;
                }
            }
            (3, Some((peer, _))) => self.town.leave(peer)?,
            (4, Some((peer, _))) => {
                let entries = (0..self.rng.below(8)).map(|_| AddrEntry {
                    time: self.town.now.unix - secs(self.rng.below(12_000)),
                    services: SERVICES,
                    address: self.relative(),
                });
                let message = Control::Addr(entries.collect());
                self.town.input(Input::Control { peer, message })?;
            }
            (5, _) => {
                self.leases += 1;
                let lease = LeaseId(self.leases);
                let wait = self.rng.chance(0.7);
                self.town.input(Input::Lease { lease, require: Require::any(), wait })?;
                let lease = LeaseId(1 + self.rng.below(self.leases as usize) as u64);
                self.town.input(Input::Release { lease })?;
            }
            (6, _) if self.rng.chance(0.2) => {
                let named = self.relative();
                self.town.input(Input::AddManual(named))?;
            }
            (7, _) if self.rng.chance(0.2) => {
                self.town.set_up(false);
                let span = Duration::from_millis(self.rng.below(400_000) as u64);
                self.town.run(span)?;
                self.town.set_up(true);
            }
            (8, Some((peer, _))) => self.town.input(Input::Progress { peer })?,
            (9, _) if self.rng.chance(0.05) => {
                self.town.unix_error = self.rng.below(20_000) as i64 - 10_000;
            }
            (10, _) if self.rng.chance(0.3) => {
                let host = self.relative().host;
                let prefix = [8, 16, 24, 32][self.rng.below(4)];
                let subnet = Subnet::new(host, prefix).unwrap_or_else(|_| Subnet::of(host));
                let until = self.town.now.unix + secs(self.rng.below(2_000));
                self.town.input(Input::Ban { subnet, until })?;
                if self.rng.chance(0.3) {
                    self.town.input(Input::Unban { subnet })?;
                }
            }
            (11, Some((peer, address))) => {
                let kinds = [Misbehavior::InvalidData, Misbehavior::Useless];
                let misbehavior = kinds[self.rng.below(2)];
                let reason = "as drawn".to_owned();
                self.town.input(Input::Report { peer, address, misbehavior, reason })?;
            }
            (12, Some((peer, _))) if self.rng.chance(0.5) => {
                let faults = [LinkFault::TooMany, LinkFault::BadMagic, LinkFault::Flood];
                let fault = faults[self.rng.below(3)];
                self.town.end(peer, DisconnectReason::Fault(fault))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Breach> {
        for _ in 0..150 {
            let pause = Duration::from_millis(self.rng.below(40_000) as u64);
            let pause = if self.rng.chance(0.05) { pause * 100 } else { pause };
            self.town.run(pause)?;
            self.fault()?;
        }
        if self.rng.chance(0.2) {
            self.town.input(Input::Close)?;
            self.town.run(secs(60))?;
        }
        self.town.checks.at_end(self.town.now, &self.town.engine)
    }
}

#[test]
fn the_engine_breaks_no_rule_on_random_days() {
    let mut told = BTreeMap::new();
    for seed in 0..60 {
        let mut day = Day::new(seed);
        if let Err(breach) = day.run() {
            panic!("seed {seed}: {breach}");
        }
        for (word, times) in day.town.told {
            *told.entry(word).or_insert(0) += times;
        }
    }
    // Days on which little happens prove little.
    for word in [
        "backed_off",
        "banned",
        "burned",
        "dial_failed",
        "disconnected",
        "discouraged",
        "fed",
        "full",
        "gossip",
        "leased",
        "misbehaved",
        "offline",
        "online",
        "ready",
        "released",
        "starved",
        "unbanned",
        "verdict_waits",
    ] {
        assert!(told.get(word).is_some_and(|times| *times > 20), "{word}: {told:?}");
    }
}
