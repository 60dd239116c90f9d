//! What the node around an actor knows: how nodes introduce themselves, and whom they gossip
//! about.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::{Ages, HeaderChain, Kind, Mempool, lies};

/// A node as the others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where it listens, or does not.
    pub address: SocketAddr,
    /// What it was built as.
    pub kind: Kind,
}

/// How the nodes of one network introduce themselves and behave.
#[derive(Clone, Debug)]
pub struct Profile {
    /// First four bytes of each message.
    pub magic: Magic,
    /// Services every node offers.
    pub services: ServiceFlags,
    /// User agent of every node.
    pub user_agent: String,
    /// How old gossip is.
    pub ages: Ages,
    /// The headers that nodes have.
    pub headers: HeaderChain,
    /// The headers that nodes on a wrong chain have.
    pub wrong_headers: HeaderChain,
    /// The transactions that nodes have; `None` where they take none and tell of none.
    pub mempool: Option<Mempool>,
    /// Bytes a second that a slow node sends, at least one.
    pub slow_rate: u32,
}

impl Profile {
    /// The headers of a node of this kind.
    pub(super) fn headers_of(&self, kind: Kind) -> &HeaderChain {
        if kind == Kind::WrongChain { &self.wrong_headers } else { &self.headers }
    }

    /// What is said of the node at this address, seen at this time.
    pub fn entry(&self, address: SocketAddr, seen: UnixTime) -> AddrV2Message {
        AddrV2Message {
            time: u32::try_from(seen.0).unwrap_or(u32::MAX),
            services: self.services,
            addr: match address.ip() {
                IpAddr::V4(ip) => AddrV2::Ipv4(ip),
                IpAddr::V6(ip) => AddrV2::Ipv6(ip),
            },
            port: address.port(),
        }
    }
}

/// The network around an actor. What nodes would tell each other is not sent: it is made up here
/// when an actor is asked for it.
pub trait Surroundings {
    /// How nodes introduce themselves.
    fn profile(&self) -> &Profile;

    /// The answer of `from` to getaddr, at most 1000 entries.
    fn gossip(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message>;

    /// An address at which there is no node, for lies. By default one of the loopback network, so
    /// that no packet leaves the machine.
    fn dead_ip(&self, rng: &mut Rng) -> Ipv4Addr {
        lies::dead_ip(rng)
    }

    /// What `from` relays now; nothing is sent if it is empty.
    fn relayed(&mut self, now: UnixTime, from: &Listing, rng: &mut Rng) -> Vec<AddrV2Message>;
}
