//! Why a devnet does not start, or a node does not come back.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevnetError {
    /// A setting is out of bounds.
    Setting {
        /// Its name: the method of the builder.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A socket cannot be bound.
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why: another program is there, or descriptors have run out.
        source: io::Error,
    },
    /// Another devnet has claimed this port, or another program has bound it.
    PortTaken(u16),
    /// The devnet has no node at this address.
    NoSuchNode(SocketAddr),
}

impl DevnetError {
    pub(super) fn is_port_taken(&self) -> bool {
        match self {
            Self::PortTaken(_) => true,
            Self::Bind { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Setting { .. } | Self::NoSuchNode(_) => false,
        }
    }
}

impl fmt::Display for DevnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, allowed } => {
                write!(f, "{name} cannot be {value}; allowed is {allowed}")
            }
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::PortTaken(port) => {
                write!(f, "port {port} is in use by another devnet or program")
            }
            Self::NoSuchNode(address) => write!(f, "the devnet has no node at {address}"),
        }
    }
}

impl Error for DevnetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Setting { .. } | Self::PortTaken(_) | Self::NoSuchNode(_) => None,
        }
    }
}
