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
