//! `peerpool devnet`: the stand-in network as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use peerpool::{Chain, format_duration};
use peerpool_sim::actor::{Kind, Stage};
use peerpool_sim::devnet::{Builder, Devnet};
use serde_json::{Map, Value};

use crate::args;
use crate::failure::Failure;
use crate::json;
use crate::screen::print;
use crate::signals::Stop;

/// Runs it until it is to end.
pub(crate) async fn run(args: args::Devnet) -> Result<(), Failure> {
    let mut stop = Stop::after(args.lasting)?;
    let devnet = start(args.builder()).await?;
    let chain = devnet.chain();
    let command = run_command(&chain, devnet.seed_name(), devnet.dns_addr());
    let dns = devnet.dns_addr();
    let line = if args.json {
        let mut said = described(&args);
        said.insert("port".into(), chain.default_port.into());
        said.insert("seed".into(), devnet.seed_name().into());
        said.insert("dns_server".into(), dns.to_string().into());
        said.insert("run".into(), command.into());
        Value::from(said).to_string()
    } else {
        format!(
            "{} ({}) on port {}, {} away, gossip {}\nDNS seed {} at {dns}\n{command}",
            counted(args.nodes as u64, "node"),
            args.mix,
            chain.default_port,
            format_duration(args.latency),
            args.gossip_ages.as_str(),
            devnet.seed_name(),
        )
    };
    print(&line)?;
    stop.wished().await;
    let seen = Seen::by(&devnet);
    devnet.close().await;
    let mut summary = Map::new();
    summary.insert("event".into(), "summary".into());
    summary.insert("at".into(), json::unix_seconds(SystemTime::now()).into());
    summary.extend(seen.json());
    print(&if args.json { Value::from(summary).to_string() } else { seen.words() })?;
    Ok(())
}

/// What was asked for.
fn described(args: &args::Devnet) -> Map<String, Value> {
    let range = |range: &RangeInclusive<Duration>| {
        Value::from(vec![json::seconds(*range.start()), json::seconds(*range.end())])
    };
    let described = [
        ("event", "devnet".into()),
        ("at", json::unix_seconds(SystemTime::now()).into()),
        ("nodes", args.nodes.into()),
        ("mix", args.mix.to_string().into()),
        ("rng_seed", args.rng_seed.into()),
        ("dns_share", args.dns_share.into()),
        ("gossip_share", args.gossip_share.into()),
        ("gossip_ages", args.gossip_ages.as_str().into()),
        ("latency", json::seconds(args.latency)),
        ("slow_rate", args.slow_rate.into()),
        ("vanish_after", range(&args.vanish_after)),
        ("flap_up", range(&args.flap_up)),
        ("flap_down", range(&args.flap_down)),
    ];
    described.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Starts a devnet, with as many open files as the system allows: every living node listens.
pub(crate) async fn start(builder: Builder) -> Result<Devnet, Failure> {
    let limit = rlimit::increase_nofile_limit(u64::MAX);
    builder.start().await.map_err(|error| match limit {
        // EMFILE has no stable kind.
        Ok(limit) if error.to_string().contains("os error 24") => Failure::said(format!(
            "{error}; every living node listens, and this process is limited to {limit} open \
             files (see `ulimit -Hn`): fewer --nodes need fewer"
        )),
        _ => Failure::said(error),
    })
}

/// The command line of a pool that joins this network.
fn run_command(chain: &Chain, seed: &str, dns: SocketAddr) -> String {
    let regtest = Chain::named("regtest").expect("regtest is a public chain");
    let network = if (chain.magic, chain.default_port) == (regtest.magic, regtest.default_port) {
        "--network regtest".to_owned()
    } else {
        let magic: String = chain.magic.iter().map(|byte| format!("{byte:02x}")).collect();
        let port = chain.default_port;
        format!(
            "--network custom --set chain.magic={magic} --set chain.port={port} \
             --allow-unroutable"
        )
    };
    format!("peerpool run {network} --seed {seed} --dns-server {dns}")
}

/// What the network's side saw.
pub(crate) struct Seen {
    accepts: BTreeMap<SocketAddr, u64>,
    by_kind: BTreeMap<Kind, u64>,
    ready: u64,
    most_links: usize,
}

impl Seen {
    /// From the accept log.
    pub(crate) fn by(devnet: &Devnet) -> Self {
        let (mut accepts, mut by_kind, mut ready) = (BTreeMap::new(), BTreeMap::new(), 0);
        for accept in devnet.accept_log() {
            *accepts.entry(accept.address).or_default() += 1;
            *by_kind.entry(accept.kind).or_default() += 1;
            ready += u64::from(accept.stage == Stage::Ready);
        }
        let most_links = devnet.max_concurrent().into_values().max().unwrap_or(0);
        Self { accepts, by_kind, ready, most_links }
    }

    /// Connections that the node at this address accepted.
    pub(crate) fn accepts_at(&self, address: SocketAddr) -> u64 {
        self.accepts.get(&address).copied().unwrap_or(0)
    }

    fn most_accepts(&self) -> u64 {
        self.accepts.values().copied().max().unwrap_or(0)
    }

    /// Connections that nodes of this kind accepted.
    pub(crate) fn accepts_by(&self, kind: Kind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// The counts.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let by_kind = self.by_kind.iter();
        let by_kind: Map<_, _> =
            by_kind.map(|(kind, count)| (kind.as_str().to_owned(), (*count).into())).collect();
        let mut map = Map::new();
        map.insert("accepts".into(), self.accepts.values().sum::<u64>().into());
        map.insert("shook_hands".into(), self.ready.into());
        map.insert("nodes_reached".into(), self.accepts.len().into());
        map.insert("most_accepts_at_one_node".into(), self.most_accepts().into());
        map.insert("most_links_to_one_node".into(), self.most_links.into());
        map.insert("accepts_by_kind".into(), by_kind.into());
        map
    }

    /// The counts, for people.
    pub(crate) fn words(&self) -> String {
        if self.accepts.is_empty() {
            return "accepted no connection".to_owned();
        }
        let kinds = self.by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
        format!(
            "accepted {} at {} ({}), of which {} shook hands; at most {} to one node, {} of them \
             at once",
            counted(self.accepts.values().sum(), "connection"),
            counted(self.accepts.len() as u64, "node"),
            kinds.collect::<Vec<_>>().join(", "),
            self.ready,
            self.most_accepts(),
            self.most_links,
        )
    }
}

/// `1 node`, `2 nodes`.
fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told_in_whole_words() {
        let mut seen =
            Seen { accepts: BTreeMap::new(), by_kind: BTreeMap::new(), ready: 0, most_links: 0 };
        assert_eq!(seen.words(), "accepted no connection");
        let node = |host| SocketAddr::from(([127, 1, 0, host], 18444));
        seen.accepts.insert(node(1), 1);
        seen.by_kind.insert(Kind::Honest, 1);
        (seen.ready, seen.most_links) = (1, 1);
        assert_eq!(
            seen.words(),
            "accepted 1 connection at 1 node (1 honest), of which 1 shook hands; at most 1 to one \
             node, 1 of them at once"
        );
        seen.accepts.insert(node(2), 2);
        seen.by_kind.insert(Kind::Mute, 2);
        assert_eq!(
            seen.words(),
            "accepted 3 connections at 2 nodes (1 honest, 2 mute), of which 1 shook hands; at most \
             2 to one node, 1 of them at once"
        );
    }

    #[test]
    fn the_line_to_paste_names_what_regtest_does_not_imply() {
        let mut chain = Chain::named("regtest").expect("a public chain");
        let dns = "127.0.0.1:5353".parse().expect("a socket address");
        assert_eq!(
            run_command(&chain, "seed.devnet", dns),
            "peerpool run --network regtest --seed seed.devnet --dns-server 127.0.0.1:5353"
        );
        chain.default_port = 1234;
        assert_eq!(
            run_command(&chain, "seed.devnet", dns),
            "peerpool run --network custom --set chain.magic=fabfb5da --set chain.port=1234 \
             --allow-unroutable --seed seed.devnet --dns-server 127.0.0.1:5353"
        );
    }
}
