//! A Bitcoin network on loopback.

mod builder;
mod log;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use peerpool_core::chain::Chain;

pub use builder::Builder;
pub use log::Accept;

use crate::actor::Kind;

/// How the DNS seed treats queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// Answers with addresses.
    #[default]
    Answer,
    /// Answers SERVFAIL.
    ServFail,
    /// Does not answer.
    Silent,
}

/// How often the DNS seed was asked for one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queries {
    /// For A records.
    pub a: u64,
    /// For AAAA records.
    pub aaaa: u64,
    /// For anything else.
    pub other: u64,
}

/// Why a devnet does not start, or a node does not come back.
#[derive(Debug)]
pub enum DevnetError {
    /// A setting is out of bounds; the text names it and what is allowed.
    Setting(String),
    /// A socket cannot be bound.
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The devnet has no node at this address.
    NoSuchNode(SocketAddr),
}

impl fmt::Display for DevnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(text) => f.write_str(text),
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::NoSuchNode(address) => write!(f, "the devnet has no node at {address}"),
        }
    }
}

impl std::error::Error for DevnetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Setting(_) | Self::NoSuchNode(_) => None,
        }
    }
}

/// A running network.
#[derive(Debug)]
pub struct Devnet {
    chain: Chain,
}

impl Devnet {
    /// Settings with their defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(_builder: Builder) -> Result<Self, DevnetError> {
        Err(DevnetError::Setting("not yet written".into()))
    }

    /// The chain that a pool needs to join this network.
    pub fn chain(&self) -> Chain {
        self.chain.clone()
    }

    /// The name the DNS seed answers to.
    pub fn seed_name(&self) -> &'static str {
        "seed.devnet"
    }

    /// Where the DNS seed listens (UDP).
    pub fn dns_addr(&self) -> SocketAddr {
        unreachable!()
    }

    /// Addresses of all nodes built as `kind`.
    pub fn addresses_of(&self, _kind: Kind) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Every connection accepted so far, in order.
    pub fn accept_log(&self) -> Vec<Accept> {
        Vec::new()
    }

    /// Waits until the accept log satisfies `condition`. Cancel safe.
    pub async fn accepted(&self, _condition: impl Fn(&[Accept]) -> bool) {}

    /// Most connections that each node ever had at once; nodes never dialled are left out.
    pub fn max_concurrent(&self) -> BTreeMap<SocketAddr, usize> {
        BTreeMap::new()
    }

    /// Names asked of the DNS seed, lower case.
    pub fn dns_queries(&self) -> BTreeMap<String, Queries> {
        BTreeMap::new()
    }

    /// Changes how the DNS seed treats queries.
    pub fn set_dns_mode(&self, _mode: DnsMode) {}

    /// Stops a node.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn kill(&self, _address: SocketAddr) -> Result<(), DevnetError> {
        Ok(())
    }

    /// Starts a killed or vanished node again.
    ///
    /// # Errors
    /// There is no such node, or its socket cannot be bound.
    pub async fn restart(&self, _address: SocketAddr) -> Result<(), DevnetError> {
        Ok(())
    }

    /// Makes a node honest from now on, whatever it was built as.
    ///
    /// # Errors
    /// There is no such node, or its socket cannot be bound.
    pub async fn revive(&self, _address: SocketAddr) -> Result<(), DevnetError> {
        Ok(())
    }

    /// Stops every node.
    pub async fn kill_all(&self) {}

    /// Closes every connection; nodes go on listening.
    pub async fn drop_connections(&self) {}

    /// Takes the network offline: every node stops, to come back with [`Devnet::resume`].
    pub async fn pause(&self) {}

    /// Brings back what [`Devnet::pause`] stopped.
    ///
    /// # Errors
    /// A node's socket cannot be bound.
    pub async fn resume(&self) -> Result<(), DevnetError> {
        Ok(())
    }

    /// Stops everything and waits for it. Dropping the devnet stops it too, without waiting.
    pub async fn close(self) {}
}
