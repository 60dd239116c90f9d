//! A node's end of a link: an actor spoken to in messages, or in bytes through the pool's own
//! [`Link`] on one side and rust-bitcoin's codec on the other.

use std::net::SocketAddr;

use bitcoin::p2p::Magic;
use peerpool_core::address::Address;
use peerpool_core::id::LinkFault;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, Now};
use peerpool_core::wire::Control;

use super::knowledge::Knowledge;
use super::translate;
use crate::actor::{Actor, ByteActor, Next, Said};

/// What crosses a link.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Message(Control),
    /// A message that is not for the engine.
    Bulk,
    Bytes(Vec<u8>),
}

/// A node's end of a link.
#[derive(Debug)]
pub(super) enum NodeEnd {
    Messages(Box<Actor>),
    Bytes(Box<ByteActor>),
}

/// What the node did: said this, then did that.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) parcels: Vec<Parcel>,
    pub(super) next: Next,
}

impl Parcel {
    pub(super) fn wire_len(&self) -> usize {
        match self {
            Parcel::Message(message) => translate::wire_len(message),
            Parcel::Bulk => peerpool_core::wire::HEADER_LEN,
            Parcel::Bytes(bytes) => bytes.len(),
        }
    }
}

impl NodeEnd {
    pub(super) fn handle_open(&mut self) -> Next {
        match self {
            NodeEnd::Messages(actor) => actor.handle_open(),
            NodeEnd::Bytes(actor) => actor.handle_open(),
        }
    }

    pub(super) fn wake_at(&self) -> Option<Monotonic> {
        match self {
            NodeEnd::Messages(actor) => actor.wake_at(),
            NodeEnd::Bytes(actor) => actor.wake_at(),
        }
    }

    /// Takes what came. A node that does not read loses it: the pool, which hears no pong, leaves
    /// before its own buffers are full.
    pub(super) fn handle(
        &mut self,
        around: &mut Knowledge,
        now: Now,
        node: SocketAddr,
        parcel: Parcel,
    ) -> Reply {
        match (self, parcel) {
            (NodeEnd::Messages(actor), Parcel::Message(message)) => {
                let mut said = Vec::new();
                let next = match translate::to_node(message, node) {
                    Some(message) => actor.handle_message(around, now, message, &mut said),
                    None => Next::Stay,
                };
                Reply { parcels: said.into_iter().map(parcel_of).collect(), next }
            }
            (NodeEnd::Bytes(actor), Parcel::Bytes(bytes)) if actor.is_reading() => {
                let mut out = Vec::new();
                let next = actor.handle_bytes(around, now, &bytes, &mut out);
                Reply::of_bytes(out, next)
            }
            _ => Reply { parcels: Vec::new(), next: Next::Stay },
        }
    }

    pub(super) fn handle_timeout(&mut self, around: &mut Knowledge, now: Now) -> Reply {
        match self {
            NodeEnd::Messages(actor) => {
                let mut said = Vec::new();
                let next = actor.handle_timeout(around, now, &mut said);
                Reply { parcels: said.into_iter().map(parcel_of).collect(), next }
            }
            NodeEnd::Bytes(actor) => {
                let mut out = Vec::new();
                let next = actor.handle_timeout(around, now, &mut out);
                Reply::of_bytes(out, next)
            }
        }
    }
}

impl Reply {
    fn of_bytes(out: Vec<u8>, next: Next) -> Self {
        let parcels = if out.is_empty() { Vec::new() } else { vec![Parcel::Bytes(out)] };
        Reply { parcels, next }
    }
}

fn parcel_of(said: Said) -> Parcel {
    match said {
        Said::Message(message) => translate::to_pool(message).map_or(Parcel::Bulk, Parcel::Message),
        // Only kinds that need bytes say them, and those are not spoken to in messages.
        Said::Bytes(_) => Parcel::Bulk,
    }
}

/// The pool's end of a link that carries bytes.
#[derive(Debug)]
pub(super) struct PoolEnd {
    link: Link,
}

/// What the pool's end passes on.
#[derive(Debug)]
pub(super) enum Passed {
    Control(Control),
    Progress,
    Fault(LinkFault),
}

impl PoolEnd {
    pub(super) fn new(magic: Magic, policy: &Policy, remote: Address) -> Self {
        let mut link = Link::new(magic.to_bytes(), policy);
        link.set_remote(remote);
        Self { link }
    }

    pub(super) fn encode(&self, message: &Control) -> Vec<u8> {
        self.link.encode(message)
    }

    pub(super) fn handle_bytes(&mut self, now: Monotonic, bytes: &[u8]) -> Vec<Passed> {
        self.link.handle_bytes(now, bytes);
        self.passed()
    }

    pub(super) fn handle_timeout(&mut self, now: Monotonic) -> Vec<Passed> {
        self.link.handle_timeout(now);
        self.passed()
    }

    pub(super) fn wake_at(&self) -> Option<Monotonic> {
        self.link.wake_at()
    }

    fn passed(&mut self) -> Vec<Passed> {
        let mut passed = Vec::new();
        while let Some(output) = self.link.poll() {
            passed.extend(match output {
                LinkOutput::Control(message) => Some(Passed::Control(message)),
                LinkOutput::Progress => Some(Passed::Progress),
                LinkOutput::Fault(fault) => Some(Passed::Fault(fault)),
                // Nobody leases the peer of a pool in a world, so nobody watches its link, or asks.
                LinkOutput::Message(_) | LinkOutput::Invalid(_) => None,
            });
        }
        passed
    }
}
