//! What a caller wants of a peer.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;

use crate::address::{Address, Host, Net};
use crate::id::PeerId;
use crate::netgroup::{NetGroup, NetGroups};
use crate::peer::Peer;
use crate::policy::Policy;

/// What a leased peer must be, and be able to do: everything that is named here, and nothing by
/// default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Require {
    services: ServiceFlags,
    net: Option<Net>,
    min_height: Option<i32>,
    max_round_trip: Option<Duration>,
    v2: bool,
    relay: bool,
    except: BTreeSet<PeerId>,
    apart: BTreeSet<(Spread, Address)>,
    exclusive: bool,
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
}

impl Unmet {
    /// In words, with what would help.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Net(_) => "no peer on that network is ever dialled: see `onlynet`",
            Self::V2 => "no connection is encrypted (BIP324)",
            Self::Relay => "peers are told not to relay transactions: set `relay`",
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
            services,
            net: None,
            min_height: None,
            max_round_trip: None,
            v2: false,
            relay: false,
            except: BTreeSet::new(),
            apart: BTreeSet::new(),
            exclusive: false,
        }
    }

    /// On this network.
    #[must_use]
    pub fn on(self, net: Net) -> Self {
        Self { net: Some(net), ..self }
    }

    /// Whose chain had at least this height when it connected, as it said itself.
    #[must_use]
    pub fn min_height(self, height: i32) -> Self {
        Self { min_height: Some(height), ..self }
    }

    /// Whose last ping was answered within this time. One that has answered none yet does not meet
    /// it. Low latency can be bought: whoever wants to be asked by you can be near you.
    #[must_use]
    pub fn max_round_trip(self, most: Duration) -> Self {
        Self { max_round_trip: Some(most), ..self }
    }

    /// Over an encrypted connection (BIP324).
    #[must_use]
    pub fn v2_only(self) -> Self {
        Self { v2: true, ..self }
    }

    /// That relays transactions to us, and takes them from us: `Policy::relay` must be on, and the
    /// peer must want it.
    #[must_use]
    pub fn relay(self) -> Self {
        Self { relay: true, ..self }
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

    /// The services wanted.
    pub const fn wanted_services(&self) -> ServiceFlags {
        self.services
    }

    /// Whether all slots of the peer are wanted.
    pub const fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// What of it no peer of a pool with this policy, on these networks, ever meets.
    pub fn unmet(&self, policy: &Policy, nets: &[Net]) -> Option<Unmet> {
        match self.net {
            Some(net) if !nets.contains(&net) => Some(Unmet::Net(net)),
            _ if self.v2 => Some(Unmet::V2),
            _ if self.relay && !policy.relay => Some(Unmet::Relay),
            _ => None,
        }
    }

    /// Whether a ready peer meets it, free or not.
    pub fn is_met_by(&self, id: PeerId, peer: &Peer, groups: &NetGroups) -> bool {
        let Some(session) = peer.session().filter(|_| peer.fills_slot()) else { return false };
        let version = session.handshaken.version();
        let answered = |most: Duration| {
            let (last, _) = session.liveness.round_trips();
            last.is_some_and(|last| last <= most)
        };
        version.services.has(self.services)
            && self.net.is_none_or(|net| peer.address.net() == net)
            && self.min_height.is_none_or(|height| version.height >= height)
            && self.max_round_trip.is_none_or(answered)
            && (!self.relay || version.relay)
            && !self.except.contains(&id)
            && !self
                .apart
                .iter()
                .any(|(spread, from)| spread.is_same(groups, &peer.address.host, &from.host))
    }
}
