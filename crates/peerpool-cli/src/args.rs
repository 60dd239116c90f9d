//! The flags. Those that are settings are passed on as text: the settings check them, so that a
//! value is judged the same whether a flag, a variable or a file brings it.

mod book;
mod sim;

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use peerpool::parse_duration;
use peerpool::settings::{ENV_PREFIX, Flag, Settings};
use peerpool_sim::actor::{Ages, Kind, Mix};
use peerpool_sim::devnet::Builder;
use peerpool_sim::eclipse::{self, Rules};

use crate::failure::Failure;

pub(crate) use self::book::{Ban as BanArgs, Book, BookCommand, Export, ExportAs, Import, List};
pub(crate) use self::sim::Sim;

/// A pool of Bitcoin peers.
#[derive(Debug, Parser)]
#[command(name = "peerpool", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pool: find peers, dial them, keep as many as asked for
    Run(Run),
    /// Dial nodes, shake hands, and say what they are and how long each step took
    Probe(Probe),
    /// Look into the addr book of a data directory, and change it
    Book(Book),
    /// Run a stand-in network on loopback: nodes of every kind, and a DNS seed
    Devnet(Devnet),
    /// Run the pool against a stand-in network of its own
    Demo(Demo),
    /// Run pools for days in virtual time, and report how they fared
    Sim(Sim),
    /// Measure the pool on a stand-in network
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every setting is a key of the file (--config), a variable (dial_timeout is \
PEERPOOL_DIAL_TIMEOUT) and a flag or --set KEY=VALUE; of these the later wins."
)]
pub(crate) struct Run {
    /// The chain: bitcoin, testnet3, testnet4, signet, regtest, or custom (default: bitcoin)
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Peers to keep, 1 to 1000 (default: 8)
    #[arg(long, value_name = "N")]
    target: Option<String>,
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the pool keeps the addresses it learns of, from one run to the next; created if
    /// missing (default: nowhere)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Keep peers in different autonomous systems by this AS map; a relative path is looked for in
    /// the data directory, if there is one
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "ip_asn.map")]
    asmap: Option<String>,
    /// A DNS seed to ask besides those of the chain; may be given again
    #[arg(long, value_name = "NAME")]
    seed: Vec<String>,
    /// Ask no DNS seed
    #[arg(long)]
    no_dns: bool,
    /// The DNS server to ask instead of the system's
    #[arg(long, value_name = "ADDR")]
    dns_server: Option<String>,
    /// Dial only this address; may be given again
    #[arg(long, value_name = "ADDR")]
    connect: Vec<String>,
    /// Dial this address too; may be given again
    #[arg(long, value_name = "ADDR")]
    add: Vec<String>,
    /// Find peers on this network only: ipv4 or ipv6; may be given again
    #[arg(long, value_name = "NET")]
    onlynet: Vec<String>,
    /// Let addresses through that the public internet cannot reach (implied by regtest)
    #[arg(long)]
    allow_unroutable: bool,
    /// Any other setting by its key, such as dial_timeout=2s; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// End after this long, such as 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) lasting: Option<Duration>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run {
    /// The settings these flags, the environment's `vars` and the file make together.
    pub(crate) fn settings(
        &self,
        vars: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Settings, Failure> {
        let mut flags: Vec<_> =
            self.set.iter().map(|(key, value)| Flag::new(key, value, "--set")).collect();
        let mut push = |key: &str, value: &str, flag: &str| flags.push(Flag::new(key, value, flag));
        let single = [
            ("network", &self.network, "--network"),
            ("target_connect_count", &self.target, "--target"),
            ("data_dir", &self.data_dir, "--data-dir"),
            ("asmap", &self.asmap, "--asmap"),
            ("dns_server", &self.dns_server, "--dns-server"),
        ];
        for (key, value, flag) in single {
            if let Some(value) = value {
                push(key, value, flag);
            }
        }
        let lists = [
            ("seeds", &self.seed, "--seed"),
            ("connect", &self.connect, "--connect"),
            ("add", &self.add, "--add"),
            ("onlynet", &self.onlynet, "--onlynet"),
        ];
        for (key, values, flag) in lists {
            values.iter().for_each(|value| push(key, value, flag));
        }
        if self.no_dns {
            push("dns", "false", "--no-dns");
        }
        if self.allow_unroutable {
            push("allow_unroutable", "true", "--allow-unroutable");
        }
        let env = environment(vars)?;
        Settings::load(self.config.as_deref(), env.into_iter(), &flags).map_err(Failure::said)
    }
}

/// Our variables as text.
fn environment(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Failure> {
    let named = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = named.filter(|(name, _)| name.starts_with(ENV_PREFIX));
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(value) => Err(Failure::said(format_args!(
            "environment variable {name} = {value:?} is not allowed; allowed: UTF-8"
        ))),
    })
    .collect()
}

#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    /// The nodes: IP or IP:PORT, an IPv6 address with a port in brackets
    #[arg(required = true, value_name = "ADDR")]
    pub(crate) addresses: Vec<String>,
    /// The chain: bitcoin, testnet3, testnet4, signet or regtest
    #[arg(long, value_name = "NAME", default_value = "bitcoin")]
    pub(crate) network: String,
    /// How long each step (dial, handshake, ping) may take
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) timeout: String,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = kinds())]
pub(crate) struct Devnet {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// The port every node listens on
    #[arg(long, value_name = "PORT", default_value_t = 18444)]
    pub(crate) port: u16,
    /// The DNS seed's UDP port on 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) seed_port: u16,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rng_seed: u64,
    /// Shares of the kinds of node (listed below)
    #[arg(long, value_name = "KIND=SHARE,...", default_value_t)]
    pub(crate) mix: Mix,
    /// Share of usable nodes among the addresses of a DNS answer, 0 to 1 (default: that of the mix)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) dns_share: Option<f64>,
    /// Share of usable nodes among gossiped addresses, 0 to 1 (default: that of the mix)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) gossip_share: Option<f64>,
    /// How old gossip is: kind (under 3 h) or core (as Bitcoin Core's, a day and more)
    #[arg(long, value_name = "AGES", default_value = Ages::Kind.as_str(), value_parser = ages)]
    pub(crate) gossip_ages: Ages,
    /// The round trip to every node, up to 60s
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = latency)]
    pub(crate) latency: Duration,
    /// Bytes a second that a slow node sends
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slow_rate: u32,
    /// How long a vanishing node lives after its first connection: a time, or a range
    #[arg(long, value_name = "TIME..TIME", default_value = "5s..30s", value_parser = times)]
    pub(crate) vanish_after: RangeInclusive<Duration>,
    /// How long a flapping node lives each time: a time, or a range
    #[arg(long, value_name = "TIME..TIME", default_value = "5s..30s", value_parser = times)]
    pub(crate) flap_up: RangeInclusive<Duration>,
    /// How long a flapping node is dead each time: a time, or a range
    #[arg(long, value_name = "TIME..TIME", default_value = "5s..30s", value_parser = times)]
    pub(crate) flap_down: RangeInclusive<Duration>,
    /// End after this long, such as 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) lasting: Option<Duration>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Devnet {
    /// The network these flags describe.
    pub(crate) fn builder(&self) -> Builder {
        let builder = peerpool_sim::devnet::Devnet::builder()
            .nodes(self.nodes)
            .kinds(self.mix)
            .port(self.port)
            .dns_port(self.seed_port)
            .seed(self.rng_seed)
            .gossip_ages(self.gossip_ages)
            .latency(self.latency)
            .slow_rate(self.slow_rate)
            .vanish_after(self.vanish_after.clone())
            .flap_up(self.flap_up.clone())
            .flap_down(self.flap_down.clone());
        let builder = self.dns_share.into_iter().fold(builder, Builder::dns_share);
        self.gossip_share.into_iter().fold(builder, Builder::gossip_share)
    }
}

/// Enough vanishing nodes that a pool of eight is seen to refill in nearly every demo.
const DEMO_MIX: Mix = Mix::only(Kind::Honest)
    .with(Kind::Honest, 20)
    .with(Kind::Refusing, 30)
    .with(Kind::Silent, 20)
    .with(Kind::Mute, 5)
    .with(Kind::Rude, 5)
    .with(Kind::Stale, 5)
    .with(Kind::Vanishing, 15);

#[derive(Debug, clap::Args)]
#[command(after_help = kinds())]
pub(crate) struct Demo {
    /// How many nodes the stand-in network has
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// Peers to keep, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) target: usize,
    /// Shares of the kinds of node (listed below)
    #[arg(long, value_name = "KIND=SHARE,...", default_value_t = DEMO_MIX)]
    pub(crate) mix: Mix,
    /// End after this long, such as 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "15s")]
    pub(crate) lasting: Duration,
    /// Seed of everything random in the network and the pool
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rng_seed: u64,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Time until the pool is full, beside that of an oracle that dials living nodes only
    Fill(Fill),
    /// Memory and processor time of `peerpool run` holding peers, in a process of its own
    Hold(Hold),
    /// An attacker's share of the pool's slots over 30 virtual days, for 24 attackers
    Eclipse(Eclipse),
}

#[derive(Debug, clap::Args)]
#[command(mut_args = signed)]
pub(crate) struct Eclipse {
    /// The pool's own rules, or Bitcoin Core's
    #[arg(long, value_name = "pool|core", default_value = "pool", value_parser = rules)]
    pub(crate) rules: Rules,
    /// Any rule to change, by its key, such as rotation_interval=1h; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Only attackers with this share of all addresses, in percent: 1, 5 or 20
    #[arg(long, value_name = "PERCENT", value_parser = ["1", "5", "20"])]
    pub(crate) share: Option<String>,
    /// Only attackers in so many netgroups: 10 or 1000
    #[arg(long, value_name = "N", value_parser = ["10", "1000"])]
    pub(crate) groups: Option<String>,
    /// Only attackers who neither flood gossip nor have a DNS seed
    #[arg(long)]
    pub(crate) plain: bool,
    /// Addresses in the network, 1000 to 100000
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = besieged)]
    pub(crate) nodes: usize,
    /// Runs for each attacker, each in another network, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = runs)]
    pub(crate) seeds: u64,
    /// Seed of the first run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed)]
    pub(crate) rng_seed: u64,
    /// Runs at once, one to a core
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// File to write each run to, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(mut_args = signed)]
pub(crate) struct Fill {
    /// Different ready nodes to reach, 1 to 254: one for each netgroup of loopback
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = groups)]
    pub(crate) target: usize,
    /// How many nodes the stand-in network has
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// Measure a pool that was full once, and starts again with its addr book and without DNS
    #[arg(long)]
    pub(crate) warm: bool,
    /// Percentages alive of what the DNS seed and of what gossip names
    #[arg(
        long,
        value_name = "DNS/GOSSIP,...",
        value_delimiter = ',',
        default_value = "100/100,90/20,30/20,5/5",
        allow_hyphen_values = true
    )]
    pub(crate) shares: Vec<Shares>,
    /// Round trip to every node, such as 80ms; the system answers dials at once, so the first
    /// reply takes twice that
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time,
        default_value = "0ms",
        allow_hyphen_values = true
    )]
    pub(crate) latency: Duration,
    /// How old gossiped addresses are: kind (under 3 h) or core (as Bitcoin Core ages them)
    #[arg(long, value_name = "AGES", value_parser = ages, default_value = "kind")]
    pub(crate) gossip_ages: Ages,
    /// Runs for each pair of shares, each on another network, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = runs)]
    pub(crate) seeds: u64,
    /// Seed of the first run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed)]
    pub(crate) rng_seed: u64,
    /// Runs at once; more than one disturb each other, and save time only where they wait
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// Longest run
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time,
        default_value = "2min",
        allow_hyphen_values = true
    )]
    pub(crate) timeout: Duration,
    /// File to write each run to, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(mut_args = signed)]
pub(crate) struct Hold {
    /// How many peers to hold, 1 to 1000, one run each
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        value_parser = peers,
        default_value = "8,125,1000",
        allow_hyphen_values = true
    )]
    pub(crate) peers: Vec<usize>,
    /// How long to hold them
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = time,
        default_value = "1min",
        allow_hyphen_values = true
    )]
    pub(crate) lasting: Duration,
    /// File to write each run to, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much of what DNS and gossip name is alive, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shares {
    pub(crate) dns: f64,
    pub(crate) gossip: f64,
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent = |text: &str| {
            let number: f64 = text.trim().parse().ok()?;
            (0.0..=100.0).contains(&number).then_some(number / 100.0)
        };
        let shares = text
            .split_once('/')
            .and_then(|(dns, gossip)| Some(Self { dns: percent(dns)?, gossip: percent(gossip)? }));
        shares.ok_or_else(|| {
            format!("{text:?} is not understood: write two percentages, such as 90/20")
        })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Percentages that were typed come back as they were.
        let percent = |share: f64| (share * 1e6).round() / 1e4;
        write!(f, "{}/{}", percent(self.dns), percent(self.gossip))
    }
}

fn ages(text: &str) -> Result<Ages, String> {
    let found = Ages::ALL.into_iter().find(|ages| ages.as_str() == text);
    found.ok_or_else(|| format!("one of {}", Ages::ALL.map(Ages::as_str).join(", ")))
}

fn groups(text: &str) -> Result<usize, String> {
    let groups = text.parse().ok().filter(|groups| (1..=254).contains(groups));
    groups.ok_or_else(|| "a whole number from 1 to 254".to_owned())
}

fn peers(text: &str) -> Result<usize, String> {
    let peers = text.parse().ok().filter(|peers| (1..=1000).contains(peers));
    peers.ok_or_else(|| "a whole number from 1 to 1000".to_owned())
}

fn rules(text: &str) -> Result<Rules, String> {
    match text {
        "pool" => Ok(Rules::Pool),
        "core" => Ok(Rules::Core),
        _ => Err("pool or core".to_owned()),
    }
}

fn besieged(text: &str) -> Result<usize, String> {
    let nodes = text.parse().ok().filter(|nodes| eclipse::NODES.contains(nodes));
    let (least, most) = (eclipse::NODES.start(), eclipse::NODES.end());
    nodes.ok_or_else(|| {
        format!("a whole number from {least} to {most}: all attackers must find room")
    })
}

/// Lets a negative number through to who says what is allowed: to clap it is an unknown flag.
fn signed(arg: clap::Arg) -> clap::Arg {
    let takes_values = arg.get_action().takes_values();
    arg.allow_negative_numbers(takes_values)
}

/// More runs than anybody waits for are a slip of the finger.
const RUNS_MAX: u64 = 1_000_000;

fn runs(text: &str) -> Result<u64, String> {
    let runs = text.parse().ok().filter(|runs| (1..=RUNS_MAX).contains(runs));
    runs.ok_or_else(|| format!("a whole number from 1 to {RUNS_MAX}"))
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {}", u64::MAX))
}

fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok().filter(|jobs| (1..=1000).contains(jobs));
    jobs.ok_or_else(|| "a whole number from 1 to 1000".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a time is written 400ms, 5s, 2min, 3h or 30d".to_owned())
}

/// A time, or two with `..` between them.
fn times(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let range = time(from.trim())?..=time(to.trim())?;
    if range.is_empty() {
        return Err("a range is written shortest..longest, such as 5s..30s".to_owned());
    }
    Ok(range)
}

fn latency(text: &str) -> Result<Duration, String> {
    let latency = time(text)?;
    let allowed = latency <= Builder::LATENCY_MAX;
    allowed.then_some(latency).ok_or_else(|| "a time up to 60s".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share from 0 to 1, such as 0.3".to_owned())
}

/// Every kind of node and what it does.
fn kinds() -> String {
    let mut text = "Kinds of node:".to_owned();
    for kind in Kind::ALL {
        text += &format!("\n  {kind:11} {}", kind.summary());
    }
    text
}

fn nodes(text: &str) -> Result<usize, String> {
    let nodes = text.parse().ok().filter(|nodes| (1..=Builder::NODES_MAX).contains(nodes));
    nodes.ok_or_else(|| format!("a whole number from 1 to {}", Builder::NODES_MAX))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("a setting is written KEY=VALUE")?;
    Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let line = "peerpool run --network regtest --target 3 --seed a.example --seed b.example \
                    --no-dns --connect 127.0.0.1 --add 127.0.0.2:5 --set dial_timeout=2s --for 30s";
        let Command::Run(run) = Args::parse_from(line.split_whitespace()).command else {
            unreachable!("the line says run");
        };
        let settings = run.settings(std::iter::empty()).expect("good settings");
        assert_eq!(settings.chain.name, "regtest");
        assert_eq!(settings.policy.target_connect_count, 3);
        assert_eq!(settings.policy.dial_timeout, Duration::from_secs(2));
        assert_eq!(settings.seeds, ["a.example", "b.example"]);
        assert!(!settings.dns);
        assert_eq!(settings.connect[0].to_string(), "127.0.0.1:18444");
        assert_eq!(settings.add[0].to_string(), "127.0.0.2:5");
        assert_eq!(run.lasting, Some(Duration::from_secs(30)));
    }
}
