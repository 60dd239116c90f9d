//! `addr` and `addrv2`, entry by entry, as Core reads them. Whether an address is worth keeping is
//! not judged here.

use std::net::{IpAddr, Ipv6Addr};

use bitcoin::p2p::ServiceFlags;

use super::cursor::{Cursor, put_compact_size};
use crate::address::{Address, Host};
use crate::id::LinkFault;
use crate::time::UnixTime;

/// Longest address in `addrv2` (BIP155).
const MAX_ADDRESS_LEN: usize = 512;
/// Least and greatest length of an entry: in `addr` both are 30, in `addrv2` they differ.
const ADDR_LEN: usize = 4 + 8 + 16 + 2;
const ADDRV2_MIN_LEN: usize = 4 + 1 + 1 + 1 + 2;
const ADDRV2_MAX_LEN: usize = 4 + 9 + 1 + 3 + MAX_ADDRESS_LEN + 2;

/// Tor version 2 inside IPv6: OnionCat, `fd87:d87e:eb43::/48`.
const ONIONCAT: [u8; 6] = [0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43];
/// Core's own names inside IPv6: `fd6b:88c0:8724::/48`.
const CORE_INTERNAL: [u8; 6] = [0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24];

/// One address a peer told us of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrEntry {
    /// When the address was last seen, as the sender says.
    pub time: UnixTime,
    /// The services it is said to have.
    pub services: ServiceFlags,
    /// The address.
    pub address: Address,
}

/// The longest `addr` or `addrv2` of so many entries.
pub(super) const fn max_addr_len(entries: usize) -> usize {
    9 + entries * ADDRV2_MAX_LEN
}

/// Reads an `addr`.
///
/// # Errors
/// [`LinkFault::TooMany`] for more than `max` entries, [`LinkFault::Undecodable`] where there are
/// none, the payload ends within an entry or the count is not a minimal CompactSize.
pub(super) fn decode_addr(payload: &[u8], max: usize) -> Result<Vec<AddrEntry>, LinkFault> {
    decode_entries(payload, max, ADDR_LEN, read_entry)
}

/// Reads an `addrv2` (BIP155).
///
/// # Errors
/// As [`decode_addr`], and [`LinkFault::Undecodable`] where an address has a wrong length for its
/// network, or more than 512 bytes.
pub(super) fn decode_addrv2(payload: &[u8], max: usize) -> Result<Vec<AddrEntry>, LinkFault> {
    decode_entries(payload, max, ADDRV2_MIN_LEN, read_entry_v2)
}

/// `read` gives `None` where the message cannot be read on, `Some(None)` for an entry to drop.
fn decode_entries(
    payload: &[u8],
    max: usize,
    min_len: usize,
    read: fn(&mut Cursor<'_>) -> Option<Option<AddrEntry>>,
) -> Result<Vec<AddrEntry>, LinkFault> {
    let mut cursor = Cursor::new(payload);
    // An empty list says nothing, and no honest peer sends one.
    let count = cursor.count().filter(|&count| count > 0).ok_or(LinkFault::Undecodable)?;
    if count > max {
        return Err(LinkFault::TooMany);
    }
    let mut entries = Vec::with_capacity(count.min(cursor.remaining() / min_len));
    for _ in 0..count {
        entries.extend(read(&mut cursor).ok_or(LinkFault::Undecodable)?);
    }
    Ok(entries)
}

fn read_entry(cursor: &mut Cursor<'_>) -> Option<Option<AddrEntry>> {
    let time = UnixTime(cursor.u32()?.into());
    let services = cursor.u64()?.into();
    let ip: [u8; 16] = cursor.array()?;
    let port = cursor.port()?;
    let host = host_in_v1(ip);
    Some(host.map(|host| AddrEntry { time, services, address: Address { host, port } }))
}

fn read_entry_v2(cursor: &mut Cursor<'_>) -> Option<Option<AddrEntry>> {
    let time = UnixTime(cursor.u32()?.into());
    let services = cursor.compact_size()?.into();
    let network = cursor.u8()?;
    let length = cursor.count().filter(|&length| length <= MAX_ADDRESS_LEN)?;
    let bytes = cursor.take(length)?;
    let port = cursor.port()?;
    let host = host_in_v2(network, bytes)?;
    Some(host.map(|host| AddrEntry { time, services, address: Address { host, port } }))
}

/// An IPv6 address that stands for something else, which Core drops wherever it meets it.
fn is_disguised(ip: [u8; 16]) -> bool {
    ip.starts_with(&ONIONCAT) || ip.starts_with(&CORE_INTERNAL)
}

/// `addr` knows IPv6 only; an IPv4 address is mapped into it.
fn host_in_v1(ip: [u8; 16]) -> Option<Host> {
    (!is_disguised(ip)).then(|| IpAddr::from(ip).into())
}

/// `None`: a wrong length for a known network. `Some(None)`: an address to drop.
fn host_in_v2(network: u8, bytes: &[u8]) -> Option<Option<Host>> {
    match network {
        1 => bytes.try_into().ok().map(|ip: [u8; 4]| Some(Host::Ipv4(ip.into()))),
        2 => bytes.try_into().ok().map(|ip: [u8; 16]| {
            let mapped = Ipv6Addr::from(ip).to_ipv4_mapped().is_some();
            (!mapped && !is_disguised(ip)).then(|| Host::Ipv6(ip.into()).canonical())
        }),
        4 => bytes.try_into().ok().map(|key| Some(Host::Onion(key))),
        5 => bytes.try_into().ok().map(|hash| Some(Host::I2p(hash))),
        6 => bytes
            .try_into()
            .ok()
            .map(|ip: [u8; 16]| (ip[0] == 0xfc).then(|| Host::Cjdns(ip.into()))),
        // 3 is Tor version 2, which is no more; the rest is for networks to come.
        _ => Some(None),
    }
}

/// The payload of an `addrv2`.
pub(super) fn encode_addrv2(entries: &[AddrEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    put_compact_size(&mut out, entries.len() as u64);
    for entry in entries {
        let time = u32::try_from(entry.time.0).unwrap_or(u32::MAX);
        out.extend(time.to_le_bytes());
        put_compact_size(&mut out, entry.services.to_u64());
        put_host(&mut out, &entry.address.host);
        out.extend(entry.address.port.to_be_bytes());
    }
    out
}

fn put_host(out: &mut Vec<u8>, host: &Host) {
    let mut put = |network, bytes: &[u8]| {
        out.push(network);
        put_compact_size(out, bytes.len() as u64);
        out.extend(bytes);
    };
    match host {
        Host::Ipv4(ip) => put(1, &ip.octets()),
        Host::Ipv6(ip) => put(2, &ip.octets()),
        Host::Onion(key) => put(4, key),
        Host::I2p(hash) => put(5, hash),
        Host::Cjdns(ip) => put(6, &ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::{deserialize, serialize};
    use bitcoin::p2p::address::{AddrV2, AddrV2Message};
    use proptest::prelude::*;

    use super::*;

    fn entry(address: &str) -> AddrEntry {
        let address = address.parse().expect("a valid address");
        AddrEntry { time: UnixTime(1_700_000_000), services: ServiceFlags::WITNESS, address }
    }

    /// An entry of an `addrv2` as it is on the wire.
    fn wire(network: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = [&1_700_000_000u32.to_le_bytes()[..], &[8, network]].concat();
        put_compact_size(&mut out, bytes.len() as u64);
        [&out, bytes, &[0x20, 0x8d]].concat()
    }

    fn ip6(text: &str) -> Vec<u8> {
        text.parse::<Ipv6Addr>().expect("an IPv6 address").octets().to_vec()
    }

    fn hosts(result: Result<Vec<AddrEntry>, LinkFault>) -> Result<Vec<Host>, LinkFault> {
        Ok(result?.into_iter().map(|entry| entry.address.host).collect())
    }

    #[test]
    fn a_bad_entry_is_dropped_alone_and_a_bad_length_spoils_the_message() {
        let good = wire(1, &[1, 2, 3, 4]);
        let first = Host::Ipv4([1, 2, 3, 4].into());
        let dropped = Ok(None);
        let spoilt = Err(LinkFault::Undecodable);
        for (bytes, expected) in [
            (wire(1, &[5; 4]), Ok(Some(Host::Ipv4([5; 4].into())))),
            (wire(2, &ip6("2a01::1")), Ok(Some(Host::Ipv6("2a01::1".parse().unwrap())))),
            (wire(4, &[5; 32]), Ok(Some(Host::Onion([5; 32])))),
            (wire(5, &[5; 32]), Ok(Some(Host::I2p([5; 32])))),
            (wire(6, &ip6("fc00::1")), Ok(Some(Host::Cjdns("fc00::1".parse().unwrap())))),
            (wire(2, &ip6("fc00::1")), Ok(Some(Host::Cjdns("fc00::1".parse().unwrap())))),
            (wire(6, &ip6("fd00::1")), dropped),
            (wire(2, &ip6("::ffff:1.2.3.4")), dropped),
            (wire(2, &ip6("fd87:d87e:eb43::1")), dropped),
            (wire(2, &ip6("fd6b:88c0:8724::1")), dropped),
            (wire(3, &[5; 10]), dropped),
            (wire(3, &[5; 9]), dropped),
            (wire(0, &[]), dropped),
            (wire(7, &[5; 16]), dropped),
            (wire(0xff, &[5; 512]), dropped),
            (wire(0xff, &[5; 513]), spoilt),
            (wire(1, &[5; 5]), spoilt),
            (wire(1, &[]), spoilt),
            (wire(2, &[5; 4]), spoilt),
            (wire(4, &[5; 31]), spoilt),
            (wire(5, &[5; 33]), spoilt),
            (wire(6, &[0xfc; 15]), spoilt),
        ] {
            let payload = [&[3][..], &good, &bytes, &good].concat();
            let expected = expected.map(|middle| {
                [Some(first), middle, Some(first)].into_iter().flatten().collect::<Vec<_>>()
            });
            assert_eq!(hosts(decode_addrv2(&payload, 1000)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn services_of_addrv2_are_any_minimal_compact_size() {
        let with = |services: &[u8]| {
            let payload = [&[1, 0, 0, 0, 0], services, &[1, 4, 1, 2, 3, 4, 0, 0]].concat();
            Ok(decode_addrv2(&payload, 1000)?[0].services.to_u64())
        };
        assert_eq!(with(&[0xff; 9]), Ok(u64::MAX));
        assert_eq!(with(&[0xfd, 0x09, 0x04]), Ok(0x409));
        assert_eq!(with(&[0xfd, 0x09, 0x00]), Err(LinkFault::Undecodable));
    }

    #[test]
    fn addr_holds_ipv4_mapped_and_drops_disguises() {
        for (ip, expected) in [
            ("::ffff:1.2.3.4", Some(Host::Ipv4([1, 2, 3, 4].into()))),
            ("2a01::1", Some(Host::Ipv6("2a01::1".parse().unwrap()))),
            ("fc00::1", Some(Host::Cjdns("fc00::1".parse().unwrap()))),
            ("fd87:d87e:eb43::1", None),
            ("fd6b:88c0:8724::1", None),
        ] {
            let payload = [&[1, 1, 2, 3, 4][..], &[0; 8], &ip6(ip), &[0x20, 0x8d]].concat();
            assert_eq!(hosts(decode_addr(&payload, 1000)), Ok(expected.into_iter().collect()));
        }
    }

    #[test]
    fn counts_are_judged_before_anything_is_allocated() {
        let entry = [&[0; 12][..], &ip6("::ffff:1.2.3.4"), &[0x20, 0x8d]].concat();
        let many = |count: usize| entry.repeat(count);
        for (count, body, expected) in [
            (&[][..], vec![], Err(LinkFault::Undecodable)),
            (&[0], vec![], Err(LinkFault::Undecodable)),
            (&[0], many(1), Err(LinkFault::Undecodable)),
            (&[1], many(1), Ok(1)),
            (&[1], [many(1), vec![9; 7]].concat(), Ok(1)),
            (&[1], many(1)[..29].to_vec(), Err(LinkFault::Undecodable)),
            (&[2], many(1), Err(LinkFault::Undecodable)),
            (&[0xfd, 1, 0], many(1), Err(LinkFault::Undecodable)),
            (&[0xfd, 0xe8, 3], many(1000), Ok(1000)),
            (&[0xfd, 0xe8, 3], many(1), Err(LinkFault::Undecodable)),
            (&[0xfd, 0xe9, 3], many(1001), Err(LinkFault::TooMany)),
            (&[0xfd, 0xe9, 3], vec![], Err(LinkFault::TooMany)),
            (&[0xfe, 0, 0, 0, 2], vec![], Err(LinkFault::TooMany)),
            (&[0xfe, 1, 0, 0, 2], vec![], Err(LinkFault::Undecodable)),
            (&[0xff; 9], vec![], Err(LinkFault::Undecodable)),
        ] {
            let payload = [count, &body].concat();
            let result = decode_addr(&payload, 1000).map(|entries| entries.len());
            assert_eq!(result, expected, "count {count:?}, {} bytes", body.len());
            assert!(payload.len() <= max_addr_len(1000));
        }
        assert_eq!(decode_addrv2(&[0xfd, 0xe9, 3], 1000), Err(LinkFault::TooMany));
        assert_eq!(decode_addrv2(&[2, 0], 1), Err(LinkFault::TooMany));
    }

    #[test]
    fn rust_bitcoin_reads_our_addrv2_and_we_read_its() {
        let entries = [
            entry("1.2.3.4:8333"),
            entry("[2a01::1]:1"),
            entry("2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333"),
            entry("c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p:0"),
        ];
        let ours = encode_addrv2(&entries);
        let theirs: Vec<AddrV2Message> = deserialize(&ours).expect("a valid addrv2");
        assert_eq!(theirs[0].addr, AddrV2::Ipv4([1, 2, 3, 4].into()));
        assert_eq!((theirs[1].port, theirs[1].services), (1, ServiceFlags::WITNESS));
        assert_eq!(decode_addrv2(&serialize(&theirs), 1000).as_deref(), Ok(&entries[..]));
    }

    fn any_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| Host::Ipv4(ip.into())),
            any::<[u8; 15]>().prop_map(|ip| {
                let mut bytes = [0x20; 16];
                bytes[1..].copy_from_slice(&ip);
                Host::Ipv6(bytes.into())
            }),
            any::<[u8; 32]>().prop_map(Host::Onion),
            any::<[u8; 32]>().prop_map(Host::I2p),
            any::<u16>().prop_map(|n| Host::Cjdns(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, n))),
        ]
    }

    fn any_entry() -> impl Strategy<Value = AddrEntry> {
        (any::<u32>(), any::<u64>(), any_host(), any::<u16>()).prop_map(
            |(time, services, host, port)| AddrEntry {
                time: UnixTime(time.into()),
                services: services.into(),
                address: Address { host, port },
            },
        )
    }

    proptest! {
        #[test]
        fn entries_round_trip(entries in prop::collection::vec(any_entry(), 1..50)) {
            prop_assert_eq!(decode_addrv2(&encode_addrv2(&entries), 50), Ok(entries));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode_addr(&bytes, 1000);
            let _ = decode_addrv2(&bytes, 1000);
        }
    }
}
