//! Netgroups: addresses that one operator likely controls together.

mod as_map;

#[cfg(test)]
pub(crate) use as_map::cores;
pub use as_map::{AsMap, AsMapError, MAX_AS_MAP};

use std::fmt;

use crate::address::{Host, Net};

/// An autonomous system where an AS map knows it; else a /16 of IPv4, a /32 of IPv6 (a /36 of
/// Hurricane Electric's tunnels), 4 bits of an onion or I2P name, 12 bits of CJDNS. As Core's
/// `NetGroupManager::GetGroup`. An IPv6 address that embeds an IPv4 address is grouped by that, so
/// a netgroup may span both networks, as an autonomous system does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetGroup {
    /// First two bytes of an IPv4 address.
    Ipv4([u8; 2]),
    /// First four bytes of an IPv6 address, and the next four bits where they count.
    Ipv6([u8; 4], u8),
    /// First four bits of an onion key.
    Onion(u8),
    /// First four bits of an I2P destination.
    I2p(u8),
    /// The four bits after the fixed eight of a CJDNS address.
    Cjdns(u8),
    /// The number of an autonomous system, never 0.
    Asn(u32),
}

impl NetGroup {
    /// The netgroup of `host` where there is no AS map; [`NetGroups::of`] asks one first.
    pub fn of(host: &Host) -> Self {
        if let Some(ip) = host.embedded_ipv4() {
            let [a, b, ..] = ip.octets();
            return Self::Ipv4([a, b]);
        }
        match host {
            Host::Ipv4(ip) => Self::Ipv4([ip.octets()[0], ip.octets()[1]]),
            Host::Ipv6(ip) => {
                let [a, b, c, d, e, ..] = ip.octets();
                let tunnel = [a, b, c, d] == [0x20, 0x01, 0x04, 0x70];
                Self::Ipv6([a, b, c, d], if tunnel { e >> 4 } else { 0 })
            }
            Host::Onion(key) => Self::Onion(key[0] >> 4),
            Host::I2p(hash) => Self::I2p(hash[0] >> 4),
            Host::Cjdns(ip) => Self::Cjdns(ip.octets()[1] >> 4),
        }
    }

    /// The networks that its hosts may be on.
    pub(crate) const fn nets(&self) -> &'static [Net] {
        match self {
            Self::Ipv4(_) | Self::Asn(_) => &[Net::Ipv4, Net::Ipv6],
            Self::Ipv6(..) => &[Net::Ipv6],
            Self::Onion(_) => &[Net::Onion],
            Self::I2p(_) => &[Net::I2p],
            Self::Cjdns(_) => &[Net::Cjdns],
        }
    }

    /// Whether diversity rules apply: Core exempts Tor, I2P and CJDNS, whose names are free.
    pub const fn limited(&self) -> bool {
        matches!(self, Self::Ipv4(_) | Self::Ipv6(..) | Self::Asn(_))
    }
}

impl fmt::Debug for NetGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4([a, b]) => write!(f, "{a}.{b}.0.0/16"),
            Self::Ipv6([a, b, c, d], tail) => {
                write!(f, "{a:x}{b:02x}:{c:x}{d:02x}::/32")?;
                if *tail > 0 { write!(f, "+{tail:x}") } else { Ok(()) }
            }
            Self::Onion(bits) => write!(f, "onion/{bits:x}"),
            Self::I2p(bits) => write!(f, "i2p/{bits:x}"),
            Self::Cjdns(bits) => write!(f, "cjdns/{bits:x}"),
            Self::Asn(asn) => write!(f, "AS{asn}"),
        }
    }
}

/// The rule by which hosts are grouped: with an AS map or without. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct NetGroups {
    as_map: Option<AsMap>,
}

impl NetGroups {
    /// The rule with this map.
    pub const fn with_as_map(as_map: AsMap) -> Self {
        Self { as_map: Some(as_map) }
    }

    /// The map, if there is one.
    pub const fn as_map(&self) -> Option<&AsMap> {
        self.as_map.as_ref()
    }

    /// The netgroup of `host`.
    pub fn of(&self, host: &Host) -> NetGroup {
        self.asn(host).map_or_else(|| NetGroup::of(host), NetGroup::Asn)
    }

    /// The autonomous system of `host`; `None` without a map, and where the map has none.
    pub fn asn(&self, host: &Host) -> Option<u32> {
        self.as_map.as_ref()?.asn(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn group(text: &str) -> String {
        format!("{:?}", NetGroup::of(&Address::parse(text, 1).expect("a valid address").host))
    }

    #[test]
    fn groups_are_those_of_core() {
        assert_eq!(group("1.2.3.4"), "1.2.0.0/16");
        assert_eq!(group("2a01:4f8::1"), "2a01:4f8::/32");
        assert_eq!(group("2001:470:abcd::1"), "2001:470::/32+a");
        assert_eq!(group("2002:102:304::1"), "1.2.0.0/16");
        assert_eq!(group("64:ff9b::102:304"), "1.2.0.0/16");
        assert_eq!(group("2001:0:9d38:6abd:347d:2:fefd:fcfb"), "1.2.0.0/16");
    }
}
