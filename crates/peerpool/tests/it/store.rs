//! Pools that remember: what one learns, the next one on the same directory knows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use peerpool::store::STORE_FILE;
use peerpool::{Event, Policy, Require, Spread, StartError, Store, StoreError};
use peerpool_sim::devnet::DnsMode;

use crate::events::Watch;
use crate::{honest, ms, pool_on, within};

/// A directory that is gone after the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerpool-it-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hasty(policy: &mut Policy) {
    policy.save_interval = ms(10);
    policy.save_retry_max = ms(20);
}

#[tokio::test]
async fn a_restarted_pool_fills_from_its_book_without_dns() {
    within(60, async {
        let (devnet, dir) = (honest(60).await, Dir::new());
        let pool = pool_on(&devnet).target(8).data_dir(&dir.0).start().await.unwrap();
        pool.ready(8).await.unwrap();
        // Each is pinged once at first.
        while pool.status().await.ready.iter().any(|peer| peer.ping.is_none()) {
            tokio::task::yield_now().await;
        }
        pool.close(ms(5000)).await;
        assert_eq!(pool.status().await.store_failure, None);

        let store = Store::open_read_only(&dir.0).unwrap();
        let rows = store.addresses().unwrap();
        let known: Vec<_> = rows.iter().filter(|row| row.last_success.is_some()).collect();
        assert!(known.len() >= 8, "{} of {}", known.len(), rows.len());
        let (mut ready, mut timed) = (0, 0);
        for row in known {
            let history = store.history(&row.address).unwrap().expect("it was dialled");
            let words: Vec<&str> = history.facts.iter().map(|fact| &*fact.what).collect();
            assert_eq!(words[..2], ["chosen", "connected"]);
            // Others were one too many when their handshake was done.
            if words.contains(&"ready") {
                ready += 1;
                timed += usize::from(history.percentiles().is_some());
                assert_eq!((history.successes, history.transport.as_deref()), (1, Some("tcp v1")));
                assert!(!history.said.unwrap().1.0.is_empty());
                let end = history.last_end.unwrap();
                assert_eq!((&*end.state, &*end.reason), ("ready", "pool_closed"));
            }
        }
        assert!(ready >= 8 && timed >= 8, "{ready} were ready, {timed} answered a ping");
        drop(store);

        devnet.set_dns_mode(DnsMode::ServFail);
        let asked = devnet.dns_queries().len();
        let pool = pool_on(&devnet).target(8).data_dir(&dir.0).no_dns().start().await.unwrap();
        pool.ready(8).await.unwrap();
        pool.close(ms(5000)).await;
        assert_eq!(devnet.dns_queries().len(), asked);
        let store = Store::open_read_only(&dir.0).unwrap();
        let again = store.addresses().unwrap();
        let twice = |row: &&peerpool::store::AddressRow| {
            let history = store.history(&row.address).unwrap();
            history.is_some_and(|history| history.successes == 2)
        };
        assert!(again.iter().any(|row| twice(&row)));
    })
    .await;
}

#[tokio::test]
async fn a_second_pool_on_a_directory_is_told_whose_it_is() {
    within(60, async {
        let (devnet, dir) = (honest(10).await, Dir::new());
        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        let error = pool_on(&devnet).data_dir(&dir.0).start().await.unwrap_err();
        assert!(matches!(&error, StartError::Store(StoreError::Locked { .. })), "{error}");
        assert!(error.to_string().contains(dir.0.to_str().unwrap()));
        pool.close(ms(1000)).await;
        pool_on(&devnet).data_dir(&dir.0).start().await.unwrap().close(ms(1000)).await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_book_is_begun_anew_and_told() {
    within(60, async {
        let (devnet, dir) = (honest(10).await, Dir::new());
        std::fs::write(dir.0.join(STORE_FILE), [b'x'; 5000]).unwrap();
        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("store_set_aside").await;
        pool.ready(2).await.unwrap();
        pool.close(ms(5000)).await;
        watch.end().await;
        let aside = watch.past.iter().find_map(|event| match event {
            Event::StoreSetAside { path, .. } => Some(path.clone()),
            _ => None,
        });
        assert_eq!(std::fs::read(aside.unwrap()).unwrap(), [b'x'; 5000]);
        let store = Store::open_read_only(&dir.0).unwrap();
        assert!(store.addresses().unwrap().iter().any(|row| row.last_success.is_some()));
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_goes_away_is_told_and_all_is_saved_when_it_is_back() {
    within(60, async {
        let (devnet, dir) = (honest(40).await, Dir::new());
        let builder = pool_on(&devnet).target(8).tune(hasty).data_dir(&dir.0);
        let pool = builder.start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let away = dir.0.with_extension("away");
        std::fs::rename(&dir.0, &away).unwrap();
        watch.named("store_failed").await;
        assert!(pool.status().await.store_failure.is_some());
        pool.ready(8).await.unwrap();
        std::fs::rename(&away, &dir.0).unwrap();
        watch.named("store_recovered").await;
        assert_eq!(pool.status().await.store_failure, None);
        pool.close(ms(5000)).await;
        let store = Store::open_read_only(&dir.0).unwrap();
        let known =
            store.addresses().unwrap().iter().filter(|it| it.last_success.is_some()).count();
        assert!(known >= 8, "{known}");
    })
    .await;
}

#[tokio::test]
async fn a_pool_that_is_let_go_of_saves_and_gives_the_directory_free() {
    within(60, async {
        let (devnet, dir) = (honest(10).await, Dir::new());
        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        pool.ready(2).await.unwrap();
        drop(pool);
        // The end of the events is told once it is saved.
        watch.end().await;
        let store = Store::open(&dir.0).unwrap();
        assert!(store.addresses().unwrap().iter().any(|row| row.last_success.is_some()));
    })
    .await;
}

#[tokio::test]
async fn bans_outlive_the_pool_with_the_time_that_is_left_of_them() {
    within(60, async {
        let (devnet, dir) = (honest(10).await, Dir::new());
        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let all: peerpool::Subnet = "127.0.0.0/8".parse().unwrap();
        let other: peerpool::Subnet = "10.0.0.1".parse().unwrap();
        let ban = pool.ban(all, ms(3_600_000)).await.unwrap();
        pool.ban(other, ms(3_600_000)).await.unwrap();
        pool.unban(other).await.unwrap();
        pool.close(ms(5000)).await;
        assert_eq!(Store::open_read_only(&dir.0).unwrap().bans().unwrap(), [ban]);

        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        assert_eq!(pool.bans().await, [ban]);
        watch.named("starved").await;
        assert_eq!(pool.status().await.dials, 0);
        pool.close(ms(5000)).await;

        // As if the hour had passed.
        let mut store = Store::open(&dir.0).unwrap();
        let past = peerpool::Ban { until: peerpool::UnixTime(ban.since.0), ..ban };
        store.insert_ban(&past).unwrap();
        drop(store);
        let pool = pool_on(&devnet).target(2).data_dir(&dir.0).start().await.unwrap();
        pool.ready(2).await.unwrap();
        assert!(pool.bans().await.is_empty());
        pool.close(ms(5000)).await;
        assert_eq!(Store::open_read_only(&dir.0).unwrap().bans().unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn of_a_private_connection_nothing_is_kept_however_it_ends() {
    within(60, async {
        let devnet = honest(12).await;
        let dir = Dir::new();
        // Nobody is dialled beside the two and these.
        let plain = |policy: &mut Policy| {
            (policy.max_dials, policy.block_relay_count) = (2, 0);
            (policy.feeler_interval, policy.rotation_interval) = (ms(0), ms(0));
        };
        let pool = pool_on(&devnet).target(2).tune(plain).data_dir(&dir.0).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let private = Require::any().private();
        let lease = pool.lease(&private).await.unwrap();
        let told = [lease.address()];
        drop(lease);
        let lease = pool.lease(&private.apart(Spread::Netgroup, told)).await.unwrap();
        let lost = lease.address();
        devnet.kill(lost.socket_addr().unwrap()).await.unwrap();
        lease.closed().await;
        pool.close(ms(5000)).await;
        let store = Store::open_read_only(&dir.0).unwrap();
        for address in told.into_iter().chain([lost]) {
            let history = store.history(&address).unwrap();
            let facts = history.map_or(0, |history| history.facts.len());
            assert_eq!(facts, 0, "{address}");
        }
    })
    .await;
}
