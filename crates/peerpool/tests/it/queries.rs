//! Queries through leases: what peers answer, and what they do not.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Waker};

use peerpool::bitcoin::bip158::BlockFilter;
use peerpool::bitcoin::blockdata::constants::genesis_block;
use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::{Block, BlockHash, Network, Txid};
use peerpool::{
    Address, Event, GetBlock, GetBlocks, GetCFCheckpt, GetCFHeaders, GetCFilters, GetHeaders,
    GetTx, Lease, Misbehavior, NetworkMessage, Ping, Policy, Pool, QueryError, Raw, Require,
    ServiceFlags,
};
use peerpool_sim::actor::{Kind, Mix, script_at};
use peerpool_sim::devnet::Devnet;
use serde_json::json;

use crate::events::Watch;
use crate::litecoind::{self, Litecoind, free_port, skip};
use crate::{honest, ms, pool_on, quick, real_nodes, within};

fn genesis() -> BlockHash {
    genesis_block(Network::Regtest).block_hash()
}

#[tokio::test]
async fn a_peer_answers_headers_and_pings() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        // Both wait at once.
        let (headers, trip) =
            tokio::join!(lease.query(GetHeaders::after([genesis()])), lease.query(Ping::new()));
        let headers = headers.unwrap();
        assert_eq!(headers.len(), 10);
        assert!(trip.unwrap() < ms(30_000));
        let tip = headers.last().unwrap().block_hash();
        assert_eq!(lease.query(GetHeaders::after([tip])).await, Ok(vec![]));
        let pong = |message: &NetworkMessage| *message == NetworkMessage::Pong(5);
        let raw = Raw::new(NetworkMessage::Ping(5), pong);
        assert_eq!(lease.query(raw).await, Ok(NetworkMessage::Pong(5)));
    })
    .await;
}

#[tokio::test]
async fn a_query_that_nobody_may_ask_fails_at_once() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        let failed = lease.query(GetHeaders::after([])).await.unwrap_err();
        assert!(matches!(failed, QueryError::Bad(_)), "{failed}");
        let reserved = Raw::new(NetworkMessage::GetAddr, |_| true);
        let failed = lease.query(reserved).await.unwrap_err();
        assert!(matches!(failed, QueryError::Bad(_)), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_query_without_an_answer_ends_in_time_and_costs_nothing() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        let never = || Raw::new(NetworkMessage::MemPool, |_| false);
        let failed = lease.query_timeout(never(), ms(50)).await.unwrap_err();
        assert_eq!(failed, QueryError::TimedOut(ms(50)));
        // Polled once, and dropped.
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(lease.query(never())).poll(&mut context).is_pending());
        assert_eq!(lease.query(GetHeaders::after([genesis()])).await.map(|it| it.len()), Ok(10));
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_lost_fails_its_queries_at_once() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        let never = Raw::new(NetworkMessage::MemPool, |_| false);
        let killed = async {
            // The question is on its way first.
            lease.query(Ping::new()).await.unwrap();
            devnet.kill(lease.address().socket_addr().unwrap()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(lease.query(never), killed);
        assert_eq!(answer, Err(QueryError::Disconnected));
        assert_eq!(lease.query(Ping::new()).await, Err(QueryError::Disconnected));
    })
    .await;
}

#[tokio::test]
async fn a_devnet_answers_every_query() {
    within(60, async {
        let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
        let services = services | ServiceFlags::NETWORK_LIMITED | ServiceFlags::COMPACT_FILTERS;
        let devnet = Devnet::builder().nodes(5).kinds(Mix::only(Kind::Honest)).services(services);
        let devnet = devnet.height(1150).block_size(20_000).port(0).start().await.unwrap();
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::services(ServiceFlags::COMPACT_FILTERS)).await.unwrap();
        let headers = lease.query(GetHeaders::after([genesis()])).await.unwrap();
        let blocks: Vec<BlockHash> = headers.iter().map(|header| header.block_hash()).collect();
        assert_eq!(blocks.len(), 1150);
        let block = lease.query(GetBlock(blocks[149])).await.unwrap();
        assert_eq!((block.block_hash(), block.txdata.len()), (blocks[149], 2));
        let asked = [blocks[30], blocks[3]];
        let some = lease.query(GetBlocks::new(asked)).await.unwrap();
        assert!(some.iter().map(Block::block_hash).eq(asked));
        let unknown = BlockHash::from_byte_array([9; 32]);
        let silence = lease.query_timeout(GetBlock(unknown), ms(50)).await;
        assert_eq!(silence, Err(QueryError::TimedOut(ms(50))), "as Core, which says nothing");

        let hashes = lease.query(GetCFHeaders::new(101, blocks[149])).await.unwrap();
        let expecting = GetCFilters::new(101, blocks[149]).expecting(hashes.filter_hashes);
        let filters = lease.query(expecting).await.unwrap();
        assert_eq!(filters.len(), 50);
        let filter = BlockFilter::new(&filters[49].filter);
        let pays = script_at(150);
        let found = filter.match_any(&blocks[149], std::iter::once(pays.as_bytes()));
        assert!(found.unwrap());
        let checkpoints = lease.query(GetCFCheckpt::new(blocks[1149]).at(1150)).await.unwrap();
        let up_to = lease.query(GetCFHeaders::new(1000, blocks[1000])).await.unwrap();
        let first = up_to.filter_hashes[0].filter_header(&up_to.previous_filter_header);
        assert_eq!(checkpoints.filter_headers, [first]);
    })
    .await;
}

/// A node that has mined 300 blocks with a transaction of its own in the last, and serves filters.
async fn node() -> Litecoind {
    let ip = Ipv4Addr::new(127, 2, 0, 1);
    // Whom it trusts it tells of transactions at once.
    let extra = ["-blockfilterindex=1", "-peerblockfilters=1", "-acceptnonstdtxn=1"];
    let extra = [&extra[..], &["-whitelist=noban@127.0.0.0/8"]].concat();
    let node = Litecoind::start(SocketAddr::from((ip, free_port(ip))), &extra).await;
    node.mine(300).await;
    // Then the index has been told of every block; it may have been at its start yet.
    node.call("syncwithvalidationinterfacequeue", json!([])).await;
    while node.call("getindexinfo", json!([])).await["basic block filter index"]["synced"] != true {
    }
    node
}

async fn hash_at(node: &Litecoind, height: u32) -> BlockHash {
    let hash = node.call("getblockhash", json!([height])).await;
    hash.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_real_node_answers_every_query() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let node = node().await;
        let chain = real_nodes::chain(node.address.port());
        let manual = Address::from(node.address);
        let pool = Pool::builder(chain).no_dns().add(manual).target(1);
        let relays = |policy: &mut Policy| policy.relay = true;
        let pool = pool.tune(quick).tune(relays).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();

        let genesis = hash_at(&node, 0).await;
        let headers = lease.query(GetHeaders::after([genesis])).await.unwrap();
        assert_eq!(headers.len(), 300);
        let tip = headers.last().unwrap().block_hash();
        assert_eq!(tip, hash_at(&node, 300).await);
        let some = lease.query(GetHeaders::after([genesis]).until(headers[9].block_hash())).await;
        assert_eq!(some.map(|headers| headers.len()), Ok(10));

        let block = lease.query(GetBlock(tip)).await.unwrap();
        assert_eq!((block.block_hash(), block.txdata.len()), (tip, 1));
        let asked: Vec<BlockHash> = headers[..16].iter().rev().map(|it| it.block_hash()).collect();
        let blocks = lease.query(GetBlocks::new(asked.clone())).await.unwrap();
        assert!(blocks.iter().map(Block::block_hash).eq(asked));
        answers_filters(&lease, &headers[..].iter().map(|it| it.block_hash()).collect::<Vec<_>>())
            .await;

        let missing = lease.query(GetTx::by_txid(Txid::from_byte_array([9; 32]))).await;
        assert_eq!(missing, Err(QueryError::NotFound));
        let is_inv = |message: &NetworkMessage| matches!(message, NetworkMessage::Inv(_));
        let told = Raw::new(NetworkMessage::Ping(1), is_inv);
        let first = hash_at(&node, 1).await;
        let (told, spent) = tokio::join!(lease.query(told), spend(&node, first));
        assert!(told.is_ok(), "a node gives only what it has told of: {told:?}");
        let tx = lease.query(GetTx::by_txid(spent)).await;
        assert_eq!(tx.map(|tx| tx.compute_txid()), Ok(spent));
        assert!(lease.query(Ping::new()).await.is_ok());
        pool.close(ms(5000)).await;
    })
    .await;
}

async fn answers_filters(lease: &Lease, blocks: &[BlockHash]) {
    let hashes = lease.query(GetCFHeaders::new(1, blocks[99])).await.unwrap().filter_hashes;
    assert_eq!(hashes.len(), 100);
    let expecting = GetCFilters::new(1, blocks[99]).expecting(hashes);
    let filters = lease.query(expecting).await.unwrap();
    assert!(filters.iter().map(|filter| filter.block_hash).eq(blocks[..100].iter().copied()));
    let checkpoints = lease.query(GetCFCheckpt::new(blocks[299]).at(300)).await.unwrap();
    assert_eq!(checkpoints.filter_headers.len(), 0);
}

/// Spends the coinbase of a block, which anyone may, and all of it as a fee.
async fn spend(node: &Litecoind, block: BlockHash) -> Txid {
    let block = node.call("getblock", json!([block.to_string()])).await;
    let inputs = json!([{ "txid": block["tx"][0], "vout": 0 }]);
    let outputs = json!([{ "data": "70".repeat(40) }]);
    let raw = node.call("createrawtransaction", json!([inputs, outputs])).await;
    let id = node.call("sendrawtransaction", json!([raw, 0])).await;
    id.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_answer_that_cannot_be_true_is_reported_at_once() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let ip = Ipv4Addr::new(127, 2, 0, 1);
        let node = Litecoind::start(SocketAddr::from((ip, free_port(ip))), &[]).await;
        // Its headers have another proof of work than this chain says: by chance, each second one
        // meets the target all the same.
        node.mine(60).await;
        let chain = peerpool::Chain { pow: true, ..real_nodes::chain(node.address.port()) };
        let manual = Address::from(node.address);
        let pool = Pool::builder(chain).no_dns().add(manual).target(1).tune(quick);
        let pool = pool.start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let lease = pool.lease(&Require::any()).await.unwrap();
        let genesis = hash_at(&node, 0).await;
        let failed = lease.query(GetHeaders::after([genesis])).await.unwrap_err();
        assert!(matches!(&failed, QueryError::Invalid(why) if why.contains("target")), "{failed}");
        let told = |event: &Event| match event {
            Event::Misbehaved { misbehavior, reason, .. } => Some((*misbehavior, reason.clone())),
            _ => None,
        };
        let (misbehavior, reason) = watch.until(told).await;
        assert_eq!(misbehavior, Misbehavior::InvalidData);
        assert!(reason.contains("does not meet its target"), "{reason}");
    })
    .await;
}
