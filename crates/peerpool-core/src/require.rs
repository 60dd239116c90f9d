//! What a caller wants of a peer.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Host, Net};
use crate::event::PeerVersion;
use crate::id::{ConnectionType, PeerId, PoolId};
use crate::netgroup::{NetGroup, NetGroups};
use crate::peer::Peer;
use crate::policy::Policy;

/// What a leased peer must be, and be able to do: everything that is named here, and nothing by
/// default.
///
/// ```
/// use bitcoin::p2p::ServiceFlags;
/// use peerpool_core::address::Net;
/// use peerpool_core::require::Require;
///
/// let want = Require::services(ServiceFlags::COMPACT_FILTERS).on(Net::Ipv6).min_height(800_000);
/// assert_eq!(want.need().net, Some(Net::Ipv6));
/// assert!(!want.is_exclusive() && want.exclusive().is_exclusive());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Require {
    need: Need,
    max_round_trip: Option<Duration>,
    except: BTreeSet<PeerId>,
    apart: BTreeSet<(Spread, Address)>,
    exclusive: bool,
}

/// The part of it that a peer meets or not for as long as it is connected, whoever else there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// All of these services; `NETWORK` means all blocks.
    pub services: ServiceFlags,
    /// On this network.
    pub net: Option<Net>,
    /// A chain at least this high when it connected.
    pub min_height: Option<i32>,
    /// An encrypted connection (BIP324).
    pub v2: bool,
    /// That it relays transactions.
    pub relay: bool,
    /// One that serves this pool.
    pub pool: PoolId,
    /// On a connection that is opened for the lease.
    pub private: bool,
}

impl Need {
    /// Whether a peer is ready, is there for such leases, and meets it.
    pub fn is_met_by(&self, peer: &Peer) -> bool {
        let Some(session) = peer.session() else { return false };
        let kind = if self.private {
            peer.connection_type == ConnectionType::PrivateBroadcast
        } else {
            peer.fills_slot()
        };
        kind && session.pool == Some(self.pool)
            && self.is_met_at(&peer.address, session.handshaken.version())
    }

    /// Whether a peer at this address that says this of itself meets it.
    pub fn is_met_at(&self, address: &Address, version: &PeerVersion) -> bool {
        version.services.has(self.services)
            && self.net.is_none_or(|net| address.net() == net)
            && self.min_height.is_none_or(|height| version.height >= height)
            && !self.v2
            && (!self.relay || version.relay)
    }
}

/// By what peers are to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// By netgroup: /16 of IPv4, /32 of IPv6, whatever an AS map says.
    Netgroup,
    /// By autonomous system, where the AS map of the pool knows it; else by netgroup.
    Asn,
    /// By network: IPv4, IPv6, Tor and so on.
    Net,
}

impl Spread {
    /// Whether two hosts are the same by it.
    pub fn is_same(self, groups: &NetGroups, one: &Host, other: &Host) -> bool {
        match self {
            Self::Netgroup => NetGroup::of(one) == NetGroup::of(other),
            Self::Asn => groups.of(one) == groups.of(other),
            Self::Net => one.net() == other.net(),
        }
    }
}

/// What no peer of a pool ever meets, so that nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmet {
    /// Nothing on this network is dialled.
    Net(Net),
    /// No connection is encrypted (BIP324).
    V2,
    /// Peers are told not to relay transactions: `Policy::relay` is off.
    Relay,
    /// No private connection is opened: `Policy::max_private` is 0, or only addresses that the user
    /// named are dialled; or a round trip is wanted of it, and it is not pinged.
    Private,
}

impl Unmet {
    /// In words, with what would help.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Net(_) => "no peer on that network is ever dialled: see `onlynet`",
            Self::V2 => "no connection is encrypted (BIP324)",
            Self::Relay => "peers are told not to relay transactions: set `relay`",
            Self::Private => {
                "no such private connection is opened: see `max_private`, and `connect`, which allows \
                 none; none is pinged, so no round trip is known"
            }
        }
    }
}

impl Default for Require {
    fn default() -> Self {
        Self::any()
    }
}

impl Require {
    /// Any ready peer.
    pub const fn any() -> Self {
        Self::services(ServiceFlags::NONE)
    }

    /// A ready peer with all of these services. `NETWORK` means all blocks here: a pruned peer,
    /// which the pool keeps too (`NETWORK_LIMITED`), does not meet it.
    pub const fn services(services: ServiceFlags) -> Self {
        Self {
            need: Need {
                services,
                net: None,
                min_height: None,
                v2: false,
                relay: false,
                pool: PoolId::MAIN,
                private: false,
            },
            max_round_trip: None,
            except: BTreeSet::new(),
            apart: BTreeSet::new(),
            exclusive: false,
        }
    }

    /// On this network.
    #[must_use]
    pub fn on(mut self, net: Net) -> Self {
        self.need.net = Some(net);
        self
    }

    /// Whose chain had at least this height when it connected, as it said itself.
    #[must_use]
    pub fn min_height(mut self, height: i32) -> Self {
        self.need.min_height = Some(height);
        self
    }

    /// Whose last ping was answered within this time. One that has answered none yet does not meet
    /// it. Low latency can be bought: whoever wants to be asked by you can be near you.
    #[must_use]
    pub fn max_round_trip(self, most: Duration) -> Self {
        Self { max_round_trip: Some(most), ..self }
    }

    /// Over an encrypted connection (BIP324).
    #[must_use]
    pub fn v2_only(mut self) -> Self {
        self.need.v2 = true;
        self
    }

    /// That relays transactions to us, and takes them from us: `Policy::relay` must be on, and the
    /// peer must want it.
    #[must_use]
    pub fn relay(mut self) -> Self {
        self.need.relay = true;
        self
    }

    /// On a connection of its own: dialled for this lease, lent to nobody else, closed after it, by
    /// `Policy::private_lifetime` at the latest. What the pool itself says on it says nothing of us,
    /// and is what Bitcoin Core says in its private broadcasts: `version`, the same for everybody but
    /// for the nonce, and `verack`; no feature, no ping and no pong. The peer takes transactions, and
    /// nothing is remembered of it but failures. At most `Policy::max_private` at once. No round trip
    /// can be wanted of it.
    ///
    /// It hides that the lease and the pool's other connections are one program's; not your IP
    /// address.
    #[must_use]
    pub fn private(mut self) -> Self {
        (self.need.private, self.need.relay, self.exclusive) = (true, true, true);
        self
    }

    /// Of this pool. A `Pool` of the library sets its own, whatever is set here.
    #[must_use]
    pub fn of_pool(mut self, pool: PoolId) -> Self {
        self.need.pool = pool;
        self
    }

    /// None of these.
    #[must_use]
    pub fn except(mut self, peers: impl IntoIterator<Item = PeerId>) -> Self {
        self.except.extend(peers);
        self
    }

    /// Elsewhere than all of these.
    #[must_use]
    pub fn apart(mut self, spread: Spread, from: impl IntoIterator<Item = Address>) -> Self {
        self.apart.extend(from.into_iter().map(|address| (spread, address)));
        self
    }

    /// All of its slots, none of which another lease has.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// With these services too.
    #[must_use]
    pub fn and_services(mut self, services: ServiceFlags) -> Self {
        self.need.services |= services;
        self
    }

    /// The part of it that a peer meets or not for as long as it is connected.
    pub const fn need(&self) -> Need {
        self.need
    }

    /// The services wanted.
    pub const fn wanted_services(&self) -> ServiceFlags {
        self.need.services
    }

    /// Who it may not be.
    pub const fn excepted(&self) -> &BTreeSet<PeerId> {
        &self.except
    }

    /// Whether all slots of the peer are wanted.
    pub const fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// What of it no peer of a pool with this policy, on these networks, ever meets.
    pub fn unmet(&self, policy: &Policy, nets: &[Net]) -> Option<Unmet> {
        match self.need.net {
            Some(net) if !nets.contains(&net) => Some(Unmet::Net(net)),
            _ if self.need.v2 => Some(Unmet::V2),
            _ if self.need.private => {
                let never = policy.max_private == 0 || self.max_round_trip.is_some();
                never.then_some(Unmet::Private)
            }
            _ if self.need.relay && !policy.relay => Some(Unmet::Relay),
            _ => None,
        }
    }

    /// Whether somebody at this address may be what is wanted, as far as that shows from outside.
    pub fn may_be_at(&self, address: &Address, groups: &NetGroups) -> bool {
        let is_same =
            |(spread, from): &(Spread, Address)| spread.is_same(groups, &address.host, &from.host);
        self.need.net.is_none_or(|net| address.net() == net) && !self.apart.iter().any(is_same)
    }

    /// Whether a ready peer meets it, free or not.
    pub fn is_met_by(&self, id: PeerId, peer: &Peer, groups: &NetGroups) -> bool {
        let answered = |most: Duration| {
            let last = peer.session().and_then(|session| session.liveness.round_trips().0);
            last.is_some_and(|last| last <= most)
        };
        self.need.is_met_by(peer)
            && self.max_round_trip.is_none_or(answered)
            && !self.except.contains(&id)
            && self.may_be_at(&peer.address, groups)
    }
}
