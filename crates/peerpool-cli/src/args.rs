//! The flags. Those that are settings are passed on as text: the settings check them, so that a
//! value is judged the same whether a flag, a variable or a file brings it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use peerpool::parse_duration;
use peerpool::settings::{ENV_PREFIX, Flag, Settings};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Builder;

use crate::failure::Failure;

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
    /// Run a stand-in network on loopback: nodes of every kind, and a DNS seed
    Devnet(Devnet),
    /// Run the pool against a stand-in network of its own
    Demo(Demo),
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
    /// Where the pool keeps what it learns; created if missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
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
    /// Shares of the kinds of node
    #[arg(long, value_name = "KIND=SHARE,...", default_value_t)]
    pub(crate) mix: Mix,
    /// End after this long, such as 30s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) lasting: Option<Duration>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
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
pub(crate) struct Demo {
    /// How many nodes the stand-in network has
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// Peers to keep, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) target: usize,
    /// Shares of the kinds of node
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

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a time is written 400ms, 5s, 2min, 3h or 30d".to_owned())
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
