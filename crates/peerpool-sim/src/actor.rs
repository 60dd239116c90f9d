//! Virtual Bitcoin nodes, one [`Actor`] per connection to one: bytes in; bytes out and the decision
//! to close. No sockets, no clock, no randomness but what is passed in, so that the same actors
//! run on loopback and in virtual time. A transport hands bytes in as they come, calls
//! [`Actor::handle_timeout`] at [`Actor::wake_at`], and sends what either wrote, in order.
//!
//! Messages are read and written by rust-bitcoin's codec: what the pool's own wire code says is
//! checked here by an implementation that shares nothing with it.
//!
//! # The kinds of node
//!
//! | kind | what a good client does |
//! |---|---|
//! | [`Honest`](Kind::Honest) | keeps it, with one connection at a time |
//! | [`Refusing`](Kind::Refusing) | does not dial it again for long, unless all dials fail |
//! | [`Silent`](Kind::Silent) | the same, after a time-out of seconds; dials others meanwhile |
//! | [`Mute`](Kind::Mute) | ends the handshake at a deadline |
//! | [`Rude`](Kind::Rude) | dials others; if it comes back, then after a long while |
//! | [`Stale`](Kind::Stale) | prefers addresses that were seen lately |
//! | [`Vanishing`](Kind::Vanishing) | notices, and finds another |
//! | [`Flapping`](Kind::Flapping) | comes back less and less often |
//! | [`Pruned`](Kind::Pruned) | keeps it if recent blocks are enough |
//! | [`Serviceless`](Kind::Serviceless) | believes the version message, not gossip, and leaves |
//! | [`Old`](Kind::Old) | leaves, if it relies on what came later |
//! | [`Echo`](Kind::Echo) | takes it for itself, leaves, and does not dial it again |
//! | [`WrongMagic`](Kind::WrongMagic) | leaves at the first four bytes |
//! | [`WrongChain`](Kind::WrongChain) | looks at headers before it believes, and leaves |
//! | [`Slow`](Kind::Slow) | has one deadline for the whole handshake, not one for each read |
//! | [`Dropper`](Kind::Dropper) | counts that as a failure, though hands were shaken |
//! | [`Deaf`](Kind::Deaf) | pings, leaves without a pong, and bounds what it queues |
//! | [`Claimer`](Kind::Claimer) | takes memory for bytes that came, not for those announced |
//! | [`Flooder`](Kind::Flooder) | has a budget for all that costs it something |
//! | [`Liar`](Kind::Liar) | refuses what cannot be, and bounds what it takes from one peer |
//!
//! What DNS and gossip say of a node is what it was built as, dead or alive now: that it offers
//! all services of the network, and how long ago it was seen. By default they name every kind in
//! its natural share, but the DNS seed no stale node. With a share given, [usable](Kind::is_usable)
//! nodes make up that share of every answer, all others the rest, and stale nodes are left out.

mod ages;
mod drip;
mod flood;
mod frame;
mod headers;
mod hello;
mod kind;
mod lies;
mod mix;
mod roster;

use std::net::SocketAddr;
use std::sync::Arc;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::p2p::address::{AddrV2Message, Address};
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now};

pub use ages::Ages;
pub use headers::HeaderChain;
pub use kind::{Kind, ParseKindError};
pub use mix::Mix;
#[cfg(feature = "tcp")]
pub(crate) use roster::sample_share;
pub use roster::{Listing, Roster};

use drip::Drip;
use flood::Flood;
use frame::Frame;

/// The protocol version that actors speak: the first with `wtxidrelay` (BIP339) and the one from
/// which Core sends `sendaddrv2` (BIP155).
pub const PROTOCOL_VERSION: u32 = 70016;

/// What the transport does after an actor has spoken: send what it wrote, then this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Keep the connection.
    Stay,
    /// Close it.
    Close,
}

/// How far a connection came, as the node saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The connection was accepted.
    Accepted,
    /// The peer's version came. (A node that never answers does not look for one.)
    Version,
    /// The peer's verack came: hands are shaken.
    Ready,
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
    flood: Option<Flood>,
    drip: Option<Drip>,
}

impl Actor {
    /// The end of a connection that `node` accepted from `peer`. A refusing node that is made to
    /// accept closes, a silent one stays mute.
    pub fn new(roster: Arc<Roster>, node: Listing, peer: SocketAddr, rng: Rng) -> Self {
        let drip = (node.kind == Kind::Slow).then(|| Drip::new(roster.slow_rate));
        Self {
            roster,
            node,
            peer,
            rng,
            received: Vec::new(),
            stage: Stage::Accepted,
            wants_addrv2: false,
            gossiped: false,
            relays_at: None,
            flood: None,
            drip,
        }
    }

    /// How far the connection came.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The connection was accepted.
    pub fn handle_open(&mut self) -> Next {
        match self.node.kind {
            Kind::Rude | Kind::Refusing => Next::Close,
            _ => Next::Stay,
        }
    }

    /// Whether the node takes bytes now. While it does not, the transport leaves them where they
    /// are, so that the peer's writing stops.
    pub fn is_reading(&self) -> bool {
        let is_deaf = self.node.kind == Kind::Deaf && self.stage == Stage::Ready;
        !is_deaf && self.drip.as_ref().is_none_or(Drip::has_room)
    }

    /// Bytes came, cut anywhere; appends the answer to `out`. Memory held grows with the bytes
    /// received, up to one message of 4 MB. A frame with wrong magic or a payload above that is
    /// answered by closing; one that does not decode is skipped, as Core does.
    pub fn handle_bytes(&mut self, now: Now, bytes: &[u8], out: &mut Vec<u8>) -> Next {
        match self.node.kind {
            Kind::Rude | Kind::Refusing => return Next::Close,
            Kind::Mute | Kind::Silent => return Next::Stay,
            _ => {}
        }
        self.received.extend_from_slice(bytes);
        let mut said = Vec::new();
        let mut consumed = 0;
        let next = loop {
            match Frame::first_in(self.roster.magic, &self.received[consumed..]) {
                Frame::Partial => break Next::Stay,
                Frame::Bad => break Next::Close,
                Frame::Whole(length) => {
                    let frame = &self.received[consumed..consumed + length];
                    consumed += length;
                    let Ok(message) = deserialize::<RawNetworkMessage>(frame) else { continue };
                    if self.on_message(now, message.into_payload(), &mut said) == Next::Close {
                        break Next::Close;
                    }
                }
            }
        };
        self.received.drain(..consumed);
        self.let_go(now.mono, said, out);
        next
    }

    /// When to call [`Actor::handle_timeout`]; `None` if the node has nothing to say of itself. A
    /// transport that cannot send calls later: what a flooder says is without end.
    pub fn wake_at(&self) -> Option<Monotonic> {
        let flood = self.flood.as_ref().map(|flood| flood.next);
        let drip = self.drip.as_ref().and_then(Drip::wake_at);
        [self.relays_at, flood, drip].into_iter().flatten().min()
    }

    /// Appends to `out` what the node says of itself now. Does nothing before
    /// [`Actor::wake_at`].
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<u8>) -> Next {
        let is_due = |at: &Monotonic| *at <= now.mono;
        if self.relays_at.as_ref().is_some_and(is_due) {
            // A slow node with much to say yet relays nothing more.
            if self.drip.as_ref().is_none_or(Drip::has_room) {
                let entries = self.roster.relayed(now.unix, &mut self.rng);
                let mut said = Vec::new();
                self.say_addresses(entries, &mut said);
                self.let_go(now.mono, said, out);
            }
            self.relays_at = Some(now.mono + ages::relay_pause(&mut self.rng));
        }
        if let Some(flood) = self.flood.as_mut().filter(|flood| is_due(&flood.next)) {
            flood.pour(now, &self.node, &self.roster, &mut self.rng, out);
        }
        if let Some(drip) = &mut self.drip {
            drip.release(now.mono, out);
        }
        Next::Stay
    }

    /// Appends to `out` what the node has said; a slow one's bytes wait for their time.
    fn let_go(&mut self, now: Monotonic, said: Vec<u8>, out: &mut Vec<u8>) {
        match &mut self.drip {
            Some(drip) => drip.hold(now, said),
            None => out.extend(said),
        }
    }

    fn on_message(&mut self, now: Now, message: NetworkMessage, out: &mut Vec<u8>) -> Next {
        match (self.stage, message) {
            (Stage::Accepted, NetworkMessage::Version(theirs)) => {
                self.on_version(now, &theirs, out);
            }
            // Core: features are negotiated between version and verack, or not at all.
            (Stage::Version, NetworkMessage::SendAddrV2) => self.wants_addrv2 = true,
            (Stage::Version, NetworkMessage::Verack) => return self.on_ready(now, out),
            (Stage::Ready, message) if self.is_serving() => {
                return self.on_request(now, message, out);
            }
            _ => {}
        }
        Next::Stay
    }

    fn on_version(&mut self, now: Now, theirs: &VersionMessage, out: &mut Vec<u8>) {
        self.stage = Stage::Version;
        let nonce = self.rng.u64();
        let hello = hello::version(&self.roster, self.node.kind, self.peer, theirs, nonce, now);
        let negotiates = theirs.version.min(hello.version) >= PROTOCOL_VERSION;
        self.say(NetworkMessage::Version(hello), out);
        if negotiates {
            self.say(NetworkMessage::WtxidRelay, out);
            self.say(NetworkMessage::SendAddrV2, out);
        }
        self.say(NetworkMessage::Verack, out);
    }

    /// What a node does as soon as hands are shaken.
    fn on_ready(&mut self, now: Now, out: &mut Vec<u8>) -> Next {
        self.stage = Stage::Ready;
        match self.node.kind {
            Kind::Dropper => return Next::Close,
            Kind::Claimer => {
                let length = frame::PAYLOAD_MAX_BYTES;
                out.extend(frame::header(self.roster.magic, "block", length, [0; 4]));
            }
            Kind::Flooder => self.flood = Some(Flood::new(now.mono)),
            Kind::Liar => {
                self.say_lies(now, out);
                let command = if self.wants_addrv2 { "addrv2" } else { "addr" };
                for payload in lies::UNDECODABLE {
                    out.extend(frame::frame(self.roster.magic, command, payload));
                }
            }
            _ if self.roster.ages == Ages::Core => {
                self.say_addresses(vec![self.roster.announcement(now.unix, &self.node)], out);
                self.relays_at = Some(now.mono + ages::relay_pause(&mut self.rng));
            }
            _ => {}
        }
        Next::Stay
    }

    /// Whether the node answers requests. A word of its own amid the message that a claimer or a
    /// flooder has begun would be taken for a part of it.
    fn is_serving(&self) -> bool {
        !matches!(self.node.kind, Kind::Claimer | Kind::Flooder)
    }

    fn on_request(&mut self, now: Now, message: NetworkMessage, out: &mut Vec<u8>) -> Next {
        match message {
            NetworkMessage::SendAddrV2 | NetworkMessage::WtxidRelay => return Next::Close,
            NetworkMessage::Ping(nonce) => self.say(NetworkMessage::Pong(nonce), out),
            NetworkMessage::GetHeaders(request) => {
                let headers = self.roster.headers_of(self.node.kind).answer(&request);
                self.say(NetworkMessage::Headers(headers), out);
            }
            // Answered once, as Core does.
            NetworkMessage::GetAddr if !std::mem::replace(&mut self.gossiped, true) => {
                if self.node.kind == Kind::Liar {
                    self.say_lies(now, out);
                } else {
                    let from = self.node.address;
                    let entries = self.roster.gossip(now.unix, from, &mut self.rng);
                    self.say_addresses(entries, out);
                }
            }
            _ => {}
        }
        Next::Stay
    }

    fn say_lies(&mut self, now: Now, out: &mut Vec<u8>) {
        let port = self.node.address.port();
        let entries = lies::entries(&self.roster, port, now.unix, &mut self.rng);
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
        let magic = hello::magic(self.roster.magic, self.node.kind);
        out.extend(serialize(&RawNetworkMessage::new(magic, message)));
    }
}

fn as_v1(entry: &AddrV2Message) -> Option<(u32, Address)> {
    let address = entry.socket_addr().ok()?;
    Some((entry.time, Address::new(&address, entry.services)))
}

#[cfg(test)]
mod tests;
