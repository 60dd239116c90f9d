//! The pool among every kind of node that the devnet can play.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use peerpool::{BurnReason, DisconnectReason, Event, LinkFault, PeerState, Policy, Pool};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;

use crate::events::Watch;
use crate::{ms, network, pool_on, within};

const HONEST: u16 = 6;

/// Six honest nodes and one each of all other kinds but those that come and go.
async fn everyone() -> Devnet {
    let lasting = |kind: &Kind| !matches!(kind, Kind::Vanishing | Kind::Flapping);
    let mix = Mix::only(Kind::Honest).with_each(Kind::ALL.into_iter().filter(lasting));
    let nodes = Kind::ALL.into_iter().filter(lasting).count() - 1 + usize::from(HONEST);
    network(nodes, mix.with(Kind::Honest, HONEST)).await
}

/// Faults show within seconds, and before a peer counts as experienced.
fn strict(policy: &mut Policy) {
    policy.quick_drop = Duration::from_secs(30);
    policy.ping_interval = ms(200);
    policy.pong_deadline = ms(3000);
    policy.message_deadline = ms(1500);
    policy.max_pings_per_min = 500;
    // A flooder and a liar name a thousand dead addresses: each dial is an event.
    policy.event_queue = 100_000;
}

async fn ready(pool: &Pool) -> BTreeSet<SocketAddr> {
    let status = pool.status().await;
    status.ready.iter().filter_map(|peer| peer.address.socket_addr()).collect()
}

fn of(devnet: &Devnet, wanted: impl Fn(Kind) -> bool) -> BTreeSet<SocketAddr> {
    let kinds = Kind::ALL.into_iter().filter(|&kind| wanted(kind));
    kinds.flat_map(|kind| devnet.addresses_of(kind)).collect()
}

fn accepts(devnet: &Devnet, address: SocketAddr) -> usize {
    devnet.accept_log().iter().filter(|accept| accept.address == address).count()
}

/// What the network saw of whom the pool burned, at the time.
#[derive(Default)]
struct Burns(BTreeMap<SocketAddr, (BurnReason, usize)>);

impl Burns {
    fn note(&mut self, devnet: &Devnet, event: &Event) {
        if let Event::Burned { address, reason } = event {
            let address = address.socket_addr().unwrap();
            self.0.insert(address, (*reason, accepts(devnet, address)));
        }
    }

    /// Nobody had two links at once, the burned were left alone, and the stale never found.
    fn assert_manners(&self, devnet: &Devnet) {
        assert!(devnet.max_concurrent().values().all(|&most| most == 1));
        for (&address, &(reason, dials)) in &self.0 {
            let kind = devnet.kind_of(address);
            assert_eq!(accepts(devnet, address), dials, "{kind:?} burned as {reason:?}");
        }
        assert!(devnet.accept_log().iter().all(|accept| accept.kind != Kind::Stale));
    }
}

#[tokio::test]
async fn fills_with_usable_peers_only() {
    within(60, async {
        let devnet = everyone().await;
        let usable = of(&devnet, |kind| kind.is_usable() && kind != Kind::Stale);
        assert_eq!(usable.len(), 13);
        let pool = pool_on(&devnet).target(13).tune(strict).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let mut burns = Burns::default();
        loop {
            let event = watch.next().await.expect("the pool goes on");
            burns.note(&devnet, &event);
            let changes = matches!(event, Event::Ready { .. } | Event::Disconnected { .. });
            if changes && ready(&pool).await == usable {
                break;
            }
        }
        assert!(!burns.0.is_empty());
        burns.assert_manners(&devnet);
    })
    .await;
}

/// How the pool gets rid of a kind: it does not become ready, or it does and is dropped.
fn end_of(kind: Kind) -> Option<(Option<DisconnectReason>, BurnReason)> {
    let ready = |reason| Some((Some(reason), BurnReason::QuickDrop));
    let never = |reason| Some((None, reason));
    match kind {
        Kind::Refusing => never(BurnReason::Refused),
        Kind::Silent => never(BurnReason::TimedOut),
        Kind::Mute | Kind::Slow => never(BurnReason::HandshakeTimedOut),
        Kind::Rude => never(BurnReason::ClosedBeforeVersion),
        Kind::Serviceless => never(BurnReason::Services),
        Kind::Old => never(BurnReason::Protocol),
        Kind::Echo => never(BurnReason::Itself),
        Kind::WrongMagic => never(BurnReason::BadMagic),
        Kind::Dropper => ready(DisconnectReason::ClosedByPeer),
        Kind::Deaf => ready(DisconnectReason::PongTimedOut),
        Kind::Claimer => ready(DisconnectReason::Fault(LinkFault::StalledMessage)),
        Kind::Flooder => ready(DisconnectReason::Fault(LinkFault::Flood)),
        Kind::Liar => ready(DisconnectReason::Fault(LinkFault::Undecodable)),
        Kind::Honest
        | Kind::Stale
        | Kind::Vanishing
        | Kind::Flapping
        | Kind::Pruned
        | Kind::WrongChain
        | Kind::Lagging
        | Kind::Sybil
        | Kind::NearSybil
        | Kind::Spammer
        | Kind::Shadow => None,
    }
}

#[tokio::test]
async fn every_kind_ends_as_it_deserves() {
    within(60, async {
        let devnet = everyone().await;
        // More than there are: everyone is tried.
        let pool = pool_on(&devnet).target(30).tune(strict).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        let useless = of(&devnet, |kind| end_of(kind).is_some());
        let (mut dropped, mut burns) = (BTreeMap::new(), Burns::default());
        while !useless.iter().all(|address| burns.0.contains_key(address)) {
            let event = watch.next().await.expect("the pool goes on");
            burns.note(&devnet, &event);
            if let Event::Disconnected { address, state: PeerState::Ready, reason, .. } = event {
                dropped.insert(address.socket_addr().unwrap(), reason);
            }
        }
        for address in useless {
            let kind = devnet.kind_of(address).unwrap();
            let end = (dropped.get(&address).copied(), burns.0[&address].0);
            assert_eq!(Some(end), end_of(kind), "{kind}");
        }
        burns.assert_manners(&devnet);
    })
    .await;
}
