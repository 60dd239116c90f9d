//! One connection's machine, sans-IO: bytes in; messages, faults and progress out.

use bitcoin::p2p::message::NetworkMessage;

use crate::id::LinkFault;
use crate::policy::Policy;
use crate::time::Monotonic;
use crate::wire::{Control, RawMessage};

/// What came out of a peer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// For the engine.
    Control(Control),
    /// For whoever leases the peer; only while the link is watched.
    Message(RawMessage),
    /// Bytes of a message that is not for the engine came; at most one a second.
    Progress,
    /// Close the connection; the last output.
    Fault(LinkFault),
}

/// The machine.
#[derive(Debug)]
pub struct Link {}

impl Link {
    /// The link of a fresh connection on the chain with this magic.
    pub fn new(magic: [u8; 4], policy: &Policy) -> Self {
        let _ = (magic, policy);
        Self {}
    }
    /// Takes bytes as they were read.
    pub fn handle_bytes(&mut self, now: Monotonic, bytes: &[u8]) {
        let _ = (now, bytes);
    }
    /// Call when [`Link::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        let _ = now;
    }
    /// The next output, until there is none.
    pub fn poll(&mut self) -> Option<LinkOutput> {
        None
    }
    /// When to call [`Link::handle_timeout`].
    pub fn wake_at(&self) -> Option<Monotonic> {
        None
    }
    /// Whether someone leases the peer and wants its messages; off at first.
    pub fn set_watched(&mut self, watched: bool) {
        let _ = watched;
    }
    /// The frame of a control message of ours.
    pub fn encode(&self, message: &Control) -> Vec<u8> {
        let _ = message;
        Vec::new()
    }
    /// The frame of any message of ours.
    pub fn encode_message(&self, message: &NetworkMessage) -> Vec<u8> {
        let _ = message;
        Vec::new()
    }
}
