//! Netgroups: addresses that one operator likely controls together.

use std::fmt;

use crate::address::{Host, Net};

/// A /16 of IPv4, a /32 of IPv6 (a /36 of Hurricane Electric's tunnels), 4 bits of an onion or I2P
/// name, 12 bits of CJDNS; as Core's `NetGroupManager::GetGroup` without an AS map. An IPv6
/// address that embeds an IPv4 address is grouped by that.
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
}

impl NetGroup {
    /// The netgroup of `host`.
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

    /// The network the group is on; IPv4 for what embeds an IPv4 address.
    pub const fn net(&self) -> Net {
        match self {
            Self::Ipv4(_) => Net::Ipv4,
            Self::Ipv6(..) => Net::Ipv6,
            Self::Onion(_) => Net::Onion,
            Self::I2p(_) => Net::I2p,
            Self::Cjdns(_) => Net::Cjdns,
        }
    }

    /// Whether diversity rules apply: Core exempts Tor, I2P and CJDNS, whose names are free.
    pub const fn limited(&self) -> bool {
        matches!(self, Self::Ipv4(_) | Self::Ipv6(..))
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
        }
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
