//! Answers over the wire, from a peer in the hands of the test: out of order, twice, late, wrong, too
//! long, cut off. What a query makes of a message is tested in the core.

mod order;
mod wrong;

use std::net::SocketAddr;

use peerpool::bitcoin::p2p::message_blockdata::Inventory;
use peerpool::bitcoin::{Block, BlockHash};
use peerpool::{Builder, Lease, NetworkMessage, Policy, Pool, Require};
use peerpool_sim::actor::HeaderChain;

use crate::raw::{self, LONG, Raw};

/// Nobody is timed out but by what the test says.
fn patient(policy: &mut Policy) {
    policy.handshake_deadline = LONG;
    policy.message_deadline = LONG;
    policy.pong_deadline = LONG;
    policy.write_stall = LONG;
    policy.query_timeout = LONG;
}

/// A pool, its one peer, and a lease of it.
struct Pair {
    pool: Pool,
    peer: Raw,
    lease: Lease,
}

impl Pair {
    async fn meet(tune: impl FnOnce(&mut Policy)) -> Self {
        let listener = raw::listen([127, 31, 0, 1], 0).await;
        let address = listener.local_addr().unwrap();
        let builder = raw::pool().connect([address]).tune(patient).tune(tune);
        let pool = builder.start().await.unwrap();
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        let lease = pool.lease(&Require::any()).await.unwrap();
        Self { pool, peer, lease }
    }
}

/// A patient pool that dials these two and no others, both ready, and they.
pub(crate) async fn two_peers(builder: Builder) -> (Pool, [Raw; 2]) {
    let listeners = [raw::listen([127, 31, 0, 1], 0).await, raw::listen([127, 32, 0, 1], 0).await];
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let builder = builder.connect(addresses).target(2).tune(patient);
    let pool = builder.start().await.unwrap();
    let [mut one, mut other] = [Raw::accept(&listeners[0]).await, Raw::accept(&listeners[1]).await];
    one.shake_hands().await;
    other.shake_hands().await;
    pool.ready(2).await.unwrap();
    (pool, [one, other])
}

/// The chain that is asked for.
fn chain() -> HeaderChain {
    HeaderChain::regtest(110)
}

pub(crate) fn hash_at(height: u32) -> BlockHash {
    chain().hash_at(height).unwrap()
}

pub(crate) fn block_at(height: u32) -> Block {
    chain().block(height).unwrap()
}

/// What the pool asks next: blocks, by their hashes.
pub(crate) async fn asked_for(peer: &mut Raw) -> Vec<BlockHash> {
    loop {
        let NetworkMessage::GetData(wanted) = peer.request().await.expect("the pool goes on")
        else {
            continue;
        };
        let hash = |entry: Inventory| match entry {
            Inventory::WitnessBlock(hash) => hash,
            other => panic!("{other:?} is no block"),
        };
        return wanted.into_iter().map(hash).collect();
    }
}

pub(crate) async fn give(peer: &mut Raw, height: u32) {
    peer.send(&NetworkMessage::Block(block_at(height))).await;
}
