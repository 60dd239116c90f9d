//! What the nodes of one network have in common: how they introduce themselves, whom they gossip
//! about, which headers they have.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::{HeaderChain, Kind};

/// Core answers getaddr with at most this share of what it knows (`MAX_PCT_ADDR_TO_SEND`).
const ANSWER_PERCENT: usize = 23;
/// Below this, a share would leave nothing to learn in small networks.
const ANSWER_FLOOR: usize = 10;
/// Most entries in one addr or addrv2 message, as in Core's `MAX_ADDR_TO_SEND`.
pub(super) const ANSWER_MAX: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);

/// Ages of gossiped addresses, drawn uniformly. The oldest fresh one lies an hour under the 3 h at
/// which hearsay ends, the youngest stale one a quarter of an hour above.
const FRESH: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(2 * 3600));
const STALE: (Duration, Duration) = (Duration::from_secs(3 * 3600 + 900), HOUR.saturating_mul(240));

/// A node as the others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Where it listens, or does not.
    pub address: SocketAddr,
    /// What it was built as.
    pub kind: Kind,
}

/// The knowledge that the nodes of a network share.
#[derive(Clone, Debug)]
pub struct Roster {
    /// First four bytes of each message.
    pub magic: Magic,
    /// Services every node offers.
    pub services: ServiceFlags,
    /// User agent of every node.
    pub user_agent: String,
    /// Most addresses in an answer to getaddr; see [`Roster::gossip`].
    pub gossip_answer: usize,
    /// Every node, the dead ones too.
    pub listings: Vec<Listing>,
    /// The headers that every node has.
    pub headers: HeaderChain,
}

impl Roster {
    /// An answer to getaddr: a random sample of the network without repetition, of `gossip_answer`
    /// entries or 23 % of the network (but at least ten), whichever is less. Stale nodes appear
    /// 3 h 15 min to 10 days old, all others, dead or alive, up to 2 h old.
    pub fn gossip(&self, now: UnixTime, rng: &mut Rng) -> Vec<AddrV2Message> {
        let share = (self.listings.len() * ANSWER_PERCENT / 100).max(ANSWER_FLOOR);
        let count = share.min(self.gossip_answer).min(self.listings.len()).min(ANSWER_MAX);
        sample(&self.listings, count, rng)
            .into_iter()
            .map(|listing| {
                let (from, to) = if listing.kind == Kind::Stale { STALE } else { FRESH };
                let seen = now - rng.between(from, to);
                AddrV2Message {
                    time: u32::try_from(seen.0).unwrap_or(u32::MAX),
                    services: self.services,
                    addr: match listing.address.ip() {
                        IpAddr::V4(ip) => AddrV2::Ipv4(ip),
                        IpAddr::V6(ip) => AddrV2::Ipv6(ip),
                    },
                    port: listing.address.port(),
                }
            })
            .collect()
    }
}

/// `count` different items in random order; all of them if there are fewer.
pub(crate) fn sample<'a, T>(items: &'a [T], count: usize, rng: &mut Rng) -> Vec<&'a T> {
    let mut order: Vec<&T> = items.iter().collect();
    let count = count.min(order.len());
    for at in 0..count {
        let other = at + rng.below(order.len() - at);
        order.swap(at, other);
    }
    order.truncate(count);
    order
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(in crate::actor) fn roster(nodes: usize) -> Roster {
        let kind = |at| if at % 2 == 0 { Kind::Stale } else { Kind::Refusing };
        let address = |at: usize| SocketAddr::from(([127, 1, (at >> 8) as u8, at as u8], 18444));
        Roster {
            magic: Magic::REGTEST,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            user_agent: "/devnet:test/".to_owned(),
            gossip_answer: 1000,
            listings: (0..nodes)
                .map(|at| Listing { address: address(at), kind: kind(at) })
                .collect(),
            headers: HeaderChain::regtest(3),
        }
    }

    #[test]
    fn gossip_is_a_bounded_sample_without_repetition() {
        let sizes = [(0, 0), (5, 5), (30, 10), (100, 23), (1000, 230), (10_000, 1000)];
        for (nodes, expected) in sizes {
            let roster = roster(nodes);
            let gossip = roster.gossip(UnixTime(2_000_000_000), &mut Rng::from_u64(1));
            let distinct: BTreeSet<_> =
                gossip.iter().map(|entry| entry.socket_addr().unwrap()).collect();
            assert_eq!((gossip.len(), distinct.len()), (expected, expected), "{nodes} nodes");
        }
    }

    #[test]
    fn stale_nodes_are_old_and_all_others_fresh() {
        let roster = roster(1000);
        let now = UnixTime(2_000_000_000);
        for entry in roster.gossip(now, &mut Rng::from_u64(2)) {
            let address = entry.socket_addr().unwrap();
            let listing = roster.listings.iter().find(|l| l.address == address).unwrap();
            let age = now.since(UnixTime(entry.time.into()));
            assert_eq!(age > 3 * HOUR, listing.kind == Kind::Stale, "{listing:?} {age:?}");
        }
    }
}
