//! The whole boundary of the engine on one screen: what goes in, what comes out.

use std::net::IpAddr;

use crate::address::Address;
use crate::banned::Subnet;
use crate::event::{DialError, Event};
use crate::id::{ConnectionType, DisconnectReason, LeaseId, PeerId};
use crate::misbehavior::Misbehavior;
use crate::require::{Require, Unmet};
use crate::time::UnixTime;
use crate::wire::Control;

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing but time: `wake_at` has come. Also the first input, which starts the pool.
    Wake,
    /// DNS seed number `seed` answered [`Output::AskSeed`], or failed to.
    SeedAnswer {
        /// Which seed: its place in the list the engine was given.
        seed: usize,
        /// Its addresses, or what went wrong.
        result: Result<Vec<IpAddr>, String>,
    },
    /// The user named an address.
    AddManual(Address),
    /// The user bans a host or a subnet: its links are dropped, its addresses kept but not dialled,
    /// manual ones neither. Ignored where [`Engine::check_ban`](crate::engine::Engine::check_ban)
    /// says no.
    Ban {
        /// Whom.
        subnet: Subnet,
        /// Until when.
        until: UnixTime,
    },
    /// The user ends a ban. Ignored if there is none of just this subnet.
    Unban {
        /// Whose.
        subnet: Subnet,
    },
    /// A holder of a lease says what its peer did, which may be gone by now. First-hand proof only:
    /// its host is discouraged for it, unless the user named its address.
    Report {
        /// The peer of the lease.
        peer: PeerId,
        /// Its address.
        address: Address,
        /// What it did.
        misbehavior: Misbehavior,
        /// In words, for events; cut to [`MAX_REASON`](crate::event::MAX_REASON) bytes, and each
        /// control character becomes a space.
        reason: String,
    },
    /// The dial of this peer was answered.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Our own address on this connection, so that gossip naming it can be refused.
        local: Option<IpAddr>,
    },
    /// The dial of this peer failed; the last input about it.
    DialFailed {
        /// The peer.
        peer: PeerId,
        /// Why.
        error: DialError,
    },
    /// The peer sent a control message.
    Control {
        /// The peer.
        peer: PeerId,
        /// The message.
        message: Control,
    },
    /// Bytes of a message that is not for the engine came from this peer.
    Progress {
        /// The peer.
        peer: PeerId,
    },
    /// The dial was given up or the socket is closed; the last input about this peer. Always
    /// follows [`Output::Disconnect`], and comes unasked when the link ends by itself.
    Closed {
        /// The peer.
        peer: PeerId,
        /// Why, from the link's side; ignored where the engine had asked for the close.
        reason: DisconnectReason,
    },
    /// A caller wants a ready peer.
    Lease {
        /// The lease, named by the shell; never reused.
        lease: LeaseId,
        /// What the peer must be; unlike in the policy, `NETWORK` here means all blocks.
        require: Require,
        /// Whether to wait if no peer is free now.
        wait: bool,
    },
    /// So many requests of leases are unanswered on this connection.
    Load {
        /// The peer.
        peer: PeerId,
        /// How many.
        requests: usize,
    },
    /// A lease is given back, or no longer waited for. Unknown leases are ignored.
    Release {
        /// The lease.
        lease: LeaseId,
    },
    /// Close the pool: give up dials, disconnect everyone, refuse leases.
    Close,
}

/// Something to do outside.
#[derive(Clone, Debug)]
pub enum Output {
    /// Ask this DNS seed; answer with [`Input::SeedAnswer`].
    AskSeed {
        /// Which seed.
        seed: usize,
    },
    /// Dial; answer with [`Input::Connected`] or [`Input::DialFailed`]. The engine keeps the
    /// deadline.
    Dial {
        /// The peer.
        peer: PeerId,
        /// Where to.
        address: Address,
        /// What for. Of a private broadcast the link is not told whom it reaches (see
        /// [`Link::set_remote`](crate::link::Link::set_remote)), as the `version` would tell.
        connection_type: ConnectionType,
    },
    /// Send a control message.
    Send {
        /// The peer.
        peer: PeerId,
        /// The message.
        message: Control,
    },
    /// Give up this dial, or flush and close this connection; answer with [`Input::Closed`].
    Disconnect {
        /// The peer.
        peer: PeerId,
    },
    /// This lease has this peer.
    Grant {
        /// The lease.
        lease: LeaseId,
        /// The peer.
        peer: PeerId,
    },
    /// This lease will not be granted.
    Refuse {
        /// The lease.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// Tell the user.
    Event(Event),
}

/// Why a lease is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No peer is free now, and the caller would not wait.
    NoneFree,
    /// `max_waiters` callers wait already.
    TooManyWaiters,
    /// No peer of this pool ever meets what is required.
    Unsatisfiable(Unmet),
    /// The pool is closed.
    Closed,
}
