//! What the pool tells its user, and the snapshot it gives when asked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Net};
use crate::banned::{Ban, Subnet};
use crate::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, LeaseId, PeerId, PeerState, PoolId,
};
use crate::misbehavior::Misbehavior;

/// Why a dial ended without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DialError {
    /// The host refused.
    Refused,
    /// Nothing answered within `dial_timeout`, or the operating system gave up earlier.
    TimedOut,
    /// There is no route to the host from here. A local error: what a router far away says of the
    /// host reads like what our own says of itself, so it is held against nobody.
    NoRoute,
    /// This process has no file descriptors or ports left. A local error.
    NoDescriptors,
    /// The network of the address cannot be dialled, or the system forbids it. A local error.
    Unsupported,
}

impl DialError {
    /// Whether the error arose here and says nothing of the address.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::NoRoute | Self::NoDescriptors | Self::Unsupported)
    }

    /// The word for this error in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::NoRoute => "no_route",
            Self::NoDescriptors => "no_descriptors",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A user agent as the peer sent it: any bytes, at most 256. Printed with everything outside
/// printable ASCII escaped, so that no peer can write to a terminal or a log.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct UserAgent(pub Vec<u8>);

impl fmt::Display for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a peer said of itself in its `version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerVersion {
    /// Protocol version.
    pub protocol: u32,
    /// Service bits.
    pub services: ServiceFlags,
    /// User agent.
    pub user_agent: UserAgent,
    /// Height of its best block, as it claims.
    pub height: i32,
    /// Whether it wants transactions relayed (BIP37).
    pub relay: bool,
}

/// Longest reason that is kept of a report of misbehavior, in bytes.
pub const MAX_REASON: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A DNS seed was asked.
    SeedAsked {
        /// Its host name.
        seed: String,
    },
    /// A DNS seed answered.
    SeedAnswered {
        /// Its host name.
        seed: String,
        /// Addresses it gave.
        received: usize,
        /// Those among them that were new candidates.
        kept: usize,
    },
    /// A DNS seed did not answer, or with an error.
    SeedFailed {
        /// Its host name.
        seed: String,
        /// What went wrong.
        error: String,
    },
    /// A dial was sent.
    Connecting {
        /// The attempt.
        peer: PeerId,
        /// Where to.
        address: Address,
        /// What for.
        connection_type: ConnectionType,
        /// Why this one.
        chosen: Chosen,
    },
    /// TCP is up.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: Address,
    },
    /// The handshake is done; the peer may be used.
    Ready {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: Address,
        /// What it said of itself.
        version: PeerVersion,
        /// The pool whose slot it fills; `None` of an extra.
        pool: Option<PoolId>,
    },
    /// A dial failed.
    DialFailed {
        /// The attempt.
        peer: PeerId,
        /// Where to.
        address: Address,
        /// Why.
        error: DialError,
    },
    /// A connection ended, or a dial was given up because the pool was full or closing.
    Disconnected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: Address,
        /// The state it was in.
        state: PeerState,
        /// Why.
        reason: DisconnectReason,
    },
    /// An address is burned.
    Burned {
        /// The address.
        address: Address,
        /// The verdict.
        reason: BurnReason,
    },
    /// A failed address is tried again later.
    BackedOff {
        /// The address.
        address: Address,
        /// Failures in a row.
        failures: u32,
        /// Time until the next try.
        retry_in: Duration,
    },
    /// A dial or handshake failed while nothing showed that the network was up: the verdict waits.
    VerdictWaits {
        /// The address.
        address: Address,
        /// What the verdict would be.
        reason: BurnReason,
    },
    /// The user banned a host or a subnet.
    Banned {
        /// Whom, since when, and until when.
        ban: Ban,
    },
    /// A ban is over.
    Unbanned {
        /// Whose.
        subnet: Subnet,
        /// Whether its time was up; otherwise the user ended it.
        expired: bool,
    },
    /// A peer did what no honest one does. Nothing comes of it if the user named its address.
    Misbehaved {
        /// The peer; it may be gone.
        peer: PeerId,
        /// Its address.
        address: Address,
        /// What it did.
        misbehavior: Misbehavior,
        /// In the words of the holder of a lease; empty where the pool saw it itself. At most
        /// [`MAX_REASON`] bytes.
        reason: String,
    },
    /// The host of an address is discouraged, on all its ports.
    Discouraged {
        /// The address of the peer that misbehaved.
        address: Address,
        /// For how long.
        lasts: Duration,
    },
    /// A peer told us of addresses. Not told of a message that its ration pays nothing for.
    Gossip {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: Address,
        /// Entries it sent.
        received: usize,
        /// Those among them that were new candidates.
        kept: usize,
    },
    /// The target is reached.
    Full {
        /// Time since the pool started, or since it last was full.
        took: Duration,
    },
    /// Peers are missing and there is nobody left to dial.
    Starved {
        /// Why the addresses that are known may not be dialled.
        known: Known,
    },
    /// A starved pool has candidates again.
    Fed,
    /// No evidence that the network is up; nothing is burned until there is.
    Offline,
    /// The network is up again.
    Online,
    /// A lease was granted.
    Leased {
        /// The lease.
        lease: LeaseId,
        /// The peer it is for.
        peer: PeerId,
    },
    /// A lease was given back, or its peer is gone.
    Released {
        /// The lease.
        lease: LeaseId,
        /// The peer it was for.
        peer: PeerId,
    },
    /// What the pool learns cannot be saved: it goes on in memory, and tries again.
    StoreFailed {
        /// What went wrong.
        error: String,
    },
    /// What the pool learns is saved again, and all of it.
    StoreRecovered,
    /// The file of the addr book could not be read: it was moved out of the way, and a new one
    /// begun.
    StoreSetAside {
        /// Where it is now.
        path: String,
        /// What is wrong with it.
        error: String,
    },
    /// The subscriber was too slow: events lie between the last one and the next.
    Missed {
        /// How many.
        events: u64,
    },
}

impl Event {
    /// The word for this event in logs and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SeedAsked { .. } => "seed_asked",
            Self::SeedAnswered { .. } => "seed_answered",
            Self::SeedFailed { .. } => "seed_failed",
            Self::Connecting { .. } => "connecting",
            Self::Connected { .. } => "connected",
            Self::Ready { .. } => "ready",
            Self::DialFailed { .. } => "dial_failed",
            Self::Disconnected { .. } => "disconnected",
            Self::Burned { .. } => "burned",
            Self::BackedOff { .. } => "backed_off",
            Self::VerdictWaits { .. } => "verdict_waits",
            Self::Banned { .. } => "banned",
            Self::Unbanned { .. } => "unbanned",
            Self::Misbehaved { .. } => "misbehaved",
            Self::Discouraged { .. } => "discouraged",
            Self::Gossip { .. } => "gossip",
            Self::Full { .. } => "full",
            Self::Starved { .. } => "starved",
            Self::Fed => "fed",
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Leased { .. } => "leased",
            Self::Released { .. } => "released",
            Self::StoreFailed { .. } => "store_failed",
            Self::StoreRecovered => "store_recovered",
            Self::StoreSetAside { .. } => "store_set_aside",
            Self::Missed { .. } => "missed",
        }
    }

    /// The peer this event is about, if it is about one.
    pub const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Connecting { peer, .. }
            | Self::Connected { peer, .. }
            | Self::Ready { peer, .. }
            | Self::DialFailed { peer, .. }
            | Self::Disconnected { peer, .. }
            | Self::Gossip { peer, .. }
            | Self::Misbehaved { peer, .. }
            | Self::Leased { peer, .. }
            | Self::Released { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// The address this event is about, if it is about one.
    pub const fn address(&self) -> Option<Address> {
        match self {
            Self::Connecting { address, .. }
            | Self::Connected { address, .. }
            | Self::Ready { address, .. }
            | Self::DialFailed { address, .. }
            | Self::Disconnected { address, .. }
            | Self::Burned { address, .. }
            | Self::BackedOff { address, .. }
            | Self::VerdictWaits { address, .. }
            | Self::Misbehaved { address, .. }
            | Self::Discouraged { address, .. }
            | Self::Gossip { address, .. } => Some(*address),
            _ => None,
        }
    }
}

/// The addresses that are known but may not be dialled now, by the rule that holds each back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Candidates in a netgroup that already has its share of peers or dials, or on a host that
    /// is connecting or up.
    pub blocked: usize,
    /// Manual and experienced addresses that wait for their back-off.
    pub backing_off: usize,
    /// Addresses whose verdict waits for evidence that the network is up.
    pub waiting: usize,
    /// Burned addresses.
    pub burned: usize,
    /// Hearsay that is too old, and addresses without the required services.
    pub ineligible: usize,
    /// Addresses that the user has banned, by themselves or with their subnet.
    pub banned: usize,
    /// Addresses on hosts that are discouraged.
    pub discouraged: usize,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: PeerId,
    /// Its address.
    pub address: Address,
    /// Its state.
    pub state: PeerState,
    /// What it is for.
    pub connection_type: ConnectionType,
    /// Time since the dial was sent.
    pub age: Duration,
    /// What it said of itself, once it has.
    pub version: Option<PeerVersion>,
    /// Round trip of the last ping.
    pub ping: Option<Duration>,
    /// Shortest round trip seen.
    pub ping_min: Option<Duration>,
    /// The pool whose slot it fills, once it does: a place in [`Status::pools`].
    pub pool: Option<PoolId>,
    /// Leases it serves.
    pub leases: usize,
    /// Requests of their holders that it has not answered.
    pub requests: usize,
}

/// How different peers and addresses are: the less so, the fewer there are to corrupt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variety {
    /// Ready peers that count toward the target, by network; networks without are left out.
    pub nets: BTreeMap<Net, usize>,
    /// Different netgroups among them by prefix, whatever an AS map says.
    pub netgroups: usize,
    /// Different autonomous systems among them, as far as the AS map knows them; `None` without a
    /// map.
    pub asns: Option<usize>,
    /// Those of them on IPv4 and IPv6 whose autonomous system the map does not know; 0 without one.
    pub unmapped: usize,
    /// Different sources that named the peers which the pool chose: DNS seeds, and peers.
    pub sources: usize,
    /// How many of those peers the one source named that named most. More than `max_source_share`
    /// of the target means that no others were found.
    pub of_one_source: usize,
    /// Addresses in the book by network, burned ones left out; networks without are left out.
    pub addresses: BTreeMap<Net, usize>,
}

/// A named pool, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its name; `main` for the one that has no other.
    pub name: String,
    /// Peers to keep for it.
    pub target: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Whether no node that serves it ever serves another.
    pub separate: bool,
}

/// One snapshot of the pool: the four views, and why they are as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Peers to keep: the configured target, or as many as there are addresses where only those
    /// the user named may be dialled.
    pub target: usize,
    /// Addresses that could be dialled now, but for netgroup and host rules.
    pub available: usize,
    /// Peers whose dial is unanswered.
    pub connecting: Vec<PeerStatus>,
    /// Peers whose handshake is not done.
    pub connected: Vec<PeerStatus>,
    /// Peers that may be used.
    pub ready: Vec<PeerStatus>,
    /// Burned addresses, by reason.
    pub burned: BTreeMap<BurnReason, usize>,
    /// Bans of hosts and subnets.
    pub bans: usize,
    /// Discouraged hosts.
    pub discouraged: usize,
    /// Dials sent since the start.
    pub dials: u64,
    /// Dials and links closed because the pool (or the netgroup) was already full.
    pub surplus: u64,
    /// Peers missing, nobody to dial.
    pub starved: bool,
    /// No evidence that the network is up.
    pub offline: bool,
    /// The addresses that are known but may not be dialled now.
    pub known: Known,
    /// Share of recent attempts that ended ready, by network; `None` before the first.
    pub success_rate: BTreeMap<Net, f64>,
    /// How different peers and addresses are.
    pub variety: Variety,
    /// The pools that share the addr book, the main one first.
    pub pools: Vec<PoolStatus>,
    /// Callers waiting for a lease.
    pub waiters: usize,
    /// Leases held.
    pub leases: usize,
    /// Why what the pool learns is not being saved, if it should be and is not.
    pub store_failure: Option<String>,
}

impl Status {
    /// Ready peers that count toward the target.
    pub fn ready_count(&self) -> usize {
        self.ready.iter().filter(|peer| peer.connection_type.counts()).count()
    }
}
