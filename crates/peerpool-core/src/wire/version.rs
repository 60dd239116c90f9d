//! The `version` message, read as tolerantly as Core reads it.

use bitcoin::p2p::ServiceFlags;

use super::cursor::{Cursor, put_compact_size};
use crate::address::{Address, Host};
use crate::event::UserAgent;

/// The protocol version we speak.
pub const PROTOCOL_VERSION: u32 = 70016;

/// Longest user agent. Core's `MAX_SUBVERSION_LENGTH`.
const MAX_USER_AGENT: usize = 256;
/// Services, IPv6 address and port.
const NET_ADDRESS_LEN: usize = 26;
/// The longest `version` that says anything: fixed fields, user agent with its length, height,
/// relay byte. What follows is not read.
pub(super) const MAX_VERSION_LEN: usize = 20 + 2 * NET_ADDRESS_LEN + 8 + 3 + MAX_USER_AGENT + 4 + 1;

/// A `version` message. What a peer says of addresses is not kept: it is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Protocol version; a negative one on the wire reads as 0.
    pub protocol: u32,
    /// The sender's services.
    pub services: ServiceFlags,
    /// The sender's clock, in unix seconds. Never used for a decision.
    pub timestamp: i64,
    /// Random per connection; tells a node that it dialled itself.
    pub nonce: u64,
    /// The sender's program.
    pub user_agent: UserAgent,
    /// Height of the sender's best block.
    pub height: i32,
    /// Whether the sender wants transactions relayed. True where the byte is missing (BIP37).
    pub relay: bool,
}

impl Version {
    /// Reads a payload. What follows `addr_recv` may be missing, as in Core: from `addr_from` and
    /// `nonce` on, from the user agent on, from the height on, or the relay byte alone. Bytes
    /// after it are not looked at.
    ///
    /// `None`: the payload ends within a field, or the user agent is longer than 256 bytes, or its
    /// length is not a minimal CompactSize.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let protocol = u32::try_from(cursor.u32()? as i32).unwrap_or(0);
        let services = cursor.u64()?.into();
        let timestamp = cursor.u64()? as i64;
        cursor.take(NET_ADDRESS_LEN)?;
        let mut version = Self {
            protocol,
            services,
            timestamp,
            nonce: 0,
            user_agent: UserAgent::default(),
            height: 0,
            relay: true,
        };
        version.decode_tail(cursor)?;
        Some(version)
    }

    fn decode_tail(&mut self, mut cursor: Cursor<'_>) -> Option<()> {
        if cursor.remaining() > 0 {
            cursor.take(NET_ADDRESS_LEN)?;
            self.nonce = cursor.u64()?;
        }
        if cursor.remaining() > 0 {
            let length = cursor.count().filter(|&length| length <= MAX_USER_AGENT)?;
            self.user_agent = UserAgent(cursor.take(length)?.to_vec());
        }
        if cursor.remaining() > 0 {
            self.height = cursor.u32()? as i32;
        }
        if cursor.remaining() > 0 {
            self.relay = cursor.u8()? != 0;
        }
        Some(())
    }

    /// The payload. `addr_recv` is `receiver` if that is a routable IPv4 or IPv6 address, else
    /// zero; `addr_from` is zero, so that nothing is said of where we are.
    pub fn encode(&self, receiver: Option<Address>) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAX_VERSION_LEN);
        out.extend(self.protocol.to_le_bytes());
        out.extend(self.services.to_u64().to_le_bytes());
        out.extend(self.timestamp.to_le_bytes());
        put_net_address(&mut out, receiver);
        put_net_address(&mut out, None);
        out.extend(self.nonce.to_le_bytes());
        put_compact_size(&mut out, self.user_agent.0.len() as u64);
        out.extend(&self.user_agent.0);
        out.extend(self.height.to_le_bytes());
        out.push(self.relay.into());
        out
    }
}

/// An address without a time and with no services, as `version` holds them.
fn put_net_address(out: &mut Vec<u8>, address: Option<Address>) {
    out.extend([0; 8]);
    let address = address.filter(|address| address.host.is_routable());
    let (ip, port) = match address.map(|address| (address.host, address.port)) {
        Some((Host::Ipv4(ip), port)) => (ip.to_ipv6_mapped().octets(), port),
        Some((Host::Ipv6(ip), port)) => (ip.octets(), port),
        _ => ([0; 16], 0),
    };
    out.extend(ip);
    out.extend(port.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::deserialize;
    use bitcoin::p2p::message_network::VersionMessage;
    use proptest::prelude::*;

    use super::*;

    const UP_TO_ADDR_RECV: usize = 46;

    fn version() -> Version {
        Version {
            protocol: 70016,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            timestamp: 1_700_000_000,
            nonce: 0x0102_0304_0506_0708,
            user_agent: UserAgent(b"/Satoshi:28.1.0/".to_vec()),
            height: 800_000,
            relay: false,
        }
    }

    /// The payload of `version()` up to its user agent, which is given as it is on the wire.
    fn with_user_agent(length: &[u8], bytes: &[u8]) -> Vec<u8> {
        [&version().encode(None)[..80], length, bytes, &[0, 0, 0, 0, 1]].concat()
    }

    #[test]
    fn the_tail_is_optional_field_by_field() {
        let payload = version().encode(None);
        let bare = Version {
            nonce: 0,
            user_agent: UserAgent::default(),
            height: 0,
            relay: true,
            ..version()
        };
        let up_to_nonce = Version { nonce: version().nonce, ..bare.clone() };
        let up_to_user_agent = Version { user_agent: version().user_agent, ..up_to_nonce.clone() };
        let without_relay = Version { relay: true, ..version() };
        let whole = payload.len();
        let mut ends = vec![
            (UP_TO_ADDR_RECV, bare),
            (80, up_to_nonce),
            (80 + 1 + 16, up_to_user_agent),
            (whole - 1, without_relay),
            (whole, version()),
        ];
        for length in 0..=whole {
            let end = ends.iter().position(|(end, _)| *end == length);
            let expected = end.map(|at| ends.swap_remove(at).1);
            assert_eq!(Version::decode(&payload[..length]), expected, "{length} bytes");
        }
        assert_eq!(Version::decode(&[payload, vec![0xff; 100]].concat()), Some(version()));
    }

    #[test]
    fn user_agents_are_any_bytes_but_at_most_256() {
        let long = [b'a'; 257];
        for (length, bytes, accepted) in [
            (&[0][..], &[][..], true),
            (&[6], b"\xff\x1b[2J\0", true),
            (&[0xfd, 0, 1], &long[..256], true),
            (&[0xfd, 1, 1], &long, false),
            (&[0xfe, 0xa0, 0x86, 1, 0], &[b'a'; 100_000], false),
            (&[0xff; 9], &long, false),
            (&[0xfd, 6, 0], b"/abcd/", false),
            (&[200], b"/abcd/", false),
        ] {
            let user_agent = Version::decode(&with_user_agent(length, bytes));
            let expected = accepted.then(|| UserAgent(bytes.to_vec()));
            assert_eq!(user_agent.map(|version| version.user_agent), expected, "{length:?}");
        }
    }

    #[test]
    fn extremes_are_read_and_left_to_the_engine() {
        let read = |at: usize, bytes: &[u8]| {
            let mut payload = version().encode(None);
            payload[at..at + bytes.len()].copy_from_slice(bytes);
            Version::decode(&payload).expect("a valid version")
        };
        for (wire, protocol) in
            [(-1, 0), (i32::MIN, 0), (0, 0), (31_799, 31_799), (i32::MAX, 0x7fff_ffff)]
        {
            assert_eq!(read(0, &wire.to_le_bytes()).protocol, protocol);
        }
        for services in [0, u64::MAX] {
            assert_eq!(read(4, &services.to_le_bytes()).services.to_u64(), services);
        }
        for timestamp in [0, i64::MIN, i64::MAX] {
            assert_eq!(read(12, &timestamp.to_le_bytes()).timestamp, timestamp);
        }
        let height = version().encode(None).len() - 5;
        for value in [-1, i32::MAX] {
            assert_eq!(read(height, &value.to_le_bytes()).height, value);
        }
        assert!(read(height + 4, &[2]).relay);
        assert_eq!(read(72, &[0; 8]).nonce, 0);
    }

    #[test]
    fn only_a_routable_ip_address_is_named_and_never_our_own() {
        // rust-bitcoin reads the address of all zeros as IPv4.
        for (address, named) in [
            ("8.8.8.8:8333", "8.8.8.8:8333"),
            ("[2a01::1]:18333", "[2a01::1]:18333"),
            ("127.0.0.1:8333", "0.0.0.0:0"),
            ("[fe80::1]:8333", "0.0.0.0:0"),
            ("c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p:0", "0.0.0.0:0"),
        ] {
            let payload = version().encode(Some(address.parse().expect("a valid address")));
            let theirs: VersionMessage = deserialize(&payload).expect("a valid version");
            let receiver = theirs.receiver.socket_addr().map(Address::from);
            assert_eq!(receiver.ok(), named.parse().ok(), "{address}");
            assert_eq!(theirs.receiver.services, ServiceFlags::NONE);
            assert_eq!(payload[UP_TO_ADDR_RECV..72], [0; 26]);
        }
    }

    fn any_version() -> impl Strategy<Value = Version> {
        let user_agent = prop::collection::vec(any::<u8>(), 0..=256);
        let tail = (any::<u64>(), user_agent, any::<i32>(), any::<bool>());
        (0..=i32::MAX as u32, any::<u64>(), any::<i64>(), tail).prop_map(
            |(protocol, services, timestamp, (nonce, user_agent, height, relay))| Version {
                protocol,
                services: services.into(),
                timestamp,
                nonce,
                user_agent: UserAgent(user_agent),
                height,
                relay,
            },
        )
    }

    proptest! {
        #[test]
        fn versions_round_trip(version in any_version()) {
            let payload = version.encode(None);
            prop_assert!(payload.len() <= MAX_VERSION_LEN);
            prop_assert_eq!(Version::decode(&payload), Some(version));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Version::decode(&bytes);
        }
    }
}
