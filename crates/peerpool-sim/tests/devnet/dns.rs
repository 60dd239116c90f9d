//! The DNS seed, on its socket.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::{Devnet, DnsMode};
use tokio::net::UdpSocket;

use crate::client::patiently;

async fn ask(devnet: &Devnet, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
    socket.send_to(&query.to_vec().unwrap(), devnet.dns_addr()).await.unwrap();
    let mut buffer = [0; 4096];
    let (length, from) = patiently("answer", socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(from, devnet.dns_addr());
    assert!(length <= 512, "{length} bytes without EDNS");
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn kinds_named(devnet: &Devnet, name: &str) -> Vec<Kind> {
    let answer = ask(devnet, name).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    let kind = |ip: IpAddr| devnet.kind_of(SocketAddr::new(ip, devnet.chain().default_port));
    let ips = answer.answers.iter().filter_map(|record| record.data.ip_addr());
    ips.map(|ip| kind(ip).expect("a node of the devnet")).collect()
}

#[tokio::test]
async fn the_seed_names_nodes_but_no_stale_ones() {
    let devnet = Devnet::builder().nodes(200).port(0).start().await.unwrap();
    assert_eq!(devnet.chain().seeds, [devnet.seed_name()]);
    for name in ["seed.devnet.", "x9.seed.devnet.", "x409.seed.devnet."] {
        let kinds = kinds_named(&devnet, name).await;
        assert!((25..=29).contains(&kinds.len()), "{name}: {}", kinds.len());
        assert!(!kinds.contains(&Kind::Stale));
    }
    let queries = devnet.dns_queries();
    assert_eq!((queries.len(), queries["x9.seed.devnet"].a), (3, 1));
    assert_eq!(ask(&devnet, "other.devnet.").await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn the_seed_names_as_many_living_nodes_as_told() {
    let mix = Mix::only(Kind::Honest).with(Kind::Refusing, 2).with(Kind::Mute, 1);
    for (share, living) in [(0.0, false), (1.0, true)] {
        let builder = Devnet::builder().nodes(200).kinds(mix).port(0).dns_share(share);
        let devnet = builder.start().await.unwrap();
        let kinds = kinds_named(&devnet, "seed.devnet.").await;
        assert!(!kinds.is_empty());
        assert!(kinds.iter().all(|kind| (*kind == Kind::Honest) == living), "{share}: {kinds:?}");
        devnet.close().await;
    }
}

#[tokio::test]
async fn the_seed_fails_on_demand() {
    let builder = Devnet::builder().nodes(20).port(0).filter_names(false);
    let devnet = builder.start().await.unwrap();
    let code = |message: Message| message.metadata.response_code;
    assert_eq!(code(ask(&devnet, "x9.seed.devnet.").await), ResponseCode::NXDomain);
    assert_eq!(code(ask(&devnet, "seed.devnet.").await), ResponseCode::NoError);
    devnet.set_dns_mode(DnsMode::ServFail);
    assert_eq!(code(ask(&devnet, "seed.devnet.").await), ResponseCode::ServFail);
}

#[tokio::test]
async fn a_poisoned_seed_names_the_attackers_nodes_only() {
    let mix = Mix::only(Kind::Honest).with(Kind::Sybil, 1).with(Kind::Refusing, 1);
    let builder = Devnet::builder().nodes(99).kinds(mix).port(0).dns_mode(DnsMode::Poisoned);
    let devnet = builder.start().await.unwrap();
    let named = ask(&devnet, "seed.devnet.").await.answers;
    let port = devnet.chain().default_port;
    let ips = named.iter().filter_map(|record| record.data.ip_addr());
    let kinds: Vec<_> = ips.map(|ip| devnet.kind_of(SocketAddr::new(ip, port))).collect();
    let sybils = kinds.iter().filter(|&&kind| kind == Some(Kind::Sybil)).count();
    let nobodys = kinds.iter().filter(|kind| kind.is_none()).count();
    assert_eq!((kinds.len(), sybils, nobodys), (29, 26, 3));
}
