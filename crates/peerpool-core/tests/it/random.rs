//! Random pools among random nodes: a safety phase with faults, then everything is alive and the
//! pool must be full again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{ConnectionType, LeaseId};
use peerpool_core::io::Input;
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;

use crate::script::{Node, Script, address, config, ips, nth};

const KINDS: [Node; 7] = [
    Node::Alive,
    Node::Refusing,
    Node::Silent,
    Node::Mute,
    Node::Rude,
    Node::Poor,
    Node::Unreachable,
];
/// Nodes that a seed names, each in a netgroup of its own; there is one for each slot, and more.
const NODES: u32 = 24;
const MAX_AGE: Duration = Duration::from_secs(600);
const BURN_MEMORY: Duration = Duration::from_secs(1200);
/// Burns fade, then a round of seeds brings the addresses back, after which the longest back-off
/// may pass; dials and handshakes take their time.
const FULL_AGAIN: Duration = Duration::from_secs(1200 + 120 + 150 + 60);

struct World {
    script: Script,
    /// Whom the pool may know: what the seed names, what the user names, and what was gossiped
    /// with a fresh timestamp.
    fresh: BTreeSet<Address>,
    rng: Rng,
    leases: u64,
}

fn small_policy(rng: &mut Rng) -> impl FnOnce(&mut Policy) {
    let (target, dials) = (1 + rng.below(8), 1 + rng.below(20));
    let (per_group, hedge) = (1 + rng.below(2), Duration::from_millis(50 + rng.below(2000) as u64));
    let fetches = rng.below(3);
    let (block_relay, often) = (rng.below(3), Duration::from_secs(rng.below(120) as u64));
    move |policy| {
        policy.block_relay_count = block_relay;
        policy.feeler_interval = often;
        policy.rotation_interval = often * 2;
        policy.rotation_retry = Duration::from_secs(10);
        policy.target_connect_count = target;
        policy.max_dials = dials;
        policy.max_dials_per_netgroup = per_group;
        policy.hedge_delay = hedge;
        policy.max_addr_fetch = fetches;
        policy.max_address_age = MAX_AGE;
        policy.burn_memory = BURN_MEMORY;
        policy.backoff_min = Duration::from_secs(10);
        policy.backoff_max = Duration::from_secs(120);
        policy.seed_retry_min = Duration::from_secs(10);
        policy.seed_retry_max = Duration::from_secs(120);
        policy.slots_per_peer = 2;
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed);
        let mut config = config(small_policy(&mut rng));
        config.seeds = vec!["seed.test".to_owned()];
        let mut script = Script::with_seed(config, seed);
        script.seeds = vec![Ok(ips(&(0..NODES).map(nth).collect::<Vec<_>>()))];
        script.latency = Duration::from_millis(1 + rng.below(600) as u64);
        script.watch = Some(check);
        let fresh = (0..NODES).map(nth).collect();
        let mut world = Self { script, fresh, rng, leases: 0 };
        for n in 0..NODES {
            world.turn(n);
        }
        world
    }

    fn turn(&mut self, n: u32) {
        let kind = KINDS[self.rng.below(KINDS.len())];
        self.script.nodes.insert(nth(n), kind);
    }

    /// Another port of a node, another host in its netgroup, or the node itself.
    fn relative(&mut self) -> Address {
        let node = nth(self.rng.below(NODES as usize) as u32);
        match self.rng.below(3) {
            0 => Address { port: 9000 + self.rng.below(3) as u16, ..node },
            1 => address(&node.host.to_string().replace(".1.1", ".2.2")),
            _ => node,
        }
    }

    fn fault(&mut self) {
        let ready = self.script.ready();
        match self.rng.below(8) {
            0 | 1 => {
                let n = self.rng.below(NODES as usize) as u32;
                self.turn(n);
            }
            2 => ready.into_iter().for_each(|gone| {
                // An extra may have given way to the pool meanwhile.
                if self.script.ready().contains(&gone) {
                    self.script.drop_peer(gone);
                }
            }),
            3 if !ready.is_empty() => {
                let gone = ready[self.rng.below(ready.len())];
                self.script.drop_peer(gone);
            }
            4 if !ready.is_empty() => {
                let from = ready[self.rng.below(ready.len())];
                let age = Duration::from_secs(self.rng.below(900) as u64);
                let named: Vec<Address> = (0..5).map(|_| self.relative()).collect();
                if age < MAX_AGE {
                    self.fresh.extend(&named);
                }
                let entries = named.into_iter().map(|at| self.script.seen(at, age)).collect();
                self.script.gossip_from(from, entries);
            }
            5 => {
                self.leases += 1;
                let lease = LeaseId(self.leases);
                self.script.input(Input::Lease {
                    lease,
                    require: Require::any(),
                    wait: self.rng.chance(0.5),
                });
                let lease = LeaseId(1 + self.rng.below(self.leases as usize) as u64);
                self.script.input(Input::Release { lease });
            }
            6 if self.rng.chance(0.3) => {
                let named = self.relative();
                self.fresh.insert(named);
                self.script.input(Input::AddManual(named));
            }
            _ => self.script.answers_pings = self.rng.chance(0.7),
        }
    }

    /// The network is gone for a while.
    fn outage(&mut self) {
        let before = self.script.nodes.clone();
        self.script.nodes.values_mut().for_each(|kind| *kind = Node::Silent);
        self.script.others = Node::Silent;
        self.script.answers_pings = false;
        self.script.run_secs(300);
        self.script.nodes = before;
        self.script.others = Node::Alive;
        self.script.answers_pings = true;
    }

    fn all_is_well(&mut self) {
        self.script.nodes.values_mut().for_each(|kind| *kind = Node::Alive);
        self.script.others = Node::Alive;
        self.script.answers_pings = true;
    }
}

/// What must hold after every input.
fn check(script: &Script) {
    let status = script.status();
    let policy = script.policy();
    let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
    assert!(counting.count() <= status.target, "more peers than wanted");
    let in_flight = status.connecting.iter().chain(&status.connected);
    let counted = in_flight.clone().filter(|peer| peer.connection_type.counts()).count();
    assert!(counted <= policy.max_dials, "{counted} dials in flight");
    let (mut hosts, mut groups) = (BTreeSet::new(), BTreeMap::<_, usize>::new());
    for peer in in_flight.clone().chain(&status.ready) {
        if peer.connection_type != ConnectionType::Manual {
            assert!(hosts.insert(peer.address.host), "two links to {}", peer.address.host);
        }
    }
    for peer in in_flight {
        if peer.connection_type.is_kept() {
            let group = peerpool_core::netgroup::NetGroup::of(&peer.address.host);
            *groups.entry(group).or_default() += 1;
        }
    }
    assert!(groups.values().all(|dials| *dials <= policy.max_dials_per_netgroup));
}

/// No dial to an address that is burned, unless the user names it, nor to a stale one.
fn check_dials(world: &World) {
    let mut burned = BTreeSet::new();
    for event in &world.script.events {
        match event {
            Event::Burned { address, .. } => {
                burned.insert(*address);
            }
            Event::Connecting { address, connection_type, .. } => {
                let manual = *connection_type == ConnectionType::Manual;
                assert!(manual || !burned.contains(address), "{address} is burned");
                assert!(world.fresh.contains(address), "{address} is stale");
            }
            _ => {}
        }
    }
}

#[test]
fn a_random_pool_keeps_its_rules_through_faults_and_is_full_again_after_them() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        // Shorter than a burn, so that none fades in it.
        for _ in 0..40 {
            let pause = Duration::from_millis(world.rng.below(40_000) as u64);
            world.script.run(pause.min(Duration::from_secs(20)));
            world.fault();
        }
        check_dials(&world);
        let burned: usize = world.script.status().burned.values().sum();
        world.outage();
        assert!(world.script.status().burned.values().sum::<usize>() <= burned + 24);
        world.all_is_well();
        world.script.run(FULL_AGAIN);
        let status = world.script.status();
        let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
        assert_eq!(counting.count(), status.target, "seed {seed}: {:?}", status.known);
        assert!(!status.starved && !status.offline, "seed {seed}");
    }
}
