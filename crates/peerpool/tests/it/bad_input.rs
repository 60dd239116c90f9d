//! The table of bad inputs once more, over TCP: rows that end without waiting, played by plain
//! sockets against a pool. And what only a socket can do: not being read, and not being had.

#[path = "../../../peerpool-core/tests/bad_input/bytes.rs"]
mod bytes;
pub(crate) mod player;
#[path = "../../../peerpool-core/tests/bad_input/row.rs"]
#[expect(dead_code, reason = "some is for virtual time only")]
mod row;
#[path = "../../../peerpool-core/tests/bad_input/rows.rs"]
mod rows;
#[path = "../../../peerpool-core/tests/bad_input/rows_addr.rs"]
mod rows_addr;
#[path = "../../../peerpool-core/tests/bad_input/rows_framing.rs"]
mod rows_framing;
#[path = "../../../peerpool-core/tests/bad_input/rows_messages.rs"]
mod rows_messages;
#[path = "../../../peerpool-core/tests/bad_input/rows_transport.rs"]
mod rows_transport;
#[path = "../../../peerpool-core/tests/bad_input/rows_version.rs"]
mod rows_version;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerpool::bitcoin::Network;
use peerpool::{
    BurnReason, DialError, DisconnectReason, Event, NetworkMessage, Policy, Pool, Require,
};

use crate::alone::is_alone;
use crate::events::Watch;
use crate::{honest, ms, pool_on, within};
use player::{Gossiper, Part, Peer};
use row::{Cell, Dial, End, Outcome, Phase, Row, Site, Step};

/// Peers played at once, against one pool.
const AT_ONCE: usize = 64;
/// Peers that name them all to the pool.
const GOSSIPERS: u8 = 5;
/// Of a row with an input for each byte, only so many are played: virtual time has them all.
const MOST_INPUTS: usize = 12;

fn site() -> Site {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Site { now: now.try_into().unwrap(), net: [127, 200] }
}

/// Whether the row tells its outcome at once, and gossips nothing that would be kept: with many
/// peers at one pool it could not be said whose it was.
fn fits(row: &Row) -> bool {
    let waits = |step: &Step| matches!(step, Step::Drip(..) | Step::Wait(_));
    let inputs = row.inputs.iter().flat_map(|(_, steps)| steps);
    let keeps = |cell: &Cell| matches!(cell, Cell::Is(outcome) if outcome.kept > 0);
    !row.falls_silent
        && !row.virtual_only
        && row.dial == Dial::Answered
        && !row.cells.iter().any(keeps)
        && !inputs.into_iter().any(waits)
}

/// Every input of every row that fits, in each phase.
fn parts() -> Vec<(String, Part, Outcome)> {
    let mut parts = Vec::new();
    for row in rows::all(&site()).into_iter().filter(fits) {
        let step = row.inputs.len().div_ceil(MOST_INPUTS);
        for (phase, cell) in Phase::ALL.into_iter().zip(row.cells) {
            let Cell::Is(outcome) = cell else { continue };
            for (label, steps) in row.inputs.iter().step_by(step) {
                let name = format!("{}: {} [{label}] {phase}", row.section, row.name);
                let part = Part { steps: steps.clone(), phase, protocol: row.protocol };
                parts.push((name, part, outcome));
            }
        }
    }
    parts
}

/// Numbers under which nothing but the row ends a connection, however slow the machine is.
fn patient(policy: &mut Policy) {
    policy.handshake_deadline = Duration::from_secs(300);
    policy.message_deadline = Duration::from_secs(300);
    policy.pong_deadline = Duration::from_secs(300);
    // The handshake and a pong fall into the same minute.
    policy.max_control_per_min += 3;
    policy.max_peers_per_netgroup = 1000;
    policy.max_dials_per_netgroup = 1000;
    policy.event_queue = 100_000;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_out_over_tcp_as_the_table_says() {
    let parts = parts();
    let mut failures = Vec::new();
    for (number, batch) in parts.chunks(AT_ONCE).enumerate() {
        within(120, play(number, batch, &mut failures)).await;
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), parts.len(), failures.join("\n"));
    assert!(parts.len() > 300, "only {} rows fit", parts.len());
}

async fn play(number: usize, batch: &[(String, Part, Outcome)], failures: &mut Vec<String>) {
    let mut peers = Vec::new();
    for (n, (_, part, _)) in batch.iter().enumerate() {
        let host = [127, 100 + u8::try_from(n).unwrap(), 1 + u8::try_from(number).unwrap(), 1];
        peers.push(Peer::listen(host, part.clone()).await);
    }
    let addresses: Vec<SocketAddr> = peers.iter().map(|peer| peer.address).collect();
    // Where one names an address whose place is taken, another finds it one.
    let mut gossipers = Vec::new();
    for n in 0..GOSSIPERS {
        gossipers.push(Gossiper::listen([127, 90 + n, 1, 1], addresses.clone(), site().now).await);
    }
    let builder = Pool::builder(Network::Regtest).no_dns();
    let pool = gossipers
        .iter()
        .fold(builder, |builder, gossiper| builder.add(gossiper.address))
        .target(gossipers.len() + batch.len())
        .tune(patient)
        .rng_seed(1)
        .start()
        .await
        .unwrap();
    let mut watch = Watch::of(&pool);
    let mut pongs = Vec::new();
    let mut links = Vec::new();
    let mut gone = BTreeSet::new();
    for peer in peers {
        let address = peer.address;
        let played = peer.played().await;
        pongs.push(played.pongs);
        match played.link {
            // It stays open until all have played.
            Some(link) => links.push(link),
            None => drop(gone.insert(address)),
        }
    }
    while !gone.iter().all(|address| ends(&watch).contains_key(address)) {
        watch.next().await.expect("the pool tells of every end");
    }
    let status = pool.status().await;
    pool.close(ms(1000)).await;
    watch.end().await;
    let ends = ends(&watch);
    for ((name, _, expected), (address, pongs)) in batch.iter().zip(addresses.iter().zip(pongs)) {
        let end = ends.get(address).copied().unwrap_or(End::Deaf);
        let pongs_fit = end != End::Open || pongs == expected.pongs;
        if end != expected.end || !pongs_fit {
            failures
                .push(format!("{name}\n  expected {expected}\n  got      {end:?}, {pongs} pongs"));
        }
        let slots = [&status.connecting, &status.connected, &status.ready];
        let held = |peer: &&peerpool::PeerStatus| peer.address.socket_addr() == Some(*address);
        if end != End::Open && slots.into_iter().flatten().any(|peer| held(&peer)) {
            failures.push(format!("{name}\n  its slot is not freed"));
        }
    }
}

/// How the first connection to each address ended; open if the pool had to be closed for it.
fn ends(watch: &Watch) -> BTreeMap<SocketAddr, End> {
    let mut ends = BTreeMap::new();
    for event in &watch.past {
        let Event::Disconnected { address, reason, .. } = event else { continue };
        let end = match reason {
            DisconnectReason::PoolClosed => End::Open,
            reason => End::Closed(*reason),
        };
        ends.entry(address.socket_addr().unwrap()).or_insert(end);
    }
    ends
}

#[tokio::test]
async fn a_peer_that_reads_nothing_of_what_we_send_is_left() {
    let all = rows::all(&site());
    let row = all.iter().find(|row| row.name == rows_transport::NEVER_READS).unwrap();
    let Cell::OverTcp(Outcome { end: End::Closed(expected), .. }) = row.cells[2] else {
        panic!("the row says how it ends: {row:?}");
    };
    within(60, async {
        let part = Part { steps: vec![], phase: Phase::Ready, protocol: 70016 };
        let peer = Peer::listen([127, 99, 1, 1], part).await;
        let tune = |policy: &mut Policy| policy.write_stall = ms(200);
        let pool = Pool::builder(Network::Regtest).connect([peer.address]).tune(tune);
        let pool = pool.start().await.unwrap();
        let mut watch = Watch::of(&pool);
        // From here on it reads nothing, and the link stays.
        let _deaf = peer.played().await.link.expect("the link is up");
        let lease = pool.lease(&Require::any()).await.unwrap();
        let bulk = || {
            let command = "bulk".parse().unwrap();
            NetworkMessage::Unknown { command, payload: vec![0; 3_000_000] }
        };
        while lease.send(bulk()).await.is_ok() {}
        let reason = watch
            .until(|event| match event {
                Event::Disconnected { reason, .. } => Some(*reason),
                _ => None,
            })
            .await;
        assert_eq!(reason, expected);
    })
    .await;
}

#[test]
fn without_descriptors_the_pool_keeps_its_peers_and_burns_nobody() {
    // The limit is everybody's in a process.
    if is_alone("bad_input::without_descriptors_the_pool_keeps_its_peers_and_burns_nobody") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(within(60, lose_all_descriptors()));
    }
}

async fn lose_all_descriptors() {
    let all = rows::all(&site());
    let row = all.iter().find(|row| row.name == rows_transport::NO_DESCRIPTORS).unwrap();
    let Cell::Is(Outcome { end: End::Undialled(expected), .. }) = row.cells[0] else {
        panic!("the row says how it ends: {row:?}");
    };
    assert_eq!(expected, DialError::NoDescriptors);
    let devnet = honest(10).await;
    let pool = pool_on(&devnet).target(3).start().await.unwrap();
    let mut watch = Watch::of(&pool);
    watch.named("full").await;
    let peers = pool.status().await.ready;
    // The peer that is killed may not have been ready for long.
    let young = |reason: &BurnReason| *reason == BurnReason::QuickDrop;
    // No new descriptor is numbered so low; those there are stay.
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(3, hard).unwrap();
    devnet.kill(peers[0].address.socket_addr().unwrap()).await.unwrap();
    watch
        .until(|event| {
            (matches!(event, Event::DialFailed { error, .. } if *error == expected)).then_some(())
        })
        .await;
    let status = pool.status().await;
    assert_eq!(status.ready_count(), 2, "the others stay");
    assert!(status.burned.keys().all(young), "{:?}", status.burned);
    rlimit::Resource::NOFILE.set(soft, hard).unwrap();
    watch.named("full").await;
    let burned = pool.status().await.burned;
    assert!(burned.keys().all(young), "{burned:?}");
}
