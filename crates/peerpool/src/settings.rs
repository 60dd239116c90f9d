//! Settings from a TOML file, then the environment, then flags: what comes later wins.
//!
//! This is the edge where text becomes types. Nothing here opens a socket or starts anything, and
//! no setting is read anywhere else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "settings are the user's, read before there is a peer"
)]

mod keys;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use peerpool_core::address::{Address, Net};
use peerpool_core::chain::Chain;
use peerpool_core::netgroup::NetGroups;
use peerpool_core::policy::Policy;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::keys::Draft;
pub use self::keys::{SERVICES, keys, service_names, services};
use crate::builder::{Builder, StartError, read_as_map};
use crate::pool::Pool;

/// What every environment variable of ours begins with: `dial_timeout` is `PEERPOOL_DIAL_TIMEOUT`.
pub const ENV_PREFIX: &str = "PEERPOOL_";

/// A variable of the test suite, not a setting: it may be set where a pool is run as part of one.
const TEST_VARIABLE: &str = "PEERPOOL_REQUIRE_REAL_NODES";

/// Everything that can be set, as types.
///
/// Every number of [`Policy`] is a key under its own name. The other keys are the fields here,
/// `network` and the table `chain` (which together make [`Settings::chain`]), and
/// `required_services`, `allow_unroutable` and `relay` (which are in the policy). [`keys`] lists
/// them all.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The chain; bitcoin's main chain by default. Its own seeds only.
    pub chain: Chain,
    /// Every number. `allow_unroutable` is on by default on a local chain (regtest), else off.
    pub policy: Policy,
    /// Where the pool keeps what it learns; default none: it is kept in memory only.
    pub data_dir: Option<PathBuf>,
    /// An AS map, by which netgroups are autonomous systems; default none. See [`Builder::asmap`].
    pub asmap: Option<PathBuf>,
    /// DNS seeds asked besides the chain's own.
    pub seeds: Vec<String>,
    /// Whether DNS seeds are asked at all; default yes.
    pub dns: bool,
    /// The DNS server to ask instead of the system's.
    pub dns_server: Option<SocketAddr>,
    /// Where not empty: dial these and no others, ask no seeds, take in no gossip.
    pub connect: Vec<Address>,
    /// Addresses to dial besides those found; they are manual.
    pub add: Vec<Address>,
    /// Networks to which automatic dials are held; default none, and all that can be dialled are.
    pub onlynet: Vec<Net>,
    /// Height of our best block, sent in our `version`; default 0.
    pub height: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::load(None, std::iter::empty(), &[]).expect("the defaults are within their bounds")
    }
}

/// One setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The key.
    pub key: String,
    /// The value, as text.
    pub value: String,
    /// The flag it came by, for errors.
    pub flag: String,
}

impl Flag {
    /// `value` for `key`, which came by `flag`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, flag: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), flag: flag.into() }
    }
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by its name.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// The file is not TOML.
    Syntax {
        /// Where.
        source: Source,
        /// What is wrong with it.
        error: String,
    },
    /// There is no such key.
    Unknown {
        /// The key, or the name of the environment variable.
        key: String,
        /// Where it came from.
        source: Source,
        /// The keys it may have meant, or all there are.
        allowed: Vec<String>,
    },
    /// A value that the key does not take.
    Wrong {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where it came from.
        source: Source,
        /// What is allowed.
        allowed: String,
    },
    /// A setting calls for another one that is not there.
    Missing {
        /// The key that is missing.
        key: String,
        /// The setting that calls for it.
        needed_by: String,
        /// Where that one came from.
        source: Source,
        /// What is allowed.
        allowed: String,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "the settings file {} cannot be read: {error}", path.display())
            }
            Self::Syntax { source, error } => write!(f, "{source}: {error}"),
            Self::Unknown { key, source, allowed } => {
                write!(f, "{key:?} ({source}) is no setting; allowed: {}", allowed.join(", "))
            }
            Self::Wrong { key, value, source, allowed } => {
                write!(f, "{key} = {value:?} ({source}) is not allowed; allowed: {allowed}")
            }
            Self::Missing { key, needed_by, source, allowed } => {
                write!(f, "{needed_by} ({source}) needs {key}; allowed: {allowed}")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// A value as it was given.
#[derive(Clone, Debug)]
enum Given {
    /// One value, as text.
    Text(String),
    /// A list of values, as text.
    List(Vec<String>),
}

impl Settings {
    /// Reads `file`, then those variables of `env` whose names begin with [`ENV_PREFIX`], then
    /// `flags`. What comes later wins; a list replaces the earlier list whole, except that a list's
    /// flag given several times adds up. Lists are TOML arrays in the file, and separated by commas
    /// elsewhere. Every value is checked, also one that a later source overrides.
    ///
    /// # Errors
    /// The first thing wrong: a file that cannot be read, a key that does not exist, a value that
    /// is not allowed, a custom chain without its magic or port, a table `chain` without the
    /// network `custom`.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Self, SettingsError> {
        let mut draft = Draft::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                SettingsError::Unreadable { path: path.to_owned(), error: error.to_string() }
            })?;
            for (key, given, source) in read_file(path, &text)? {
                draft.set(&key, given, source)?;
            }
        }
        // Sorted, so that of two wrong variables it is always the same that is named.
        let ours = |name: &str| name.starts_with(ENV_PREFIX) && name != TEST_VARIABLE;
        let mut env: Vec<_> = env.filter(|(name, _)| ours(name)).collect();
        env.sort();
        for (name, value) in env {
            let source = Source::Environment(name.clone());
            let key = keys::key_of_variable(&name).ok_or_else(|| SettingsError::Unknown {
                allowed: keys::near_variables(&name),
                key: name,
                source: source.clone(),
            })?;
            draft.set(&key, Given::Text(value), source)?;
        }
        for (key, given, source) in read_flags(flags) {
            draft.set(&key, given, source)?;
        }
        draft.finish()
    }

    /// What netgroups are by these settings, the AS map read.
    ///
    /// # Errors
    /// The file of the AS map is none, cannot be read, or holds no map.
    pub fn netgroups(&self) -> Result<NetGroups, StartError> {
        let Some(path) = &self.asmap else { return Ok(NetGroups::default()) };
        read_as_map(self.data_dir.as_deref(), path).map(NetGroups::with_as_map)
    }

    /// A pool as these settings have it, to be started.
    pub fn into_builder(self) -> Builder {
        let mut builder = Pool::builder(self.chain)
            .allow_unroutable(self.policy.allow_unroutable)
            .policy(self.policy)
            .onlynet(self.onlynet)
            .height(self.height);
        for name in self.seeds {
            builder = builder.seed(name);
        }
        for address in self.add {
            builder = builder.add(address);
        }
        if !self.connect.is_empty() {
            builder = builder.connect(self.connect);
        }
        if let Some(path) = self.asmap {
            builder = builder.asmap(path);
        }
        if !self.dns {
            builder = builder.no_dns();
        }
        if let Some(server) = self.dns_server {
            builder = builder.dns_server(server);
        }
        match self.data_dir {
            Some(path) => builder.data_dir(path),
            None => builder,
        }
    }
}

type Entry = (String, Given, Source);

/// The flags, with those of one list joined.
fn read_flags(flags: &[Flag]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for Flag { key, value, flag } in flags {
        let source = Source::Flag(flag.clone());
        if !keys::is_list(key) {
            entries.push((key.clone(), Given::Text(value.clone()), source));
            continue;
        }
        let items = keys::split(value);
        match entries.iter_mut().find(|(earlier, ..)| earlier == key) {
            Some((_, Given::List(list), _)) => list.extend(items),
            _ => entries.push((key.clone(), Given::List(items), source)),
        }
    }
    entries
}

fn read_file(path: &Path, text: &str) -> Result<Vec<Entry>, SettingsError> {
    let at = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        Source::File { path: path.to_owned(), line: before.matches('\n').count() + 1 }
    };
    let table = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
        source: at(error.span().map_or(0, |span| span.start)),
        error: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let source = at(key.span().start);
        match value.get_ref() {
            DeValue::Table(chain) if key.get_ref() == "chain" => {
                for (key, value) in chain {
                    let name = format!("chain.{}", key.get_ref());
                    entries.push((name, given(text, value), at(key.span().start)));
                }
            }
            _ => entries.push((key.get_ref().to_string(), given(text, value), source)),
        }
    }
    // In the order of the file, so that it is the first wrong line that is named.
    entries.sort_by_key(|(.., source)| match source {
        Source::File { line, .. } => *line,
        _ => 0,
    });
    Ok(entries)
}

/// A TOML value as text. What is neither a string nor a list of them stands as it is written.
fn given(text: &str, value: &Spanned<DeValue<'_>>) -> Given {
    let plain = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(string) => string.to_string(),
        _ => text.get(value.span()).unwrap_or_default().to_owned(),
    };
    match value.get_ref() {
        DeValue::Array(items) => Given::List(items.iter().map(plain).collect()),
        _ => Given::Text(plain(value)),
    }
}

#[cfg(test)]
mod tests;
