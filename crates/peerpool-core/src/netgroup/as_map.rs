//! The AS map: which autonomous system an address belongs to, in the format of Core's `-asmap`.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use asmap::Asmap;

use crate::address::Host;

/// Longest map that is taken, in bytes. Those of the whole internet have 2 MB.
pub const MAX_AS_MAP: usize = 1 << 26;

/// A map that was checked whole. Cheap to clone.
#[derive(Clone)]
pub struct AsMap(Arc<Asmap>);

impl AsMap {
    /// Takes the bytes of a map, as they are in its file, and checks all of them as Core does: each
    /// way through the map ends in an answer, no instruction is cut off or out of reach, at most
    /// seven bits are left over, and those are zero. No look-up can run off its end then.
    ///
    /// # Errors
    /// The bytes are no such map, there are none, or more than [`MAX_AS_MAP`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, AsMapError> {
        if bytes.is_empty() {
            return Err(AsMapError::Empty);
        }
        if bytes.len() > MAX_AS_MAP {
            return Err(AsMapError::TooLong { bytes: bytes.len() as u64 });
        }
        let bits = bytes.len() * 8;
        Asmap::from_bytes(bytes).map(Arc::new).map(Self).map_err(|_| AsMapError::Broken { bits })
    }

    /// The bytes of the map.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The autonomous system of a host of IPv4 or IPv6; one that embeds an IPv4 address is looked
    /// up by that. `None` where the map has none, for hosts that no map can speak for, and on other
    /// networks. As Core's `GetMappedAS`.
    pub fn asn(&self, host: &Host) -> Option<u32> {
        let asn = match (host.embedded_ipv4(), host) {
            (Some(ip), _) if is_mapped(host, ip) => self.0.lookup_v4(ip),
            (None, Host::Ipv6(ip)) if host.is_routable() => self.0.lookup_v6(*ip),
            _ => 0,
        };
        (asn != 0).then_some(asn)
    }
}

/// Private addresses are everybody's. Core counts what is reserved above 224.0.0.0 as public.
fn is_mapped(host: &Host, ip: Ipv4Addr) -> bool {
    host.is_routable() || ip.octets()[0] >= 224
}

impl fmt::Debug for AsMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsMap({} bytes)", self.as_bytes().len())
    }
}

/// Why bytes are no AS map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsMapError {
    /// There are none.
    Empty,
    /// There are more than [`MAX_AS_MAP`].
    TooLong {
        /// How many.
        bytes: u64,
    },
    /// The check of the whole map failed.
    Broken {
        /// Bits of it.
        bits: usize,
    },
}

impl fmt::Display for AsMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { bytes } => {
                write!(f, "it has {bytes} bytes; at most {MAX_AS_MAP} are taken")
            }
            Self::Broken { bits } => {
                write!(f, "its {bits} bits are no map in the format of Bitcoin Core's -asmap")
            }
        }
    }
}

impl std::error::Error for AsMapError {}

#[cfg(test)]
#[path = "../../tests/it/cores_as_map.rs"]
mod cores_as_map;
#[cfg(test)]
use cores_as_map::CORES;

/// The map of Core's own tests.
#[cfg(test)]
pub(crate) fn cores() -> AsMap {
    AsMap::from_bytes(CORES.to_vec()).expect("Core's map")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;
    use crate::netgroup::{NetGroup, NetGroups};

    fn host(text: &str) -> Host {
        Address::parse(text, 1).expect("a valid address").host
    }

    #[test]
    fn hosts_are_looked_up_as_core_does() {
        let map = cores();
        for (text, asn) in [
            ("101.1.0.0", Some(1)),
            ("101.2.3.4", Some(2)),
            ("101.8.255.255", Some(8)),
            ("250.1.2.3", Some(1000)),
            ("250.255.2.3", Some(1000)),
            ("102.1.0.0", None),
            ("101.16.0.1", None),
            ("127.255.255.255", None),
            // 6to4, NAT64 and Teredo carry 101.1.0.5 and 250.1.0.5.
            ("2002:6501:5::1", Some(1)),
            ("64:ff9b::101.1.0.5", Some(1)),
            ("2001:0:9d38:6abd:347d:2:5fe:fffa", Some(1000)),
            ("2a01:4f8::1", None),
        ] {
            assert_eq!(map.asn(&host(text)), asn, "{text}");
        }
        let onion = Host::Onion([101; 32]);
        assert_eq!((map.asn(&onion), map.asn(&host("10.1.2.3"))), (None, None));
        let groups = NetGroups::with_as_map(map);
        assert_eq!(groups.of(&host("250.1.2.3")), NetGroup::Asn(1000));
        for unmapped in [host("102.1.0.0"), host("2a01:4f8::1"), onion] {
            assert_eq!(groups.of(&unmapped), NetGroup::of(&unmapped));
        }
        assert_eq!(format!("{:?}", groups.of(&host("101.3.0.0"))), "AS3");
        assert_eq!(NetGroups::default().of(&host("101.3.0.0")), NetGroup::Ipv4([101, 3]));
    }

    #[test]
    fn a_map_that_is_not_whole_is_refused_in_words() {
        let refused =
            |bytes: &[u8]| AsMap::from_bytes(bytes.to_vec()).expect_err("no map").to_string();
        assert_eq!(refused(&[]), "it is empty");
        for len in 1..CORES.len() {
            let expected =
                format!("its {} bits are no map in the format of Bitcoin Core's -asmap", len * 8);
            assert_eq!(refused(&CORES[..len]), expected);
        }
        // Seven bits may be left over, and are zero.
        let mut longer = CORES.to_vec();
        longer.push(0);
        assert!(refused(&longer).contains("no map"));
        let mut dirty = CORES;
        dirty[58] |= 0x80;
        assert!(refused(&dirty).contains("no map"));
        let long = AsMap::from_bytes(vec![0; MAX_AS_MAP + 1]).expect_err("too long");
        assert_eq!(long.to_string(), "it has 67108865 bytes; at most 67108864 are taken");
    }

    #[test]
    fn an_as_number_has_up_to_24_bits_of_mantissa() {
        // RETURN, and the lowest and highest numbers of the shortest and the longest class.
        let number = |ones: usize, mantissa: &[bool]| {
            let mut bits = vec![false];
            bits.extend(std::iter::repeat_n(true, ones));
            bits.extend((ones < 9).then_some(false));
            bits.extend(mantissa);
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().map(|(at, bit)| u8::from(*bit) << at).sum::<u8>()
            };
            let map = AsMap::from_bytes(bits.chunks(8).map(byte).collect()).expect("a map");
            map.asn(&host("1.2.3.4"))
        };
        assert_eq!(number(0, &[false; 15]), Some(1));
        assert_eq!(number(0, &[true; 15]), Some(1 << 15));
        assert_eq!(number(9, &[false; 24]), Some((1 << 24) - (1 << 15) + 1));
        assert_eq!(number(9, &[true; 24]), Some((1 << 25) - (1 << 15)));
    }

    proptest! {
        #[test]
        fn no_look_up_runs_off_the_end_of_a_map_that_was_taken(
            flips in prop::collection::vec((0..CORES.len(), 0..8u32), 0..4),
            hosts in prop::collection::vec(any::<u128>(), 8),
        ) {
            let mut bytes = CORES.to_vec();
            for (at, bit) in flips {
                bytes[at] ^= 1u8 << bit;
            }
            let Ok(map) = AsMap::from_bytes(bytes) else { return Ok(()) };
            for bits in hosts {
                map.asn(&IpAddr::from(Ipv6Addr::from(bits)).into());
                map.asn(&IpAddr::from(Ipv4Addr::from(bits as u32)).into());
            }
        }

        #[test]
        fn bytes_at_random_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(map) = AsMap::from_bytes(bytes) {
                map.asn(&host("1.2.3.4"));
            }
        }
    }
}
