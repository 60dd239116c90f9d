//! Names of things: peers, leases, states, connection types, and the reasons why a peer is gone
//! or an address burned.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// One attempt to reach one address, and the connection that came of it. Never reused.
    PeerId
}
id! {
    /// One lease, from the request on. Never reused.
    LeaseId
}
id! {
    /// One of the named pools that share an addr book, by its place among them.
    PoolId
}

/// Longest name of a pool, in bytes.
pub const MAX_POOL_NAME: usize = 32;

impl PoolId {
    /// The one that has no other name.
    pub const MAIN: Self = Self(0);
}

/// What a peer may be used for; the three public states of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// The dial was sent; no answer yet.
    Connecting,
    /// TCP is up; the version handshake is not done.
    Connected,
    /// The handshake is done; the peer may be used.
    Ready,
}

/// Why the pool holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionType {
    /// Chosen by the pool; counts toward the target.
    OutboundFullRelay,
    /// Named by the user; counts toward the target, backs off instead of burning.
    Manual,
    /// Kept beside the target: it relays no transactions and no addresses, so that others cannot
    /// tell from outside that it is there. An extra.
    BlockRelayOnly,
    /// Opened by a full pool to find out whether an address is alive, closed once its handshake is
    /// done. An extra.
    Feeler,
    /// Opened by a starved pool to ask for addresses, closed after the answer. An extra.
    AddrFetch,
    /// Opened for one lease, which has it alone and says nothing of us, closed after it. An extra.
    /// Core's connections for private broadcasts.
    PrivateBroadcast,
}

impl PeerState {
    /// The word for this state in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Ready => "ready",
        }
    }
}

impl ConnectionType {
    /// Whether the pool chose the address and means to stay: such peers are kept apart by netgroup.
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::OutboundFullRelay | Self::BlockRelayOnly)
    }

    /// Whether such a peer is meant to stay.
    pub const fn is_lasting(self) -> bool {
        !matches!(self, Self::AddrFetch | Self::Feeler | Self::PrivateBroadcast)
    }

    /// Whether such a peer is there to be leased.
    pub const fn is_lent(self) -> bool {
        self.counts() || matches!(self, Self::PrivateBroadcast)
    }

    /// Whether such a peer is asked for addresses, and its gossip heard.
    pub const fn asks_for_addresses(self) -> bool {
        matches!(self, Self::OutboundFullRelay | Self::Manual | Self::AddrFetch)
    }

    /// The word for this type in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutboundFullRelay => "outbound_full_relay",
            Self::Manual => "manual",
            Self::BlockRelayOnly => "block_relay_only",
            Self::Feeler => "feeler",
            Self::AddrFetch => "addr_fetch",
            Self::PrivateBroadcast => "private_broadcast",
        }
    }

    /// Whether a ready peer of this type counts toward `target_connect_count`.
    pub const fn counts(self) -> bool {
        matches!(self, Self::OutboundFullRelay | Self::Manual)
    }
}

/// Why the pool dialled this address and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Chosen {
    /// The user named it.
    Manual,
    /// It was ready in the last run, or before an outage.
    Anchor,
    /// Drawn from those that we handshook with lately.
    Experience,
    /// Drawn from those that were heard of lately.
    Hearsay,
    /// To find out whether it is alive still; mostly since another waits for its place in the tried
    /// table.
    Test,
    /// To take the place of the peer that has been ready longest.
    Rotation,
    /// To find out whether the network is up.
    Probe,
    /// Somebody waits for a lease of a peer like it, and no ready peer is.
    Need,
}

impl Chosen {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Manual,
        Self::Anchor,
        Self::Experience,
        Self::Hearsay,
        Self::Test,
        Self::Rotation,
        Self::Probe,
        Self::Need,
    ];

    /// The word for this reason in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Anchor => "anchor",
            Self::Experience => "experience",
            Self::Hearsay => "hearsay",
            Self::Test => "test",
            Self::Rotation => "rotation",
            Self::Probe => "probe",
            Self::Need => "need",
        }
    }
}

/// Why an address is burned: the verdict of its dial or handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BurnReason {
    /// The host refused the connection.
    Refused,
    /// Nothing answered the dial in time.
    TimedOut,
    /// The peer closed before it sent its `version`.
    ClosedBeforeVersion,
    /// The peer closed between its `version` and its `verack`.
    ClosedInHandshake,
    /// The peer speaks for another chain, or another protocol.
    BadMagic,
    /// The handshake did not finish before its deadline.
    HandshakeTimedOut,
    /// The handshake broke the protocol's rules, or the peer's version is too old.
    Protocol,
    /// The peer lacks a required service.
    Services,
    /// The peer is this very program.
    Itself,
    /// The peer left within `quick_drop` of becoming ready.
    QuickDrop,
}

impl BurnReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::TimedOut,
        Self::ClosedBeforeVersion,
        Self::ClosedInHandshake,
        Self::BadMagic,
        Self::HandshakeTimedOut,
        Self::Protocol,
        Self::Services,
        Self::Itself,
        Self::QuickDrop,
    ];

    /// The reason that [`BurnReason::as_str`] calls so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The word for this reason in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::ClosedBeforeVersion => "closed_before_version",
            Self::ClosedInHandshake => "closed_in_handshake",
            Self::BadMagic => "bad_magic",
            Self::HandshakeTimedOut => "handshake_timed_out",
            Self::Protocol => "protocol",
            Self::Services => "services",
            Self::Itself => "self",
            Self::QuickDrop => "quick_drop",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisconnectReason {
    /// The peer closed the connection.
    ClosedByPeer,
    /// The connection broke (reset, or a socket error).
    Broken,
    /// The link found a fault in the peer's bytes.
    Fault(LinkFault),
    /// The version handshake failed; the address's verdict.
    Handshake(BurnReason),
    /// The peer repeats its `version`, as no honest peer does.
    Protocol,
    /// No answer to our ping within `pong_deadline`.
    PongTimedOut,
    /// No byte from the peer for `inactivity`.
    Inactive,
    /// The peer did not read what we sent for `write_stall`.
    NotReading,
    /// More was queued to the peer than `send_queue` allows.
    SendQueueFull,
    /// The pool was already full (or the peer's netgroup was); the address is good.
    Surplus,
    /// The addr-fetch connection has done its work or used up its time.
    AddrFetchDone,
    /// The one lease that the connection was opened for is over, or has used up its time.
    PrivateBroadcastDone,
    /// The feeler has found out that the address is alive.
    FeelerDone,
    /// A newcomer took the place of this peer, the one that had been ready longest.
    Rotated,
    /// The pool was short of peers, and this extra's address may fill a slot.
    Yielded,
    /// A manual peer took this slot, or one that somebody waits for who has no use for others.
    Replaced,
    /// The user banned its host.
    Banned,
    /// Its host is discouraged, for what it did or for what another port of its host did.
    Discouraged,
    /// The pool is closing.
    PoolClosed,
}

impl DisconnectReason {
    /// The word for this reason in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::Broken => "broken",
            Self::Fault(fault) => fault.as_str(),
            Self::Handshake(reason) => reason.as_str(),
            Self::Protocol => BurnReason::Protocol.as_str(),
            Self::PongTimedOut => "pong_timed_out",
            Self::Inactive => "inactive",
            Self::NotReading => "not_reading",
            Self::SendQueueFull => "send_queue_full",
            Self::Surplus => "surplus",
            Self::AddrFetchDone => "addr_fetch_done",
            Self::PrivateBroadcastDone => "private_broadcast_done",
            Self::FeelerDone => "feeler_done",
            Self::Rotated => "rotated",
            Self::Yielded => "yielded",
            Self::Replaced => "replaced",
            Self::Banned => "banned",
            Self::Discouraged => "discouraged",
            Self::PoolClosed => "pool_closed",
        }
    }
}

/// A fault in a peer's bytes for which the link closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkFault {
    /// A frame of another chain, or no frame at all.
    BadMagic,
    /// A frame longer than `max_message_size`.
    Oversized,
    /// More frames with a wrong checksum or malformed command than `max_bad_frames`.
    BadFrames,
    /// More undecodable control messages than `max_undecodable`, or one that no honest peer sends.
    Undecodable,
    /// A list longer than the protocol allows.
    TooMany,
    /// More messages or bytes in a minute than the flood budgets allow.
    Flood,
    /// A message was not finished, or brought too little, in `message_deadline`.
    StalledMessage,
}

impl LinkFault {
    /// The word for this fault in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadMagic => "bad_magic",
            Self::Oversized => "oversized",
            Self::BadFrames => "bad_frames",
            Self::Undecodable => "undecodable",
            Self::TooMany => "too_many",
            Self::Flood => "flood",
            Self::StalledMessage => "stalled_message",
        }
    }
}
