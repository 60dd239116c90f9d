//! The flags of `peerpool sim`.

use std::path::PathBuf;
use std::time::Duration;

use peerpool::settings::{Flag, Settings};
use peerpool::{Policy, parse_duration};
use peerpool_sim::swarm;
use peerpool_sim::world::Plan;

use super::{jobs, key_value, peers, runs, seed, signed};
use crate::failure::Failure;
use crate::sim::scenarios::{self, Scenario};

#[derive(Debug, clap::Args)]
#[command(mut_args = signed, after_help = format!(
    "Scenarios, beside the attacks that --list names:\n  {}",
    scenarios::common().replace('\n', "\n  ")
))]
pub(crate) struct Sim {
    /// Seed of everything random; the same seed makes the same run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed)]
    pub(crate) seed: u64,
    /// How many addresses the network has, dead and hostile ones included, 1 to 1000000 (default:
    /// 1000)
    #[arg(long, value_name = "N", value_parser = nodes)]
    nodes: Option<usize>,
    /// Virtual days to run, up to 3650, such as 30 or 0.5; or a time from 1ms, such as 12h
    /// (default: 1)
    #[arg(long, value_name = "DAYS", value_parser = days, allow_hyphen_values = true)]
    days: Option<Duration>,
    /// What the pools are put into (listed below)
    #[arg(
        long,
        value_name = "NAME",
        default_value = scenarios::DEFAULT,
        value_parser = scenarios::named
    )]
    pub(crate) scenario: Scenario,
    /// List all scenarios and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Pools under test, 1 to 1000 (default: 1)
    #[arg(long, value_name = "N", value_parser = peers)]
    pools: Option<usize>,
    /// Peers each pool is to keep, 1 to 1000 (default: 8)
    #[arg(long, value_name = "N")]
    pub(crate) target: Option<String>,
    /// Any other rule of the pools by its key, such as dial_timeout=2s; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Runs, each with the seed after that of the last, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = runs)]
    pub(crate) seeds: u64,
    /// Runs at once, each on a thread of its own, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = jobs)]
    pub(crate) jobs: usize,
    /// Print a line for each event of a pool, before the report; of one run only. With --json,
    /// each is an object {"event":"trace","line":"..."}
    #[arg(long)]
    pub(crate) trace: bool,
    /// Folder to draw curves in, as SVG; created if missing
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
    /// One JSON object a line; the last is the report, or the summary of several
    #[arg(long)]
    pub(crate) json: bool,
}

impl Sim {
    /// Addresses in the network.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.unwrap_or(1000)
    }

    /// Pools under test.
    pub(crate) fn pools(&self) -> usize {
        self.pools.unwrap_or(1)
    }

    /// Virtual time to run.
    pub(crate) fn lasting(&self) -> Duration {
        if self.scenario.is_network() { self.days.unwrap_or(DAY) } else { swarm::LENGTH }
    }

    /// Flags that the scenario has no use for are an error: they would be believed to matter.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let (network, attack) = (self.scenario.is_network(), self.scenario.is_attack());
        let flags = [
            ("--nodes", !network && self.nodes.is_some()),
            ("--days", !network && self.days.is_some()),
            ("--pools", !network && self.pools.is_some()),
            ("--target", !network && self.target.is_some()),
            ("--set", !network && !self.set.is_empty()),
            ("--trace", attack && self.trace),
            ("--plot", attack && self.plot.is_some()),
        ];
        let Some((flag, _)) = flags.iter().find(|(_, idle)| *idle) else {
            return self.check_seeds().and_then(|()| self.check_trace());
        };
        let rest = if attack { "" } else { ", --trace, --plot" };
        Err(Failure::said(format_args!(
            "{flag} means nothing to the scenario {}; allowed: --seed, --seeds, --jobs, --json{rest}",
            self.scenario.name
        )))
    }

    /// Seeds are numbered on from the first.
    fn check_seeds(&self) -> Result<(), Failure> {
        if self.seed.checked_add(self.seeds - 1).is_none() {
            return Err(Failure::said(format_args!(
                "--seed {} with --seeds {}: there are no seeds that high; allowed: up to {}",
                self.seed,
                self.seeds,
                u64::MAX
            )));
        }
        Ok(())
    }

    fn check_trace(&self) -> Result<(), Failure> {
        if self.trace && self.seeds > 1 {
            return Err(Failure::said(format_args!(
                "--trace with --seeds {}: a trace is of one run, and lines do not say of which \
                 they are; allowed: --seeds 1",
                self.seeds
            )));
        }
        Ok(())
    }

    /// The rules of the pools.
    pub(crate) fn policy(&self) -> Result<Policy, Failure> {
        let rules = || [SERVICES].into_iter().chain(Policy::FIELDS.iter().map(|field| field.key));
        if let Some((key, _)) = self.set.iter().find(|(key, _)| rules().all(|rule| rule != key)) {
            return Err(Failure::said(format_args!(
                "{key:?} (flag --set) is no rule of a pool; allowed: {}",
                rules().collect::<Vec<_>>().join(", ")
            )));
        }
        let set = self.set.iter().map(|(key, value)| Flag::new(key, value, "--set"));
        let target = self.target.iter().map(|n| Flag::new("target_connect_count", n, "--target"));
        let flags: Vec<_> = set.chain(target).collect();
        let settings = Settings::load(None, std::iter::empty(), &flags).map_err(Failure::said)?;
        Ok(settings.policy)
    }

    /// The command that runs one seed again and prints each event, if there are any to print.
    pub(crate) fn replay(&self, seed: u64) -> String {
        let mut line = format!("peerpool sim --scenario {} --seed {seed}", self.scenario.name);
        if let Some(nodes) = self.nodes {
            line += &format!(" --nodes {nodes}");
        }
        if let Some(days) = self.days {
            line += &format!(" --days {}", days.as_secs_f64() / DAY.as_secs_f64());
        }
        if let Some(pools) = self.pools {
            line += &format!(" --pools {pools}");
        }
        if let Some(target) = &self.target {
            line += &format!(" --target {}", quoted(target));
        }
        for (key, value) in &self.set {
            line += &format!(" --set {}", quoted(&format!("{key}={value}")));
        }
        if self.scenario.is_attack() { line } else { line + " --trace" }
    }
}

/// The one rule of a pool that is no number.
const SERVICES: &str = "required_services";
const DAY: Duration = Duration::from_secs(86_400);
/// A thousandth of a second: in less nothing happens.
const DAYS_MIN: Duration = Duration::from_millis(1);
const DAYS_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// A word as a POSIX shell must be given it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    // Within single quotes nothing is special but their end.
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn nodes(text: &str) -> Result<usize, String> {
    let nodes = text.parse().ok().filter(|nodes| (1..=Plan::NODES_MAX).contains(nodes));
    nodes.ok_or_else(|| format!("a whole number from 1 to {}", Plan::NODES_MAX))
}

/// A number of days, or a time.
fn days(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    let time = match number {
        Some(days) => Duration::try_from_secs_f64(DAY.as_secs_f64() * days).ok(),
        None => parse_duration(text),
    };
    time.filter(|time| (DAYS_MIN..=DAYS_MAX).contains(time)).ok_or_else(|| {
        "days up to 3650, such as 30 or 0.5; or a time, such as 12h; at least 1ms".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for plain in ["max_dials=4", "required_services=network,witness", "8", "-1"] {
            assert_eq!(quoted(plain), plain);
        }
        let odd =
            ["", "a b", "it's", "$HOME", "`x`", "a;b", "*", "~", "\"", "\\", "a\nb", "\u{e9}", "#"];
        for word in odd {
            let line = format!("printf %s {}", quoted(word));
            let said = Command::new("sh").args(["-c", &line]).output().expect("a shell");
            assert_eq!(String::from_utf8(said.stdout).as_deref(), Ok(word), "{line}");
        }
    }
}
