//! Bytes of a peer, built by hand, so that they may be wrong: no code of the pool has a part in it.

use bitcoin::hashes::{Hash as _, sha256d};

/// Regtest's.
pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
pub(crate) const NETWORK: u64 = 1;
pub(crate) const WITNESS: u64 = 8;
pub(crate) const LIMITED: u64 = 1024;

/// A header that claims what it is told to.
pub(crate) fn header(magic: [u8; 4], command: [u8; 12], length: u32, checksum: [u8; 4]) -> Vec<u8> {
    [&magic[..], &command, &length.to_le_bytes(), &checksum].concat()
}

pub(crate) fn command(name: &[u8]) -> [u8; 12] {
    let mut command = [0; 12];
    command[..name.len()].copy_from_slice(name);
    command
}

pub(crate) fn checksum(payload: &[u8]) -> [u8; 4] {
    let hash = sha256d::Hash::hash(payload).to_byte_array();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// A sound frame.
pub(crate) fn frame(name: &str, payload: &[u8]) -> Vec<u8> {
    raw_frame(command(name.as_bytes()), payload)
}

/// A frame that is sound but for its command.
pub(crate) fn raw_frame(command: [u8; 12], payload: &[u8]) -> Vec<u8> {
    let header = header(MAGIC, command, payload.len() as u32, checksum(payload));
    [&header, payload].concat()
}

pub(crate) fn ping(nonce: u64) -> Vec<u8> {
    frame("ping", &nonce.to_le_bytes())
}

pub(crate) fn pong(nonce: u64) -> Vec<u8> {
    frame("pong", &nonce.to_le_bytes())
}

pub(crate) fn verack() -> Vec<u8> {
    frame("verack", &[])
}

/// The fields of a `version` that a row may want otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) protocol: i32,
    pub(crate) services: u64,
    pub(crate) time: i64,
    pub(crate) nonce: u64,
    /// With its length before it, as it is on the wire.
    pub(crate) user_agent: Vec<u8>,
    pub(crate) height: i32,
    pub(crate) relay: u8,
}

impl Hello {
    pub(crate) fn payload(&self) -> Vec<u8> {
        [
            &self.protocol.to_le_bytes()[..],
            &self.services.to_le_bytes(),
            &self.time.to_le_bytes(),
            &[0; 26],
            &[0; 26],
            &self.nonce.to_le_bytes(),
            &self.user_agent,
            &self.height.to_le_bytes(),
            &[self.relay],
        ]
        .concat()
    }
}

/// A `version` that is sound but for the change.
pub(crate) fn hello(change: impl FnOnce(&mut Hello)) -> Hello {
    let mut hello = Hello {
        protocol: 70016,
        services: NETWORK | WITNESS,
        time: 1_700_000_000,
        nonce: 0x1122_3344_5566_7788,
        user_agent: counted(b"/bad:1/"),
        height: 7,
        relay: 1,
    };
    change(&mut hello);
    hello
}

pub(crate) fn version(change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    frame("version", &hello(change).payload())
}

/// The shortest CompactSize of a number.
pub(crate) fn compact(value: u64) -> Vec<u8> {
    match value {
        0..=0xfc => vec![value as u8],
        0xfd..=0xffff => [&[0xfd][..], &(value as u16).to_le_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[0xfe][..], &(value as u32).to_le_bytes()].concat(),
        _ => [&[0xff][..], &value.to_le_bytes()].concat(),
    }
}

/// Bytes behind their count.
pub(crate) fn counted(bytes: &[u8]) -> Vec<u8> {
    [compact(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Items behind their count.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [compact(items.len() as u64), items.concat()].concat()
}

/// An entry of an `addr`.
pub(crate) fn entry(time: u32, services: u64, ip: [u8; 16], port: u16) -> Vec<u8> {
    [&time.to_le_bytes()[..], &services.to_le_bytes(), &ip, &port.to_be_bytes()].concat()
}

/// An entry of an `addrv2`; `services` as they are on the wire.
pub(crate) fn entry_v2(time: u32, services: &[u8], net: u8, host: &[u8], port: u16) -> Vec<u8> {
    [&time.to_le_bytes()[..], services, &[net], &counted(host), &port.to_be_bytes()].concat()
}

/// An IP address as `addr` has it.
pub(crate) fn ip(text: &str) -> [u8; 16] {
    match text.parse().expect("an IP address") {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    }
}
