//! Bans and reports, as a user makes them.

use std::time::{Duration, SystemTime};

use peerpool::{BanError, DisconnectReason, Event, LeaseError, Misbehavior, Require, Subnet};

use crate::events::Watch;
use crate::{honest, pool_on, within};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_banned_host_is_dropped_and_another_takes_its_place() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        pool.ready(2).await.unwrap();
        let lease = pool.lease(&Require::any()).await.unwrap();
        let banned = lease.address();

        let ban = pool.ban(banned, HOUR).await.unwrap();
        assert_eq!((ban.subnet, ban.until.0 - ban.since.0), (Subnet::from(banned), 3600));
        lease.closed().await;
        watch.until(|event| (*event == Event::Banned { ban }).then_some(())).await;
        let reason = watch.until(|event| match event {
            Event::Disconnected { address, reason, .. } => (*address == banned).then_some(*reason),
            _ => None,
        });
        assert_eq!(reason.await, DisconnectReason::Banned);
        pool.ready(2).await.unwrap();
        let status = pool.status().await;
        assert!(status.ready.iter().all(|peer| peer.address != banned));
        let explained = pool.explain(banned).await.unwrap();
        assert_eq!(explained.rule, peerpool::Rule::Banned { ban });
        assert_eq!((pool.bans().await, status.bans), (vec![ban], 1));

        let again = pool.ban(banned.host, HOUR).await;
        assert_eq!(again, Err(BanError::AlreadyBanned { subnet: banned.into(), by: ban }));
        assert_eq!(pool.unban(banned).await, Ok(ban));
        watch.named("unbanned").await;
        assert!(pool.bans().await.is_empty());
        assert!(matches!(pool.unban(banned).await, Err(BanError::NotBanned { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_subnet_is_banned_until_a_time_that_is_to_come() {
    within(60, async {
        let devnet = honest(5).await;
        let pool = pool_on(&devnet).target(2).start().await.unwrap();
        pool.ready(2).await.unwrap();
        let all: Subnet = "127.0.0.0/8".parse().unwrap();
        let past = SystemTime::now() - HOUR;
        assert!(matches!(pool.ban_until(all, past).await, Err(BanError::Past { .. })));
        assert!(matches!(pool.ban(all, Duration::ZERO).await, Err(BanError::Past { .. })));
        assert_eq!(pool.status().await.ready.len(), 2);
        let mut watch = Watch::of(&pool);
        pool.ban_until(all, SystemTime::now() + HOUR).await.unwrap();
        watch.named("starved").await;
        let status = pool.status().await;
        assert!(status.ready.is_empty() && status.known.banned > 0, "{status:?}");
        assert!(matches!(pool.try_lease(&Require::any()).await, Err(LeaseError::NoneFree)));

        pool.unban(all).await.unwrap();
        pool.ready(2).await.unwrap();
        // A part of a second is one: it ends by itself.
        pool.ban(all, Duration::from_millis(1)).await.unwrap();
        let ended = |event: &Event| match event {
            Event::Unbanned { subnet, expired: true } => Some(*subnet),
            _ => None,
        };
        assert_eq!(watch.until(ended).await, all);
        pool.ready(2).await.unwrap();

        pool.close(Duration::from_secs(1)).await;
        assert_eq!(pool.ban(all, HOUR).await, Err(BanError::Closed));
        assert_eq!(pool.unban(all).await, Err(BanError::Closed));
        assert!(pool.bans().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_reported_peer_loses_its_slot_and_all_its_leases() {
    within(60, async {
        let devnet = honest(10).await;
        let pool = pool_on(&devnet).target(1).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let lease = pool.lease(&Require::any()).await.unwrap();
        let other = pool.lease(&Require::any()).await.unwrap();
        let (peer, address) = (lease.peer(), lease.address());
        lease.report(Misbehavior::InvalidData, "a header does not connect");
        other.closed().await;
        let reason = watch.until(|event| match event {
            Event::Misbehaved {
                peer: of, misbehavior: Misbehavior::InvalidData, reason, ..
            } => (*of == peer).then(|| reason.clone()),
            _ => None,
        });
        assert_eq!(reason.await, "a header does not connect");
        watch.named("discouraged").await;
        let next = pool.lease(&Require::any()).await.unwrap();
        assert_ne!(next.address(), address);
        // It is gone, and what its other holder says counts all the same; once is enough.
        other.report(Misbehavior::Useless, "so it is");
        watch.named("misbehaved").await;
        let status = pool.status().await;
        assert_eq!((status.discouraged, status.leases), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_report_of_a_peer_that_the_user_named_is_only_told() {
    within(60, async {
        let devnet = honest(3).await;
        let named = devnet.addresses_of(peerpool_sim::actor::Kind::Honest)[0];
        let pool = pool_on(&devnet).connect([named]).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let lease = pool.lease(&Require::any()).await.unwrap();
        let peer = lease.peer();
        lease.report(Misbehavior::Useless, "");
        watch.named("misbehaved").await;
        let lease = pool.lease(&Require::any()).await.unwrap();
        assert_eq!((lease.peer(), pool.status().await.discouraged), (peer, 0));
    })
    .await;
}
