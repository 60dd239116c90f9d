//! Nodes die, hang, come back and drop their links at random, many times over: the pool keeps its
//! rules all the while and is full again after each. The rules are checked by what the network saw
//! and by the pool's events, not by what the pool says of itself.
//!
//! `PEERPOOL_CHAOS_SEED` names another seed; the seed is printed first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use peerpool::{ConnectionType, Event, PeerId, Policy};
use peerpool_core::rng::Rng;
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;

use crate::events::Watch;
use crate::log::LogCount;
use crate::{ms, pool_on, within};

const SEED: u64 = 20_261_122;
const STEPS: usize = 200;
const TARGET: usize = 8;
const EXTRAS: usize = 2;
/// Honest nodes that stay well at the least, so that there are always enough to fill the pool.
const WELL: usize = 2 * TARGET;
/// Nodes that hang at once.
const HUNG: usize = 4;
/// Kinds of node that are not honest; the flooder and the liar are left out, since they name
/// thousands of dead addresses, and others test that.
const OTHERS: [Kind; 13] = [
    Kind::Refusing,
    Kind::Silent,
    Kind::Mute,
    Kind::Rude,
    Kind::Stale,
    Kind::Flapping,
    Kind::Serviceless,
    Kind::Echo,
    Kind::WrongMagic,
    Kind::Slow,
    Kind::Dropper,
    Kind::Deaf,
    Kind::Claimer,
];

/// What happens to the network in one step.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill(SocketAddr),
    Restart(SocketAddr),
    /// It does nothing any more, and its links stay open.
    Stall(SocketAddr),
    Unstall(SocketAddr),
    /// Killed and back at once: to the pool, a link that broke.
    Flap(SocketAddr),
    /// Every link breaks at once.
    DropAll,
}

/// The ready peers, as the pool's events tell them.
#[derive(Debug, Default)]
struct Told {
    types: BTreeMap<PeerId, ConnectionType>,
    ready: BTreeMap<PeerId, SocketAddr>,
    seen: usize,
}

impl Told {
    /// Takes in what has been told since, and holds it against the rules.
    fn catch_up(&mut self, watch: &Watch) {
        for event in &watch.past[self.seen..] {
            match event {
                Event::Connecting { peer, connection_type, .. } => {
                    self.types.insert(*peer, *connection_type);
                }
                Event::Ready { peer, address, .. } => {
                    let address = address.socket_addr().unwrap();
                    assert!(!self.ready.values().any(|known| *known == address), "{address} twice");
                    self.ready.insert(*peer, address);
                }
                Event::Disconnected { peer, .. } => {
                    self.ready.remove(peer);
                }
                _ => {}
            }
            assert!(self.counted() <= TARGET, "above the target: {:?}", self.ready);
            assert!(self.ready.len() <= TARGET + EXTRAS, "above the extras: {:?}", self.ready);
        }
        self.seen = watch.past.len();
    }

    /// Ready peers that count toward the target.
    fn counted(&self) -> usize {
        self.ready.keys().filter(|peer| self.types[peer].counts()).count()
    }
}

struct Chaos {
    devnet: Devnet,
    rng: Rng,
    honest: Vec<SocketAddr>,
    dead: BTreeSet<SocketAddr>,
    hung: BTreeSet<SocketAddr>,
}

impl Chaos {
    fn pick(&mut self, from: &[SocketAddr]) -> Option<SocketAddr> {
        (!from.is_empty()).then(|| from[self.rng.below(from.len())])
    }

    /// Draws the next blow, one that can be dealt; half of them hit a peer of the pool.
    fn draw(&mut self, ready: &[SocketAddr]) -> Blow {
        let is_well = |node: &SocketAddr| !self.dead.contains(node) && !self.hung.contains(node);
        let well: Vec<_> = self.honest.iter().copied().filter(is_well).collect();
        let peers: Vec<_> = well.iter().copied().filter(|node| ready.contains(node)).collect();
        let [dead, hung] = [&self.dead, &self.hung].map(|set| Vec::from_iter(set.iter().copied()));
        let near = self.rng.chance(0.5);
        let target = self.pick(if near && !peers.is_empty() { &peers } else { &well });
        let target = target.expect("enough nodes are well");
        match self.rng.below(12) {
            0..4 if well.len() > WELL => Blow::Kill(target),
            4..6 if well.len() > WELL && hung.len() < HUNG => Blow::Stall(target),
            4..7 => self.pick(&hung).map_or(Blow::Flap(target), Blow::Unstall),
            7..10 => self.pick(&dead).map_or(Blow::Flap(target), Blow::Restart),
            10 => Blow::DropAll,
            _ => Blow::Flap(target),
        }
    }

    async fn deal(&mut self, blow: Blow) {
        match blow {
            Blow::Kill(node) => {
                self.devnet.kill(node).await.unwrap();
                self.dead.insert(node);
            }
            Blow::Restart(node) => {
                self.devnet.restart(node).await.unwrap();
                self.dead.remove(&node);
            }
            Blow::Stall(node) => {
                self.devnet.stall(node).await.unwrap();
                self.hung.insert(node);
            }
            Blow::Unstall(node) => {
                self.devnet.unstall(node).await.unwrap();
                self.hung.remove(&node);
            }
            Blow::Flap(node) => {
                self.devnet.kill(node).await.unwrap();
                self.devnet.restart(node).await.unwrap();
            }
            Blow::DropAll => self.devnet.drop_connections().await,
        }
    }

    /// What the network saw.
    fn check(&self) {
        let most = self.devnet.max_concurrent();
        let twice: Vec<_> = most.iter().filter(|(_, most)| **most > 1).collect();
        assert!(twice.is_empty(), "two links at once: {twice:?}");
        let stale = self.devnet.accept_log().iter().any(|accept| accept.kind == Kind::Stale);
        assert!(!stale, "a stale address was dialled");
    }
}

/// Times so short that hundreds of failures are forgotten and forgiven within the test.
fn hasty(policy: &mut Policy) {
    policy.burn_memory = ms(50);
    policy.backoff_max = ms(100);
    policy.handshake_deadline = ms(500);
    policy.message_deadline = ms(500);
    policy.write_stall = ms(500);
    policy.ping_interval = ms(200);
    policy.pong_deadline = ms(500);
    policy.addr_fetch_timeout = ms(500);
    policy.addr_fetch_interval = ms(100);
    policy.max_dials = 16;
    policy.max_addr_fetch = EXTRAS;
    policy.event_queue = 100_000;
}

impl Blow {
    fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Restart(_) => "restart",
            Self::Stall(_) => "stall",
            Self::Unstall(_) => "unstall",
            Self::Flap(_) => "flap",
            Self::DropAll => "drop all",
        }
    }

    /// The ready peers whose links break by it.
    fn breaks(self, ready: &BTreeMap<PeerId, SocketAddr>) -> Vec<PeerId> {
        let hit = |address: &SocketAddr| match self {
            Self::Kill(node) | Self::Flap(node) | Self::Stall(node) => *address == node,
            Self::Restart(_) | Self::Unstall(_) => false,
            Self::DropAll => true,
        };
        ready.iter().filter(|(_, address)| hit(address)).map(|(peer, _)| *peer).collect()
    }
}

/// Reads events, each held against the rules, until `condition` holds.
async fn until(told: &mut Told, watch: &mut Watch, condition: impl Fn(&Told) -> bool) {
    told.catch_up(watch);
    while !condition(told) {
        watch.next().await.expect("the pool goes on");
        told.catch_up(watch);
    }
}

async fn network(seed: u64) -> Devnet {
    let mix = Mix::only(Kind::Honest).with_each(OTHERS).with(Kind::Honest, 37);
    let builder = Devnet::builder().nodes(50).kinds(mix).port(0).seed(seed);
    builder.start().await.expect("a devnet starts")
}

async fn run(seed: u64) {
    println!("PEERPOOL_CHAOS_SEED={seed}");
    let log = LogCount::start();
    let devnet = network(seed).await;
    let builder = pool_on(&devnet).target(TARGET).tune(hasty).rng_seed(seed);
    let pool = builder.start().await.unwrap();
    let (mut watch, mut told) = (Watch::of(&pool), Told::default());
    let honest = devnet.addresses_of(Kind::Honest);
    let (dead, hung) = (BTreeSet::new(), BTreeSet::new());
    let mut chaos = Chaos { devnet, rng: Rng::from_u64(seed), honest, dead, hung };
    let mut blows: BTreeMap<&str, usize> = BTreeMap::new();
    let is_full = |told: &Told| told.counted() == TARGET;
    for step in 0..STEPS {
        until(&mut told, &mut watch, is_full).await;
        // The network's side: what is given up closes, and no more is left than may be. A node that
        // hangs has not seen the end of its link.
        let most = TARGET + EXTRAS + chaos.hung.len();
        chaos.devnet.until_live(|live| live <= most).await;
        chaos.check();
        told.catch_up(&watch);
        let ready: Vec<_> = told.ready.values().copied().collect();
        let blow = chaos.draw(&ready);
        let broken = blow.breaks(&told.ready);
        *blows.entry(blow.name()).or_default() += 1;
        chaos.deal(blow).await;
        // Each blow is noticed before the next falls.
        let noticed = |told: &Told| !broken.iter().any(|peer| told.ready.contains_key(peer));
        until(&mut told, &mut watch, noticed).await;
        assert_eq!(log.errors(), 0, "a task panicked in step {step}");
    }
    until(&mut told, &mut watch, is_full).await;
    chaos.check();
    let links = chaos.devnet.accept_log().len();
    println!("{blows:?}: {} events, {links} links, and full", told.seen);
    pool.close(ms(1000)).await;
    for node in std::mem::take(&mut chaos.hung) {
        chaos.devnet.unstall(node).await.unwrap();
    }
    chaos.devnet.until_live(|live| live == 0).await;
    assert_eq!(log.errors(), 0, "a task panicked");
}

#[tokio::test]
async fn two_hundred_blows_to_the_network_leave_the_pool_full_and_never_too_full() {
    let named = std::env::var("PEERPOOL_CHAOS_SEED").ok();
    let seed = named.map_or(SEED, |seed| seed.parse().expect("PEERPOOL_CHAOS_SEED is a number"));
    within(240, run(seed)).await;
}
