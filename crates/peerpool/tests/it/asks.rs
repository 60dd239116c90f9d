//! Queries of the pool: several peers where one is not enough.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::{BlockHash, Txid};
use peerpool::{
    AskError, Event, GetBlock, GetHeaders, GetTx, LeaseError, Policy, Pool, QueryError, Require,
    ServiceFlags, Spread,
};
use peerpool_sim::actor::{HeaderChain, Kind, Mix};
use peerpool_sim::devnet::Devnet;

use crate::events::Watch;
use crate::leases::settled;
use crate::{honest, ms, network, pool_on, within};

/// A network of three nodes that are all peers of a pool.
async fn three() -> (Devnet, Pool) {
    let devnet = honest(3).await;
    let pool = pool_on(&devnet).target(3).start().await.unwrap();
    pool.ready(3).await.unwrap();
    (devnet, pool)
}

/// The hash of a block that every node has.
fn block() -> BlockHash {
    HeaderChain::regtest(10).hash_at(7).unwrap()
}

async fn peers(pool: &Pool) -> Vec<SocketAddr> {
    let ready = pool.status().await.ready;
    ready.iter().map(|peer| peer.address.socket_addr().unwrap()).collect()
}

#[tokio::test]
async fn one_peer_answers() {
    within(60, async {
        let (_devnet, pool) = three().await;
        let asked = pool.ask(GetBlock(block())).asked().await.unwrap();
        assert_eq!(asked.answer.block_hash(), block());
        assert!(peers(&pool).await.contains(&asked.address.socket_addr().unwrap()));
        let headers = pool.ask(GetHeaders::after([block()])).await.unwrap();
        assert_eq!(headers.len(), 3);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn what_nobody_has_is_asked_of_others_and_then_given_up() {
    within(60, async {
        let (_devnet, pool) = three().await;
        let query = GetTx::by_txid(Txid::from_byte_array([9; 32]));
        let failed = pool.ask(query).at_most(3).await.unwrap_err();
        let AskError::NotFound(said) = &failed else { panic!("{failed}") };
        assert!(said.iter().all(|(_, error)| *error == QueryError::NotFound));
        let mut asked: Vec<_> = said.iter().map(|(address, _)| *address).collect();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 3, "each once");
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn what_all_peers_say_they_have_not_is_given_up_though_more_might_be_asked() {
    within(60, async {
        let devnet = honest(3).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let hour = Duration::from_secs(3600);
        let query = GetTx::by_txid(Txid::from_byte_array([9; 32]));
        let failed = pool.ask(query).timeout(hour).await.unwrap_err();
        assert!(matches!(&failed, AskError::NotFound(said) if said.len() == 2), "{failed}");
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_ask_that_finds_nobody_says_why() {
    within(60, async {
        let devnet = honest(3).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        pool.ready(1).await.unwrap();
        let nobody = Require::services(ServiceFlags::COMPACT_FILTERS);
        let ask = pool.ask(GetBlock(block())).to(nobody).timeout(ms(50));
        let failed = ask.await.unwrap_err();
        let AskError::NoPeer(why, _) = &failed else { panic!("{failed}") };
        assert!(matches!(**why, LeaseError::TimedOut { .. }), "{failed}");
        assert!(failed.to_string().contains("1 of 1 ready"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_slow_peer_is_hedged() {
    within(60, async {
        let (devnet, pool) = three().await;
        let all = peers(&pool).await;
        for &slow in &all[1..] {
            devnet.stall(slow).await.unwrap();
        }
        let hour = Duration::from_secs(3600);
        let ask = pool.ask(GetBlock(block())).to(Require::any()).timeout(hour);
        let asked = ask.hedge_after(ms(100)).asked().await.unwrap();
        assert_eq!(asked.address.socket_addr(), Some(all[0]));
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_slower_than_it_mostly_is_is_hedged() {
    within(60, async {
        let devnet = honest(3).await;
        let hour = Duration::from_secs(3600);
        let patient = |policy: &mut Policy| policy.query_timeout = hour;
        let pool = pool_on(&devnet).target(3).tune(patient).start().await.unwrap();
        pool.ready(3).await.unwrap();
        // Each has answered often enough, and quickly.
        for peer in pool.status().await.ready {
            let others = pool.status().await.ready.into_iter().map(|it| it.id);
            let only = Require::any().except(others.filter(|id| *id != peer.id));
            let lease = pool.lease(&only).await.unwrap();
            for _ in 0..20 {
                lease.query(GetBlock(block())).await.unwrap();
            }
        }
        let all = peers(&pool).await;
        for &slow in &all[1..] {
            devnet.stall(slow).await.unwrap();
        }
        // Nobody has waited for so long: a leg that is not hedged waits for an hour.
        let asked = pool.ask(GetBlock(block())).hedge_at_p95().asked().await.unwrap();
        assert_eq!(asked.address.socket_addr().unwrap(), all[0]);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn blocks_are_asked_of_those_that_have_all_unless_the_caller_says_otherwise() {
    within(60, async {
        let devnet = network(3, Mix::only(Kind::Pruned)).await;
        let pool = pool_on(&devnet).target(3).start().await.unwrap();
        pool.ready(3).await.unwrap();
        let none = pool.ask(GetBlock(block())).timeout(ms(200)).await.unwrap_err();
        assert!(matches!(&none, AskError::NoPeer(..)), "{none}");
        let pruned = Require::services(ServiceFlags::NETWORK_LIMITED);
        assert!(pool.ask(GetBlock(block())).to(pruned).await.is_ok());
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_lost_is_replaced() {
    within(60, async {
        let (devnet, pool) = three().await;
        for &peer in &peers(&pool).await {
            devnet.stall(peer).await.unwrap();
        }
        let mut watch = Watch::of(&pool);
        let ask = tokio::spawn(pool.ask(GetBlock(block())).asked());
        let leased = |event: &Event| match event {
            Event::Leased { peer, .. } => Some(*peer),
            _ => None,
        };
        let lost = watch.until(leased).await;
        let ready = pool.status().await.ready;
        let lost = ready.iter().find(|peer| peer.id == lost).unwrap().address;
        for other in peers(&pool).await {
            devnet.unstall(other).await.unwrap();
        }
        devnet.stall(lost.socket_addr().unwrap()).await.unwrap();
        devnet.kill(lost.socket_addr().unwrap()).await.unwrap();
        let asked = ask.await.unwrap().unwrap();
        assert_eq!(asked.answer.block_hash(), block());
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn legs_are_apart_from_each_other() {
    within(60, async {
        let (devnet, pool) = three().await;
        for &peer in &peers(&pool).await {
            devnet.stall(peer).await.unwrap();
        }
        let ask =
            |spread| pool.ask(GetBlock(block())).fanout(3).spread(spread).timeout(ms(300)).asked();
        for (spread, legs) in [(Spread::Net, 1), (Spread::Netgroup, 3), (Spread::Asn, 3)] {
            let failed = ask(spread).await.unwrap_err();
            let AskError::TimedOut { silent, .. } = &failed else { panic!("{failed}") };
            assert_eq!(silent.len(), legs, "{spread:?}");
        }
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn the_same_question_is_asked_once() {
    within(60, async {
        let (_devnet, pool) = three().await;
        let mut watch = Watch::of(&pool);
        let ask = || pool.ask(GetBlock(block()));
        let (one, two, three) = tokio::join!(ask().asked(), ask().asked(), ask().asked());
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(three.unwrap().answer.block_hash(), block());
        settled(&pool, 0).await;
        watch.quiet(ms(50)).await;
        assert_eq!(watch.seen("leased"), 1);
        ask().await.unwrap();
        settled(&pool, 0).await;
        watch.quiet(ms(50)).await;
        assert_eq!(watch.seen("leased"), 2, "and anew once it is answered");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_ask_leaks_no_slot() {
    within(60, async {
        let (devnet, pool) = three().await;
        for &peer in &peers(&pool).await {
            devnet.stall(peer).await.unwrap();
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut watch = Watch::of(&pool);
        for fanout in 1..=3 {
            let mut ask = pin!(pool.ask(GetBlock(block())).fanout(fanout).asked());
            assert!(ask.as_mut().poll(&mut context).is_pending());
            watch.count(fanout, |event| matches!(event, Event::Leased { .. })).await;
            assert!(ask.as_mut().poll(&mut context).is_pending());
        }
        settled(&pool, 0).await;
    })
    .await;
}
