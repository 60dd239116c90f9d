//! The wire: v1 frames and the messages inside them.
//!
//! `version`, `addr` and `addrv2` are read by our own tolerant code, as Core reads them; the rest
//! is rust-bitcoin's. Nothing here allocates more than the bytes that have arrived.

mod addr;
mod command;
mod cursor;
mod decode;
mod frame;
mod version;

use std::sync::Arc;

pub use addr::AddrEntry;
pub use command::Command;
pub(crate) use command::Kind;
pub(crate) use decode::{MAX_HEADERS, MAX_INVENTORY, leading_count};
pub use decode::{decode, encode_message, encode_payload, is_reserved};
pub use frame::{Frame, FrameEvent, FrameReader, HEADER_LEN, encode_frame};
pub use version::{PROTOCOL_VERSION, Version};

use crate::address::Address;
use crate::id::LinkFault;

/// A message of the control plane: what the engine reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Opens the handshake.
    Version(Box<Version>),
    /// Ends the handshake.
    Verack,
    /// Announces transactions by wtxid (BIP339).
    WtxidRelay,
    /// Asks for `addrv2` in place of `addr` (BIP155).
    SendAddrV2,
    /// Asks for addresses.
    GetAddr,
    /// Addresses, from `addr` or `addrv2`; entries that Core would drop are dropped. Written as
    /// `addrv2`.
    Addr(Vec<AddrEntry>),
    /// Asks for a pong.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
}

impl Control {
    /// Reads a message with this command, if it is one for the engine. Bytes after its end are not
    /// looked at. `None`: it is not for the engine, or a ping or pong too short to hold a nonce,
    /// which is ignored.
    ///
    /// # Errors
    /// [`LinkFault::Undecodable`], or [`LinkFault::TooMany`] for more addresses than
    /// `max_addr_entries`. Whether to close the link for it is the caller's business.
    pub fn decode(
        command: Command,
        payload: &[u8],
        max_addr_entries: usize,
    ) -> Result<Option<Self>, LinkFault> {
        let nonce = || payload.first_chunk().map(|&bytes| u64::from_le_bytes(bytes));
        Ok(Some(match Kind::of(command) {
            Kind::Version => {
                let version = Version::decode(payload).ok_or(LinkFault::Undecodable)?;
                Self::Version(Box::new(version))
            }
            Kind::Verack => Self::Verack,
            Kind::WtxidRelay => Self::WtxidRelay,
            Kind::SendAddrV2 => Self::SendAddrV2,
            Kind::GetAddr => Self::GetAddr,
            Kind::Addr => Self::Addr(addr::decode_addr(payload, max_addr_entries)?),
            Kind::AddrV2 => Self::Addr(addr::decode_addrv2(payload, max_addr_entries)?),
            Kind::Ping => return Ok(nonce().map(Self::Ping)),
            Kind::Pong => return Ok(nonce().map(Self::Pong)),
            Kind::Inventory | Kind::Headers | Kind::Data | Kind::Unknown => return Ok(None),
        }))
    }

    /// How many bytes of a payload of this kind [`Control::decode`] can have a use for.
    pub(crate) const fn useful_len(kind: Kind, max_addr_entries: usize) -> usize {
        match kind {
            Kind::Version => version::MAX_VERSION_LEN,
            Kind::Addr | Kind::AddrV2 => addr::max_addr_len(max_addr_entries),
            Kind::Ping | Kind::Pong => 8,
            _ => 0,
        }
    }

    /// The command of this message.
    pub const fn command(&self) -> Command {
        match self {
            Self::Version(_) => Command::new("version"),
            Self::Verack => Command::new("verack"),
            Self::WtxidRelay => Command::new("wtxidrelay"),
            Self::SendAddrV2 => Command::new("sendaddrv2"),
            Self::GetAddr => Command::new("getaddr"),
            Self::Addr(_) => Command::new("addrv2"),
            Self::Ping(_) => Command::new("ping"),
            Self::Pong(_) => Command::new("pong"),
        }
    }

    /// The payload of this message; a `version` names `receiver` (see [`Version::encode`]).
    pub fn encode_payload(&self, receiver: Option<Address>) -> Vec<u8> {
        match self {
            Self::Version(version) => version.encode(receiver),
            Self::Verack | Self::WtxidRelay | Self::SendAddrV2 | Self::GetAddr => Vec::new(),
            Self::Addr(entries) => addr::encode_addrv2(entries),
            Self::Ping(nonce) | Self::Pong(nonce) => nonce.to_le_bytes().to_vec(),
        }
    }

    /// This message as one frame; a `version` names `receiver` (see [`Version::encode`]).
    pub fn encode(&self, magic: [u8; 4], receiver: Option<Address>) -> Vec<u8> {
        encode_frame(magic, self.command(), &self.encode_payload(receiver))
    }
}

/// A message whose payload nobody has decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// The command of its frame.
    pub command: Command,
    /// The payload; shared by everyone who is given the message.
    pub payload: Arc<[u8]>,
}
