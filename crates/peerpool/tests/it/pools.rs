//! Named pools, and leases that wait for what no peer is.

use peerpool::bitcoin::Network;
use peerpool::{
    ConnectionType, Event, GetBlock, Pool, ReadyError, Require, ServiceFlags, StartError,
};
use peerpool_sim::actor::{HeaderChain, Kind, Mix};

use crate::events::Watch;
use crate::leases::settled;
use crate::{honest, network, pool_on, within};

#[tokio::test]
async fn each_named_pool_has_peers_and_leases_of_its_own() {
    within(60, async {
        let devnet = honest(8).await;
        let pool = pool_on(&devnet).target(3).named("wallet", 2).start().await.unwrap();
        let wallet = pool.named("wallet").unwrap();
        assert_eq!((pool.name(), wallet.name()), ("main", "wallet"));
        assert_eq!(pool.named("main").unwrap().name(), "main");
        assert!(pool.named("other").is_none());
        pool.ready(3).await.unwrap();
        wallet.ready(2).await.unwrap();
        assert_eq!(wallet.ready(3).await, Err(ReadyError::Unsatisfiable { wanted: 3, target: 2 }));
        let status = pool.status().await;
        let counts: Vec<_> = status.pools.iter().map(|it| (&*it.name, it.ready)).collect();
        assert_eq!((status.target, counts), (5, vec![("main", 3), ("wallet", 2)]));
        let serves = |id| status.ready.iter().find(|it| it.id == id).and_then(|it| it.pool);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            mine.push(pool.lease(&Require::any()).await.unwrap());
            theirs.push(wallet.lease(&Require::any()).await.unwrap());
        }
        assert!(mine.iter().all(|lease| serves(lease.peer()).unwrap().0 == 0));
        assert!(theirs.iter().all(|lease| serves(lease.peer()).unwrap().0 == 1));
        drop((mine, theirs));
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn separate_pools_share_no_node() {
    within(60, async {
        let devnet = honest(40).await;
        let builder = pool_on(&devnet).target(2).separate("a", 2).separate("b", 2);
        let pool = builder.start().await.unwrap();
        for name in ["main", "a", "b"] {
            pool.named(name).unwrap().ready(2).await.unwrap();
        }
        let status = pool.status().await;
        assert!(status.pools.iter().skip(1).all(|it| it.separate));
        let mut addresses: Vec<_> = status.ready.iter().map(|it| it.address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_pool_that_cannot_be_named_so_does_not_start() {
    let named = |name, target| async move {
        let builder = Pool::builder(Network::Regtest).no_dns();
        builder.named(name, target).start().await.unwrap_err()
    };
    for (name, target, words) in
        [("main", 1, "not main"), ("", 1, "1 to 32"), ("a", 0, "from 1"), ("a", 2000, "1000")]
    {
        let error = named(name, target).await;
        assert!(matches!(error, StartError::Policy(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn who_waits_for_what_few_nodes_are_has_one_of_them() {
    within(60, async {
        // Most nodes are pruned, and so are most peers, if not all.
        let mix = Mix::only(Kind::Pruned).with(Kind::Pruned, 90).with(Kind::Honest, 10);
        let devnet = network(60, mix).await;
        let honest = devnet.addresses_of(Kind::Honest);
        assert!(!honest.is_empty());
        let builder = pool_on(&devnet).target(2);
        let pool =
            builder.tune(|policy| policy.need_interval = crate::ms(10)).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let lease = pool.lease(&Require::services(ServiceFlags::NETWORK)).await.unwrap();
        assert!(honest.contains(&lease.address().socket_addr().unwrap()));
        let block = HeaderChain::regtest(5).hash_at(3).unwrap();
        assert_eq!(lease.query(GetBlock(block)).await.unwrap().block_hash(), block);
    })
    .await;
}

#[tokio::test]
async fn a_private_lease_is_of_a_connection_of_its_own() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let mut watch = Watch::of(&pool);
        let lease = pool.lease(&Require::any().private()).await.unwrap();
        let status = pool.status().await;
        let its = status.ready.iter().find(|it| it.id == lease.peer()).unwrap();
        assert_eq!(its.connection_type, ConnectionType::PrivateBroadcast);
        assert_eq!(status.ready_count(), 2);
        let peer = lease.peer();
        drop(lease);
        let gone = |event: &Event| match event {
            Event::Disconnected { peer: it, reason, .. } if *it == peer => Some(reason.as_str()),
            _ => None,
        };
        assert_eq!(watch.until(gone).await, "private_broadcast_done");
        settled(&pool, 0).await;
    })
    .await;
}
