//! Virtual Bitcoin nodes, one [`Actor`] per connection to one: bytes in; bytes out and the decision
//! to close. No sockets, no clock, no randomness but what is passed in, so that the same actors
//! run on loopback and in virtual time. A transport hands bytes in as they come, calls
//! [`Actor::handle_timeout`] at [`Actor::wake_at`], and sends what either wrote, in order.
//!
//! Messages are read and written by rust-bitcoin's codec: what the pool's own wire code says is
//! checked here by an implementation that shares nothing with it.

mod ages;
mod headers;
mod kind;
mod roster;

use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::p2p::address::{AddrV2Message, Address};
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now};

pub use ages::Ages;
pub use headers::HeaderChain;
pub use kind::{Kind, Mix, ParseKindError};
#[cfg(feature = "tcp")]
pub(crate) use roster::sample_share;
pub use roster::{Listing, Roster};

/// The protocol version that actors speak: the first with `wtxidrelay` (BIP339) and the one from
/// which Core sends `sendaddrv2` (BIP155).
pub const PROTOCOL_VERSION: u32 = 70016;
/// Magic, command, length and checksum of a v1 message.
const FRAME_HEADER_BYTES: usize = 24;
/// Longest payload taken (Core's `MAX_PROTOCOL_MESSAGE_LENGTH`).
const PAYLOAD_MAX_BYTES: usize = 4_000_000;

/// What the transport does after an actor has spoken: send what it wrote, then this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Keep the connection.
    Stay,
    /// Close it.
    Close,
}

/// One node's end of one inbound connection.
#[derive(Clone, Debug)]
pub struct Actor {
    roster: Arc<Roster>,
    node: Listing,
    peer: SocketAddr,
    rng: Rng,
    received: Vec<u8>,
    stage: Stage,
    wants_addrv2: bool,
    gossiped: bool,
    /// When it relays addresses next.
    relays_at: Option<Monotonic>,
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    AwaitVersion,
    AwaitVerack,
    Ready,
}

impl Actor {
    /// The end of a connection that `node` accepted from `peer`. A refusing node that is made to
    /// accept closes, a silent one stays mute.
    pub fn new(roster: Arc<Roster>, node: Listing, peer: SocketAddr, rng: Rng) -> Self {
        Self {
            roster,
            node,
            peer,
            rng,
            received: Vec::new(),
            stage: Stage::AwaitVersion,
            wants_addrv2: false,
            gossiped: false,
            relays_at: None,
        }
    }

    /// The connection was accepted.
    pub fn handle_open(&mut self) -> Next {
        match self.node.kind {
            Kind::Rude | Kind::Refusing => Next::Close,
            _ => Next::Stay,
        }
    }

    /// Bytes came, cut anywhere; appends the answer to `out`. Memory held grows with the bytes
    /// received, up to one message of 4 MB. A frame with wrong magic or a payload above that is
    /// answered by closing; one that does not decode is skipped, as Core does.
    pub fn handle_bytes(&mut self, now: Now, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        if !self.node.kind.shakes_hands() {
            return self.handle_open();
        }
        self.received.extend_from_slice(bytes);
        let mut consumed = 0;
        let next = loop {
            match frame_length(self.roster.magic, &self.received[consumed..]) {
                Frame::Partial => break Next::Stay,
                Frame::Bad => break Next::Close,
                Frame::Whole(length) => {
                    let frame = &self.received[consumed..consumed + length];
                    consumed += length;
                    let Ok(message) = deserialize::<RawNetworkMessage>(frame) else { continue };
                    if self.on_message(now, message.into_payload(), out) == Next::Close {
                        break Next::Close;
                    }
                }
            }
        };
        self.received.drain(..consumed);
        next
    }

    /// When to call [`Actor::handle_timeout`]; `None` if the node has nothing to say of itself.
    pub fn wake_at(&self) -> Option<Monotonic> {
        self.relays_at
    }

    /// Appends to `out` what the node says of itself now. Does nothing before
    /// [`Actor::wake_at`].
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<u8>) -> Next {
        if self.relays_at.is_some_and(|at| at <= now.mono) {
            let entries = self.roster.relayed(now.unix, &mut self.rng);
            self.say_addresses(entries, out);
            self.relays_at = Some(now.mono + ages::relay_pause(&mut self.rng));
        }
        Next::Stay
    }

    fn on_message(&mut self, now: Now, message: NetworkMessage, out: &mut Vec<u8>) -> Next {
        match (self.stage, message) {
            (Stage::AwaitVersion, NetworkMessage::Version(version)) => {
                self.on_version(now, version.version, out);
            }
            // Core: features are negotiated between version and verack, or not at all.
            (Stage::AwaitVerack, NetworkMessage::SendAddrV2) => self.wants_addrv2 = true,
            (Stage::Ready, NetworkMessage::SendAddrV2 | NetworkMessage::WtxidRelay) => {
                return Next::Close;
            }
            (Stage::AwaitVerack, NetworkMessage::Verack) => self.on_ready(now, out),
            (Stage::Ready, NetworkMessage::Ping(nonce)) => {
                self.say(NetworkMessage::Pong(nonce), out);
            }
            (Stage::Ready, NetworkMessage::GetAddr) => self.on_getaddr(now, out),
            (Stage::Ready, NetworkMessage::GetHeaders(request)) => {
                let headers = self.roster.headers.answer(&request);
                self.say(NetworkMessage::Headers(headers), out);
            }
            _ => {}
        }
        Next::Stay
    }

    fn on_version(&mut self, now: Now, version: u32, out: &mut Vec<u8>) {
        self.stage = Stage::AwaitVerack;
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let hello = VersionMessage {
            version: PROTOCOL_VERSION,
            services: self.roster.services,
            timestamp: i64::try_from(now.unix.0).unwrap_or(i64::MAX),
            receiver: Address::new(&self.peer, ServiceFlags::NONE),
            sender: Address::new(&unspecified, self.roster.services),
            nonce: self.rng.u64(),
            user_agent: self.roster.user_agent.clone(),
            start_height: i32::try_from(self.roster.headers.height()).unwrap_or(i32::MAX),
            relay: true,
        };
        self.say(NetworkMessage::Version(hello), out);
        if version >= PROTOCOL_VERSION {
            self.say(NetworkMessage::WtxidRelay, out);
            self.say(NetworkMessage::SendAddrV2, out);
        }
        self.say(NetworkMessage::Verack, out);
    }

    fn on_ready(&mut self, now: Now, out: &mut Vec<u8>) {
        self.stage = Stage::Ready;
        if self.roster.ages == Ages::Core {
            self.say_addresses(vec![self.roster.announcement(now.unix, &self.node)], out);
            self.relays_at = Some(now.mono + ages::relay_pause(&mut self.rng));
        }
    }

    /// Answers the first getaddr and no other, as Core does.
    fn on_getaddr(&mut self, now: Now, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.gossiped, true) {
            return;
        }
        let entries = self.roster.gossip(now.unix, self.node.address, &mut self.rng);
        self.say_addresses(entries, out);
    }

    fn say_addresses(&self, entries: Vec<AddrV2Message>, out: &mut Vec<u8>) {
        if entries.is_empty() {
            return;
        }
        let message = if self.wants_addrv2 {
            NetworkMessage::AddrV2(entries)
        } else {
            NetworkMessage::Addr(entries.iter().filter_map(as_v1).collect())
        };
        self.say(message, out);
    }

    fn say(&self, message: NetworkMessage, out: &mut Vec<u8>) {
        out.extend(serialize(&RawNetworkMessage::new(self.roster.magic, message)));
    }
}

fn as_v1(entry: &AddrV2Message) -> Option<(u32, Address)> {
    let address = entry.socket_addr().ok()?;
    Some((entry.time, Address::new(&address, entry.services)))
}

/// What stands at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Too little to tell.
    Partial,
    /// Not a frame of this chain, or one too long.
    Bad,
    /// A frame of this many bytes, header included.
    Whole(usize),
}

fn frame_length(magic: Magic, bytes: &[u8]) -> Frame {
    let seen = bytes.len().min(4);
    if bytes[..seen] != magic.to_bytes()[..seen] {
        return Frame::Bad;
    }
    let Some(length) = bytes.get(16..FRAME_HEADER_BYTES - 4) else { return Frame::Partial };
    let length = length.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    if length > PAYLOAD_MAX_BYTES {
        Frame::Bad
    } else if bytes.len() < FRAME_HEADER_BYTES + length {
        Frame::Partial
    } else {
        Frame::Whole(FRAME_HEADER_BYTES + length)
    }
}

#[cfg(test)]
mod tests;
