//! Borrowing a ready peer and giving it back.

use std::pin::pin;
use std::task::{Context, Waker};

use peerpool::bitcoin::blockdata::constants::genesis_block;
use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::p2p::message_blockdata::GetHeadersMessage;
use peerpool::bitcoin::{BlockHash, Network};
use peerpool::{
    Disconnected, Event, LeaseError, NetworkMessage, Pool, Require, SendError, ServiceFlags,
};

use crate::events::Watch;
use crate::{honest, ms, pool_on, within};

#[tokio::test]
async fn a_leased_peer_answers_getheaders() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        let want = Require::services(ServiceFlags::WITNESS);
        let mut lease = pool.lease(&want).await.unwrap();
        assert!(lease.services().has(ServiceFlags::WITNESS));
        assert!(lease.version().user_agent.to_string().starts_with("/devnet:"));

        let genesis = genesis_block(Network::Regtest).block_hash();
        let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
        lease.send(NetworkMessage::GetHeaders(request)).await.unwrap();
        let headers = loop {
            if let NetworkMessage::Headers(headers) = lease.recv().await.unwrap() {
                break headers;
            }
        };
        assert_eq!(headers.len(), 10);
        let mut previous = genesis;
        for header in headers {
            assert_eq!(header.prev_blockhash, previous);
            previous = header.block_hash();
        }
        assert_eq!(lease.missed(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_the_pool_cannot_be_sent() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        for (message, command) in [
            (NetworkMessage::Verack, "verack"),
            (NetworkMessage::WtxidRelay, "wtxidrelay"),
            (NetworkMessage::SendAddrV2, "sendaddrv2"),
            (NetworkMessage::GetAddr, "getaddr"),
        ] {
            assert_eq!(lease.send(message).await, Err(SendError::Reserved { command }));
        }
    })
    .await;
}

#[tokio::test]
async fn a_holder_learns_that_its_peer_is_gone() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut lease = pool.lease(&Require::any()).await.unwrap();
        let (id, peer) = (lease.id(), lease.peer());
        devnet.kill(lease.address().socket_addr().unwrap()).await.unwrap();
        lease.closed().await;
        while lease.recv().await.is_ok() {}
        assert_eq!(lease.recv().await, Err(Disconnected));
        assert_eq!(lease.send(NetworkMessage::Ping(1)).await, Err(SendError::Disconnected));
        let released = Event::Released { lease: id, peer };
        watch.until(|event| (*event == released).then_some(())).await;
        // The pool has found another; the old lease's end takes nothing from it.
        let next = pool.lease(&Require::any()).await.unwrap();
        drop(lease);
        assert_ne!(next.peer(), peer);
    })
    .await;
}

/// Waits until the driver has met all releases: they travel apart from commands.
pub(crate) async fn settled(pool: &Pool, leases: usize) {
    loop {
        let status = pool.status().await;
        if (status.waiters, status.leases) == (0, leases) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropped_lease_calls_leak_no_slot() {
    within(60, async {
        let devnet = honest(5).await;
        let tune = |policy: &mut peerpool::Policy| policy.slots_per_peer = 2;
        let pool = pool_on(&devnet).target(1).tune(tune).start().await.unwrap();
        let any = Require::any();
        let held = [pool.lease(&any).await.unwrap(), pool.lease(&any).await.unwrap()];
        assert!(matches!(pool.try_lease(&any).await, Err(LeaseError::NoneFree)));

        // Dropped after one poll: the command is sent and unanswered, or not even sent.
        for _ in 0..200 {
            let mut call = pin!(pool.lease(&any));
            let mut context = Context::from_waker(Waker::noop());
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        settled(&pool, 2).await;
        // Dropped while granted: the slot becomes free as the callers give up.
        for round in 0..50 {
            let waiting = (0..4).map(|_| {
                let (pool, any) = (pool.clone(), any.clone());
                tokio::spawn(async move { pool.lease(&any).await.map(drop) })
            });
            let waiting: Vec<_> = waiting.collect();
            for _ in 0..round % 5 {
                tokio::task::yield_now().await;
            }
            waiting.iter().for_each(|call| call.abort());
        }
        settled(&pool, 2).await;
        drop(held);
        settled(&pool, 0).await;
        let _both = (pool.try_lease(&any).await.unwrap(), pool.try_lease(&any).await.unwrap());
        assert!(matches!(pool.try_lease(&any).await, Err(LeaseError::NoneFree)));
    })
    .await;
}

#[tokio::test]
async fn a_slot_granted_to_a_dropped_call_comes_back() {
    within(60, async {
        let devnet = honest(5).await;
        let tune = |policy: &mut peerpool::Policy| policy.slots_per_peer = 1;
        let pool = pool_on(&devnet).target(1).tune(tune).start().await.unwrap();
        let any = Require::any();
        pool.ready(1).await.unwrap();
        for yields in 0..20 {
            let task = tokio::spawn({
                let (pool, any) = (pool.clone(), any.clone());
                async move { pool.lease(&any).await.map(drop) }
            });
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            task.abort();
            let _ = task.await;
            drop(pool.lease(&any).await.unwrap());
        }
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn waiting_too_long_says_why() {
    within(60, async {
        let devnet = honest(3).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        pool.ready(1).await.unwrap();
        let filters = Require::services(ServiceFlags::COMPACT_FILTERS);
        let error = pool.lease_timeout(&filters, ms(50)).await.unwrap_err();
        let LeaseError::TimedOut { waited, status, .. } = &error else { panic!("{error}") };
        assert!(*waited >= ms(50) && status.ready_count() == 1);
        assert!(error.to_string().contains("1 of 1 ready"), "{error}");
        settled(&pool, 0).await;
    })
    .await;
}

#[tokio::test]
async fn more_waiters_than_allowed_are_refused() {
    within(60, async {
        let devnet = honest(3).await;
        let tune = |policy: &mut peerpool::Policy| policy.max_waiters = 1;
        let pool = pool_on(&devnet).target(1).tune(tune).start().await.unwrap();
        pool.ready(1).await.unwrap();
        let filters = Require::services(ServiceFlags::COMPACT_FILTERS);
        let mut first = pin!(pool.lease(&filters));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let second = pool.lease(&filters).await;
        assert!(matches!(second, Err(LeaseError::TooManyWaiters)), "{second:?}");
    })
    .await;
}
