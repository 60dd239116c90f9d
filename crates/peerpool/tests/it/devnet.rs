//! Finding and keeping peers. Which address was dialled how often is counted by the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use peerpool::{BurnReason, Event, Pool};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::{Devnet, DnsMode};

use crate::events::Watch;
use crate::{honest, ms, network, pool_on, within};

/// Ready peers that fill a slot.
async fn ready_addresses(pool: &Pool) -> BTreeSet<SocketAddr> {
    let status = pool.status().await;
    let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
    counting.filter_map(|peer| peer.address.socket_addr()).collect()
}

fn dials_by_address(devnet: &Devnet) -> BTreeMap<SocketAddr, usize> {
    let mut dials = BTreeMap::new();
    for accept in devnet.accept_log() {
        *dials.entry(accept.address).or_insert(0) += 1;
    }
    dials
}

#[tokio::test]
async fn fills_to_its_target_with_one_link_to_a_node() {
    within(60, async {
        let devnet = network(200, Mix::default()).await;
        let pool = pool_on(&devnet).target(8).start().await.unwrap();
        pool.ready(8).await.unwrap();
        let status = pool.status().await;
        assert_eq!((status.ready_count(), status.target), (8, 8));
        let groups: BTreeSet<_> = status.ready.iter().map(|peer| peer.address.host).collect();
        assert_eq!(groups.len(), 8);
        assert!(devnet.max_concurrent().values().all(|&most| most == 1));
        assert!(devnet.accept_log().iter().all(|accept| accept.kind != Kind::Stale));
        pool.close(ms(1000)).await;
    })
    .await;
}

#[tokio::test]
async fn refills_after_losing_all_peers_at_once() {
    within(60, async {
        let devnet = honest(60).await;
        let pool = pool_on(&devnet).target(8).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("full").await;
        let lost = ready_addresses(&pool).await;
        assert_eq!(lost.len(), 8);
        for &address in &lost {
            devnet.kill(address).await.unwrap();
        }
        watch.count(8, |event| matches!(event, Event::Disconnected { .. })).await;
        watch.named("full").await;
        let found = ready_addresses(&pool).await;
        assert!(found.len() == 8 && found.is_disjoint(&lost), "{found:?} after {lost:?}");
    })
    .await;
}

#[tokio::test]
async fn offline_and_back_burns_nothing() {
    within(60, async {
        let devnet = honest(20).await;
        let tune = |policy: &mut peerpool::Policy| policy.offline_after = ms(200);
        let pool = pool_on(&devnet).target(4).tune(tune).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("full").await;
        // Evidence that the network was up must be older than `offline_after`.
        watch.quiet(ms(500)).await;
        devnet.set_dns_mode(DnsMode::ServFail);
        // The peers go last: as long as one address answers, the network is not down.
        let up = pool.status().await.ready;
        let peers: BTreeSet<_> = up.iter().filter_map(|peer| peer.address.socket_addr()).collect();
        let (last, first): (Vec<_>, Vec<_>) = devnet
            .addresses_of(Kind::Honest)
            .into_iter()
            .partition(|address| peers.contains(address));
        for &address in first.iter().chain(&last) {
            devnet.kill(address).await.unwrap();
        }
        watch.named("offline").await;
        assert!(pool.status().await.offline);
        for &address in first.iter().chain(&last) {
            devnet.restart(address).await.unwrap();
        }
        devnet.set_dns_mode(DnsMode::Answer);
        watch.named("online").await;
        watch.named("full").await;
        let status = pool.status().await;
        assert_eq!((status.ready_count(), status.offline), (4, false));
        assert!(status.burned.is_empty(), "{:?}", status.burned);
        assert_eq!(watch.seen("burned"), 0);
        assert!(watch.seen("verdict_waits") > 0, "dials failed and were not held against anyone");
    })
    .await;
}

#[tokio::test]
async fn starvation_is_said_and_ends_when_the_seed_answers() {
    within(60, async {
        let devnet = honest(20).await;
        devnet.set_dns_mode(DnsMode::ServFail);
        let pool = pool_on(&devnet).target(4).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("starved").await;
        assert!(pool.status().await.starved);
        watch.named("seed_failed").await;
        devnet.set_dns_mode(DnsMode::Answer);
        watch.named("fed").await;
        watch.named("full").await;
        assert!(!pool.status().await.starved);
    })
    .await;
}

#[tokio::test]
async fn failures_burn_with_their_reason_and_are_never_dialled_again() {
    within(120, async {
        let dead = [Kind::Refusing, Kind::Silent, Kind::Mute, Kind::Rude];
        let mix = dead
            .into_iter()
            .fold(Mix::only(Kind::Honest).with(Kind::Honest, 8), |mix, kind| mix.with(kind, 4));
        let devnet = network(24, mix).await;
        // More than there are: the pool tries everyone, and goes on asking for more.
        let pool = pool_on(&devnet).target(20).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("starved").await;
        let status = pool.status().await;
        assert_eq!(status.ready_count(), 8);
        let expected = [
            (BurnReason::Refused, 4),
            (BurnReason::TimedOut, 4),
            (BurnReason::ClosedBeforeVersion, 4),
            (BurnReason::HandshakeTimedOut, 4),
        ];
        assert_eq!(status.burned, BTreeMap::from(expected));

        // From here on, a dial of any of them would succeed and be seen.
        for address in dead.into_iter().flat_map(|kind| devnet.addresses_of(kind)) {
            devnet.revive(address).await.unwrap();
        }
        watch.count(3, |event| matches!(event, Event::SeedAnswered { kept: 0, .. })).await;
        let dials = dials_by_address(&devnet);
        let counted = |kind| -> Vec<usize> {
            let addresses = devnet.addresses_of(kind);
            addresses.iter().map(|address| dials.get(address).copied().unwrap_or(0)).collect()
        };
        assert_eq!(counted(Kind::Refusing), [0; 4]);
        assert_eq!(counted(Kind::Silent), [0; 4]);
        assert_eq!(counted(Kind::Mute), [1; 4]);
        assert_eq!(counted(Kind::Rude), [1; 4]);
        assert!(devnet.max_concurrent().values().all(|&most| most == 1));
    })
    .await;
}

#[tokio::test]
async fn stale_hearsay_is_never_dialled() {
    within(60, async {
        let mix = Mix::only(Kind::Honest).with(Kind::Honest, 2).with(Kind::Stale, 1);
        let devnet = network(30, mix).await;
        let living = devnet.addresses_of(Kind::Honest).len();
        let pool = pool_on(&devnet).target(living + 5).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        // Each honest node has told a third of the network, and the pool would take more peers.
        watch.count(living, |event| matches!(event, Event::Gossip { received: 2.., .. })).await;
        if watch.seen("starved") == 0 {
            watch.named("starved").await;
        }
        assert_eq!(pool.status().await.ready_count(), living);
        assert!(devnet.accept_log().iter().all(|accept| accept.kind == Kind::Honest));
    })
    .await;
}

#[tokio::test]
async fn only_the_named_addresses_are_dialled() {
    within(60, async {
        let devnet = honest(10).await;
        let named: Vec<SocketAddr> =
            devnet.addresses_of(Kind::Honest).into_iter().take(2).collect();
        let pool = pool_on(&devnet).connect(named.clone()).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        watch.named("full").await;
        assert_eq!(ready_addresses(&pool).await, named.iter().copied().collect());
        assert!(devnet.dns_queries().is_empty());
        assert_eq!(dials_by_address(&devnet).len(), 2);
    })
    .await;
}
