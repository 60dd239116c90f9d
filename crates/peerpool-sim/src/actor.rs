//! Virtual Bitcoin nodes, one [`Actor`] per connection to one: messages in; messages out and the
//! decision to close. No sockets, no clock, no randomness but what is passed in, so that the same
//! actors run on loopback and in virtual time. What a node knows of its network it asks of its
//! [`Surroundings`].
//!
//! A [`ByteActor`] is an actor behind a byte stream. A transport hands bytes in as they come, calls
//! [`ByteActor::handle_timeout`] at [`ByteActor::wake_at`], and sends what either wrote, in order.
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
//! | [`Lagging`](Kind::Lagging) | keeps it if it needs no late blocks |
//! | [`Sybil`](Kind::Sybil) | cannot tell: bounds what one source tells it, spreads its peers |
//! | [`NearSybil`](Kind::NearSybil) | does not choose its peers by their speed |
//! | [`Spammer`](Kind::Spammer) | takes addresses from a peer at a rate, and drops the rest |
//! | [`Shadow`](Kind::Shadow) | spreads its peers over networks (ASN), not over prefixes alone |
//!
//! What DNS and gossip say of a node is what it was built as, dead or alive now: that it offers
//! all services of the network, and how long ago it was seen. By default they name every kind in
//! its natural share, but the DNS seed no stale node. With a share given, [usable](Kind::is_usable)
//! nodes make up that share of every answer, all others the rest, and stale nodes are left out.
//!
//! An attacker's nodes ([hostile](Kind::is_hostile) ones) are named by others as usable ones, which
//! they are. They themselves name, announce and relay their own cluster only, whatever [`Ages`] the
//! network's gossip has.

pub(crate) mod ages;
mod blocks;
mod bytes;
mod drip;
mod flood;
mod frame;
mod headers;
mod hello;
mod kind;
mod lies;
mod mempool;
mod mix;
mod quirk;
mod roster;
mod seed;
mod serve;
mod surroundings;

use std::net::SocketAddr;

use bitcoin::p2p::address::{AddrV2Message, Address};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now};

pub use ages::Ages;
pub use blocks::script_at;
pub use bytes::ByteActor;
pub use headers::HeaderChain;
pub use kind::{Kind, ParseKindError};
pub use mempool::Mempool;
pub use mix::Mix;
pub use quirk::Quirk;
pub use roster::Roster;
#[cfg(feature = "tcp")]
pub(crate) use roster::sample_share;
pub use seed::SeedKind;
pub use surroundings::{Listing, Profile, Surroundings};

use flood::Flood;
use mempool::Relay;

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

/// What an actor says.
#[derive(Clone, Debug)]
pub enum Said {
    /// A message.
    Message(NetworkMessage),
    /// What no message can express, frames and all: a header without its payload, a payload that
    /// does not decode, a piece of a flood. Only of kinds that [need bytes](Kind::needs_bytes).
    Bytes(Vec<u8>),
}

/// One node's end of one inbound connection.
#[derive(Clone, Debug)]
pub struct Actor {
    node: Listing,
    peer: SocketAddr,
    rng: Rng,
    stage: Stage,
    wants_addrv2: bool,
    gossiped: bool,
    /// When hands were shaken.
    ready_at: Monotonic,
    /// When it answers getaddr, if it takes its time.
    answers_at: Option<Monotonic>,
    /// When it relays addresses next.
    relays_at: Option<Monotonic>,
    flood: Option<Flood>,
    quirk: Option<Quirk>,
    /// The version that it has yet to repeat.
    hello: Option<VersionMessage>,
    /// When it pings next.
    pings_at: Option<Monotonic>,
    /// What it tells the peer of transactions.
    relay: Relay,
    /// Whether the peer wants to be told.
    wants_txs: bool,
}

impl Actor {
    /// The end of a connection that `node` accepted from `peer`. A refusing node that is made to
    /// accept closes, a silent one stays mute.
    pub fn new(node: Listing, peer: SocketAddr, rng: Rng) -> Self {
        Self {
            node,
            peer,
            rng,
            stage: Stage::Accepted,
            wants_addrv2: false,
            gossiped: false,
            ready_at: Monotonic::default(),
            answers_at: None,
            relays_at: None,
            flood: None,
            quirk: None,
            hello: None,
            pings_at: None,
            relay: Relay::default(),
            wants_txs: false,
        }
    }

    /// The same with a quirk.
    #[must_use]
    pub fn with_quirk(self, quirk: Option<Quirk>) -> Self {
        Self { quirk, ..self }
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

    /// Whether the node takes anything now. While it does not, the transport leaves what comes
    /// where it is.
    pub fn is_reading(&self) -> bool {
        !(self.node.kind == Kind::Deaf && self.stage == Stage::Ready)
    }

    /// A message came; appends the answer to `out`.
    pub fn handle_message(
        &mut self,
        around: &mut dyn Surroundings,
        now: Now,
        message: NetworkMessage,
        out: &mut Vec<Said>,
    ) -> Next {
        if let Some(next) = self.unheard() {
            return next;
        }
        match (self.stage, message) {
            (Stage::Accepted, NetworkMessage::Version(theirs)) => {
                self.on_version(around.profile(), now, &theirs, out);
            }
            // Core: features are negotiated between version and verack, or not at all.
            (Stage::Version, NetworkMessage::SendAddrV2) => self.wants_addrv2 = true,
            (Stage::Version, NetworkMessage::WtxidRelay) => self.relay.by_wtxid = true,
            (Stage::Version, NetworkMessage::Verack) => return self.on_ready(around, now, out),
            (Stage::Ready, message) if self.is_serving() => {
                return self.on_request(around, now, message, out);
            }
            _ => {}
        }
        Next::Stay
    }

    /// When to call [`Actor::handle_timeout`]; `None` if the node has nothing to say of itself.
    pub fn wake_at(&self) -> Option<Monotonic> {
        let flood = self.flood.as_ref().map(|flood| flood.next);
        [self.answers_at, self.relays_at, self.pings_at, self.relay.next, flood]
            .into_iter()
            .flatten()
            .min()
    }

    /// Appends to `out` what the node says of itself now. Does nothing before
    /// [`Actor::wake_at`].
    pub fn handle_timeout(
        &mut self,
        around: &mut dyn Surroundings,
        now: Now,
        out: &mut Vec<Said>,
    ) -> Next {
        let is_due = |at: &Monotonic| *at <= now.mono;
        if self.relays_at.as_ref().is_some_and(is_due) {
            let entries = around.relayed(now.unix, &self.node, &mut self.rng);
            self.say_addresses(entries, out);
            self.plan_relay(now.mono);
        }
        if self.answers_at.as_ref().is_some_and(is_due) {
            self.answers_at = None;
            let entries = around.gossip(now.unix, &self.node, &mut self.rng);
            self.say_addresses(entries, out);
        }
        if self.pings_at.as_ref().is_some_and(is_due) {
            out.push(Said::Message(NetworkMessage::Ping(self.rng.u64())));
            self.plan_ping(now.mono);
        }
        if self.relay.next.as_ref().is_some_and(is_due) {
            self.announce(around, now.mono, out);
        }
        if let Some(flood) = self.flood.as_mut().filter(|flood| is_due(&flood.next)) {
            let mut piece = Vec::new();
            flood.pour(now, &self.node, around.profile(), &mut self.rng, &mut piece);
            out.push(Said::Bytes(piece));
        }
        Next::Stay
    }

    /// What the node does about whatever comes, if it does not listen.
    fn unheard(&self) -> Option<Next> {
        match self.node.kind {
            Kind::Rude | Kind::Refusing => Some(Next::Close),
            Kind::Mute | Kind::Silent => Some(Next::Stay),
            _ => None,
        }
    }

    fn on_version(
        &mut self,
        profile: &Profile,
        now: Now,
        theirs: &VersionMessage,
        out: &mut Vec<Said>,
    ) {
        self.stage = Stage::Version;
        self.wants_txs = theirs.relay;
        let nonce = self.rng.u64();
        let hello = hello::version(profile, self.node.kind, self.peer, theirs, nonce, now);
        let negotiates = theirs.version.min(hello.version) >= PROTOCOL_VERSION;
        let times = if self.quirk == Some(Quirk::Repeats) { 2 } else { 1 };
        self.hello = (times > 1).then(|| hello.clone());
        out.extend(vec![Said::Message(NetworkMessage::Version(hello)); times]);
        if negotiates {
            out.push(Said::Message(NetworkMessage::WtxidRelay));
            out.push(Said::Message(NetworkMessage::SendAddrV2));
        }
        if self.quirk == Some(Quirk::Dawdles) {
            return self.plan_ping(now.mono);
        }
        out.push(Said::Message(NetworkMessage::Verack));
    }

    fn plan_ping(&mut self, now: Monotonic) {
        self.pings_at = self.quirk.map(|quirk| now + quirk.ping_pause());
    }

    /// What a node does as soon as hands are shaken.
    fn on_ready(&mut self, around: &mut dyn Surroundings, now: Now, out: &mut Vec<Said>) -> Next {
        self.stage = Stage::Ready;
        self.ready_at = now.mono;
        if let Some(mempool) = self.mempool(around).filter(|_| self.wants_txs) {
            self.relay.begin(now.mono, &mempool, &mut self.rng);
        }
        let magic = around.profile().magic;
        match self.quirk {
            Some(Quirk::Pings) => self.plan_ping(now.mono),
            Some(Quirk::Repeats) => {
                let again = self.hello.take().map(NetworkMessage::Version);
                out.extend(again.map(Said::Message));
            }
            _ => {}
        }
        match self.node.kind {
            Kind::Dropper => return Next::Close,
            Kind::Claimer => {
                let length = frame::PAYLOAD_MAX_BYTES;
                out.push(Said::Bytes(frame::header(magic, "block", length, [0; 4])));
            }
            Kind::Flooder => self.flood = Some(Flood::new(now.mono)),
            Kind::Liar => {
                self.say_lies(around, now, out);
                let command = if self.wants_addrv2 { "addrv2" } else { "addr" };
                let undecodable = lies::UNDECODABLE.map(|it| frame::frame(magic, command, it));
                out.extend(undecodable.map(Said::Bytes));
            }
            kind if around.profile().ages == Ages::Core || kind.is_hostile() => {
                let announcement = around.profile().entry(self.node.address, now.unix);
                self.say_addresses(vec![announcement], out);
                self.plan_relay(now.mono);
            }
            _ => {}
        }
        Next::Stay
    }

    fn plan_relay(&mut self, now: Monotonic) {
        let linked = now.since(self.ready_at);
        self.relays_at = Some(now + ages::relay_pause(self.node.kind, linked, &mut self.rng));
    }

    /// Whether the node answers requests. A word of its own amid the message that a claimer or a
    /// flooder has begun would be taken for a part of it.
    fn is_serving(&self) -> bool {
        !matches!(self.node.kind, Kind::Claimer | Kind::Flooder)
    }

    fn on_request(
        &mut self,
        around: &mut dyn Surroundings,
        now: Now,
        message: NetworkMessage,
        out: &mut Vec<Said>,
    ) -> Next {
        match message {
            NetworkMessage::SendAddrV2 | NetworkMessage::WtxidRelay => return Next::Close,
            NetworkMessage::Ping(nonce) => {
                let wrong = u64::from(self.quirk == Some(Quirk::WrongPongs));
                let nonce = nonce.wrapping_add(wrong);
                out.push(Said::Message(NetworkMessage::Pong(nonce)));
            }
            NetworkMessage::GetHeaders(request) => {
                let headers = match self.node.kind {
                    // Core, as long as its chain has less than the least work known.
                    Kind::Lagging => Vec::new(),
                    kind => around.profile().headers_of(kind).answer(&request),
                };
                out.push(Said::Message(NetworkMessage::Headers(headers)));
            }
            // Answered once, as Core does.
            NetworkMessage::GetAddr if !std::mem::replace(&mut self.gossiped, true) => {
                if self.quirk == Some(Quirk::KeepsMum) {
                    return Next::Stay;
                } else if self.node.kind == Kind::Liar {
                    self.say_lies(around, now, out);
                } else if around.profile().ages == Ages::Core && !self.node.kind.is_hostile() {
                    self.answers_at = Some(now.mono + ages::answer_pause(&mut self.rng));
                } else {
                    let entries = around.gossip(now.unix, &self.node, &mut self.rng);
                    self.say_addresses(entries, out);
                }
            }
            NetworkMessage::Inv(inventory) => {
                let mempool = self.mempool(around);
                let wanted = mempool.map(|mempool| self.relay.on_inv(&inventory, &mempool));
                let wanted = wanted.filter(|wanted| !wanted.is_empty());
                out.extend(wanted.map(NetworkMessage::GetData).map(Said::Message));
            }
            NetworkMessage::Tx(tx) => {
                if let Some(mempool) = self.mempool(around) {
                    mempool.add(tx);
                }
            }
            message => {
                let (profile, kind) = (around.profile(), self.node.kind);
                let (chain, services) = (profile.headers_of(kind), profile.services);
                let stock = serve::Stock {
                    chain,
                    services,
                    pruned: kind == Kind::Pruned,
                    mempool: &profile.mempool,
                };
                return stock.answer(&message, out);
            }
        }
        Next::Stay
    }

    /// The transactions of the network, if it has any. Whoever brings one need not want any.
    fn mempool(&self, around: &dyn Surroundings) -> Option<Mempool> {
        around.profile().mempool.clone().filter(|_| self.is_serving())
    }

    fn announce(&mut self, around: &dyn Surroundings, now: Monotonic, out: &mut Vec<Said>) {
        let Some(mempool) = self.mempool(around).filter(|_| self.wants_txs) else { return };
        let news = self.relay.announce(now, &mempool, &mut self.rng);
        if !news.is_empty() {
            out.push(Said::Message(NetworkMessage::Inv(news)));
        }
    }

    fn say_lies(&mut self, around: &mut dyn Surroundings, now: Now, out: &mut Vec<Said>) {
        let entries = lies::entries(around, now.unix, &self.node, self.peer, &mut self.rng);
        self.say_addresses(entries, out);
    }

    fn say_addresses(&self, entries: Vec<AddrV2Message>, out: &mut Vec<Said>) {
        if entries.is_empty() {
            return;
        }
        out.push(Said::Message(if self.wants_addrv2 {
            NetworkMessage::AddrV2(entries)
        } else {
            NetworkMessage::Addr(entries.iter().filter_map(as_v1).collect())
        }));
    }
}

fn as_v1(entry: &AddrV2Message) -> Option<(u32, Address)> {
    let address = entry.socket_addr().ok()?;
    Some((entry.time, Address::new(&address, entry.services)))
}

#[cfg(test)]
mod tests;
