//! Each kind of node behaves as said.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use bitcoin::{BlockHash, Network, Target, constants};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;
use tokio::net::TcpStream;

use crate::client::{Client, devnet_of, is_refused, patiently};

#[tokio::test]
async fn an_honest_node_introduces_itself_and_answers() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let mut client = Client::connect(devnet.addresses_of(Kind::Honest)[0]).await.unwrap();
    client.say_version().await.unwrap();
    let NetworkMessage::Version(version) = client.receive().await.unwrap() else {
        panic!("version comes first")
    };
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
    assert_eq!((version.version, version.services, version.start_height), (70016, services, 10));
    assert_eq!(version.user_agent, concat!("/devnet:", env!("CARGO_PKG_VERSION"), "/"));
    for expected in [NetworkMessage::WtxidRelay, NetworkMessage::SendAddrV2, NetworkMessage::Verack]
    {
        assert_eq!(client.receive().await.unwrap(), expected);
    }
    client.send(NetworkMessage::Verack).await.unwrap();
    client.ping(7).await.unwrap();
    devnet.close().await;
}

#[tokio::test]
async fn an_honest_node_has_headers() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let mut client = Client::ready(devnet.addresses_of(Kind::Honest)[0]).await.unwrap();
    let genesis = constants::genesis_block(Network::Regtest).block_hash();
    let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    client.send(NetworkMessage::GetHeaders(request)).await.unwrap();
    let NetworkMessage::Headers(headers) = client.receive().await.unwrap() else { panic!() };
    assert_eq!(headers.len(), 10);
    let mut last = genesis;
    for header in headers {
        assert_eq!(header.prev_blockhash, last);
        last = header.validate_pow(Target::MAX_ATTAINABLE_REGTEST).unwrap();
    }
}

#[tokio::test]
async fn gossip_names_stale_nodes_with_old_timestamps() {
    let mix = Mix::only(Kind::Honest).with(Kind::Refusing, 1).with(Kind::Stale, 1);
    let devnet = Devnet::builder().nodes(300).kinds(mix).port(0).start().await.unwrap();
    let mut client = Client::ready(devnet.addresses_of(Kind::Honest)[0]).await.unwrap();
    client.send(NetworkMessage::GetAddr).await.unwrap();
    let NetworkMessage::AddrV2(entries) = client.receive().await.unwrap() else { panic!() };
    assert_eq!(entries.len(), 69, "23 % of 300");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut seen = [0; Kind::ALL.len()];
    for entry in entries {
        let kind = devnet.kind_of(entry.socket_addr().unwrap()).expect("a node of the devnet");
        let age = Duration::from_secs(now - u64::from(entry.time));
        assert_eq!(age > Duration::from_secs(3 * 3600), kind == Kind::Stale, "{kind}: {age:?}");
        seen[kind as usize] += 1;
    }
    for kind in [Kind::Honest, Kind::Refusing, Kind::Stale] {
        assert!(seen[kind as usize] > 0, "{kind}");
    }
    client.send(NetworkMessage::GetAddr).await.unwrap();
    client.ping(1).await.expect("a second getaddr is not answered");
}

#[tokio::test]
async fn a_stale_node_is_honest_when_dialled() {
    let devnet = devnet_of(Kind::Stale, 1).await;
    Client::ready(devnet.addresses_of(Kind::Stale)[0]).await.unwrap().ping(1).await.unwrap();
}

#[tokio::test]
async fn a_refusing_node_refuses() {
    let devnet = devnet_of(Kind::Refusing, 3).await;
    for address in devnet.addresses_of(Kind::Refusing) {
        assert!(is_refused(address).await);
    }
    assert!(devnet.accept_log().is_empty());
}

#[tokio::test]
async fn a_silent_node_lets_dials_hang() {
    let devnet = devnet_of(Kind::Silent, 3).await;
    for address in devnet.addresses_of(Kind::Silent) {
        let dial = TcpStream::connect(address);
        let answer = tokio::time::timeout(Duration::from_millis(300), dial).await;
        assert!(answer.is_err(), "neither connected nor refused: {answer:?}");
    }
    assert!(devnet.accept_log().is_empty());
}

#[tokio::test]
async fn a_mute_node_accepts_and_never_speaks() {
    let devnet = devnet_of(Kind::Mute, 1).await;
    let address = devnet.addresses_of(Kind::Mute)[0];
    let mut client = Client::connect(address).await.unwrap();
    client.say_version().await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(100), client.receive()).await;
    assert!(answer.is_err(), "neither an answer nor a close: {answer:?}");
    assert_eq!((devnet.live(), devnet.accept_log().len()), (1, 1));
}

#[tokio::test]
async fn a_rude_node_accepts_and_closes() {
    let devnet = devnet_of(Kind::Rude, 1).await;
    let address = devnet.addresses_of(Kind::Rude)[0];
    Client::connect(address).await.unwrap().closed().await;
    let log = devnet.accept_log();
    assert_eq!((log.len(), log[0].address, log[0].kind), (1, address, Kind::Rude));
}

#[tokio::test]
async fn a_vanishing_node_dies_some_time_after_its_first_connection() {
    let soon = Duration::from_millis(50)..=Duration::from_millis(100);
    let mix = Mix::only(Kind::Vanishing);
    let builder = Devnet::builder().nodes(2).kinds(mix).port(0).vanish_after(soon);
    let devnet = builder.start().await.unwrap();
    let [first, second] = devnet.addresses_of(Kind::Vanishing)[..] else { panic!("two nodes") };
    Client::ready(first).await.unwrap().closed().await;
    patiently("last link", devnet.until_live(|live| live == 0)).await;
    assert!(is_refused(first).await);
    Client::ready(second).await.expect("its time starts with its own first connection");
    devnet.restart(first).await.unwrap();
    Client::ready(first).await.expect("it lives again").closed().await;
}

#[tokio::test]
async fn an_attackers_nodes_name_and_announce_their_own_cluster_only() {
    let mix = Mix::only(Kind::Honest).with_each(Kind::ALL.into_iter().filter(|it| it.is_hostile()));
    let devnet = Devnet::builder().nodes(100).kinds(mix).port(0).start().await.unwrap();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_hostile()) {
        let address = devnet.addresses_of(kind)[0];
        let mut client = Client::ready(address).await.unwrap();
        let NetworkMessage::AddrV2(announced) = client.receive().await.unwrap() else { panic!() };
        assert_eq!(announced[0].socket_addr().unwrap(), address, "{kind}");
        client.send(NetworkMessage::GetAddr).await.unwrap();
        // What it relays may come before the answer.
        let mut named = Vec::new();
        let cluster = if kind == Kind::Shadow { 20 } else { 60 };
        while named.len() < cluster {
            let NetworkMessage::AddrV2(more) = client.receive().await.unwrap() else { panic!() };
            named = more;
            for entry in &named {
                let other = devnet.kind_of(entry.socket_addr().unwrap()).expect("a node");
                assert!(kind.is_allied_with(other), "{kind} names {other}");
            }
        }
        client.ping(1).await.unwrap();
    }
}

#[tokio::test]
async fn a_spammer_does_not_wait_to_be_asked() {
    let devnet = devnet_of(Kind::Spammer, 20).await;
    let mut client = Client::ready(devnet.addresses_of(Kind::Spammer)[0]).await.unwrap();
    client.receive().await.expect("its announcement");
    for _ in 0..5 {
        let NetworkMessage::AddrV2(spam) = client.receive().await.unwrap() else { panic!() };
        assert_eq!(spam.len(), 10);
    }
}
