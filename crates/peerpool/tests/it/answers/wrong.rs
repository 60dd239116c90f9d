//! Answers that no honest peer gives. The peers are found by gossip: of one that the user named
//! itself the pool is only told.

use std::time::{SystemTime, UNIX_EPOCH};

use peerpool::bitcoin::consensus::encode::serialize;
use peerpool::bitcoin::{Amount, Witness};
use peerpool::{
    Address, DisconnectReason, Event, GetBlock, LinkFault, Misbehavior, NetworkMessage, Pool,
    QueryError, Require,
};
use tokio::net::TcpListener;

use super::{asked_for, block_at, give, hash_at, patient};
use crate::bad_input::player::Gossiper;
use crate::events::Watch;
use crate::raw::{self, Raw};
use crate::within;

/// A pool whose peers are one that tells it of others, and those others, all ready.
struct Found {
    pool: Pool,
    watch: Watch,
    peers: Vec<Raw>,
    addresses: Vec<Address>,
    /// Whoever was not named.
    others: Require,
    _gossiper: Gossiper,
}

impl Found {
    async fn meet(count: u8) -> Self {
        let mut listeners: Vec<TcpListener> = Vec::new();
        for n in 0..count {
            listeners.push(raw::listen([127, 33 + n, 0, 1], 0).await);
        }
        let at: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let gossiper = Gossiper::listen([127, 32, 0, 1], at.clone(), now as u32).await;
        let target = 1 + usize::from(count);
        let builder = raw::pool().add(gossiper.address).target(target).tune(patient);
        let pool = builder.start().await.unwrap();
        let watch = Watch::of(&pool);
        let mut peers = Vec::new();
        for listener in &listeners {
            let mut peer = Raw::accept(listener).await;
            peer.shake_hands().await;
            peers.push(peer);
        }
        pool.ready(target).await.unwrap();
        let ready = pool.status().await.ready;
        let named = ready.iter().find(|peer| peer.address == gossiper.address.into()).unwrap();
        let others = Require::any().except([named.id]);
        let addresses = at.into_iter().map(Address::from).collect();
        Self { pool, watch, peers, addresses, others, _gossiper: gossiper }
    }

    /// Waits for what becomes of a peer that misbehaved.
    async fn until_gone(&mut self, address: Address, told: Misbehavior, reason: DisconnectReason) {
        let wanted = |event: &Event| match event {
            Event::Misbehaved { address: of, misbehavior, .. } => {
                *of == address && *misbehavior == told
            }
            Event::Disconnected { address: of, reason: why, .. } => {
                *of == address && *why == reason
            }
            Event::Discouraged { address: of, .. } => *of == address,
            _ => false,
        };
        // One of each; the link's end comes first where the link found the fault.
        self.watch.count(3, wanted).await;
        let status = self.pool.status().await;
        assert_eq!(status.discouraged, 1);
        assert!(status.ready.iter().all(|peer| peer.address != address));
    }
}

/// The block asked for, with another value in its coinbase: its merkle root is another.
fn other_root() -> Vec<u8> {
    let mut block = block_at(101);
    block.txdata[0].output[0].value = Amount::from_sat(1);
    raw::encode(&NetworkMessage::Block(block))
}

/// The same with another witness, which the coinbase does not commit to.
fn other_witness() -> Vec<u8> {
    let mut block = block_at(101);
    block.txdata[1].input[0].witness = Witness::from_slice(&[[7; 9]]);
    raw::encode(&NetworkMessage::Block(block))
}

/// Its header, and nothing that could be read.
fn unreadable() -> Vec<u8> {
    raw::frame("block", &[serialize(&block_at(101).header), vec![0xff; 100]].concat())
}

#[tokio::test]
async fn a_block_that_is_not_what_its_header_commits_to_costs_the_peer_its_place() {
    let wrong = [
        ("not those that its header commits to", other_root()),
        ("not those that its coinbase commits to", other_witness()),
        ("cannot be read", unreadable()),
    ];
    for (expected, frame) in wrong {
        within(60, async {
            let mut found = Found::meet(1).await;
            let lease = found.pool.lease(&found.others).await.unwrap();
            let mut peer = found.peers.remove(0);
            let play = async {
                assert_eq!(asked_for(&mut peer).await, [hash_at(101)]);
                peer.write(&frame).await;
            };
            let (answer, ()) = tokio::join!(lease.query(GetBlock(hash_at(101))), play);
            let failed = answer.unwrap_err();
            assert!(
                matches!(&failed, QueryError::Invalid(why) if why.contains(expected)),
                "{failed}, where {expected}"
            );
            let (told, reason) = (Misbehavior::InvalidData, DisconnectReason::Discouraged);
            found.until_gone(found.addresses[0], told, reason).await;
            lease.closed().await;
            assert!(peer.request().await.is_none(), "the pool has closed");
        })
        .await;
    }
}

#[tokio::test]
async fn an_ask_goes_on_to_another_when_an_answer_is_wrong() {
    within(60, async {
        let mut found = Found::meet(2).await;
        let ask = found.pool.ask(GetBlock(hash_at(101))).to(found.others.clone());
        let (mut one, mut other) = (found.peers.remove(0), found.peers.remove(0));
        let play = async {
            // Whoever is asked first is the one that lies.
            let (liar, place, honest) = tokio::select! {
                _ = asked_for(&mut one) => (&mut one, 0, &mut other),
                _ = asked_for(&mut other) => (&mut other, 1, &mut one),
            };
            liar.write(&other_root()).await;
            assert_eq!(asked_for(honest).await, [hash_at(101)]);
            give(honest, 101).await;
            place
        };
        let (asked, liar) = tokio::join!(ask.asked(), play);
        let asked = asked.unwrap();
        assert_eq!(asked.answer, block_at(101));
        assert_eq!(asked.address, found.addresses[1 - liar]);
        let (told, reason) = (Misbehavior::InvalidData, DisconnectReason::Discouraged);
        found.until_gone(found.addresses[liar], told, reason).await;
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_claims_more_than_the_limit_ends_the_link_and_fails_the_query() {
    within(60, async {
        let mut found = Found::meet(1).await;
        let lease = found.pool.lease(&found.others).await.unwrap();
        let mut peer = found.peers.remove(0);
        let play = async {
            asked_for(&mut peer).await;
            peer.write(&raw::claim("block", 4_000_001)).await;
        };
        let (answer, ()) = tokio::join!(lease.query(GetBlock(hash_at(101))), play);
        assert_eq!(answer, Err(QueryError::Disconnected));
        let reason = DisconnectReason::Fault(LinkFault::Oversized);
        found.until_gone(found.addresses[0], Misbehavior::Oversized, reason).await;
    })
    .await;
}
