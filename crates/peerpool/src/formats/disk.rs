//! How Core writes addresses to disk: `CAddress`, `CNetAddr`, and the frame of magic and checksum
//! around a file (protocol.h, netaddress.h, addrdb.cpp).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bitcoin::consensus::encode::VarInt;
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::{Address, Host};
use peerpool_core::time::UnixTime;

use super::{FormatError, Source, round_to_day};

/// The low bits of an entry's form: the version of the software that wrote it; not looked at.
const FORM_IGNORED: u32 = 0x7_ffff;
/// The bit of an entry's form that tells that it is in the form of `addrv2`.
const FORM_ADDRV2: u32 = 1 << 29;
/// What Core writes as the form of an entry. Its `DISK_VERSION_INIT` is 220000.
const FORM_WRITTEN: u32 = 220_000 | FORM_ADDRV2;
/// Longest address of any network (BIP155).
const MAX_ADDRESS_LEN: u64 = 512;
/// The length of the checksum at the end of a file.
const CHECKSUM_LEN: usize = 32;

/// IPv4 inside IPv6.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// Tor version 2 inside IPv6: OnionCat, `fd87:d87e:eb43::/48`.
const ONIONCAT: [u8; 6] = [0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43];
/// Core's own names inside IPv6: `fd6b:88c0:8724::/48`.
const NAME: [u8; 6] = [0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24];

/// How addresses are written: 16 bytes each, or as in `addrv2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    V1,
    V2,
}

/// An address as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskHost {
    Host(Host),
    Name([u8; 10]),
    Invalid,
}

impl From<DiskHost> for Source {
    fn from(host: DiskHost) -> Self {
        match host {
            DiskHost::Host(host) => Self::Host(host),
            DiskHost::Name(name) => Self::Name(name),
            DiskHost::Invalid => Self::Unknown,
        }
    }
}

/// A `CAddress` as it is on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskAddress {
    pub(super) last_seen: UnixTime,
    pub(super) services: ServiceFlags,
    pub(super) host: DiskHost,
    pub(super) port: u16,
}

impl DiskAddress {
    /// The address, if it is one.
    pub(super) fn address(&self) -> Option<Address> {
        match self.host {
            DiskHost::Host(host) if is_valid(&host) => Some(Address { host, port: self.port }),
            _ => None,
        }
    }
}

/// Whether Core takes this for an address at all (`IsValid`); it may still be unroutable. What only
/// looks like IPv6 is none, as Core would not read it as such.
pub(super) fn is_valid(host: &Host) -> bool {
    match host {
        Host::Ipv4(ip) => !ip.is_unspecified() && !ip.is_broadcast(),
        Host::Ipv6(ip) => {
            let ip = ip.octets();
            let documentation = ip.starts_with(&[0x20, 0x01, 0x0d, 0xb8]);
            let other = ip.starts_with(&ONIONCAT) || ip.starts_with(&MAPPED) || name(ip).is_some();
            ip != [0; 16] && !documentation && !other
        }
        Host::Cjdns(ip) => ip.octets().starts_with(&[0xfc]),
        Host::Onion(_) | Host::I2p(_) => true,
    }
}

/// What is left of a file.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is being read, for errors.
    pub(super) part: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads on after the magic of the chain.
    pub(super) fn new(bytes: &'a [u8], magic: [u8; 4]) -> Result<Self, FormatError> {
        let mut reader = Self { bytes, at: 0, part: "its head" };
        let found = reader.array()?;
        if found != magic {
            return Err(FormatError::Magic { found, expected: magic });
        }
        Ok(reader)
    }

    pub(super) const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    const fn truncated(&self) -> FormatError {
        FormatError::Truncated { part: self.part, len: self.bytes.len() }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(self.truncated())?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let taken = self.take(N)?;
        taken.first_chunk().copied().ok_or(self.truncated())
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, FormatError> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A CompactSize in its shortest form, at most `max`.
    pub(super) fn compact_size(&mut self, max: u64) -> Result<u64, FormatError> {
        let at = self.at;
        let (value, least) = match self.u8()? {
            0xfd => (self.array().map(u16::from_le_bytes)?.into(), 0xfd),
            0xfe => (self.u32()?.into(), 0x1_0000),
            0xff => (self.array().map(u64::from_le_bytes)?, 0x1_0000_0000),
            byte => (u64::from(byte), 0),
        };
        if value < least || value > max {
            return Err(FormatError::Count { at });
        }
        Ok(value)
    }

    /// A `CAddress` of a file whose addresses may be written so.
    pub(super) fn address(&mut self, file: Encoding) -> Result<DiskAddress, FormatError> {
        let at = self.at;
        let form = self.u32()?;
        let encoding = match form & !FORM_IGNORED {
            0 => Encoding::V1,
            FORM_ADDRV2 if file == Encoding::V2 => Encoding::V2,
            _ => return Err(FormatError::EntryForm { form, at }),
        };
        let last_seen = UnixTime(self.u32()?.into());
        let services = match encoding {
            Encoding::V1 => u64::from_le_bytes(self.array()?),
            Encoding::V2 => self.compact_size(u64::MAX)?,
        };
        let host = self.host(encoding)?;
        let port = self.array().map(u16::from_be_bytes)?;
        Ok(DiskAddress { last_seen, services: services.into(), host, port })
    }

    /// A `CNetAddr`.
    pub(super) fn host(&mut self, encoding: Encoding) -> Result<DiskHost, FormatError> {
        match encoding {
            Encoding::V1 => self.array().map(host_in_v1),
            Encoding::V2 => self.host_v2(),
        }
    }

    fn host_v2(&mut self) -> Result<DiskHost, FormatError> {
        let at = self.at;
        let network = self.u8()?;
        let len = self.compact_size(u64::from(u32::MAX))?;
        let known = match network {
            1 => Some(4),
            2 | 6 => Some(16),
            4 | 5 => Some(32),
            _ => None,
        };
        if len > MAX_ADDRESS_LEN || known.is_some_and(|known| known != len) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            return Err(FormatError::AddressLen { network, len, at });
        }
        Ok(match network {
            1 => DiskHost::Host(Host::Ipv4(Ipv4Addr::from(self.array::<4>()?))),
            2 => host_in_v2(self.array()?),
            4 => DiskHost::Host(Host::Onion(self.array()?)),
            5 => DiskHost::Host(Host::I2p(self.array()?)),
            6 => DiskHost::Host(Host::Cjdns(Ipv6Addr::from(self.array::<16>()?))),
            // 3 is Tor version 2, which is no more; the rest is for networks to come.
            _ => {
                self.take(len as usize)?;
                DiskHost::Invalid
            }
        })
    }

    /// The checksum of all that was read so far. Core looks at nothing behind it.
    pub(super) fn checksum(&mut self) -> Result<(), FormatError> {
        self.part = "its checksum";
        let body = self.bytes.get(..self.at).unwrap_or_default();
        if self.array::<CHECKSUM_LEN>()? != sha256d::Hash::hash(body).to_byte_array() {
            return Err(FormatError::Checksum);
        }
        Ok(())
    }
}

fn host_in_v1(ip: [u8; 16]) -> DiskHost {
    if let Some(name) = name(ip) {
        return name;
    }
    if ip.starts_with(&ONIONCAT) {
        return DiskHost::Invalid;
    }
    DiskHost::Host(IpAddr::from(ip).into())
}

fn host_in_v2(ip: [u8; 16]) -> DiskHost {
    if let Some(name) = name(ip) {
        return name;
    }
    if ip.starts_with(&ONIONCAT) || ip.starts_with(&MAPPED) {
        return DiskHost::Invalid;
    }
    DiskHost::Host(Host::Ipv6(ip.into()).canonical())
}

fn name(ip: [u8; 16]) -> Option<DiskHost> {
    ip.strip_prefix(&NAME).and_then(|name| name.first_chunk()).map(|name| DiskHost::Name(*name))
}

/// Appends the checksum of all that was written so far.
pub(super) fn put_checksum(out: &mut Vec<u8>) {
    let hash = sha256d::Hash::hash(out).to_byte_array();
    out.extend(hash);
}

pub(super) fn put_compact_size(out: &mut Vec<u8>, value: u64) {
    out.extend(serialize(&VarInt(value)));
}

/// Appends a `CAddress` in the form of `addrv2`, its time rounded to the day.
pub(super) fn put_address(
    out: &mut Vec<u8>,
    address: &Address,
    services: ServiceFlags,
    last_seen: UnixTime,
) {
    let time = u32::try_from(round_to_day(last_seen).0).unwrap_or(u32::MAX);
    out.extend(FORM_WRITTEN.to_le_bytes());
    out.extend(time.to_le_bytes());
    put_compact_size(out, services.to_u64());
    put_host(out, &address.host);
    out.extend(address.port.to_be_bytes());
}

/// Appends a `CNetAddr` in the form of `addrv2`.
pub(super) fn put_host(out: &mut Vec<u8>, host: &Host) {
    match host {
        Host::Ipv4(ip) => put_bytes(out, 1, &ip.octets()),
        Host::Ipv6(ip) => put_bytes(out, 2, &ip.octets()),
        Host::Onion(key) => put_bytes(out, 4, key),
        Host::I2p(hash) => put_bytes(out, 5, hash),
        Host::Cjdns(ip) => put_bytes(out, 6, &ip.octets()),
    }
}

/// Appends a source's name, which Core hides in IPv6.
pub(super) fn put_name(out: &mut Vec<u8>, name: &[u8; 10]) {
    put_bytes(out, 2, &[&NAME[..], name].concat());
}

fn put_bytes(out: &mut Vec<u8>, network: u8, bytes: &[u8]) {
    out.push(network);
    put_compact_size(out, bytes.len() as u64);
    out.extend(bytes);
}
