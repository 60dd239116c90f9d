//! The nodes that a good client gets away from, or makes do with.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use bitcoin::{BlockHash, Network, constants};
use peerpool_sim::actor::{Kind, Mix, Stage};
use peerpool_sim::devnet::{Builder, Devnet};
use tokio::time::Instant;

use crate::client::{Client, devnet_of, is_refused, patiently};

/// A devnet of one node of this kind, and that node's address.
async fn one(kind: Kind) -> (Devnet, SocketAddr) {
    one_of(kind, Devnet::builder()).await
}

async fn one_of(kind: Kind, builder: Builder) -> (Devnet, SocketAddr) {
    let builder = builder.nodes(1).kinds(Mix::only(kind)).port(0);
    let devnet = builder.start().await.unwrap();
    let address = devnet.addresses_of(kind)[0];
    (devnet, address)
}

/// Connects and says version; what the node says first.
async fn version_of(address: SocketAddr) -> VersionMessage {
    let mut client = Client::connect(address).await.unwrap();
    client.say_version().await.unwrap();
    match client.receive().await.unwrap() {
        NetworkMessage::Version(version) => version,
        other => panic!("{other:?} instead of a version"),
    }
}

#[tokio::test]
async fn each_kind_introduces_itself_as_what_it_is() {
    let full = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    let limited = ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.shakes_hands() && *kind != Kind::Slow) {
        let (_devnet, address) = one(kind).await;
        let version = version_of(address).await;
        let services = match kind {
            Kind::Pruned => limited,
            Kind::Serviceless => ServiceFlags::NONE,
            _ => full,
        };
        assert_eq!(version.services, services, "{kind}");
        assert_eq!(version.version < 70001, kind == Kind::Old, "{kind}");
        assert_eq!(version.start_height < 10, kind == Kind::Lagging, "{kind}");
        assert_eq!(version.nonce == 1, kind == Kind::Echo, "{kind}: the client's nonce is 1");
    }
}

#[tokio::test]
async fn whoever_shakes_hands_says_verack_and_usable_nodes_serve() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.shakes_hands() && *kind != Kind::Slow) {
        let (_devnet, address) = one(kind).await;
        let mut client = Client::ready(address).await.unwrap();
        if kind.is_usable() {
            client.ping(1).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_node_with_wrong_magic_speaks_another_networks() {
    let (devnet, address) = one(Kind::WrongMagic).await;
    let mut client = Client::connect(address).await.unwrap();
    client.say_version().await.unwrap();
    let mut header = [0; 24];
    client.read(&mut header).await.unwrap();
    assert_eq!((&header[..4], &header[4..11]), (&Magic::BITCOIN.to_bytes()[..], &b"version"[..]));
    assert_eq!(devnet.live(), 1, "and keeps the connection");
}

#[tokio::test]
async fn a_node_on_a_wrong_chain_has_headers_that_do_not_connect() {
    let (_devnet, address) = one(Kind::WrongChain).await;
    assert_eq!(version_of(address).await.user_agent, "/otherchain:1.0/");
    let mut client = Client::ready(address).await.unwrap();
    let genesis = constants::genesis_block(Network::Regtest).block_hash();
    let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    client.send(NetworkMessage::GetHeaders(request)).await.unwrap();
    let NetworkMessage::Headers(headers) = client.receive().await.unwrap() else { panic!() };
    assert_ne!(headers[0].prev_blockhash, genesis);
}

#[tokio::test]
async fn a_slow_node_shakes_hands_in_its_own_time() {
    let (_devnet, address) = one_of(Kind::Slow, Devnet::builder().slow_rate(1000)).await;
    Client::ready(address).await.unwrap().ping(1).await.unwrap();

    let (_devnet, address) = one_of(Kind::Slow, Devnet::builder().slow_rate(10)).await;
    let mut client = Client::connect(address).await.unwrap();
    let start = Instant::now();
    client.say_version().await.unwrap();
    client.read(&mut [0; 5]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_dropper_closes_after_the_handshake() {
    let (devnet, address) = one(Kind::Dropper).await;
    Client::ready(address).await.unwrap().closed().await;
    patiently("end", devnet.until_live(|live| live == 0)).await;
    assert_eq!(devnet.accept_log()[0].stage, Stage::Ready);
}

#[tokio::test]
async fn a_deaf_node_reads_nothing_and_notices_the_end() {
    let (devnet, address) = one(Kind::Deaf).await;
    let mut client = Client::ready(address).await.unwrap();
    patiently("ready", devnet.accepted(|log| log[0].stage == Stage::Ready)).await;
    client.send(NetworkMessage::Ping(1)).await.unwrap();
    drop(client);
    patiently("end", devnet.until_live(|live| live == 0)).await;
}

#[tokio::test]
async fn a_deaf_node_takes_no_more_than_buffers_take() {
    let (devnet, address) = one(Kind::Deaf).await;
    let mut client = Client::ready(address).await.unwrap();
    patiently("ready", devnet.accepted(|log| log[0].stage == Stage::Ready)).await;
    let read = devnet.accept_log()[0].read;
    let mut blocked = false;
    for nonce in 0..1_000_000 {
        let send = client.send(NetworkMessage::Ping(nonce));
        if tokio::time::timeout(Duration::from_millis(200), send).await.is_err() {
            blocked = true;
            break;
        }
    }
    assert!(blocked, "a write waits for buffers that nobody empties");
    assert_eq!(devnet.accept_log()[0].read, read);
}

#[tokio::test]
async fn a_claimer_announces_what_never_comes() {
    let (_devnet, address) = one(Kind::Claimer).await;
    let mut client = Client::ready(address).await.unwrap();
    let mut header = [0; 24];
    client.read(&mut header).await.unwrap();
    assert_eq!(header[16..20], 4_000_000_u32.to_le_bytes());
    client.send(NetworkMessage::Ping(1)).await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(100), client.read(&mut [0])).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_flooder_pours_until_nobody_reads() {
    let (devnet, address) = one(Kind::Flooder).await;
    let mut client = Client::ready(address).await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..20 {
        client.read(&mut buffer).await.unwrap();
    }
    drop(client);
    patiently("end", devnet.until_live(|live| live == 0)).await;
}

#[tokio::test]
async fn a_liar_gossips_what_must_be_refused() {
    let (_devnet, address) = one(Kind::Liar).await;
    let mut client = Client::connect(address).await.unwrap();
    client.say_version().await.unwrap();
    while client.receive().await.unwrap() != NetworkMessage::Verack {}
    client.send(NetworkMessage::Verack).await.unwrap();
    let NetworkMessage::Addr(unasked) = client.receive().await.unwrap() else { panic!() };
    let wrong_ports = unasked.iter().filter(|(_, entry)| entry.port != address.port()).count();
    assert_eq!(wrong_ports, 6);
    for _ in 0..6 {
        let mut header = [0; 24];
        client.read(&mut header).await.unwrap();
        assert_eq!(header[4..9], *b"addr\0");
        let mut payload = vec![0; usize::from(header[16])];
        client.read(&mut payload).await.unwrap();
        assert!(deserialize::<Vec<(u32, Address)>>(&payload).is_err(), "{payload:?}");
    }
    client.send(NetworkMessage::GetAddr).await.unwrap();
    let NetworkMessage::Addr(asked) = client.receive().await.unwrap() else { panic!() };
    assert_eq!(asked.len(), unasked.len());
    client.ping(1).await.expect("polite otherwise");
}

#[tokio::test]
async fn a_flapping_node_dies_and_comes_back() {
    let soon = Duration::from_millis(20)..=Duration::from_millis(50);
    let builder = Devnet::builder().flap_up(soon.clone()).flap_down(soon);
    let (devnet, address) = one_of(Kind::Flapping, builder).await;
    let (mut lives, mut deaths) = (0, 0);
    while lives < 5 || deaths < 5 {
        match patiently("dial", Client::connect(address)).await {
            Ok(mut client) => {
                client.closed().await;
                lives += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                deaths += 1;
                tokio::task::yield_now().await;
            }
            // It died as it was dialled.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
    devnet.kill(address).await.unwrap();
    assert!(is_refused(address).await, "killed, it stays dead");
    devnet.restart(address).await.unwrap();
    patiently("a new life", async { while Client::ready(address).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_stalled_node_does_nothing_and_then_goes_on() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let address = devnet.addresses_of(Kind::Honest)[0];
    let mut client = Client::ready(address).await.unwrap();
    client.ping(1).await.unwrap();
    for nonce in 2..5 {
        devnet.stall(address).await.unwrap();
        let accepted = devnet.accept_log().len();
        client.send(NetworkMessage::Ping(nonce)).await.unwrap();
        let mut second = Client::connect(address).await.expect("the kernel takes the dial");
        second.say_version().await.unwrap();
        let wait = Duration::from_millis(100);
        assert!(tokio::time::timeout(wait, client.receive()).await.is_err(), "no pong");
        assert!(tokio::time::timeout(wait, second.receive()).await.is_err(), "no version");
        assert_eq!(devnet.accept_log().len(), accepted);
        devnet.unstall(address).await.unwrap();
        assert_eq!(client.receive().await.unwrap(), NetworkMessage::Pong(nonce));
        second.receive().await.expect("accepted now");
    }
    devnet.stall(address).await.unwrap();
    devnet.kill(address).await.unwrap();
    client.closed().await;
    devnet.restart(address).await.unwrap();
    Client::ready(address).await.expect("a new life is not stalled");
}

#[tokio::test]
async fn the_log_says_how_far_each_connection_came() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let address = devnet.addresses_of(Kind::Honest)[0];
    let idle = Client::connect(address).await.unwrap();
    patiently("accept", devnet.accepted(|log| log.len() == 1)).await;
    let mut half = Client::connect(address).await.unwrap();
    half.say_version().await.unwrap();
    patiently("version", devnet.accepted(|log| log.len() == 2 && log[1].stage == Stage::Version))
        .await;
    let mut whole = Client::ready(address).await.unwrap();
    whole.ping(1).await.unwrap();
    drop(idle);
    patiently("end", devnet.accepted(|log| log[0].ended.is_some())).await;
    let log = devnet.accept_log();
    let stages: Vec<_> = log.iter().map(|accept| accept.stage).collect();
    assert_eq!(stages, [Stage::Accepted, Stage::Version, Stage::Ready]);
    assert_eq!(log[0].read, 0);
    assert!(log[2].read > log[1].read && log[1].read > 100, "{log:?}");
    assert!(log[0].ended >= Some(log[0].at) && log[2].ended.is_none());
    assert!(log[1].ready.is_none() && log[2].ready >= Some(log[2].at));
}
