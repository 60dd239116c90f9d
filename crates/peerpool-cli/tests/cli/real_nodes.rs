//! `peerpool run` on regtest, as a user would type it, against real nodes that a DNS seed names.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;

use crate::Running;
use crate::dns::DnsSeed;
use crate::litecoind::{self, Litecoind, skip};

/// Regtest's own: the flag knows no other.
const PORT: u16 = 18444;

#[tokio::test]
async fn run_on_regtest_reaches_three_real_nodes_through_a_dns_seed() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    let ips = [2, 3, 4].map(|group| Ipv4Addr::new(127, group, 0, 1));
    if let Some(ip) = ips.iter().find(|ip| TcpListener::bind((**ip, PORT)).is_err()) {
        return skip(&format!("{ip}:{PORT} is taken"));
    }
    let mut nodes = Vec::new();
    for ip in ips {
        let node = Litecoind::start(SocketAddr::from((ip, PORT)), &[]).await;
        node.mine(3).await;
        nodes.push(node);
    }
    let dns = DnsSeed::of(ips.to_vec()).await;
    let server = dns.at.to_string();
    let run = tokio::task::spawn_blocking(move || {
        let flags = ["--network", "regtest", "--target", "3", "--for", "1min", "--json"];
        let dns = ["--seed", "seed.test", "--dns-server", &server];
        let mut pool = Running::start(&[&["run"], &flags[..], &dns].concat());
        pool.event("full");
        pool.signal("INT");
        pool.end()
    });
    let (code, out, errors) = run.await.expect("the reader does not panic");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let last: Value = serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
    let ready = last["status"]["ready"].as_array().expect("a list");
    let mut found: Vec<_> = ready.iter().map(|peer| peer["address"].as_str()).collect();
    found.sort();
    let expected = ips.map(|ip| format!("{ip}:{PORT}"));
    assert_eq!(found, expected.each_ref().map(|address| Some(address.as_str())));
    assert!(ready.iter().all(|peer| peer["height"] == 3), "{last}");
    assert!(
        ready.iter().all(|peer| peer["user_agent"]
            .as_str()
            .is_some_and(|agent| agent.contains("Litecoin"))),
        "{last}"
    );
    for node in &mut nodes {
        node.stop().await;
    }
}
