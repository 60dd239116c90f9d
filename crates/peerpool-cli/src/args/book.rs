//! The flags of `peerpool book`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use peerpool::formats::Format;
use peerpool::settings::{self, Flag, SERVICES, Settings};
use peerpool::{Net, ServiceFlags, Subnet};

use super::{environment, key_value, time};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What only looks works while a pool runs in the data directory; what changes the
book does not. The chain is that of the book; --network says it where there is
no book yet. Every setting of `run` counts: see there."
)]
pub(crate) struct Book {
    #[command(subcommand)]
    pub(crate) command: BookCommand,
    /// The data directory (default: the setting data_dir)
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// The chain: bitcoin, testnet3, testnet4, signet, regtest, or custom (default: the book's)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Settings file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any other setting by its key, such as max_address_age=3h; may be given again
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BookCommand {
    /// Count what there is, by network, standing and source
    Stats,
    /// List addresses, those we know best and latest first
    List(List),
    /// Everything that is known of an address
    Show {
        /// IP, IP:PORT, [IPV6]:PORT, NAME.onion:PORT or NAME.b32.i2p:0
        #[arg(value_name = "ADDR")]
        address: String,
    },
    /// Why an address may be dialled now or not, and what became of it
    Why {
        /// IP, IP:PORT, [IPV6]:PORT, NAME.onion:PORT or NAME.b32.i2p:0
        #[arg(value_name = "ADDR")]
        address: String,
    },
    /// Take in a file of addresses; they age as whatever is heard does
    Import(Import),
    /// Write the addresses to a file, with times rounded to the day
    Export(Export),
    /// List the bans
    Bans,
    /// Ban a host or a subnet
    Ban(Ban),
    /// End a ban
    Unban {
        /// The host or subnet, as it was banned
        #[arg(value_name = "SUBNET", value_parser = subnet)]
        subnet: Subnet,
    },
    /// Forget an address and all that happened to it; it may be heard of anew
    Forget {
        /// IP, IP:PORT, [IPV6]:PORT, NAME.onion:PORT or NAME.b32.i2p:0
        #[arg(value_name = "ADDR")]
        address: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only addresses on this network: ipv4, ipv6, onion, i2p or cjdns; may be given again
    #[arg(long, value_name = "NET", value_parser = net)]
    pub(crate) net: Vec<Net>,
    /// Only addresses in the tried table
    #[arg(long)]
    pub(crate) tried: bool,
    /// Only anchors, which are dialled first at the next start
    #[arg(long)]
    pub(crate) anchors: bool,
    /// Only addresses that are banned
    #[arg(long)]
    pub(crate) banned: bool,
    /// Burned addresses instead, the latest first
    #[arg(long, conflicts_with_all = ["tried", "anchors", "services"])]
    pub(crate) burned: bool,
    /// Only addresses with all of these services, such as network,compact_filters or 0x9
    #[arg(long, value_name = "NAME,...", value_parser = services)]
    pub(crate) services: Option<ServiceFlags>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// A peers.dat or anchors.dat of Bitcoin Core, a dump of a DNS seeder, JSON of bitnodes, what
    /// `book export` writes, or an address on each line; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Its format, if not what it looks like: peers.dat, anchors.dat, seeder, bitnodes, json
    /// or plain
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub(crate) format: Option<Format>,
    /// Change nothing; say what would be taken in
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A file to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportAs {
    PeersDat,
    PeersDatV4,
    AnchorsDat,
    Plain,
    Json,
}

impl ExportAs {
    const ALL: [Self; 5] =
        [Self::PeersDat, Self::PeersDatV4, Self::AnchorsDat, Self::Plain, Self::Json];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PeersDat => "peers.dat",
            Self::PeersDatV4 => "peers.dat-v4",
            Self::AnchorsDat => "anchors.dat",
            Self::Plain => "plain",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The file to write; - writes to stdout
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// peers.dat (which Bitcoin Core reads from 0.21 on), peers.dat-v4 (from 23 on), anchors.dat
    /// (our anchors), plain or json (one object a line)
    #[arg(long, value_name = "FORMAT", default_value = "peers.dat", value_parser = export_as)]
    pub(crate) format: ExportAs,
    /// Replace the file if there is one
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ban {
    /// IP, IP/PREFIX, IP/NETMASK, NAME.onion or NAME.b32.i2p; all ports of it
    #[arg(value_name = "SUBNET", value_parser = subnet)]
    pub(crate) subnet: Subnet,
    /// For so long, such as 24h or 30d
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "24h")]
    pub(crate) lasting: Duration,
    /// Until this unix time
    #[arg(long, value_name = "SECONDS", conflicts_with = "lasting")]
    pub(crate) until: Option<u64>,
    /// For good
    #[arg(long, conflicts_with_all = ["lasting", "until"])]
    pub(crate) forever: bool,
}

impl Book {
    /// The settings these flags, the environment's `vars` and the file make together.
    pub(crate) fn settings(
        &self,
        vars: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Settings, Failure> {
        let set = self.set.iter();
        let mut flags: Vec<_> = set.map(|(key, value)| Flag::new(key, value, "--set")).collect();
        let single =
            [("network", &self.network, "--network"), ("data_dir", &self.data_dir, "--data-dir")];
        for (key, value, flag) in single {
            flags.extend(value.iter().map(|value| Flag::new(key, value, flag)));
        }
        let env = environment(vars)?;
        Settings::load(self.config.as_deref(), env.into_iter(), &flags).map_err(Failure::said)
    }
}

fn net(text: &str) -> Result<Net, String> {
    Net::named(text).ok_or_else(|| format!("one of {}", Net::ALL.map(Net::as_str).join(", ")))
}

fn subnet(text: &str) -> Result<Subnet, String> {
    text.parse().map_err(|error: peerpool::SubnetError| error.to_string())
}

fn format(text: &str) -> Result<Format, String> {
    let all = Format::ALL.map(Format::as_str).join(", ");
    Format::named(text).ok_or_else(|| format!("one of {all}"))
}

fn export_as(text: &str) -> Result<ExportAs, String> {
    let found = ExportAs::ALL.into_iter().find(|format| format.as_str() == text);
    found.ok_or_else(|| format!("one of {}", ExportAs::ALL.map(ExportAs::as_str).join(", ")))
}

fn services(text: &str) -> Result<ServiceFlags, String> {
    let all: Option<Vec<_>> = text.split(',').map(|word| settings::services(word.trim())).collect();
    let names = SERVICES.map(|(name, _)| name).join(", ");
    let all = all.ok_or_else(|| format!("a list of {names}, or bits in hex such as 0x9"))?;
    Ok(all.into_iter().fold(ServiceFlags::NONE, |sum, flag| sum | flag))
}
