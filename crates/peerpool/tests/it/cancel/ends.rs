//! Calls that begin or end a pool, given up.

use std::path::Path;
use std::time::Duration;

use peerpool::{Builder, LeaseError, Ping, Pool, ReadyError, Require, StartError, StoreError};

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

/// Starts a pool in this directory, once whoever had it has let go of it.
async fn start_in(directory: &Path, builder: impl Fn() -> Builder) -> Pool {
    loop {
        match builder().data_dir(directory).start().await {
            Ok(pool) => return pool,
            Err(StartError::Store(StoreError::Locked { .. })) => turns(1).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn drop_starts(base: &Path) {
    let devnet = honest(4).await;
    let builder = || pool_on(&devnet).target(2);
    for polls in 1..=10 {
        // Without a directory it has started at once, and is dropped then.
        drop(drop_after(polls, polls % 3, builder().start()).await);
        let directory = base.join(polls.to_string());
        let begun = builder().data_dir(&directory).start();
        drop(drop_after(polls, polls % 3, begun).await);
        devnet.until_live(|live| live == 0).await;
        let pool = start_in(&directory, builder).await;
        pool.ask(Ping::new()).await.unwrap();
        pool.close(GRACE).await;
        devnet.until_live(|live| live == 0).await;
    }
}

#[test]
fn a_dropped_start_has_started_nothing_or_all_and_lets_go_of_its_directory() {
    let base = std::env::temp_dir().join(format!("peerpool-cancel-{}", std::process::id()));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(within(120, drop_starts(&base)));
    // Its end waits for threads that are at a directory yet.
    drop(runtime);
    std::fs::remove_dir_all(base).unwrap();
}
