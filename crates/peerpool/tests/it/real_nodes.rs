//! The pool against real nodes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::p2p::message_blockdata::GetHeadersMessage;
use peerpool::bitcoin::{BlockHash, Network};
use peerpool::{Address, Builder, Chain, Event, NetworkMessage, Policy, Pool, Require};
use serde_json::json;

use crate::alone;
use crate::dns::DnsSeed;
use crate::events::Watch;
use crate::litecoind::{self, Litecoind, free_port, skip};
use crate::{ms, quick, within};

/// Litecoin's regtest: Bitcoin's magic, headers of another proof of work.
pub(crate) fn chain(default_port: u16) -> Chain {
    Chain {
        name: "litecoin-regtest".to_owned(),
        default_port,
        seeds: vec!["seed.test".to_owned()],
        pow: false,
        ..Chain::from(Network::Regtest)
    }
}

fn pool(port: u16, dns: &DnsSeed) -> Builder {
    // A node takes seconds to come back; until then its address must stay one we know.
    let patient = |policy: &mut Policy| policy.max_failures = 1000;
    Pool::builder(chain(port)).dns_server(dns.at).target(3).tune(quick).tune(patient)
}

async fn start_at(ips: &[Ipv4Addr], port: u16, extra: &[&str]) -> Vec<Litecoind> {
    let mut nodes = Vec::new();
    for &ip in ips {
        nodes.push(Litecoind::start(SocketAddr::from((ip, port)), extra).await);
    }
    nodes
}

async fn ready_at(watch: &mut Watch, node: Address) {
    let ready = |event: &Event| {
        matches!(event, Event::Ready { address, .. } if *address == node).then_some(())
    };
    watch.until(ready).await;
}

async fn hash(node: &Litecoind, method: &str, params: serde_json::Value) -> BlockHash {
    node.call(method, params).await.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn three_nodes_are_found_lost_taken_back_and_asked_for_headers() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(180, async {
        let ips = [2, 3, 4].map(|group| Ipv4Addr::new(127, group, 0, 1));
        let port = free_port(ips[0]);
        let mut nodes = start_at(&ips, port, &[]).await;
        for node in &nodes {
            node.mine(7).await;
        }
        let dns = DnsSeed::of(ips.to_vec()).await;
        let pool = pool(port, &dns).start().await.unwrap();
        let mut watch = Watch::of(&pool);
        pool.ready(3).await.unwrap();

        let lost = Address::from(nodes[1].address);
        nodes[1].stop().await;
        let gone = |event: &Event| {
            matches!(event, Event::Disconnected { address, .. } if *address == lost).then_some(())
        };
        watch.until(gone).await;
        assert_eq!(pool.status().await.ready_count(), 2);
        ask_for_headers(&pool, &nodes).await;

        nodes[1].resume().await;
        ready_at(&mut watch, lost).await;
        pool.ready(3).await.unwrap();
        let status = pool.status().await;
        assert!(status.burned.is_empty(), "{:?}", status.burned);
        ask_for_headers(&pool, &nodes).await;
        pool.close(Duration::from_secs(5)).await;
        watch.end().await;
        assert_eq!(watch.seen("disconnected"), 4);
    })
    .await;
}

/// Asks whichever peer is lent for headers, and holds them against what its node has mined.
async fn ask_for_headers(pool: &Pool, nodes: &[Litecoind]) {
    let mut lease = pool.lease(&Require::any()).await.unwrap();
    let lent = lease.address();
    let node = nodes.iter().find(|node| Address::from(node.address) == lent).unwrap();
    let genesis = hash(node, "getblockhash", json!([0])).await;
    let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    lease.send(NetworkMessage::GetHeaders(request)).await.unwrap();
    let headers = loop {
        if let NetworkMessage::Headers(headers) = lease.recv().await.unwrap() {
            break headers;
        }
    };
    let linked = headers.iter().try_fold(genesis, |previous, header| {
        (header.prev_blockhash == previous).then(|| header.block_hash())
    });
    assert_eq!(headers.len(), 7);
    assert_eq!(linked, Some(hash(node, "getbestblockhash", json!([])).await));
}

/// A network namespace in which all of 11.0.0.0/8 is this machine, and nothing else is reached.
struct Namespace(String);

impl Namespace {
    fn new() -> Result<Self, String> {
        let name = format!("peerpool-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        let name = namespace.0.as_str();
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "route", "add", "local", "11.0.0.0/8", "dev", "lo"])?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`ip` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("no network namespace: ip {}: {}", arguments.join(" "), error.trim()))
}

#[tokio::test]
async fn nodes_that_only_a_peer_knows_are_found_by_getaddr() {
    if alone::is_child() {
        return within(240, find_by_getaddr()).await;
    }
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(reason) => return skip(&reason),
    };
    let test = "real_nodes::nodes_that_only_a_peer_knows_are_found_by_getaddr";
    let mut command = tokio::process::Command::new("ip");
    command.args(["netns", "exec", &namespace.0]).arg(std::env::current_exe().unwrap());
    alone::mark(command.args(alone::args(test)).kill_on_drop(true));
    alone::passed(test, &command.output().await.unwrap());
}

/// The seed names the first node; that one knows the other two among 60 addresses.
async fn find_by_getaddr() {
    const PORT: u16 = 18444;
    let ips = [1, 2, 3].map(|group| Ipv4Addr::new(11, group, 0, 1));
    // With this permission a node answers each getaddr with a fresh sample of what it knows, and
    // not all day with the first one.
    let nodes = start_at(&ips, PORT, &["-whitelist=addr@11.0.0.0/8"]).await;
    let first = &nodes[0];
    // An hour and a half ago: recent enough for the pool, with room to move the clock forward.
    let mut clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 5400;
    first.call("setmocktime", json!([clock])).await;
    let dead = (0..58).map(|group| Ipv4Addr::new(11, 100 + group, 0, 1));
    for ip in ips[1..].iter().copied().chain(dead) {
        let added = first.call("addpeeraddress", json!([ip.to_string(), PORT])).await;
        assert_eq!(added["success"], true, "{ip}");
    }

    let dns = DnsSeed::of(vec![ips[0]]).await;
    let pool = pool(PORT, &dns).start().await.unwrap();
    let mut watch = Watch::of(&pool);
    // An answer names 23 % of what a node knows, so both are in few of them: the link is cut, and
    // the pool comes back and asks again, until it has heard of both.
    while pool.status().await.ready_count() < 3 {
        ready_at(&mut watch, first.address.into()).await;
        heard(&mut watch, first, &mut clock).await;
        watch.quiet(ms(100)).await;
        if pool.status().await.ready_count() < 3 {
            let address = first.call("getpeerinfo", json!([])).await[0]["addr"].take();
            first.call("disconnectnode", json!([address])).await;
        }
    }
    let status = pool.status().await;
    let mut found: Vec<String> = status.ready.iter().map(|peer| peer.address.to_string()).collect();
    found.sort();
    assert_eq!(found, ips.map(|ip| format!("{ip}:{PORT}")));
    assert_eq!(watch.past.iter().filter(|event| names_others(event)).count(), 0);
    pool.close(Duration::from_secs(5)).await;
}

/// Waits for the node's answer to getaddr. It comes after 30 s on average, by the node's clock.
async fn heard(watch: &mut Watch, node: &Litecoind, clock: &mut u64) {
    let answer = |event: &Event| matches!(event, Event::Gossip { received: 2.., .. }).then_some(());
    loop {
        *clock += 30;
        node.call("setmocktime", json!([*clock])).await;
        if tokio::time::timeout(ms(250), watch.until(answer)).await.is_ok() {
            return;
        }
    }
}

/// The seed gave one address; all others were heard of from peers.
fn names_others(event: &Event) -> bool {
    matches!(event, Event::SeedAnswered { received: 2.., .. })
}
