//! Ends: polite, impatient, and by letting go of the pool.

use std::time::Duration;

use peerpool::{DisconnectReason, Event, LeaseError, PeerState, ReadyError, Require};
use peerpool_sim::actor::{Kind, Mix};

use crate::events::Watch;
use crate::{honest, network, pool_on, within};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_close_with_dials_in_flight_gives_them_up_and_tells_the_last_events() {
    within(60, async {
        let devnet = network(20, Mix::only(Kind::Silent)).await;
        let tune = |policy: &mut peerpool::Policy| policy.dial_timeout = Duration::from_secs(60);
        let pool = pool_on(&devnet).target(8).tune(tune).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.count(8, |event| matches!(event, Event::Connecting { .. })).await;
        pool.close(GRACE).await;
        watch.end().await;
        let given_up = |event: &&Event| {
            let closed = DisconnectReason::PoolClosed;
            matches!(event, Event::Disconnected { state: PeerState::Connecting, reason, .. }
                if *reason == closed)
        };
        let ended = watch.past.iter().filter(given_up).count();
        assert_eq!(ended, watch.seen("connecting"));
        let status = pool.status().await;
        assert!(status.connecting.is_empty() && status.burned.is_empty(), "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn a_closed_pool_refuses_everything_and_closes_again() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let mut lease = pool.lease(&Require::any()).await.unwrap();
        let other = pool.clone();
        tokio::join!(pool.close(GRACE), other.close(GRACE));
        devnet.until_live(|live| live == 0).await;
        while lease.recv().await.is_ok() {}
        lease.closed().await;
        drop(lease);
        pool.close(GRACE).await;
        assert_eq!(pool.ready(1).await, Err(ReadyError::Closed));
        assert!(matches!(pool.lease(&Require::any()).await, Err(LeaseError::Closed)));
        assert!(matches!(pool.try_lease(&Require::any()).await, Err(LeaseError::Closed)));
        assert_eq!(pool.status().await.target, 2);
        Watch::of(&pool).end().await;
    })
    .await;
}

#[tokio::test]
async fn a_waiting_caller_is_told_that_the_pool_closes() {
    within(60, async {
        let devnet = network(5, Mix::only(Kind::Mute)).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        let any = Require::any();
        let (leased, ()) =
            tokio::join!(pool.lease_timeout(&any, GRACE * 6), pool.close(Duration::ZERO));
        assert!(matches!(leased, Err(LeaseError::Closed)));
        let unmet = pool.ready(3).await.unwrap_err();
        assert_eq!(unmet, ReadyError::Unsatisfiable { wanted: 3, target: 2 });
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_every_connection() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(4).start().await.unwrap();
        pool.ready(4).await.unwrap();
        let mut watch = Watch::of(&pool);
        let lease = pool.lease(&Require::any()).await.unwrap();
        let clone = pool.clone();
        drop(pool);
        assert_eq!(clone.status().await.ready_count(), 4);
        drop(clone);
        lease.closed().await;
        devnet.until_live(|live| live == 0).await;
        watch.end().await;
    })
    .await;
}
