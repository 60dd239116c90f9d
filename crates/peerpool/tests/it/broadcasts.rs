//! Transactions told to peers, and heard of again from others.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Waker};

use peerpool::bitcoin::Transaction;
use peerpool::bitcoin::consensus::encode::deserialize_hex;
use peerpool::{Address, Broadcast, BroadcastError, Builder, LeaseError, Pool, Require, Unmet};
use peerpool_sim::actor::{HeaderChain, Kind};
use serde_json::json;

use crate::leases::settled;
use crate::litecoind::{self, Litecoind, free_port, skip};
use crate::{honest, ms, pool_on, quick, real_nodes, within};

fn relaying(builder: Builder) -> Builder {
    builder.tune(|policy| policy.relay = true)
}

/// Some transaction.
fn tx() -> Transaction {
    HeaderChain::regtest(101).block(101).unwrap().txdata[1].clone()
}

#[tokio::test]
async fn a_transaction_is_asked_for_and_comes_back_from_others() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = relaying(pool_on(&devnet).target(5)).start().await.unwrap();
        pool.ready(5).await.unwrap();
        let mut cast = pool.broadcast(tx()).to(Require::any()).peers(2);
        assert!((1..=2).contains(&cast.sent().await.unwrap()));
        assert_eq!(cast.announced_back(3).await.unwrap(), 3);
        let reach = cast.reach();
        assert_eq!(reach.told.len(), 2);
        assert!(reach.asked.is_subset(&reach.told));
        assert!(reach.announced.is_disjoint(&reach.asked), "nobody is told what it has told");
        drop(cast);
        settled(&pool, 0).await;

        // Everybody has it by now.
        let again = pool.broadcast(tx()).timeout(ms(300)).sent().await.unwrap_err();
        let BroadcastError::TimedOut { reach, .. } = &again else { panic!("{again}") };
        assert_eq!((reach.told.len(), reach.asked.len()), (3, 0));
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_dropped_broadcast_leaks_no_slot() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = relaying(pool_on(&devnet).target(5)).start().await.unwrap();
        pool.ready(5).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        for yields in 0..40 {
            let mut cast = pool.broadcast(tx());
            assert!(pin!(cast.sent()).poll(&mut context).is_pending());
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            // One wait was given up; the broadcast goes on until it is dropped.
            assert!(pin!(cast.announced_back(9)).poll(&mut context).is_pending());
            drop(cast);
            settled(&pool, 0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_private_transaction_is_told_to_one_stranger_and_comes_back_from_others() {
    within(60, async {
        let devnet = honest(12).await;
        let pool = relaying(pool_on(&devnet).target(4)).start().await.unwrap();
        pool.ready(4).await.unwrap();
        let mine: Vec<Address> = pool.status().await.ready.iter().map(|it| it.address).collect();
        let mut cast = pool.broadcast(tx()).private();
        assert_eq!(cast.sent().await.unwrap(), 1);
        assert_eq!(cast.announced_back(3).await.unwrap(), 3);
        let reach = cast.reach();
        assert_eq!(reach.told, reach.asked, "one, who has it");
        assert!(reach.told.iter().all(|address| !mine.contains(address)));
        assert!(reach.announced.iter().all(|address| mine.contains(address)));
        drop(cast);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_private_transaction_that_nobody_tells_of_goes_to_another() {
    within(60, async {
        let devnet = honest(12).await;
        let builder = pool_on(&devnet).target(2);
        let pool = builder.tune(|policy| policy.private_retry = ms(10)).start().await.unwrap();
        pool.ready(2).await.unwrap();
        // It hears nothing of transactions, so it takes each for lost.
        let mut cast = pool.broadcast(tx()).private().peers(2);
        assert_eq!(cast.sent().await.unwrap(), 1);
        let deaf = cast.announced_back(1).await.unwrap_err();
        let BroadcastError::NoPeer(error) = &deaf else { panic!("{deaf}") };
        assert!(matches!(**error, LeaseError::Unsatisfiable(Unmet::Relay)), "{deaf}");
        while cast.reach().told.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(cast);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_is_told_and_leaves_is_replaced_by_one_who_was_listened_to() {
    within(60, async {
        let devnet = honest(3).await;
        let pool = relaying(pool_on(&devnet).target(3)).start().await.unwrap();
        pool.ready(3).await.unwrap();
        // They have it from then on, and ask for nothing.
        let mut first = pool.broadcast(tx()).peers(1);
        assert_eq!(first.announced_back(2).await.unwrap(), 2);
        drop(first);
        settled(&pool, 0).await;
        let mut cast = pool.broadcast(tx()).peers(1).timeout(ms(50));
        assert!(cast.sent().await.is_err());
        let told = *cast.reach().told.first().unwrap();
        devnet.kill(told.socket_addr().unwrap()).await.unwrap();
        while cast.reach().told.len() < 2 {
            let _ = cast.sent().await;
        }
        drop(cast);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_broadcast_that_finds_nobody_at_first_goes_on() {
    within(60, async {
        let devnet = honest(3).await;
        devnet.kill_all().await;
        let pool = relaying(pool_on(&devnet).target(3)).start().await.unwrap();
        let mut cast = pool.broadcast(tx()).timeout(ms(50));
        let failed = cast.sent().await.unwrap_err();
        assert!(matches!(&failed, BroadcastError::NoPeer(_)), "{failed}");
        assert!(failed.to_string().contains("0 of 3 ready"), "{failed}");
        for node in devnet.addresses_of(Kind::Honest) {
            devnet.restart(node).await.unwrap();
            pool.add(node).await;
        }
        while cast.sent().await.is_err() {}
        drop(cast);
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_pool_that_does_not_relay_says_so_at_once() {
    within(60, async {
        let devnet = honest(3).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        pool.ready(1).await.unwrap();
        let failed = pool.broadcast(tx()).sent().await.unwrap_err();
        let BroadcastError::NoPeer(error) = &failed else { panic!("{failed}") };
        assert!(matches!(**error, LeaseError::Unsatisfiable(Unmet::Relay)));
        assert!(failed.to_string().contains("set `relay`"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_real_node_takes_it_and_another_tells_of_it() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let ips = [2, 3].map(|group| Ipv4Addr::new(127, group, 0, 1));
        let port = free_port(ips[0]);
        let extra = ["-acceptnonstdtxn=1", "-whitelist=noban,relay@127.0.0.0/8"];
        let mut nodes = Vec::new();
        for ip in ips {
            nodes.push(Litecoind::start(SocketAddr::from((ip, port)), &extra).await);
        }
        nodes[0].mine(101).await;
        nodes[1].call("addnode", json!([nodes[0].address.to_string(), "add"])).await;
        nodes[1].call("waitforblockheight", json!([101])).await;
        let pool = Pool::builder(real_nodes::chain(port)).no_dns().target(2).tune(quick);
        let pool = nodes.iter().fold(pool, |pool, node| pool.add(Address::from(node.address)));
        let pool = relaying(pool).start().await.unwrap();
        pool.ready(2).await.unwrap();

        let mut cast = tell(&pool, spend(&nodes[0]).await);
        assert_eq!(cast.sent().await.unwrap(), 1);
        assert_eq!(cast.announced_back(1).await.unwrap(), 1);
        let reach = cast.reach();
        assert!(reach.announced.is_disjoint(&reach.asked));
        for node in &nodes {
            assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 1);
        }
        pool.close(ms(5000)).await;
    })
    .await;
}

fn tell(pool: &Pool, tx: Transaction) -> Broadcast {
    pool.broadcast(tx).peers(1)
}

/// Spends the first coinbase, which anyone may, and all of it as a fee.
async fn spend(node: &Litecoind) -> Transaction {
    let block = node.call("getblockhash", json!([1])).await;
    let block = node.call("getblock", json!([block])).await;
    let inputs = json!([{ "txid": block["tx"][0], "vout": 0 }]);
    let outputs = json!([{ "data": "70".repeat(40) }]);
    let raw = node.call("createrawtransaction", json!([inputs, outputs])).await;
    deserialize_hex(raw.as_str().unwrap()).unwrap()
}
