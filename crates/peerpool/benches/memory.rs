//! What a pool of 1,000 peers and 10,000 waiters holds in memory. The network is a process of its
//! own, which this program starts: itself, with `--devnet`.
//!
//! ```text
//! cargo bench -p peerpool --all-features --bench memory
//! ```
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and prints")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use peerpool::bitcoin::Network;
use peerpool::{Chain, Pool, Require, ServiceFlags};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const PEERS: usize = 1_000;
const WAITERS: usize = 10_000;

fn main() {
    let runtime = Runtime::new().expect("a runtime starts");
    if std::env::args().any(|argument| argument == "--devnet") {
        return runtime.block_on(serve());
    }
    let this = std::env::current_exe().expect("we run");
    let mut command = Command::new(this);
    command.arg("--devnet").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut network = command.spawn().expect("it starts");
    let mut line = String::new();
    let out = network.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).expect("it says where it is");
    let (dns, port) = line.trim().split_once(' ').expect("an address and a port");
    let chain = Chain {
        default_port: port.parse().expect("a port"),
        seeds: vec!["seed.devnet".to_owned()],
        ..Chain::from(Network::Regtest)
    };
    runtime.block_on(measure(chain, dns.parse().expect("an address")));
    // It ends with its input.
    drop(network.stdin.take());
    network.wait().expect("it ends");
}

/// The network, until its input ends.
async fn serve() {
    let devnet = Devnet::builder().nodes(PEERS * 3 / 2).kinds(Mix::only(Kind::Honest)).port(0);
    let devnet = devnet.start().await.expect("it starts");
    println!("{} {}", devnet.dns_addr(), devnet.chain().default_port);
    let until_end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(until_end).await.expect("it reads").expect("a pipe");
}

async fn measure(chain: Chain, dns: SocketAddr) {
    let before = own_memory();
    let builder = Pool::builder(chain).dns_server(dns).target(PEERS).tune(|policy| {
        // Loopback has 254 netgroups.
        policy.max_peers_per_netgroup = PEERS;
        policy.max_dials_per_netgroup = PEERS;
        policy.need_interval = Duration::ZERO;
    });
    let pool = builder.start().await.expect("it starts");
    pool.ready(PEERS).await.expect("all are honest");
    let full = own_memory();
    let each = |more: usize, count: usize| more as f64 / count as f64 / 1024.0;
    let more = full.saturating_sub(before);
    println!("{PEERS} peers: {} KiB more, {:.1} KiB each", more / 1024, each(more, PEERS));

    let mut waiting = JoinSet::new();
    for _ in 0..WAITERS {
        let pool = pool.clone();
        waiting.spawn(async move {
            // Nobody has them.
            let want = Require::services(ServiceFlags::COMPACT_FILTERS);
            pool.lease_timeout(&want, Duration::from_secs(3600)).await.is_ok()
        });
    }
    while pool.status().await.waiters < WAITERS {
        tokio::task::yield_now().await;
    }
    let more = own_memory().saturating_sub(full);
    println!("{WAITERS} waiters: {} KiB more, {:.2} KiB each", more / 1024, each(more, WAITERS));
    println!("all of it: {} KiB", own_memory() / 1024);
    waiting.shutdown().await;
    pool.close(Duration::from_secs(5)).await;
}

/// Anonymous memory of this process that is in use, in bytes.
fn own_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux says it");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<usize>().expect("a number") * 1024
}
