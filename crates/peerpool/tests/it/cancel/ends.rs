//! Calls that begin or end a pool, given up.

use std::time::Duration;

use peerpool::{LeaseError, Ping, ReadyError, Require};

use super::{drop_after, poll, turns};
use crate::events::Watch;
use crate::{honest, pool_on, within};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_dropped_close_has_closed_the_pool_all_the_same() {
    within(120, async {
        let devnet = honest(4).await;
        let mut ended = false;
        for polls in 1..=20 {
            for idle in 0..2 {
                let pool = pool_on(&devnet).target(2).start().await.unwrap();
                let mut watch = Watch::of(&pool);
                pool.ready(2).await.unwrap();
                let lease = pool.lease(&Require::any()).await.unwrap();
                let unmet = Require::any().min_height(1_000_000);
                let mut waits = Box::pin(pool.lease(&unmet));
                assert!(poll(waits.as_mut()).is_none());
                ended |= drop_after(polls, idle, pool.close(GRACE)).await.is_some();
                assert!(matches!(waits.await, Err(LeaseError::Closed)));
                lease.closed().await;
                watch.end().await;
                assert_eq!(pool.ready(1).await, Err(ReadyError::Closed));
                let status = pool.status().await;
                assert_eq!((status.waiters, status.leases, status.ready.len()), (0, 0, 0));
                devnet.until_live(|live| live == 0).await;
            }
        }
        assert!(ended, "20 polls are enough");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_start_has_started_nothing_or_all() {
    within(120, async {
        let devnet = honest(4).await;
        let mut base = std::env::temp_dir();
        base.push(format!("peerpool-cancel-{}", std::process::id()));
        for data_dir in [false, true] {
            for polls in 1..=10 {
                let mut builder = pool_on(&devnet).target(2);
                if data_dir {
                    builder = builder.data_dir(&base);
                }
                // Without a directory it starts at once, and is dropped then.
                drop(drop_after(polls, polls % 3, builder.start()).await);
                turns(3).await;
                devnet.until_live(|live| live == 0).await;
            }
        }
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        pool.ask(Ping::new()).await.unwrap();
        std::fs::remove_dir_all(base).unwrap();
    })
    .await;
}
