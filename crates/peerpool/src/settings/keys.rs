//! The keys: their names, what they allow, and where their values go.

use std::net::{IpAddr, SocketAddr};

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Net};
use peerpool_core::chain::Chain;
use peerpool_core::engine::NETS;
use peerpool_core::policy::Policy;

use super::{ENV_PREFIX, Given, Settings, SettingsError, Source};
use crate::builder::can_be_dialled;

/// The names of service bits in settings, tables and JSON, by bit.
pub const SERVICES: [(&str, ServiceFlags); 6] = [
    ("network", ServiceFlags::NETWORK),
    ("bloom", ServiceFlags::BLOOM),
    ("witness", ServiceFlags::WITNESS),
    ("compact_filters", ServiceFlags::COMPACT_FILTERS),
    ("network_limited", ServiceFlags::NETWORK_LIMITED),
    ("p2p_v2", ServiceFlags::P2P_V2),
];

/// How a key takes its value.
enum Kind {
    /// One value; `None` refuses it.
    Text(fn(&mut Draft, &str) -> Option<()>),
    /// A list; each item is checked by itself, then the whole is stored.
    List { check: fn(&str) -> bool, store: fn(&mut Draft, Vec<String>) },
}

struct Key {
    name: &'static str,
    allowed: &'static str,
    kind: Kind,
}

const NETWORKS: &str = "bitcoin, testnet3, testnet4, signet, regtest, or custom (with its magic \
                        and port in the table chain)";
const BOOL: &str = "true or false";
const HOST_NAMES: &str = "a list of host names";
const ADDRESSES: &str = "a list of addresses: IP, IP:PORT, [IPV6]:PORT, NAME.onion:PORT or \
                         NAME.b32.i2p:0";
const NET_NAMES: &str = "a list of ipv4, ipv6: this build cannot dial onion, i2p or cjdns";
const SERVICE_NAMES: &str = "a list of network, bloom, witness, compact_filters, \
                             network_limited, p2p_v2, or bits in hex such as 0x9";
const DNS_SERVER: &str = if cfg!(feature = "hickory") {
    "an IP address, with :PORT if it is not 53"
} else {
    "nothing: this build lacks the feature \"hickory\""
};
const MAGIC: &str = "8 hex digits, in the order they are sent, such as f9beb4d9";
const PORT: &str = "a port from 1 to 65535";

const fn text(
    name: &'static str,
    allowed: &'static str,
    set: fn(&mut Draft, &str) -> Option<()>,
) -> Key {
    Key { name, allowed, kind: Kind::Text(set) }
}

const fn list(
    name: &'static str,
    allowed: &'static str,
    check: fn(&str) -> bool,
    store: fn(&mut Draft, Vec<String>),
) -> Key {
    Key { name, allowed, kind: Kind::List { check, store } }
}

/// Every key that is no number of the policy.
const KEYS: &[Key] = &[
    text("network", NETWORKS, |draft, text| {
        let known = text == CUSTOM || Chain::named(text).is_some();
        known.then(|| text.clone_into(&mut draft.network))
    }),
    text("chain.name", "a name", |draft, text| {
        (!text.is_empty()).then(|| draft.chain.name = text.to_owned())
    }),
    text("chain.magic", MAGIC, |draft, text| {
        draft.magic = Some(magic(text)?);
        Some(())
    }),
    text("chain.port", PORT, |draft, text| {
        draft.port = Some(text.parse().ok().filter(|port| *port != 0)?);
        Some(())
    }),
    list("chain.seeds", HOST_NAMES, is_host_name, |draft, names| draft.chain.seeds = names),
    text("chain.pow", BOOL, |draft, text| boolean(text).map(|pow| draft.chain.pow = pow)),
    text("data_dir", "a path", |draft, text| {
        (!text.is_empty()).then(|| draft.data_dir = Some(text.into()))
    }),
    text(
        "asmap",
        "a path; a relative one is looked for in data_dir, if that is set",
        |draft, text| (!text.is_empty()).then(|| draft.asmap = Some(text.into())),
    ),
    list("seeds", HOST_NAMES, is_host_name, |draft, names| draft.seeds = names),
    text("dns", BOOL, |draft, text| boolean(text).map(|dns| draft.dns = dns)),
    text("dns_server", DNS_SERVER, |draft, text| {
        draft.dns_server = Some(dns_server(text)?);
        Some(())
    }),
    list("connect", ADDRESSES, is_address, |draft, texts| draft.connect = texts),
    list("add", ADDRESSES, is_address, |draft, texts| draft.add = texts),
    list(
        "onlynet",
        NET_NAMES,
        |name| Net::named(name).is_some_and(|net| NETS.contains(&net)),
        |draft, names| draft.onlynet = names.iter().filter_map(|name| Net::named(name)).collect(),
    ),
    text("allow_unroutable", BOOL, |draft, text| {
        draft.allow_unroutable = Some(boolean(text)?);
        Some(())
    }),
    text("even_netgroups", BOOL, |draft, text| {
        boolean(text).map(|even| draft.policy.even_netgroups = even)
    }),
    text("relay", BOOL, |draft, text| boolean(text).map(|relay| draft.policy.relay = relay)),
    list(
        "required_services",
        SERVICE_NAMES,
        |name| services(name).is_some(),
        |draft, names| {
            let all = names.iter().filter_map(|name| services(name));
            draft.policy.required_services = all.fold(ServiceFlags::NONE, |all, one| all | one);
        },
    ),
    text("height", "a whole number from 0 to 2147483647", |draft, text| {
        draft.height = text.parse().ok().filter(|height| *height >= 0)?;
        Some(())
    }),
];

const CUSTOM: &str = "custom";

/// Every key, those of the policy last.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name).chain(Policy::FIELDS.iter().map(|field| field.key))
}

/// Whether this is a key that takes a list.
pub(super) fn is_list(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name && matches!(key.kind, Kind::List { .. }))
}

fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The key that this environment variable sets.
pub(super) fn key_of_variable(name: &str) -> Option<String> {
    keys().find(|key| variable(key) == name).map(str::to_owned)
}

/// Variables whose names are near this one, or else all.
pub(super) fn near_variables(name: &str) -> Vec<String> {
    near(name, keys().map(variable).collect())
}

fn near_keys(key: &str) -> Vec<String> {
    near(key, keys().map(str::to_owned).collect())
}

/// Longest name that is compared with the known ones.
const MAX_COMPARED: usize = 64;

fn near(name: &str, all: Vec<String>) -> Vec<String> {
    if name.len() > MAX_COMPARED {
        return all;
    }
    let bare = |name: &str| name.trim_start_matches(ENV_PREFIX).to_lowercase().replace('-', "_");
    let name = bare(name);
    let mut found: Vec<(usize, &String)> = all
        .iter()
        .filter_map(|known| {
            let bare = bare(known);
            let within = name.len() > 2 && (bare.contains(&name) || name.contains(&bare));
            let distance = if within { 1 } else { edits(&name, &bare) };
            (distance <= 2).then_some((distance, known))
        })
        .collect();
    found.sort();
    let found: Vec<_> = found.into_iter().map(|(_, known)| known.clone()).collect();
    if found.is_empty() { all } else { found }
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The items of a list written as one text. An empty one stays, to be refused: an unset variable
/// after `--connect` must not mean "dial anyone".
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn boolean(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn magic(text: &str) -> Option<[u8; 4]> {
    let hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(text, 16).ok())?.map(u32::to_be_bytes)
}

/// The services of this name, or of these bits in hex, such as `0x9`.
pub fn services(name: &str) -> Option<ServiceFlags> {
    if let Some(hex) = name.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(ServiceFlags::from);
    }
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit)
}

/// The names of these services, and what has none in hex: each is one for [`services`].
pub fn service_names(services: ServiceFlags) -> Vec<String> {
    let mut rest = services;
    let mut names = Vec::new();
    for (name, bit) in SERVICES.into_iter().filter(|(_, bit)| services.has(*bit)) {
        names.push(name.to_owned());
        rest.remove(bit);
    }
    if rest != ServiceFlags::NONE {
        names.push(format!("0x{:x}", rest.to_u64()));
    }
    names
}

fn dns_server(text: &str) -> Option<SocketAddr> {
    if !cfg!(feature = "hickory") {
        return None;
    }
    let with_port = text.parse().ok();
    with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)))
}

fn is_address(text: &str) -> bool {
    Address::parse(text, 1).is_ok_and(|address| can_be_dialled(&address))
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

/// A value that is not allowed, and what is.
type Refused = (String, String);

/// Settings on their way: what hangs on other settings is not decided yet.
pub(super) struct Draft {
    policy: Policy,
    network: String,
    network_source: Option<Source>,
    chain: Chain,
    magic: Option<[u8; 4]>,
    port: Option<u16>,
    /// The first key of the table `chain`, which only a custom network may have.
    chain_given: Option<(String, Source)>,
    data_dir: Option<std::path::PathBuf>,
    asmap: Option<std::path::PathBuf>,
    seeds: Vec<String>,
    dns: bool,
    dns_server: Option<SocketAddr>,
    connect: Vec<String>,
    add: Vec<String>,
    onlynet: Vec<Net>,
    allow_unroutable: Option<bool>,
    height: i32,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            network: "bitcoin".to_owned(),
            network_source: None,
            chain: Chain {
                name: CUSTOM.to_owned(),
                magic: [0; 4],
                default_port: 0,
                seeds: Vec::new(),
                pow: true,
                local: false,
            },
            magic: None,
            port: None,
            chain_given: None,
            data_dir: None,
            asmap: None,
            seeds: Vec::new(),
            dns: true,
            dns_server: None,
            connect: Vec::new(),
            add: Vec::new(),
            onlynet: Vec::new(),
            allow_unroutable: None,
            height: 0,
        }
    }
}

impl Draft {
    /// Takes one value in.
    pub(super) fn set(
        &mut self,
        name: &str,
        given: Given,
        source: Source,
    ) -> Result<(), SettingsError> {
        let refused = match KEYS.iter().find(|key| key.name == name) {
            Some(key) => self.set_key(key, given, &source),
            None => match self.set_number(name, given) {
                Some(result) => result,
                None => {
                    let allowed = near_keys(name);
                    return Err(SettingsError::Unknown { key: name.to_owned(), source, allowed });
                }
            },
        };
        refused.map_err(|(value, allowed)| SettingsError::Wrong {
            key: name.to_owned(),
            value,
            source: source.clone(),
            allowed,
        })?;
        if name == "network" {
            self.network_source = Some(source);
        } else if name.starts_with("chain.") && self.chain_given.is_none() {
            self.chain_given = Some((name.to_owned(), source));
        }
        Ok(())
    }

    fn set_key(&mut self, key: &Key, given: Given, source: &Source) -> Result<(), Refused> {
        let refuse = |value: String| (value, key.allowed.to_owned());
        match (&key.kind, given) {
            (Kind::Text(set), Given::Text(text)) => set(self, &text).ok_or_else(|| refuse(text)),
            (Kind::Text(_), Given::List(items)) => Err(refuse(items.join(", "))),
            (Kind::List { .. }, Given::Text(text)) if matches!(source, Source::File { .. }) => {
                Err(refuse(text))
            }
            (Kind::List { check, store }, given) => {
                let items = match given {
                    Given::List(items) => items,
                    Given::Text(text) => split(&text),
                };
                match items.iter().find(|item| !check(item)) {
                    Some(item) => Err(refuse(item.clone())),
                    None => {
                        store(self, items);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Sets a number of the policy; `None` where there is none of this name.
    fn set_number(&mut self, name: &str, given: Given) -> Option<Result<(), Refused>> {
        // A list is no number: written as one text it is refused with what is allowed.
        let text = match given {
            Given::Text(text) => text,
            Given::List(items) => format!("[{}]", items.join(", ")),
        };
        let result = self.policy.set(name, &text)?;
        Some(result.map_err(|error| (error.value, error.allowed)))
    }

    /// Decides what hangs on other settings.
    pub(super) fn finish(mut self) -> Result<Settings, SettingsError> {
        let chain = self.finish_chain()?;
        self.policy.allow_unroutable = self.allow_unroutable.unwrap_or(chain.local);
        let port = chain.default_port;
        let addresses = |texts: Vec<String>| -> Vec<Address> {
            texts.iter().filter_map(|text| Address::parse(text, port).ok()).collect()
        };
        Ok(Settings {
            policy: self.policy,
            data_dir: self.data_dir,
            asmap: self.asmap,
            seeds: self.seeds,
            dns: self.dns,
            dns_server: self.dns_server,
            connect: addresses(self.connect),
            add: addresses(self.add),
            onlynet: self.onlynet,
            height: self.height,
            chain,
        })
    }

    fn finish_chain(&mut self) -> Result<Chain, SettingsError> {
        let missing = |key: &str, needed_by: &str, source: &Source, allowed: &str| {
            let (key, needed_by) = (key.to_owned(), needed_by.to_owned());
            let (source, allowed) = (source.clone(), allowed.to_owned());
            SettingsError::Missing { key, needed_by, source, allowed }
        };
        if let Some(chain) = Chain::named(&self.network) {
            return match &self.chain_given {
                Some((key, source)) => Err(missing("network", key, source, CUSTOM)),
                None => Ok(chain),
            };
        }
        let source = self.network_source.as_ref().expect("the default network is a public one");
        let mut chain = self.chain.clone();
        chain.magic = self.magic.ok_or_else(|| missing("chain.magic", "network", source, MAGIC))?;
        chain.default_port =
            self.port.ok_or_else(|| missing("chain.port", "network", source, PORT))?;
        Ok(chain)
    }
}
