//! What a lease costs: blocks and pings through leases of one and of eight peers, beside a bare loop
//! on one socket that reads the same bytes and looks at none, and beside one that holds blocks
//! against their checksum and their merkle root, as leases do; one at a time and several in flight;
//! a lease and its release; the headers of a long chain.
//!
//! ```text
//! cargo bench -p peerpool --all-features --bench query
//! ```
//!
//! Rounds of the two alternate, and what counts is their ratio: the network is in this process, too,
//! and takes its part of the processor.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and prints")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use peerpool::bitcoin::consensus::encode::{deserialize, serialize};
use peerpool::bitcoin::hashes::{Hash as _, sha256d};
use peerpool::bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use peerpool::bitcoin::p2p::message_blockdata::Inventory;
use peerpool::bitcoin::p2p::message_network::VersionMessage;
use peerpool::bitcoin::p2p::{Address, Magic, ServiceFlags};
use peerpool::bitcoin::{Block, BlockHash, Network, constants::genesis_block};
use peerpool::{GetBlock, GetHeaders, Lease, Ping, Pool, Require};
use peerpool_sim::actor::{HeaderChain, Kind, Mix};
use peerpool_sim::devnet::Devnet;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const PEERS: usize = 8;
const BLOCK: usize = 1_000_000;
const BLOCKS: usize = 64;
const PINGS: usize = 2_000;
const LEASES: usize = 64_000;
/// Asked at once of each peer, where several are.
const IN_FLIGHT: usize = 4;
/// Callers that lease at once, where several do.
const CALLERS: usize = 64;
const HEIGHT: u32 = 100_000;

fn main() {
    let runtime = Runtime::new().expect("a runtime starts");
    let (devnet, pool) = runtime.block_on(start(16, BLOCK));
    let chain = HeaderChain::with_blocks(16, BLOCK);
    let hashes: Vec<BlockHash> = (1..=16).filter_map(|height| chain.hash_at(height)).collect();
    let asked =
        |count: usize| -> Vec<BlockHash> { hashes.iter().copied().cycle().take(count).collect() };
    let leases = runtime.block_on(lease_each(&pool));
    let address = leases[0].address().socket_addr().expect("on loopback");
    let mut bare = Bare::connect(address);
    println!("{ROUNDS} rounds: the median of a round, and of the ratios to the bare loop\n");

    let blocks = asked(BLOCKS);
    let cases = [
        (1, false, "blocks of 1 MB, unseen"),
        (IN_FLIGHT, false, "blocks of 1 MB, 4 in flight, unseen"),
        (1, true, "blocks of 1 MB, checked"),
        (IN_FLIGHT, true, "blocks of 1 MB, 4 in flight, checked"),
    ];
    for (depth, checks, what) in cases {
        compare(
            what,
            BLOCKS,
            || bare.blocks(&blocks, depth, checks),
            [
                ("one peer", &mut || runtime.block_on(get(&leases[..1], &blocks, depth))),
                ("8 peers", &mut || runtime.block_on(get(&leases, &blocks, depth))),
            ],
        );
    }
    for (depth, what) in [(1, "pings"), (IN_FLIGHT, "pings, 4 in flight")] {
        compare(
            what,
            PINGS,
            || bare.pings(PINGS, depth),
            [
                ("one peer", &mut || runtime.block_on(ping(&leases[..1], PINGS, depth))),
                ("8 peers", &mut || runtime.block_on(ping(&leases, PINGS, depth))),
            ],
        );
    }
    drop(leases);
    for callers in [1, CALLERS] {
        let each = runtime.block_on(lease_and_release(&pool, callers));
        println!("a lease and its release, {callers} callers at once: {each:.2?}");
    }
    runtime.block_on(async move {
        pool.close(Duration::from_secs(5)).await;
        devnet.close().await;
    });
    runtime.block_on(sync());
}

async fn start(height: u32, block_size: usize) -> (Devnet, Pool) {
    let devnet = Devnet::builder().nodes(PEERS).kinds(Mix::only(Kind::Honest)).port(0);
    let devnet = devnet.height(height).block_size(block_size).start().await.expect("it starts");
    let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr()).target(PEERS);
    let pool = builder.start().await.expect("it starts");
    pool.ready(PEERS).await.expect("all are honest");
    (devnet, pool)
}

/// A lease of each peer.
async fn lease_each(pool: &Pool) -> Vec<Lease> {
    let mut leases: Vec<Lease> = Vec::new();
    while leases.len() < PEERS {
        let others = Require::any().except(leases.iter().map(Lease::peer));
        leases.push(pool.lease(&others).await.expect("a peer is free"));
    }
    leases
}

/// Gets the blocks, so many at a time from each peer.
async fn get(leases: &[Lease], hashes: &[BlockHash], depth: usize) {
    let slots = leases.iter().cycle().take(leases.len() * depth);
    let share = hashes.len().div_ceil(leases.len() * depth);
    let each = slots.zip(hashes.chunks(share)).map(|(lease, hashes)| async move {
        for hash in hashes {
            lease.query(GetBlock(*hash)).await.expect("it has that");
        }
    });
    join(each).await;
}

async fn ping(leases: &[Lease], count: usize, depth: usize) {
    let slots = leases.iter().cycle().take(leases.len() * depth);
    let share = count / leases.len() / depth;
    let each = slots.map(|lease| async move {
        for _ in 0..share {
            lease.query(Ping::new()).await.expect("it answers");
        }
    });
    join(each).await;
}

/// What one costs where so many callers lease at once.
async fn lease_and_release(pool: &Pool, callers: usize) -> Duration {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            for _ in 0..LEASES / callers {
                drop(pool.lease(&Require::any()).await.expect("a peer is free"));
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed() / LEASES as u32
}

/// Runs all at once, in this task.
async fn join(futures: impl IntoIterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(|it| Some(Box::pin(it))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut futures {
            if slot.as_mut().is_some_and(|it| it.as_mut().poll(context).is_ready()) {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Times rounds of the bare loop and of the others in turn.
fn compare<const N: usize>(
    what: &str,
    count: usize,
    mut bare: impl FnMut(),
    mut others: [(&str, &mut dyn FnMut()); N],
) {
    let time = |run: &mut dyn FnMut()| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    // Once for nothing: queues and caches fill.
    bare();
    let mut alone = Vec::new();
    let mut took: [Vec<(Duration, f64)>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        let base = time(&mut bare);
        alone.push(base);
        for ((_, run), took) in others.iter_mut().zip(&mut took) {
            let this = time(*run);
            took.push((this, base.as_secs_f64() / this.as_secs_f64()));
        }
    }
    alone.sort();
    let each = |took: Duration| took / count as u32;
    println!("{what}, bare: {:.1?} each", each(alone[ROUNDS / 2]));
    for ((name, _), mut took) in others.into_iter().zip(took) {
        took.sort_by_key(|(took, _)| *took);
        let middle = took[ROUNDS / 2].0;
        took.sort_by(|a, b| a.1.total_cmp(&b.1));
        let ratio = took[ROUNDS / 2].1;
        println!("{what}, {name}: {:.1?} each, throughput {ratio:.2} of it", each(middle));
    }
    println!();
}

/// The headers of a long chain, to the tip.
async fn sync() {
    let (devnet, pool) = start(HEIGHT, 0).await;
    let begun = Instant::now();
    let mut tip = genesis_block(Network::Regtest).block_hash();
    let mut count = 0;
    while count < HEIGHT as usize {
        let headers = pool.ask(GetHeaders::after([tip])).await.expect("it has more");
        count += headers.len();
        tip = headers.last().expect("the tip is not reached").block_hash();
    }
    println!("{count} headers: {:.2?}", begun.elapsed());
    pool.close(Duration::from_secs(5)).await;
    devnet.close().await;
}

/// One socket, and a loop that reads whole messages and looks at none.
struct Bare {
    stream: TcpStream,
    payload: Vec<u8>,
    /// Of the message read last.
    checksum: [u8; 4],
}

impl Bare {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_nodelay(true).expect("a socket takes that");
        let mut this = Self { stream, payload: vec![0; 4_000_000], checksum: [0; 4] };
        let nobody = Address::new(&address, ServiceFlags::NONE);
        let version = VersionMessage::new(
            ServiceFlags::NONE,
            0,
            nobody.clone(),
            nobody,
            7,
            "/bare/".to_owned(),
            0,
        );
        this.send(NetworkMessage::Version(version));
        this.until("version");
        this.send(NetworkMessage::Verack);
        this.until("verack");
        this
    }

    fn send(&mut self, message: NetworkMessage) {
        let magic = Magic::from(Network::Regtest);
        let frame = serialize(&RawNetworkMessage::new(magic, message));
        self.stream.write_all(&frame).expect("it reads");
    }

    /// Reads up to a block, and holds it against its checksum and its merkle root.
    fn checked_block(&mut self) {
        let length = self.until("block");
        let payload = &self.payload[..length];
        assert_eq!(sha256d::Hash::hash(payload).as_byte_array()[..4], self.checksum);
        let block: Block = deserialize(payload).expect("a block");
        assert!(block.check_merkle_root() && block.check_witness_commitment());
    }

    /// Reads up to a message of this command, that one included. Returns its length.
    fn until(&mut self, command: &str) -> usize {
        loop {
            let mut header = [0; 24];
            self.stream.read_exact(&mut header).expect("it answers");
            let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
            let payload = &mut self.payload[..length as usize];
            self.stream.read_exact(payload).expect("it answers");
            if header[4..].starts_with(command.as_bytes()) {
                self.checksum.copy_from_slice(&header[20..]);
                return length as usize;
            }
        }
    }

    fn blocks(&mut self, hashes: &[BlockHash], depth: usize, checks: bool) {
        let read = |this: &mut Self| {
            if checks {
                this.checked_block();
            } else {
                this.until("block");
            }
        };
        for (nth, hash) in hashes.iter().enumerate() {
            self.send(NetworkMessage::GetData(vec![Inventory::WitnessBlock(*hash)]));
            if nth + 1 >= depth {
                read(self);
            }
        }
        (1..depth).for_each(|_| read(self));
    }

    fn pings(&mut self, count: usize, depth: usize) {
        for nonce in 0..count {
            self.send(NetworkMessage::Ping(nonce as u64));
            if nonce + 1 >= depth {
                self.until("pong");
            }
        }
        for _ in 1..depth {
            self.until("pong");
        }
    }
}
