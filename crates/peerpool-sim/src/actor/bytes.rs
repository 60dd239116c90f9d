//! An actor behind a byte stream: frames, rust-bitcoin's codec, and a slow node's drip.

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::RawNetworkMessage;
use peerpool_core::time::{Monotonic, Now};

use super::drip::Drip;
use super::frame::Frame;
use super::{Actor, Kind, Next, Profile, Said, Stage, Surroundings};

/// One node's end of one inbound connection, in bytes.
#[derive(Clone, Debug)]
pub struct ByteActor {
    actor: Actor,
    received: Vec<u8>,
    pub(super) drip: Option<Drip>,
}

impl ByteActor {
    /// The actor, spoken to in bytes.
    pub fn new(actor: Actor, profile: &Profile) -> Self {
        let drip = (actor.node.kind == Kind::Slow).then(|| Drip::new(profile.slow_rate));
        Self { actor, received: Vec::new(), drip }
    }

    /// How far the connection came.
    pub fn stage(&self) -> Stage {
        self.actor.stage()
    }

    /// The connection was accepted.
    pub fn handle_open(&mut self) -> Next {
        self.actor.handle_open()
    }

    /// Whether the node takes bytes now. While it does not, the transport leaves them where they
    /// are, so that the peer's writing stops.
    pub fn is_reading(&self) -> bool {
        self.actor.is_reading() && self.drip.as_ref().is_none_or(Drip::has_room)
    }

    /// Bytes came, cut anywhere; appends the answer to `out`. Memory held grows with the bytes
    /// received, up to one message of 4 MB. A frame with wrong magic or a payload above that is
    /// answered by closing; one that does not decode is skipped, as Core does.
    pub fn handle_bytes(
        &mut self,
        around: &mut dyn Surroundings,
        now: Now,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Next {
        if let Some(next) = self.actor.unheard() {
            return next;
        }
        self.received.extend_from_slice(bytes);
        let magic = around.profile().magic;
        let mut said = Vec::new();
        let mut consumed = 0;
        let next = loop {
            match Frame::first_in(magic, &self.received[consumed..]) {
                Frame::Partial => break Next::Stay,
                Frame::Bad => break Next::Close,
                Frame::Whole(length) => {
                    let frame = &self.received[consumed..consumed + length];
                    consumed += length;
                    let Ok(message) = deserialize::<RawNetworkMessage>(frame) else { continue };
                    let message = message.into_payload();
                    if self.actor.handle_message(around, now, message, &mut said) == Next::Close {
                        break Next::Close;
                    }
                }
            }
        };
        self.received.drain(..consumed);
        self.let_go(magic, now.mono, said, out);
        next
    }

    /// When to call [`ByteActor::handle_timeout`]; `None` if the node has nothing to say of itself.
    /// A transport that cannot send calls later: what a flooder says is without end.
    pub fn wake_at(&self) -> Option<Monotonic> {
        let drip = self.drip.as_ref().and_then(Drip::wake_at);
        [self.actor.wake_at(), drip].into_iter().flatten().min()
    }

    /// Appends to `out` what the node says of itself now. Does nothing before
    /// [`ByteActor::wake_at`].
    pub fn handle_timeout(
        &mut self,
        around: &mut dyn Surroundings,
        now: Now,
        out: &mut Vec<u8>,
    ) -> Next {
        let mut said = Vec::new();
        let next = self.actor.handle_timeout(around, now, &mut said);
        // A slow node with much to say yet adds nothing of its own.
        if self.drip.as_ref().is_none_or(Drip::has_room) {
            self.let_go(around.profile().magic, now.mono, said, out);
        }
        if let Some(drip) = &mut self.drip {
            drip.release(now.mono, out);
        }
        next
    }

    /// Appends to `out` what the node has said; a slow one's bytes wait for their time.
    fn let_go(&mut self, network: Magic, now: Monotonic, said: Vec<Said>, out: &mut Vec<u8>) {
        let magic = written_magic(network, self.actor.node.kind);
        let bytes = said.into_iter().map(|said| match said {
            Said::Message(message) => serialize(&RawNetworkMessage::new(magic, message)),
            Said::Bytes(bytes) => bytes,
        });
        match &mut self.drip {
            Some(drip) => drip.hold(now, bytes.flatten()),
            None => bytes.for_each(|bytes| out.extend_from_slice(&bytes)),
        }
    }
}

/// The magic that a node of this kind writes, on a network with this one.
fn written_magic(network: Magic, kind: Kind) -> Magic {
    match (kind, network) {
        (Kind::WrongMagic, Magic::BITCOIN) => Magic::TESTNET3,
        (Kind::WrongMagic, _) => Magic::BITCOIN,
        _ => network,
    }
}
