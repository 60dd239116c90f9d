//! Nodes die, come back and drop their links at random, many times over: the pool keeps its rules
//! all the while and is full again after each. The rules are checked by what the network saw and
//! by the pool's events, not by what the pool says of itself.
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
/// Honest nodes that stay alive at the least, so that there are always enough to fill the pool.
const ALIVE: usize = 2 * TARGET;

/// What happens to the network in one step.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill(SocketAddr),
    Restart(SocketAddr),
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
}

impl Chaos {
    fn pick(&mut self, from: &[SocketAddr]) -> Option<SocketAddr> {
        (!from.is_empty()).then(|| from[self.rng.below(from.len())])
    }

    /// Draws the next blow, one that can be dealt; half of them hit a peer of the pool.
    fn draw(&mut self, ready: &[SocketAddr]) -> Blow {
        let alive: Vec<_> =
            self.honest.iter().copied().filter(|node| !self.dead.contains(node)).collect();
        let dead: Vec<_> = self.dead.iter().copied().collect();
        let targets = if self.rng.chance(0.5) { ready } else { &alive[..] };
        let target = self.pick(targets).unwrap_or(alive[0]);
        match self.rng.below(10) {
            0..4 if alive.len() > ALIVE => Blow::Kill(target),
            4..7 => self.pick(&dead).map_or(Blow::Flap(target), Blow::Restart),
            9 => Blow::DropAll,
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
            Blow::Flap(node) => {
                self.devnet.kill(node).await.unwrap();
                self.devnet.restart(node).await.unwrap();
                self.dead.remove(&node);
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
    policy.ping_interval = ms(500);
    policy.pong_deadline = ms(2000);
    policy.addr_fetch_timeout = ms(500);
    policy.addr_fetch_interval = ms(100);
    policy.max_dials = 16;
    policy.max_addr_fetch = EXTRAS;
    policy.event_queue = 100_000;
}

async fn run(seed: u64) {
    println!("PEERPOOL_CHAOS_SEED={seed}");
    let log = LogCount::start();
    let shares = [(Kind::Honest, 6), (Kind::Refusing, 2), (Kind::Silent, 1), (Kind::Mute, 1)];
    let mix = shares
        .into_iter()
        .chain([(Kind::Rude, 1), (Kind::Stale, 1)])
        .fold(Mix::only(Kind::Honest), |mix, (kind, share)| mix.with(kind, share));
    let devnet = Devnet::builder().nodes(80).kinds(mix).port(0).seed(seed).start().await.unwrap();
    let builder = pool_on(&devnet).target(TARGET).tune(hasty).rng_seed(seed);
    let pool = builder.start().await.unwrap();
    let mut watch = Watch::of(&pool);
    let mut told = Told::default();
    let honest = devnet.addresses_of(Kind::Honest);
    let mut chaos = Chaos { devnet, rng: Rng::from_u64(seed), honest, dead: BTreeSet::new() };
    let mut blows: BTreeMap<&str, usize> = BTreeMap::new();
    for step in 0..STEPS {
        // Full again: by its own events, whatever was under way when the last blow fell.
        while told.counted() < TARGET {
            watch.next().await.expect("the pool goes on");
            told.catch_up(&watch);
        }
        // The network's side: what is given up closes, and no more is left than may be.
        chaos.devnet.until_live(|live| live <= TARGET + EXTRAS).await;
        chaos.check();
        let ready: Vec<_> = told.ready.values().copied().collect();
        let blow = chaos.draw(&ready);
        let name = match blow {
            Blow::Kill(_) => "kill",
            Blow::Restart(_) => "restart",
            Blow::Flap(_) => "flap",
            Blow::DropAll => "drop all",
        };
        *blows.entry(name).or_default() += 1;
        chaos.deal(blow).await;
        let hit = match blow {
            Blow::Kill(node) | Blow::Flap(node) => {
                Vec::from_iter(ready.contains(&node).then_some(node))
            }
            Blow::Restart(_) => Vec::new(),
            Blow::DropAll => ready,
        };
        // Each blow is noticed before the next falls.
        for node in hit {
            while told.ready.values().any(|address| *address == node) {
                watch.next().await.expect("the pool goes on");
                told.catch_up(&watch);
            }
        }
        assert_eq!(log.errors(), 0, "a task panicked in step {step}");
    }
    while told.counted() < TARGET {
        watch.next().await.expect("the pool goes on");
        told.catch_up(&watch);
    }
    chaos.check();
    let dials = chaos.devnet.accept_log().len();
    println!("{blows:?}: {} events, {dials} links, and full", told.seen);
    pool.close(ms(1000)).await;
    chaos.devnet.until_live(|live| live == 0).await;
    assert_eq!(log.errors(), 0, "a task panicked");
}

#[tokio::test]
async fn two_hundred_blows_to_the_network_leave_the_pool_full_and_never_too_full() {
    let named = std::env::var("PEERPOOL_CHAOS_SEED").ok();
    let seed = named.map_or(SEED, |seed| seed.parse().expect("PEERPOOL_CHAOS_SEED is a number"));
    within(240, run(seed)).await;
}
