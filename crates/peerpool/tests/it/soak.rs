//! Many queries of many callers, over a network that churns all the while: nearly all asks succeed,
//! memory stays where it was, and nothing is held in the end.
//!
//! `PEERPOOL_SOAK` names another number of queries, `PEERPOOL_SOAK_SEED` another seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use peerpool::bitcoin::{Block, BlockHash};
use peerpool::{
    AskError, Event, Events, GetBlock, GetHeaders, Ping, Policy, Pool, QueryError, Require,
};
use peerpool_core::rng::Rng;
use peerpool_sim::actor::{HeaderChain, Kind};
use peerpool_sim::devnet::Devnet;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::alone::is_alone;
use crate::leases::settled;
use crate::{honest, ms, pool_on, raw, within};

const QUERIES: usize = 20_000;
const SEED: u64 = 20_261_205;
const NODES: usize = 60;
/// Nodes that are alive at the least.
const ALIVE: usize = 40;
const TARGET: usize = 8;
const CALLERS: usize = 64;
/// Queries between two blows to the network.
const PACE: usize = 100;
/// Queries at most through one lease.
const THROUGH_ONE: usize = 8;
/// Blocks of the chain that every node has.
const HEIGHT: u32 = 10;
const MB: usize = 1_000_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Times so short that whoever was dead is soon dialled again.
fn hasty(policy: &mut Policy) {
    policy.burn_memory = ms(50);
    policy.backoff_max = ms(100);
    policy.addr_fetch_timeout = ms(500);
    policy.addr_fetch_interval = ms(100);
    policy.max_dials = 16;
}

/// What all callers have in common.
struct Soak {
    pool: Pool,
    queries: usize,
    begun: AtomicUsize,
    ended: AtomicUsize,
    hashes: Vec<BlockHash>,
    blows: mpsc::Sender<()>,
    /// How asks, and queries through leases, came out, by name.
    outcomes: Mutex<BTreeMap<String, usize>>,
    /// Resident bytes at each tenth.
    resident: Mutex<Vec<usize>>,
}

impl Soak {
    /// The right to one query more, while there are any left.
    fn begin(&self) -> bool {
        self.begun.fetch_add(1, Relaxed) < self.queries
    }

    fn end(&self, what: &str, outcome: &str) {
        *self.outcomes.lock().unwrap().entry(format!("{what}: {outcome}")).or_default() += 1;
        let ended = 1 + self.ended.fetch_add(1, Relaxed);
        if ended.is_multiple_of(PACE) {
            self.blows.try_send(()).unwrap();
        }
        if ended.is_multiple_of(self.queries / 10) {
            let resident = raw::memory("VmRSS");
            println!("{ended} queries: {:.1} MB", resident as f64 / MB as f64);
            self.resident.lock().unwrap().push(resident);
        }
    }

    /// How many came out so.
    fn count(&self, which: impl Fn(&str) -> bool) -> usize {
        let outcomes = self.outcomes.lock().unwrap();
        outcomes.iter().filter(|(name, _)| which(name)).map(|(_, count)| count).sum()
    }

    /// Asks the pool, or a peer, until all queries are asked.
    async fn call(&self, mut rng: Rng) {
        while self.begin() {
            let nth = rng.below(self.hashes.len() - 1);
            let above = HEIGHT as usize - nth;
            match rng.below(20) {
                // Given up at once, or after a while.
                0 => {
                    let turns = rng.below(8);
                    let answer = tokio::select! {
                        biased;
                        answer = self.pool.ask(GetBlock(self.hashes[nth])).fanout(2) => Some(answer),
                        () = yield_for(turns) => None,
                    };
                    self.end("dropped", if answer.is_some() { "too late" } else { "ok" });
                }
                1..8 => self.end("ask", ask_error(self.pool.ask(Ping::new()).await.map(|_| ()))),
                8..12 => {
                    let answer = self.pool.ask(GetBlock(self.hashes[nth])).await;
                    let right = |block| assert_eq!(hash_of(block), self.hashes[nth]);
                    self.end("ask", ask_error(answer.map(right)));
                }
                12..16 => {
                    let answer = self.pool.ask(GetHeaders::after([self.hashes[nth]])).await;
                    let right = |headers: Vec<_>| assert_eq!(headers.len(), above);
                    self.end("ask", ask_error(answer.map(right)));
                }
                _ => self.call_one(&mut rng).await,
            }
        }
    }

    /// Asks one peer several times, through a lease. The right to the first is there.
    async fn call_one(&self, rng: &mut Rng) {
        let lease = match self.pool.lease(&Require::any()).await {
            Ok(lease) => lease,
            Err(error) => return self.end("lease", &error.to_string()),
        };
        let mut left = rng.below(THROUGH_ONE);
        loop {
            let nth = rng.below(self.hashes.len());
            let answer = if rng.chance(0.5) {
                lease.query(Ping::new()).await.map(|_| ())
            } else {
                let block = lease.query(GetBlock(self.hashes[nth])).await;
                block.map(|block| assert_eq!(hash_of(block), self.hashes[nth]))
            };
            self.end("query", query_error(&answer));
            if answer.is_err() || left == 0 || !self.begin() {
                return;
            }
            left -= 1;
        }
    }
}

async fn yield_for(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

fn hash_of(block: Block) -> BlockHash {
    block.block_hash()
}

fn query_error(result: &Result<(), QueryError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(QueryError::Disconnected) => "disconnected",
        Err(QueryError::TimedOut(_)) => "timed out",
        Err(QueryError::NotFound) => "not found",
        Err(QueryError::Invalid(_)) => "invalid",
        Err(QueryError::Unfit(_)) => "unfit",
        Err(_) => "other",
    }
}

fn ask_error(result: Result<(), AskError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(AskError::Failed(_)) => "all failed",
        Err(AskError::NotFound(_)) => "not found",
        Err(AskError::NoPeer(..)) => "no peer",
        Err(AskError::TimedOut { .. }) => "timed out",
        Err(_) => "other",
    }
}

/// What befalls the network.
struct Churn {
    devnet: Devnet,
    rng: Rng,
    alive: Vec<SocketAddr>,
    dead: Vec<SocketAddr>,
    blows: BTreeMap<&'static str, usize>,
}

impl Churn {
    fn new(devnet: Devnet, rng: Rng) -> Self {
        let alive = devnet.addresses_of(Kind::Honest);
        Self { devnet, rng, alive, dead: Vec::new(), blows: BTreeMap::new() }
    }

    /// Deals a blow for each word.
    async fn run(mut self, pool: Pool, mut words: mpsc::Receiver<()>) -> Self {
        while words.recv().await.is_some() {
            let peers = pool.status().await.ready;
            let peers = peers.iter().filter_map(|peer| peer.address.socket_addr()).collect();
            let name = self.deal(peers).await;
            *self.blows.entry(name).or_default() += 1;
        }
        self
    }

    /// A node that is alive; half the time a peer of the pool.
    fn pick(&mut self, peers: Vec<SocketAddr>) -> SocketAddr {
        let peers: Vec<_> = peers.into_iter().filter(|peer| self.alive.contains(peer)).collect();
        let near = !peers.is_empty() && self.rng.chance(0.5);
        let among = if near { &peers } else { &self.alive };
        among[self.rng.below(among.len())]
    }

    async fn deal(&mut self, peers: Vec<SocketAddr>) -> &'static str {
        let node = self.pick(peers);
        match self.rng.below(40) {
            0 => {
                self.devnet.drop_connections().await;
                "drop all"
            }
            1..14 if self.alive.len() > ALIVE => {
                self.devnet.kill(node).await.unwrap();
                self.alive.retain(|other| *other != node);
                self.dead.push(node);
                "kill"
            }
            14..27 if !self.dead.is_empty() => {
                let node = self.dead.swap_remove(self.rng.below(self.dead.len()));
                self.devnet.restart(node).await.unwrap();
                self.alive.push(node);
                "restart"
            }
            _ => {
                self.devnet.kill(node).await.unwrap();
                self.devnet.restart(node).await.unwrap();
                "flap"
            }
        }
    }
}

/// Reads events to the end, and counts links that ended.
async fn count_losses(mut events: Events) -> usize {
    let mut losses = 0;
    while let Some(stamped) = events.next().await {
        losses += usize::from(matches!(stamped.event, Event::Disconnected { .. }));
    }
    losses
}

async fn run(queries: usize, seed: u64) {
    println!("PEERPOOL_SOAK={queries} PEERPOOL_SOAK_SEED={seed}");
    let mut rng = Rng::from_u64(seed);
    let devnet = honest(NODES).await;
    let pool = pool_on(&devnet).target(TARGET).tune(hasty).rng_seed(seed).start().await.unwrap();
    let losses = tokio::spawn(count_losses(pool.subscribe()));
    pool.ready(TARGET).await.unwrap();
    let (blows, words) = mpsc::channel(1 + queries / PACE);
    let churn = Churn::new(devnet, Rng::from_u64(rng.u64()));
    let churn = tokio::spawn(churn.run(pool.clone(), words));
    let chain = HeaderChain::regtest(HEIGHT);
    let soak = Arc::new(Soak {
        pool: pool.clone(),
        queries,
        begun: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        hashes: (0..=HEIGHT).filter_map(|height| chain.hash_at(height)).collect(),
        blows,
        outcomes: Mutex::default(),
        resident: Mutex::default(),
    });
    println!("warm: {:.1} MB", raw::memory("VmRSS") as f64 / MB as f64);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (soak, rng) = (Arc::clone(&soak), Rng::from_u64(rng.u64()));
        callers.spawn(async move { soak.call(rng).await });
    }
    callers.join_all().await;
    let took = start.elapsed();

    settled(&pool, 0).await;
    let soak = Arc::into_inner(soak).expect("every caller has ended");
    check(&soak);
    // The last word of the blows, and the last handle of the pool.
    drop((soak, pool));
    let Churn { devnet, blows, .. } = churn.await.unwrap();
    devnet.until_live(|live| live == 0).await;
    let each = queries as f64 / took.as_secs_f64();
    println!("{took:.1?}, {each:.0} queries a second, {CALLERS} callers");
    println!("{blows:?}, {} links ended", losses.await.unwrap());
}

fn check(soak: &Soak) {
    println!("{:?}", soak.outcomes.lock().unwrap());
    assert_eq!(soak.ended.load(Relaxed), soak.queries);
    let asks = soak.count(|name| name.starts_with("ask: "));
    let failed = asks - soak.count(|name| name == "ask: ok");
    assert!(failed * 100 <= asks, "{failed} of {asks} asks failed");
    let wrong = |name: &str| name.contains("unfit") || name.contains("invalid");
    assert_eq!(soak.count(wrong), 0);
    let resident = soak.resident.lock().unwrap();
    let (first, last) = (resident[0], resident[resident.len() - 1]);
    assert!(last <= first + first / 4 + 8 * MB, "memory grows: {resident:?}");
}

/// In a process of its own: its memory is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_many_queries_while_the_network_churns() {
    if !is_alone("soak::nothing_is_lost_over_many_queries_while_the_network_churns") {
        return;
    }
    let queries = number("PEERPOOL_SOAK").map_or(QUERIES, |queries| queries.max(10) as usize);
    let seed = number("PEERPOOL_SOAK_SEED").unwrap_or(SEED);
    // A thousand a second at the least.
    within(120 + queries as u64 / 1000, run(queries, seed)).await;
}
