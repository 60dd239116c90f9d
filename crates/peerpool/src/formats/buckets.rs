//! Where Core's addrman puts an address (addrman.cpp, netgroup.cpp), without an AS map.
//!
//! Core trusts a file as to which new buckets an address is in, works out everything else itself,
//! and drops what collides. So these rules must be Core's to the letter, unroutable addresses
//! included; the addr book has rules of its own.

use std::net::{Ipv4Addr, Ipv6Addr};

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use peerpool_core::address::{Address, Host};

use super::Source;
use super::disk::{is_valid, put_compact_size};

/// Buckets of the new table. Core's `ADDRMAN_NEW_BUCKET_COUNT`.
pub(super) const NEW_BUCKETS: u64 = 1024;
/// Buckets of the tried table. Core's `ADDRMAN_TRIED_BUCKET_COUNT`.
pub(super) const TRIED_BUCKETS: u64 = 256;
/// Places in a bucket. Core's `ADDRMAN_BUCKET_SIZE`.
pub(super) const BUCKET_SIZE: u64 = 64;
/// Core's `ADDRMAN_NEW_BUCKETS_PER_SOURCE_GROUP`.
const NEW_BUCKETS_PER_SOURCE: u64 = 64;
/// Core's `ADDRMAN_TRIED_BUCKETS_PER_GROUP`.
const TRIED_BUCKETS_PER_GROUP: u64 = 8;

/// Core's numbers of its networks, as they begin a group.
mod class {
    pub(super) const UNROUTABLE: u8 = 0;
    pub(super) const IPV4: u8 = 1;
    pub(super) const IPV6: u8 = 2;
    pub(super) const ONION: u8 = 3;
    pub(super) const I2P: u8 = 4;
    pub(super) const CJDNS: u8 = 5;
    pub(super) const NAME: u8 = 6;
}

/// The key that decides who collides with whom. Whoever writes a file draws it at random.
#[derive(Clone, Copy)]
pub(super) struct Buckets(pub(super) [u8; 32]);

/// A bucket, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) bucket: u64,
    pub(super) position: u64,
}

impl Buckets {
    /// Where `address` stands in the new table if `source` names it.
    pub(super) fn new_place(&self, address: &Address, source: &Source) -> Place {
        let source = source_group(source, &address.host);
        let first = self.hash(&[&sized(&group(&address.host)), &sized(&source)]);
        let within = (first % NEW_BUCKETS_PER_SOURCE).to_le_bytes();
        let bucket = self.hash(&[&sized(&source), &within]) % NEW_BUCKETS;
        self.place(b'N', bucket, address)
    }

    /// Where `address` stands in the tried table.
    pub(super) fn tried_place(&self, address: &Address) -> Place {
        let within = (self.hash(&[&key(address)]) % TRIED_BUCKETS_PER_GROUP).to_le_bytes();
        let bucket = self.hash(&[&sized(&group(&address.host)), &within]) % TRIED_BUCKETS;
        self.place(b'K', bucket, address)
    }

    fn place(&self, table: u8, bucket: u64, address: &Address) -> Place {
        let number = (bucket as u32).to_le_bytes();
        let position = self.hash(&[&[table], &number, &key(address)]) % BUCKET_SIZE;
        Place { bucket, position }
    }

    /// The first eight bytes of the double SHA256 of the key and these parts.
    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut engine = sha256d::Hash::engine();
        engine.input(&self.0);
        parts.iter().for_each(|part| engine.input(part));
        let hash = sha256d::Hash::from_engine(engine).to_byte_array();
        hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Bytes as Core hashes them: their number first.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    put_compact_size(&mut out, bytes.len() as u64);
    out.extend(bytes);
    out
}

/// Core's `GetKey`, as it is hashed.
fn key(address: &Address) -> Vec<u8> {
    let mut bytes = match &address.host {
        Host::Ipv4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
        Host::Ipv6(ip) | Host::Cjdns(ip) => ip.octets().to_vec(),
        Host::Onion(key) | Host::I2p(key) => key.to_vec(),
    };
    bytes.extend(address.port.to_be_bytes());
    sized(&bytes)
}

/// The group of a source. Where none is known, the address stands for itself, as with Core's
/// `addpeeraddress`.
fn source_group(source: &Source, host: &Host) -> Vec<u8> {
    match source {
        Source::Unknown => group(host),
        Source::Host(source) => group(source),
        Source::Name(name) => [&[class::NAME][..], name].concat(),
    }
}

/// Core's `GetGroup`.
fn group(host: &Host) -> Vec<u8> {
    if !is_routable(host) {
        return vec![class::UNROUTABLE];
    }
    if let Some(ip) = host.embedded_ipv4() {
        let [first, second, ..] = ip.octets();
        return vec![class::IPV4, first, second];
    }
    // Of a byte that counts in part, the other bits are set.
    match host {
        // Each IPv4 address embeds itself.
        Host::Ipv4(_) => vec![class::IPV4],
        Host::Ipv6(ip) => {
            let [a, b, c, d, e, ..] = ip.octets();
            let mut group = vec![class::IPV6, a, b, c, d];
            if [a, b, c, d] == [0x20, 0x01, 0x04, 0x70] {
                group.push(e | 0x0f); // Hurricane Electric's tunnels
            }
            group
        }
        Host::Onion([first, ..]) => vec![class::ONION, first | 0x0f],
        Host::I2p([first, ..]) => vec![class::I2P, first | 0x0f],
        Host::Cjdns(ip) => {
            let [first, second, ..] = ip.octets();
            vec![class::CJDNS, first, second | 0x0f]
        }
    }
}

/// Core's `IsRoutable`.
fn is_routable(host: &Host) -> bool {
    is_valid(host)
        && match host {
            Host::Ipv4(ip) => is_routable_v4(*ip),
            Host::Ipv6(ip) => is_routable_v6(*ip),
            _ => true,
        }
}

const fn is_routable_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (192, 168, _)
            | (172, 16..=31, _)
            | (198, 18 | 19, _)
            | (169, 254, _)
            | (100, 64..=127, _)
            | (192, 0, 2)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

const fn is_routable_v6(ip: Ipv6Addr) -> bool {
    !matches!(
        ip.segments(),
        [0xfe80, 0, 0, 0, ..]
            | [0xfc00..=0xfdff, ..]
            | [0x2001, 0x10..=0x2f, ..]
            | [0, 0, 0, 0, 0, 0, 0, 1]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerpool_core::address::Address;

    fn at(text: &str) -> Address {
        Address::parse(text, 8333).expect("an address")
    }

    fn place(bucket: u64, position: u64) -> Place {
        Place { bucket, position }
    }

    /// Core's addrman_tests: the key is the double SHA256 of the number 1.
    #[test]
    fn buckets_are_those_of_cores_unit_tests() {
        let key = sha256d::Hash::hash(&1_i32.to_le_bytes()).to_byte_array();
        let buckets = Buckets(key);
        assert_eq!(buckets.tried_place(&at("250.1.1.1:8333")).bucket, 40);
        let address = at("250.1.2.1:8333");
        assert_eq!(buckets.new_place(&address, &Source::Host(address.host)).bucket, 786);
        assert_eq!(buckets.new_place(&address, &Source::Unknown).bucket, 786);
    }

    /// Core's rpc_net.py: the key of `-test=addrman` is 1 and zeros, each address its own source.
    #[test]
    fn places_are_those_of_cores_functional_tests() {
        let mut key = [0; 32];
        key[0] = 1;
        let buckets = Buckets(key);
        let new = |text| buckets.new_place(&at(text), &Source::Unknown);
        assert_eq!(new("2.0.0.0:8333"), place(82, 8));
        assert_eq!(new("[fc00:1:2:3:4:5:6:7]:8333"), place(336, 24));
        let i2p = "c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p:8333";
        assert_eq!(new(i2p), place(963, 46));
        assert_eq!(buckets.tried_place(&at("1.2.3.4:8333")), place(6, 33));
        assert_eq!(buckets.tried_place(&at("1.2.5.45:8333")), place(6, 33));
    }

    #[test]
    fn groups_are_those_of_core() {
        for (text, expected) in [
            ("1.2.3.4", &[1, 1, 2][..]),
            ("127.0.0.1", &[0]),
            ("10.0.0.1", &[0]),
            ("169.254.1.1", &[0]),
            ("172.32.0.1", &[1, 172, 32]),
            // Multicast and reserved addresses are routable to Core, unlike to us.
            ("224.0.0.1", &[1, 224, 0]),
            ("2a01:4f8::1", &[2, 0x2a, 1, 4, 0xf8]),
            ("2001:470:abcd::1", &[2, 0x20, 1, 4, 0x70, 0xaf]),
            ("2002:102:304::1", &[1, 1, 2]),
            ("64:ff9b::102:304", &[1, 1, 2]),
            ("2001:0:9d38:6abd:347d:2:fefd:fcfb", &[1, 1, 2]),
            ("2001:db8::1", &[0]),
            ("2001:20::1", &[0]),
            ("2001:30::1", &[2, 0x20, 1, 0, 0x30]),
            ("fd00::1", &[0]),
            ("fe80::1", &[0]),
            ("fe80:0:0:1::1", &[2, 0xfe, 0x80, 0, 0]),
            ("::1", &[0]),
            ("fc12::1", &[5, 0xfc, 0x1f]),
        ] {
            assert_eq!(group(&at(text).host), expected, "{text}");
        }
        assert_eq!(group(&Host::Onion([0x53; 32])), [3, 0x5f]);
        assert_eq!(group(&Host::I2p([0x53; 32])), [4, 0x5f]);
        let name = source_group(&Source::Name([7; 10]), &at("1.2.3.4").host);
        assert_eq!(name, [6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    }
}
