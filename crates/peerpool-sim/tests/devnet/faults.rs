//! Killing, restarting, reviving, pausing; and what the accept log says of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::{Devnet, DevnetError};
use tokio::net::TcpStream;

use crate::client::{Client, devnet_of, is_refused, patiently};

#[tokio::test]
async fn the_accept_log_counts_by_dialled_address() {
    let devnet = devnet_of(Kind::Honest, 2).await;
    let [a, b] = devnet.addresses_of(Kind::Honest)[..] else { panic!("two nodes") };
    let first = Client::ready(a).await.unwrap();
    let second = Client::ready(a).await.unwrap();
    let _other = Client::ready(b).await.unwrap();
    drop((first, second));
    patiently("close", devnet.until_live(|live| live == 1)).await;
    let _third = Client::ready(a).await.unwrap();
    let log = devnet.accept_log();
    let seen: Vec<_> = log.iter().map(|accept| (accept.address, accept.concurrent)).collect();
    assert_eq!(seen, [(a, 1), (a, 2), (b, 1), (a, 1)]);
    assert!(log.is_sorted_by_key(|accept| accept.at));
    assert_eq!(devnet.max_concurrent(), [(a, 2), (b, 1)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redial_right_after_a_close_is_not_concurrent() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let address = devnet.addresses_of(Kind::Honest)[0];
    for _ in 0..200 {
        drop(Client::ready(address).await.unwrap());
    }
    assert_eq!(devnet.max_concurrent(), [(address, 1)].into());
}

#[tokio::test]
async fn a_killed_node_closes_and_refuses_until_restarted() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let address = devnet.addresses_of(Kind::Honest)[0];
    for _ in 0..5 {
        let mut client = Client::ready(address).await.unwrap();
        devnet.kill(address).await.unwrap();
        assert_eq!(devnet.live(), 0);
        assert!(is_refused(address).await);
        client.closed().await;
        devnet.restart(address).await.unwrap();
        devnet.restart(address).await.expect("a living node stays as it is");
    }
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    assert!(matches!(devnet.kill(nowhere).await, Err(DevnetError::NoSuchNode(_))));
}

#[tokio::test]
async fn a_revived_node_is_honest_and_logged_as_what_it_was() {
    for kind in [Kind::Refusing, Kind::Silent, Kind::Mute, Kind::Rude] {
        let devnet = devnet_of(kind, 1).await;
        let address = devnet.addresses_of(kind)[0];
        devnet.revive(address).await.unwrap();
        Client::ready(address).await.unwrap().ping(1).await.unwrap();
        assert_eq!(devnet.accept_log()[0].kind, kind);
    }
}

#[tokio::test]
async fn dropped_connections_leave_the_nodes_listening() {
    let devnet = devnet_of(Kind::Honest, 3).await;
    let mut clients = Vec::new();
    for address in devnet.addresses_of(Kind::Honest) {
        clients.push(Client::ready(address).await.unwrap());
    }
    devnet.drop_connections().await;
    assert_eq!(devnet.live(), 0);
    for mut client in clients {
        client.closed().await;
    }
    for address in devnet.addresses_of(Kind::Honest) {
        Client::ready(address).await.unwrap();
    }
}

#[tokio::test]
async fn a_pause_takes_the_network_offline_and_back() {
    let mix = Mix::only(Kind::Honest).with(Kind::Silent, 1);
    let devnet = Devnet::builder().nodes(4).kinds(mix).port(0).start().await.unwrap();
    let honest = devnet.addresses_of(Kind::Honest);
    let silent = devnet.addresses_of(Kind::Silent);
    devnet.kill(honest[0]).await.unwrap();
    let mut client = Client::ready(honest[1]).await.unwrap();
    devnet.pause().await;
    devnet.pause().await;
    client.closed().await;
    for &address in honest.iter().chain(&silent) {
        assert!(is_refused(address).await);
    }
    devnet.resume().await.unwrap();
    Client::ready(honest[1]).await.unwrap();
    assert!(is_refused(honest[0]).await, "what was dead before stays dead");
    devnet.kill_all().await;
    for address in honest {
        assert!(is_refused(address).await);
    }
}

#[tokio::test]
async fn closing_or_dropping_stops_every_node() {
    let closed = devnet_of(Kind::Honest, 2).await;
    let address = closed.addresses_of(Kind::Honest)[0];
    let mut client = Client::ready(address).await.unwrap();
    closed.close().await;
    client.closed().await;
    assert!(is_refused(address).await);

    let dropped = devnet_of(Kind::Honest, 2).await;
    let mut client = Client::ready(dropped.addresses_of(Kind::Honest)[0]).await.unwrap();
    drop(dropped);
    client.closed().await;
}

#[tokio::test]
async fn a_thousand_nodes_are_spread_and_mixed_by_the_seed() {
    let start = || Devnet::builder().nodes(1000).seed(9).port(0).start();
    let (one, two) = (start().await.unwrap(), start().await.unwrap());
    assert_ne!(one.chain().default_port, two.chain().default_port);
    let mut groups = BTreeSet::new();
    for (kind, count) in Kind::ALL.into_iter().zip([300, 300, 200, 50, 50, 50, 50]) {
        let ips = |devnet: &Devnet| -> Vec<_> {
            devnet.addresses_of(kind).iter().map(SocketAddr::ip).collect()
        };
        assert_eq!((ips(&one).len(), ips(&one)), (count, ips(&two)), "{kind}");
        groups.extend(one.addresses_of(kind).iter().map(|at| at.ip().to_string()));
    }
    assert_eq!(groups.len(), 1000);
}

#[tokio::test]
async fn devnets_with_the_same_seed_do_not_meet() {
    let mut devnets = Vec::new();
    for _ in 0..20 {
        let mix = Mix::only(Kind::Honest).with(Kind::Refusing, 1);
        devnets.push(Devnet::builder().nodes(10).kinds(mix).port(0).start().await.unwrap());
    }
    let ports: BTreeSet<_> = devnets.iter().map(|net| net.chain().default_port).collect();
    assert_eq!(ports.len(), devnets.len());
    for devnet in &devnets {
        for address in devnet.addresses_of(Kind::Refusing) {
            assert!(is_refused(address).await);
        }
        TcpStream::connect(devnet.addresses_of(Kind::Honest)[0]).await.unwrap();
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let devnet = devnet_of(Kind::Honest, 1).await;
    let port = devnet.chain().default_port;
    let error = Devnet::builder().port(port).start().await.expect_err("the port is taken");
    assert_eq!(error.to_string(), format!("port {port} is in use by another devnet or program"));
}
