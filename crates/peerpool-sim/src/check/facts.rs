//! What the engine should know of hosts, ports, services and errors, written down once more from
//! the RFCs, the BIPs and Core: checkers that asked the engine's own functions would share its
//! faults.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Host;
use peerpool_core::event::DialError;
use peerpool_core::id::ConnectionType;

/// A range of IPv4: its first address, and how many bits are fixed.
type Range4 = ([u8; 4], u32);
/// A range of IPv6: its first three words, and how many bits are fixed.
type Range6 = ([u16; 3], u32);

/// Not of the public internet: RFC 1122, 1918, 6598, 3927, 5737, 2544, 5771, 1112.
const SPECIAL4: [Range4; 13] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
/// The same of IPv6: RFC 4193, 4291, 3849, 4843, 7343.
const SPECIAL6: [Range6; 6] = [
    ([0xfc00, 0, 0], 7),
    ([0xfe80, 0, 0], 10),
    ([0xff00, 0, 0], 8),
    ([0x2001, 0x0db8, 0], 32),
    ([0x2001, 0x0010, 0], 28),
    ([0x2001, 0x0020, 0], 28),
];

fn in_range4(ip: Ipv4Addr, (first, bits): Range4) -> bool {
    (u32::from(ip) ^ u32::from(Ipv4Addr::from(first))) >> (32 - bits) == 0
}

fn in_range6(ip: Ipv6Addr, ([a, b, c], bits): Range6) -> bool {
    (u128::from(ip) ^ u128::from(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))) >> (128 - bits) == 0
}

/// The IPv4 address within a 6to4, Teredo, NAT64 or SIIT address.
fn inner(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let all = u128::from(ip);
    let (high, low) = (all >> 32, all as u32);
    match (all >> 112, all >> 96, high) {
        (0x2002, ..) => Some(Ipv4Addr::from((all >> 80) as u32)),
        (_, 0x2001_0000, _) => Some(Ipv4Addr::from(!low)),
        (.., 0x0064_ff9b_0000_0000_0000_0000 | 0xffff_0000) => Some(Ipv4Addr::from(low)),
        _ => None,
    }
}

/// Whether the public internet reaches the host.
pub(super) fn is_routable(host: &Host) -> bool {
    let routable4 = |ip| !SPECIAL4.into_iter().any(|range| in_range4(ip, range));
    match *host {
        Host::Ipv4(ip) => routable4(ip),
        Host::Ipv6(ip) => {
            // Unspecified, loopback, and the IPv4-compatible of old.
            let compatible = u128::from(ip) >> 32 == 0;
            let special = SPECIAL6.into_iter().any(|range| in_range6(ip, range));
            !compatible && !special && inner(ip).is_none_or(routable4)
        }
        Host::Cjdns(ip) => ip.octets()[0] == 0xfc,
        Host::Onion(_) | Host::I2p(_) => true,
    }
}

/// A netgroup, where their number is limited: of IPv4 or IPv6 the bits that its members share, of
/// an autonomous system its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    #[default]
    None,
    Four(u64),
    Six(u64),
    System(u32),
}

/// The netgroup of a host: its autonomous system where there is a map that knows it; else a /16 of
/// IPv4, a /32 of IPv6, a /36 of Hurricane Electric's tunnels. `None` where names are free.
pub(super) fn group(map: Option<&[u8]>, host: &Host) -> Option<Group> {
    let asn = map.filter(|_| is_routable(host)).and_then(|map| asn(map, host));
    if let Some(asn) = asn {
        return Some(Group::System(asn));
    }
    let of4 = |ip: Ipv4Addr| Group::Four(u64::from(u32::from(ip) >> 16));
    match *host {
        Host::Ipv4(ip) => Some(of4(ip)),
        Host::Ipv6(ip) => Some(inner(ip).map_or_else(
            || {
                let first = (u128::from(ip) >> 92) as u64;
                let tunnel = first >> 4 == 0x2001_0470;
                Group::Six(if tunnel { first } else { first & !0xf })
            },
            of4,
        )),
        Host::Onion(_) | Host::I2p(_) | Host::Cjdns(_) => None,
    }
}

/// The autonomous system of a host, by the bytecode of Core's `Interpret`. `None` too where the map
/// breaks off.
fn asn(map: &[u8], host: &Host) -> Option<u32> {
    let wide = match *host {
        Host::Ipv4(ip) => u128::from(ip.to_ipv6_mapped()),
        Host::Ipv6(ip) => inner(ip).map_or(ip, |ip| ip.to_ipv6_mapped()).into(),
        Host::Onion(_) | Host::I2p(_) | Host::Cjdns(_) => return None,
    };
    let mut address = (0..128).rev().map(|at| (wide >> at) & 1 == 1);
    let mut code = Code { map, at: 0 };
    let mut default = None;
    loop {
        if !code.bit()? {
            return code.number(1, 15..=24);
        } else if !code.bit()? {
            let jump = code.number(17, 5..=30)?;
            code.at += if address.next()? { jump as usize } else { 0 };
        } else if !code.bit()? {
            let pattern = code.number(2, 1..=8)?;
            for at in (0..pattern.ilog2()).rev() {
                if address.next()? != ((pattern >> at) & 1 == 1) {
                    return default;
                }
            }
        } else {
            default = Some(code.number(1, 15..=24)?);
        }
    }
}

/// The bits of a map, from one on.
struct Code<'a> {
    map: &'a [u8],
    at: usize,
}

impl Code<'_> {
    fn bit(&mut self) -> Option<bool> {
        let byte = self.map.get(self.at / 8)?;
        let bit = (byte >> (self.at % 8)) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    /// A number from `least` on, of as many bits as the first of `sizes` that no one stands before.
    fn number(&mut self, least: u32, sizes: RangeInclusive<u32>) -> Option<u32> {
        let (mut number, last) = (least, *sizes.end());
        for size in sizes {
            if size == last || !self.bit()? {
                for at in (0..size).rev() {
                    number += u32::from(self.bit()?) << at;
                }
                return Some(number);
            }
            number += 1 << size;
        }
        None
    }
}

/// Whether `services` are enough: who keeps recent blocks (NETWORK_LIMITED, BIP159) will do where
/// a full node is asked for.
pub(super) fn meets(services: ServiceFlags, required: ServiceFlags) -> bool {
    let (has, mut wants) = (services.to_u64(), required.to_u64());
    if has & (1 << 10) != 0 {
        wants &= !1;
    }
    has & wants == wants
}

/// Core's list of ports that belong to other services (`IsBadPort`).
pub(super) fn is_bad_port(port: u16) -> bool {
    matches!(
        port,
        1 | 7 | 9 | 11 | 13 | 15 | 17 | 19..=23 | 25 | 37 | 42 | 43 | 53 | 69 | 77 | 79 | 87 | 95
            | 101..=104 | 109..=111 | 113 | 115 | 117 | 119 | 123 | 135 | 137 | 139 | 143 | 161
            | 179 | 389 | 427 | 465 | 512..=515 | 526 | 530..=532 | 540 | 548 | 554 | 556 | 563
            | 587 | 601 | 636 | 989 | 990 | 993 | 995 | 1719 | 1720 | 1723 | 2049 | 3659 | 4045
            | 5060 | 5061 | 6000 | 6566 | 6665..=6669 | 6697 | 10080
    )
}

/// Whether ready peers of this type fill a slot.
pub(super) fn counts(connection_type: ConnectionType) -> bool {
    matches!(connection_type, ConnectionType::OutboundFullRelay | ConnectionType::Manual)
}

/// Whether peers of this type must be in different netgroups.
pub(super) fn is_kept(connection_type: ConnectionType) -> bool {
    matches!(connection_type, ConnectionType::OutboundFullRelay | ConnectionType::BlockRelayOnly)
}

/// Whether a dial failed through no fault of the address.
pub(super) fn is_local(error: DialError) -> bool {
    !matches!(error, DialError::Refused | DialError::TimedOut)
}

#[cfg(test)]
mod tests {
    use peerpool_core::netgroup::{AsMap, NetGroup};
    use peerpool_core::rng::Rng;

    use super::*;

    /// Hosts at random, and those at and around the ends of every range.
    fn hosts() -> Vec<Host> {
        let mut rng = Rng::from_u64(1);
        let four = |ip: u32| Host::from(std::net::IpAddr::V4(Ipv4Addr::from(ip)));
        let six = |ip: u128| Host::from(std::net::IpAddr::V6(Ipv6Addr::from(ip)));
        let mut hosts = Vec::new();
        for (first, bits) in SPECIAL4 {
            let first = u32::from(Ipv4Addr::from(first));
            let last = first | (u32::MAX >> bits);
            let ends = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
            for ip in ends {
                let wide = u128::from(ip);
                let embeds = [
                    (0x2002 << 112) | (wide << 80) | 1,
                    (0x2001_0000 << 96) | u128::from(!ip),
                    (0x0064_ff9b << 96) | wide,
                    (0xffff << 48) | wide,
                    (0xffff << 32) | wide,
                    wide,
                ];
                hosts.push(four(ip));
                hosts.extend(embeds.map(six));
            }
        }
        for ([a, b, c], bits) in SPECIAL6 {
            let first = u128::from(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0));
            let last = first | (u128::MAX >> bits);
            hosts.extend([first - 1, first, last, last.wrapping_add(1)].map(six));
        }
        for _ in 0..20_000 {
            let wide = (u128::from(rng.u64()) << 64) | u128::from(rng.u64());
            hosts.push(four(wide as u32));
            hosts.push(six(wide));
            // The internet of today, and tunnels.
            hosts.push(six((wide >> 3) | (1 << 125)));
            hosts.push(six((wide >> 32) | (0x2001_0470 << 96)));
        }
        hosts
    }

    #[test]
    fn hosts_are_judged_as_the_core_judges_them() {
        let hosts = hosts();
        for host in &hosts {
            assert_eq!(is_routable(host), host.is_routable(), "{host}");
            assert_eq!(group(None, host).is_some(), NetGroup::of(host).limited(), "{host}");
        }
        // Neighbours, so that many are in one group. Those of CJDNS are told apart by the core
        // alone: it has no limit for them.
        let limited = |host: &&Host| !matches!(host, Host::Cjdns(_));
        let mut sorted: Vec<&Host> = hosts.iter().filter(limited).collect();
        sorted.sort_unstable_by_key(|host| NetGroup::of(host));
        let mut together = 0;
        for pair in sorted.windows(2) {
            let same = NetGroup::of(pair[0]) == NetGroup::of(pair[1]);
            let told = group(None, pair[0]) == group(None, pair[1]);
            assert_eq!(told, same, "{} and {}", pair[0], pair[1]);
            together += usize::from(same);
        }
        assert!(together > 1000, "{together}");
    }

    #[test]
    fn autonomous_systems_are_told_as_the_core_tells_them() {
        // There is one of every instruction in it.
        let bytes = crate::scenario::as_map::MAP;
        let map = AsMap::from_bytes(bytes.to_vec()).expect("a map");
        let mut hosts = hosts();
        let known = (0..=255u8).flat_map(|a| (0..=255).map(move |b| [a, b, 7, 9]));
        hosts.extend(known.map(|ip| Host::Ipv4(ip.into())));
        let mut seen = std::collections::BTreeSet::new();
        for host in hosts.iter().filter(|host| is_routable(host)) {
            let told = asn(&bytes, host);
            assert_eq!(told, map.asn(host), "{host}");
            seen.extend(told);
        }
        assert!(seen.len() > 7, "{seen:?}");
        assert!((0..bytes.len()).all(|len| {
            hosts
                .iter()
                .take(500)
                .all(|host| asn(&bytes[..len], host).is_none_or(|asn| seen.contains(&asn)))
        }));
    }

    #[test]
    fn services_errors_and_types_are_judged_as_the_core_judges_them() {
        for services in 0..1 << 12 {
            for required in [0, 1, 8, 9, 64, 1 << 10, (1 << 10) | 1, (1 << 10) | 9] {
                let (has, wants) = (ServiceFlags::from(services), ServiceFlags::from(required));
                let core = peerpool_core::policy::meets(has, wants);
                assert_eq!(meets(has, wants), core, "{has} for {wants}");
            }
        }
        for error in [
            DialError::Refused,
            DialError::TimedOut,
            DialError::NoRoute,
            DialError::NoDescriptors,
            DialError::Unsupported,
        ] {
            assert_eq!(is_local(error), error.is_local(), "{error:?}");
        }
        for kind in [
            ConnectionType::OutboundFullRelay,
            ConnectionType::BlockRelayOnly,
            ConnectionType::Feeler,
            ConnectionType::Manual,
            ConnectionType::AddrFetch,
            ConnectionType::PrivateBroadcast,
        ] {
            assert_eq!(counts(kind), kind.counts(), "{kind:?}");
            assert_eq!(is_kept(kind), kind.is_kept(), "{kind:?}");
        }
        assert_eq!((0..=u16::MAX).filter(|port| is_bad_port(*port)).count(), 80);
    }
}
