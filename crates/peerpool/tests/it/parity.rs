//! The same nodes on loopback sockets and in the simulator's virtual time: the pool dials, holds
//! and burns the same addresses, each for the same reason.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use peerpool::{BurnReason, Event, Policy, ServiceFlags};
use peerpool_sim::actor::{Ages, Kind, Listing, Mix, SeedKind};
use peerpool_sim::devnet::Devnet;
use peerpool_sim::world::{Plan, PoolPlan, World};

use crate::{ms, network, pool_on, quick, within};

/// What became of the nodes.
#[derive(Debug, Default, PartialEq)]
struct Fates {
    dialled: BTreeSet<SocketAddr>,
    held: BTreeSet<SocketAddr>,
    burned: BTreeMap<SocketAddr, BurnReason>,
    /// Whether the pool took itself for offline, and was not yet online again.
    offline: bool,
}

/// A pool that wants one peer more than there are, and so meets every node there is.
fn hungry(policy: &mut Policy, nodes: usize, tune: impl Fn(&mut Policy)) {
    quick(policy);
    policy.target_connect_count = nodes + 1;
    policy.max_seed_addresses = 1000;
    policy.quick_drop = Duration::from_secs(30);
    // A slow machine is no reason to burn an honest node, nor to be taken for offline.
    policy.dial_timeout = ms(2000);
    policy.handshake_deadline = ms(4000);
    policy.event_queue = 100_000;
    tune(policy);
}

fn listings(devnet: &Devnet) -> Vec<Listing> {
    let of =
        |kind| devnet.addresses_of(kind).into_iter().map(move |address| Listing { address, kind });
    Kind::ALL.into_iter().flat_map(of).collect()
}

async fn on_sockets(
    devnet: &Devnet,
    done: impl Fn(&Fates) -> bool,
    tune: impl Fn(&mut Policy),
) -> Fates {
    let nodes = listings(devnet).len();
    let pool = pool_on(devnet).tune(|policy| hungry(policy, nodes, tune));
    let pool = pool.allow_unroutable(true).start().await.unwrap();
    let mut events = pool.subscribe();
    let mut fates = Fates::default();
    while !done(&fates) {
        let stamped = events.next().await.expect("the pool runs");
        let address = stamped.event.address().and_then(|address| address.socket_addr());
        match (stamped.event, address) {
            (Event::Connecting { .. }, Some(address)) => {
                fates.dialled.insert(address);
            }
            (Event::Ready { .. }, Some(address)) => {
                fates.held.insert(address);
            }
            (Event::Burned { reason, .. }, Some(address)) => {
                fates.burned.insert(address, reason);
                fates.held.remove(&address);
            }
            (Event::Offline, _) => fates.offline = true,
            (Event::Online, _) => fates.offline = false,
            (Event::Missed { events }, _) => panic!("{events} events were missed"),
            _ => {}
        }
    }
    pool.close(Duration::ZERO).await;
    fates
}

fn in_virtual_time(devnet: &Devnet, bytes: bool, tune: impl Fn(&mut Policy)) -> Fates {
    let listings = listings(devnet);
    let mut policy = Policy { allow_unroutable: true, ..Policy::default() };
    hungry(&mut policy, listings.len(), tune);
    let mut world = World::new(Plan {
        listings: listings.clone(),
        bytes,
        ages: Ages::Kind,
        seed_answer: 100,
        seed_share: 0.5,
        port: devnet.chain().default_port,
        pools: vec![PoolPlan { policy, seeds: vec![SeedKind::Honest], ..PoolPlan::default() }],
        ..Plan::default()
    })
    .unwrap();
    world.links_mut().dial_loss = 0.0;
    world.keep_contacts();
    world.run_for(Duration::from_secs(600)).unwrap_or_else(|breach| panic!("{breach}"));
    let of_nodes: BTreeSet<SocketAddr> = listings.iter().map(|node| node.address).collect();
    let dialled = world.contacts().iter().filter_map(|contact| contact.address.socket_addr());
    let pool = world.pool(0);
    let ready = pool.status(world.now().mono).ready;
    let burn = |address: &SocketAddr| {
        Some((*address, pool.engine().book().burn_reason(&(*address).into())?))
    };
    Fates {
        dialled: dialled.collect(),
        held: ready.iter().filter_map(|peer| peer.address.socket_addr()).collect(),
        burned: of_nodes.iter().filter_map(burn).collect(),
        offline: pool.status(world.now().mono).offline,
    }
}

async fn agree(mix: Mix, nodes: usize, tune: impl Fn(&mut Policy), expected: (usize, usize)) {
    let devnet = network(nodes, mix).await;
    // Nobody who answers: then the verdicts are in when the pool takes itself for offline.
    let nobody = expected == (0, 0);
    let settled = |fates: &Fates| {
        let counts = (fates.held.len(), fates.burned.len());
        counts == expected && fates.dialled.len() == nodes && fates.offline == nobody
    };
    let seen = within(60, on_sockets(&devnet, settled, &tune)).await;
    for bytes in [false, true] {
        let simulated = in_virtual_time(&devnet, bytes, &tune);
        assert_eq!(simulated, seen, "bytes: {bytes}");
    }
    devnet.close().await;
}

#[tokio::test]
async fn they_agree_on_who_does_not_answer() {
    let mix = Mix::only(Kind::Honest).with_each([Kind::Refusing, Kind::Silent]);
    agree(mix, 18, |_| (), (6, 12)).await;
}

#[tokio::test]
async fn they_agree_on_who_fails_the_handshake() {
    let failing = [
        Kind::Mute,
        Kind::Rude,
        Kind::Serviceless,
        Kind::Old,
        Kind::Echo,
        Kind::WrongMagic,
        Kind::Slow,
        Kind::Dropper,
    ];
    agree(Mix::only(Kind::Honest).with_each(failing), 18, |_| (), (2, 16)).await;
}

#[tokio::test]
async fn they_agree_on_whom_a_pool_may_keep() {
    let kept = [Kind::Pruned, Kind::WrongChain, Kind::Lagging, Kind::Sybil, Kind::Shadow];
    agree(Mix::only(Kind::Honest).with_each(kept), 18, |_| (), (18, 0)).await;
}

#[tokio::test]
async fn they_agree_on_services_that_nobody_has() {
    let tune = |policy: &mut Policy| policy.required_services = ServiceFlags::COMPACT_FILTERS;
    agree(Mix::only(Kind::Honest), 8, tune, (0, 8)).await;
}

#[tokio::test]
async fn they_agree_that_an_outage_burns_nobody() {
    let mix = Mix::only(Kind::Refusing).with_each([Kind::Silent]);
    let soon = |policy: &mut Policy| policy.offline_after = ms(3000);
    agree(mix, 8, soon, (0, 0)).await;
}
