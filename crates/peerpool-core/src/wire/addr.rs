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
/// [`LinkFault::TooMany`] for more than `max` entries, [`LinkFault::Undecodable`] where the payload
/// ends within an entry or the count is not a minimal CompactSize.
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
    let count = cursor.count().ok_or(LinkFault::Undecodable)?;
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
            (!mapped && !is_disguised(ip)).then(|| Host::Ipv6(ip.into()))
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
