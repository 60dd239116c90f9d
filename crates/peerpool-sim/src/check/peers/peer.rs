//! One peer: what is known of it from outside, and by when something must come of it.

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::id::{ConnectionType, PeerId, PeerState, PoolId};
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;

use super::super::leases::Lent;
use super::super::{ANSWER, Rule, facts};

/// What there is between the pool and a peer; from inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Dialling,
    Up,
    /// In this turn.
    Gone,
}

#[derive(Debug)]
pub(in super::super) struct Peer {
    pub(super) id: PeerId,
    pub(in super::super) address: Address,
    pub(super) connection_type: ConnectionType,
    /// Whether it was dialled when the pool was full, to take a place.
    pub(super) newcomer: bool,
    /// Whether it was dialled for the sake of who waits.
    pub(super) need: bool,
    /// Whose slot it fills, once it does.
    pub(super) pool: Option<PoolId>,
    pub(super) link: Link,
    /// The last state it was said to be in.
    pub(super) said: PeerState,
    /// Whether its end was told.
    pub(super) over: bool,
    pub(super) closing_since: Option<Monotonic>,
    pub(super) dialled_at: Monotonic,
    pub(super) connected_at: Monotonic,
    pub(super) ready_at: Monotonic,
    pub(super) heard_at: Monotonic,
    pub(in super::super) progress_at: Option<Monotonic>,
    /// Our ping that waits for its pong.
    pub(in super::super) ping: Option<(u64, Monotonic)>,
    pub(super) greeted: bool,
    /// Services in its own version, if that came; then its verack.
    pub(in super::super) version: Option<ServiceFlags>,
    pub(in super::super) verack: bool,
    /// How often its version came.
    pub(super) versions: usize,
    /// The nonce in our version to it.
    pub(super) nonce: Option<u64>,
    /// When we last pinged it.
    pub(super) pinged_at: Option<Monotonic>,
    pub(super) asked: bool,
    /// How many of the addresses it told of were new.
    pub(super) kept: usize,
    pub(super) leases: usize,
}

impl Peer {
    pub(in super::super) const fn connection_type(&self) -> ConnectionType {
        self.connection_type
    }

    pub(in super::super) fn is_ready(&self) -> bool {
        self.said == PeerState::Ready && !self.over
    }

    pub(super) fn fills_slot(&self) -> bool {
        self.is_ready() && facts::counts(self.connection_type)
    }

    /// It as whoever wants to lease one sees it.
    pub(super) fn lent(&self) -> Lent {
        let services = self.version.unwrap_or(ServiceFlags::NONE);
        let (net, pool) = (self.address.net(), self.pool);
        Lent { id: self.id, net, services, leases: self.leases, pool }
    }

    pub(super) fn is_private(&self) -> bool {
        self.connection_type == ConnectionType::PrivateBroadcast
    }

    /// A dial or handshake, or the end of a link: what `max_dials` bounds.
    pub(super) fn in_flight(&self) -> bool {
        facts::counts(self.connection_type) && !self.is_ready() && self.link != Link::Gone
    }

    /// Whether the pool neither left it nor was told that it is gone.
    pub(super) fn is_held(&self) -> bool {
        !self.over && self.closing_since.is_none()
    }

    /// When something must have become of it, and what.
    pub(super) fn deadline(&self, policy: &Policy) -> (Monotonic, Rule, &'static str) {
        if let Some(since) = self.closing_since {
            return (since + policy.farewell + ANSWER, Rule::Unanswered, "its end");
        }
        match self.said {
            PeerState::Connecting => {
                (self.dialled_at + policy.dial_timeout, Rule::Late, "dial_timeout")
            }
            PeerState::Connected => {
                (self.connected_at + policy.handshake_deadline, Rule::Late, "handshake_deadline")
            }
            PeerState::Ready if self.is_private() => {
                (self.ready_at + policy.private_lifetime, Rule::Late, "private_lifetime")
            }
            PeerState::Ready => {
                let mut first = (self.heard_at + policy.inactivity, Rule::Late, "inactivity");
                if self.ping.is_none() {
                    let last = self.pinged_at.unwrap_or(self.ready_at);
                    first = first.min((last + policy.ping_interval, Rule::Late, "ping_interval"));
                }
                if let Some((_, sent)) = self.ping {
                    // The deadline pauses while bulk answers make progress.
                    let from = self.progress_at.map_or(sent, |at| at.max(sent));
                    first = first.min((from + policy.pong_deadline, Rule::Late, "pong_deadline"));
                }
                if self.connection_type == ConnectionType::AddrFetch {
                    let at = self.ready_at + policy.addr_fetch_timeout;
                    first = first.min((at, Rule::Late, "addr_fetch_timeout"));
                }
                first
            }
        }
    }
}
