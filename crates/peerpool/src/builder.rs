//! Settings of one pool, and its start. Reading settings from files is not done here.

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use peerpool_core::address::{Address, Net};
use peerpool_core::chain::Chain;
use peerpool_core::engine::{Config, Engine};
use peerpool_core::netgroup::{AsMap, AsMapError, MAX_AS_MAP, NetGroups};
use peerpool_core::policy::{Policy, PolicyError};
use peerpool_core::rng::Rng;
use peerpool_core::slots::NamedPool;

use crate::clock::Clock;
use crate::driver;
use crate::pool::Pool;
use crate::random;
use crate::seeds::Resolver;
use crate::store::{self, Owner, Saver, SeedNames, StoreError};

/// Descriptors a pool needs besides its peers: resolver sockets, the runtime's own, the host's.
const OTHER_FILES: usize = 32;

/// Longest user agent that peers accept, in bytes (Core's `MAX_SUBVERSION_LENGTH`).
const MAX_USER_AGENT: usize = 256;

/// How a pool is to be; from [`Pool::builder`].
///
/// ```
/// # use std::time::Duration;
/// # use peerpool::{Net, Pool};
/// # use peerpool_sim::actor::{Kind, Mix};
/// # use peerpool_sim::devnet::Devnet;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
/// # let devnet = devnet.start().await?;
/// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
/// let pool = builder
///     .target(4)
///     .onlynet([Net::Ipv4])
///     .tune(|policy| policy.ping_interval = Duration::from_secs(30))
///     .start()
///     .await?;
/// pool.ready(4).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    chain: Chain,
    policy: Policy,
    manual: Vec<Address>,
    connect_only: bool,
    only_nets: Vec<Net>,
    pools: Vec<NamedPool>,
    dns: bool,
    dns_server: Option<SocketAddr>,
    allow_unroutable: Option<bool>,
    data_dir: Option<PathBuf>,
    asmap: Option<AsMapFrom>,
    user_agent: String,
    height: i32,
    rng_seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(chain: Chain) -> Self {
        Self {
            chain,
            policy: Policy::default(),
            manual: Vec::new(),
            connect_only: false,
            only_nets: Vec::new(),
            dns: true,
            dns_server: None,
            allow_unroutable: None,
            data_dir: None,
            asmap: None,
            pools: Vec::new(),
            user_agent: concat!("/peerpool:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
            height: 0,
            rng_seed: None,
        }
    }

    /// Peers to keep. Default 8; 1 to 1000.
    pub fn target(mut self, peers: usize) -> Self {
        self.policy.target_connect_count = peers;
        self
    }

    /// Keeps so many peers more, for a pool of this name: it shares the addr book, the dials and the
    /// data directory, and has slots, leases and waiters of its own. See [`Pool::named`]. A name has
    /// 1 to 32 ASCII letters, digits, `-` and `_`; at most `Policy::max_pools`, each with a target of
    /// 1 at least.
    pub fn named(self, name: impl Into<String>, target: usize) -> Self {
        self.beside(name.into(), target, false)
    }

    /// The same, and no node that serves it ever serves another pool: each netgroup belongs to one
    /// separate pool, or to all those that are not. Which, a secret of the data directory says, so
    /// that it holds over restarts; without one, until the end. It takes nodes in several netgroups,
    /// and the fewer are left for each, the more such pools there are. Addresses that the user named
    /// serve any.
    pub fn separate(self, name: impl Into<String>, target: usize) -> Self {
        self.beside(name.into(), target, true)
    }

    fn beside(mut self, name: String, target: usize, separate: bool) -> Self {
        self.pools.push(NamedPool { name, target, separate });
        self
    }

    /// Every number at once, the target too.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Changes some numbers and leaves the others.
    pub fn tune(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Where the pool keeps what it learns: the addr book with its history, in one SQLite file, see
    /// [`store`]. Created at the start, held by one pool at a time. Default: nowhere, the
    /// addr book lives in memory only and nothing is written.
    ///
    /// [`store`]: crate::store
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Takes the file at `path`, an AS map in the format of Bitcoin Core's `-asmap`: addresses of
    /// one autonomous system are then one netgroup, where the map knows it. A relative path is
    /// looked for in the data directory if there is one, else in the working directory. Read at the
    /// start; at most 64 MiB. Default: none, and netgroups are a /16 of IPv4 and a /32 of IPv6.
    pub fn asmap(mut self, path: impl Into<PathBuf>) -> Self {
        self.asmap = Some(AsMapFrom::File(path.into()));
        self
    }

    /// The same, of the bytes of such a file.
    pub fn asmap_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.asmap = Some(AsMapFrom::Bytes(bytes.into()));
        self
    }

    /// Dials these addresses and no others: no seeds, no gossip. Adds up when called again. At
    /// least one must be named, or the start fails.
    pub fn connect<A: Into<Address>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.connect_only = true;
        self.manual.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Holds automatic dials to these networks; adds up when called again. Addresses on others are
    /// not kept, but those named by [`Builder::add`] and [`Builder::connect`] are dialled all the
    /// same. Only IPv4 and IPv6 can be dialled yet: with another the start fails. Default: both.
    pub fn onlynet(mut self, nets: impl IntoIterator<Item = Net>) -> Self {
        self.only_nets.extend(nets);
        self
    }

    /// Adds an address of the user's own: dialled before others, backed off from instead of burned.
    #[expect(clippy::should_implement_trait, reason = "adding an address is no sum")]
    pub fn add(mut self, address: impl Into<Address>) -> Self {
        self.manual.push(address.into());
        self
    }

    /// Asks this DNS seed too, besides those of the chain.
    pub fn seed(mut self, name: impl Into<String>) -> Self {
        self.chain.seeds.push(name.into());
        self
    }

    /// Asks no DNS seed.
    pub fn no_dns(mut self) -> Self {
        self.dns = false;
        self
    }

    /// Asks this DNS server in place of the operating system's resolver. Needs the feature
    /// `hickory`; without it the start fails.
    pub fn dns_server(mut self, server: SocketAddr) -> Self {
        self.dns_server = Some(server);
        self
    }

    /// Lets addresses through that the public internet cannot reach. Default: what the policy says,
    /// and yes on a local chain such as regtest.
    pub fn allow_unroutable(mut self, allow: bool) -> Self {
        self.allow_unroutable = Some(allow);
        self
    }

    /// The user agent told to peers, at most 256 bytes. Default `/peerpool:VERSION/`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// The height of the user's best block, told to peers. Default 0.
    pub fn height(mut self, height: i32) -> Self {
        self.height = height;
        self
    }

    /// Fixes every random choice of the engine, for tests. Default: the operating system's
    /// randomness.
    pub fn rng_seed(mut self, seed: u64) -> Self {
        self.rng_seed = Some(seed);
        self
    }

    /// Starts the pool on the current tokio runtime, which needs its I/O and time drivers. Returns
    /// once the data directory is read, if it has one, or else at once; [`Pool::ready`] waits for
    /// peers. Raises the soft limit of open files of this process if the pool may need more. Cancel
    /// safe.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub async fn start(mut self) -> Result<Pool, StartError> {
        self.policy.allow_unroutable =
            self.allow_unroutable.unwrap_or(self.policy.allow_unroutable || self.chain.local);
        let beside = self.pools.iter().map(|pool| pool.target);
        let target = self.policy.target_connect_count;
        self.policy.target_connect_count = beside.fold(target, usize::saturating_add);
        self.policy.check().map_err(StartError::Policy)?;
        if self.user_agent.len() > MAX_USER_AGENT {
            return Err(StartError::UserAgent { length: self.user_agent.len() });
        }
        if self.connect_only && self.manual.is_empty() {
            return Err(StartError::NobodyToDial);
        }
        if let Some(address) = self.manual.iter().find(|address| !can_be_dialled(address)) {
            return Err(StartError::Address { address: *address });
        }
        raise_open_files(&self.policy)?;
        let groups = match self.asmap {
            Some(asmap) => NetGroups::with_as_map(asmap.read(self.data_dir.as_deref())?),
            None => NetGroups::default(),
        };
        let store = match &self.data_dir {
            Some(path) => Some(load(path.clone(), &self.chain).await?),
            None => None,
        };
        let resolver = resolver(self.dns_server)?;
        let seeds = if self.dns { self.chain.seeds.clone() } else { Vec::new() };
        let config = Config {
            policy: self.policy.clone(),
            seeds: seeds.clone(),
            default_port: self.chain.default_port,
            manual: self.manual,
            connect_only: self.connect_only,
            user_agent: self.user_agent,
            only_nets: self.only_nets,
            groups,
            height: self.height,
            pools: self.pools,
        };
        let mut engine = Engine::new(config, rng(self.rng_seed)?).map_err(StartError::Policy)?;
        let clock = Clock::start();
        let saver = match store {
            Some((owner, mut loaded)) => {
                let kept = std::mem::take(&mut loaded.changes);
                engine.track_changes();
                let restored = engine.restore(clock.now(), loaded.key, kept);
                let bans = std::mem::take(&mut loaded.bans);
                let banned = engine.restore_bans(clock.now(), bans.iter().copied());
                tracing::debug!(?restored, banned, "the addr book is read");
                let saver = Saver::start(owner, loaded, &self.policy);
                let mut saver = saver.map_err(StartError::Store)?;
                let now = clock.now().unix;
                let over = bans.iter().filter(|ban| ban.until <= now);
                saver.forget_bans(over.map(|ban| ban.subnet));
                Some(saver)
            }
            None => None,
        };
        let (policy, magic, pow) = (self.policy, self.chain.magic, self.chain.pow);
        let setup = driver::Setup { engine, policy, clock, magic, pow, seeds, resolver, saver };
        Ok(driver::start(setup))
    }
}

/// Whether there can be a node at this address at all. (The net that reaches it is another matter.)
pub(crate) fn can_be_dialled(address: &Address) -> bool {
    match address.host.ip() {
        Some(ip) => address.port != 0 && !ip.is_unspecified() && !ip.is_multicast(),
        None => true,
    }
}

/// Where an AS map comes from.
#[derive(Clone, Debug)]
enum AsMapFrom {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl AsMapFrom {
    fn read(self, data_dir: Option<&Path>) -> Result<AsMap, StartError> {
        match self {
            Self::File(path) => read_as_map(data_dir, &path),
            Self::Bytes(bytes) => {
                AsMap::from_bytes(bytes).map_err(|source| StartError::AsMap { path: None, source })
            }
        }
    }
}

/// The AS map in a file; a relative path is one in the data directory.
pub(crate) fn read_as_map(data_dir: Option<&Path>, path: &Path) -> Result<AsMap, StartError> {
    let path = data_dir.map_or(path.to_owned(), |dir| dir.join(path));
    let bytes = match read_at_most(&path, MAX_AS_MAP) {
        Ok(bytes) => bytes,
        Err(source) => return Err(StartError::AsMapUnreadable { path, source }),
    };
    AsMap::from_bytes(bytes).map_err(|source| StartError::AsMap { path: Some(path), source })
}

/// The bytes of a file, or one more than `most` of those if it has more.
fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // To open a pipe would wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the data directory, off the runtime's threads.
async fn load(path: PathBuf, chain: &Chain) -> Result<(Owner, store::Loaded), StartError> {
    let key = random::draw().map_err(StartError::Randomness)?;
    let names = SeedNames::new(chain.seeds.iter().cloned());
    let owner = Owner { dir: path.clone(), magic: chain.magic };
    let magic = chain.magic;
    let read = move || {
        std::fs::create_dir_all(&path)
            .map_err(|source| StartError::DataDir { path: path.clone(), source })?;
        store::load(&path, magic, names, key).map_err(StartError::Store)
    };
    let read = tokio::task::spawn_blocking(read).await;
    let loaded = read.unwrap_or_else(|error| {
        let error =
            StoreError::Failed { path: owner.dir.clone(), doing: "read", error: error.to_string() };
        Err(StartError::Store(error))
    })?;
    Ok((owner, loaded))
}

fn rng(seed: Option<u64>) -> Result<Rng, StartError> {
    if let Some(seed) = seed {
        return Ok(Rng::from_u64(seed));
    }
    random::draw().map(Rng::from_seed).map_err(StartError::Randomness)
}

#[cfg(feature = "hickory")]
fn resolver(server: Option<SocketAddr>) -> Result<Resolver, StartError> {
    let Some(server) = server else { return Ok(Resolver::system()) };
    Resolver::with_server(server)
        .map_err(|error| StartError::DnsServer { server, error: error.to_string() })
}

#[cfg(not(feature = "hickory"))]
fn resolver(server: Option<SocketAddr>) -> Result<Resolver, StartError> {
    match server {
        None => Ok(Resolver::system()),
        Some(server) => {
            let error = "peerpool was built without the feature `hickory`".to_owned();
            Err(StartError::DnsServer { server, error })
        }
    }
}

fn raise_open_files(policy: &Policy) -> Result<(), StartError> {
    let needed = policy.max_connections() + OTHER_FILES;
    let limit =
        rlimit::increase_nofile_limit(needed as u64).map_err(StartError::OpenFilesUnknown)?;
    if limit < needed as u64 {
        return Err(StartError::OpenFiles {
            needed,
            limit,
            target: policy.target_connect_count,
            max_dials: policy.max_dials,
            max_addr_fetch: policy.max_addr_fetch,
            block_relay_count: policy.block_relay_count,
            max_private: policy.max_private,
        });
    }
    Ok(())
}

/// Why a pool did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A number of the policy is out of its bounds.
    Policy(PolicyError),
    /// The pool may need more open files than this process is allowed.
    OpenFiles {
        /// Files the pool may need.
        needed: usize,
        /// The limit, raised as far as the system allows.
        limit: u64,
        /// `target_connect_count`.
        target: usize,
        /// `max_dials`.
        max_dials: usize,
        /// `max_addr_fetch`.
        max_addr_fetch: usize,
        /// `block_relay_count`.
        block_relay_count: usize,
        /// `max_private`.
        max_private: usize,
    },
    /// [`Builder::connect`] was given no address: there is nobody to dial.
    NobodyToDial,
    /// No node can be at this address: port 0, the unspecified address, or multicast.
    Address {
        /// The address.
        address: Address,
    },
    /// The limit of open files could not be read or raised.
    OpenFilesUnknown(io::Error),
    /// The data directory could not be created.
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file of the AS map could not be read.
    AsMapUnreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The AS map is empty, broken or too long.
    AsMap {
        /// The file, if it came from one.
        path: Option<PathBuf>,
        /// What is wrong with it.
        source: AsMapError,
    },
    /// The addr book in the data directory cannot be used: another process holds it, or it is of
    /// another chain or a later version, or it cannot be read. A damaged one is no reason, nor is
    /// one that cannot be written.
    Store(StoreError),
    /// The DNS server cannot be asked.
    DnsServer {
        /// The server.
        server: SocketAddr,
        /// What went wrong.
        error: String,
    },
    /// The user agent is longer than peers accept.
    UserAgent {
        /// Its length in bytes.
        length: usize,
    },
    /// The operating system gave no randomness.
    Randomness(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::OpenFiles {
                needed,
                limit,
                target,
                max_dials,
                max_addr_fetch,
                block_relay_count,
                max_private,
            } => write!(
                f,
                "target_connect_count = {target}, max_dials = {max_dials}, max_addr_fetch = \
                 {max_addr_fetch}, block_relay_count = {block_relay_count} and max_private = \
                 {max_private} may need {needed} open files, and this process is limited to {limit} \
                 (see `ulimit -Hn`)"
            ),
            Self::NobodyToDial => f.write_str("only named addresses may be dialled, and none is"),
            Self::Address { address } => write!(
                f,
                "{address} cannot be dialled; allowed: a port from 1 to 65535 of a single host"
            ),
            Self::OpenFilesUnknown(error) => {
                write!(f, "the limit of open files could not be read or raised: {error}")
            }
            Self::DataDir { path, source } => {
                write!(f, "the data directory {} could not be created: {source}", path.display())
            }
            Self::AsMapUnreadable { path, source } => {
                write!(f, "the AS map {} could not be read: {source}", path.display())
            }
            Self::AsMap { path: Some(path), source } => {
                write!(f, "the AS map {} cannot be used: {source}", path.display())
            }
            Self::AsMap { path: None, source } => {
                write!(f, "the AS map cannot be used: {source}")
            }
            Self::Store(error) => error.fmt(f),
            Self::DnsServer { server, error } => {
                write!(f, "the DNS server {server} cannot be asked: {error}")
            }
            Self::UserAgent { length } => {
                write!(f, "the user agent has {length} bytes; peers accept {MAX_USER_AGENT}")
            }
            Self::Randomness(error) => write!(f, "the system gave no randomness: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::OpenFilesUnknown(error)
            | Self::DataDir { source: error, .. }
            | Self::AsMapUnreadable { source: error, .. } => Some(error),
            Self::AsMap { source, .. } => Some(source),
            _ => None,
        }
    }
}
