//! Where nodes live: netgroups, some much fuller than others, and addresses in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use peerpool_core::address::Host;
use peerpool_core::rng::Rng;

/// First 16 bits of the IPv6 addresses of a world.
const IPV6_PREFIX: u16 = 0x2a00;
/// Bits of an IPv4 address within its /16.
const IPV4_HOSTS: usize = 1 << 16;

/// Netgroups that nobody has been given yet, in random order.
#[derive(Debug)]
pub(super) struct Land {
    ipv4: Vec<[u8; 2]>,
    next_ipv6: u16,
}

/// A netgroup to live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Ipv4([u8; 2]),
    Ipv6(u16),
}

impl Land {
    /// All /16s of the public internet, and as many /32s of IPv6.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let routable = |&[a, b]: &[u8; 2]| Host::Ipv4(Ipv4Addr::new(a, b, 1, 1)).is_routable();
        let all = (1..=223).flat_map(|a| (0..=255).map(move |b| [a, b]));
        let mut ipv4: Vec<[u8; 2]> = all.filter(routable).collect();
        rng.shuffle(&mut ipv4);
        Self { ipv4, next_ipv6: 1 }
    }

    /// A netgroup of IPv4; there are about 55,000.
    pub(super) fn ipv4(&mut self) -> Option<Site> {
        self.ipv4.pop().map(Site::Ipv4)
    }

    /// A netgroup of IPv6.
    pub(super) fn ipv6(&mut self) -> Option<Site> {
        self.next_ipv6 = self.next_ipv6.checked_add(1)?;
        Some(Site::Ipv6(self.next_ipv6))
    }
}

impl Site {
    /// An address in it.
    pub(super) fn address(self, rng: &mut Rng) -> IpAddr {
        match self {
            Site::Ipv4([a, b]) => {
                let [.., c, d] = (rng.below(IPV4_HOSTS) as u32).to_be_bytes();
                Ipv4Addr::new(a, b, c, d).into()
            }
            Site::Ipv6(group) => {
                let tail = rng.u64().to_be_bytes();
                let word = |at: usize| u16::from_be_bytes([tail[at], tail[at + 1]]);
                Ipv6Addr::new(IPV6_PREFIX, group, word(0), 0, 0, word(2), word(4), word(6)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use peerpool_core::netgroup::NetGroup;

    use super::*;

    #[test]
    fn each_site_is_a_netgroup_of_its_own_and_routable() {
        let mut rng = Rng::from_u64(1);
        let mut land = Land::new(&mut rng);
        let mut groups = BTreeSet::new();
        let mut sites: Vec<Site> = std::iter::from_fn(|| land.ipv4()).collect();
        assert!(sites.len() > 50_000);
        sites.extend((0..5000).filter_map(|_| land.ipv6()));
        for site in sites {
            let host = Host::from(site.address(&mut rng));
            assert!(host.is_routable(), "{host}");
            assert_eq!(NetGroup::of(&host), NetGroup::of(&site.address(&mut rng).into()));
            assert!(groups.insert(NetGroup::of(&host)), "{host}");
        }
    }
}
