//! Whether a peer answers, and how fast.

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;

use super::{Asking, Query, Reply};
use crate::time::Monotonic;
use crate::wire::{Control, RawMessage};

/// Asks for a `pong`; answered by the time it took. The pool's own pings go on all the same.
///
/// ```
/// use peerpool_core::query::{Ping, Query as _};
///
/// assert_eq!(Ping::new().key(), None, "each is asked by itself");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    asked: Option<(u64, Monotonic)>,
}

impl Ping {
    /// One ping.
    pub const fn new() -> Self {
        Self { asked: None }
    }
}

impl Query for Ping {
    type Answer = Duration;

    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.asked = Some((asking.nonce, asking.now));
        NetworkMessage::Ping(asking.nonce)
    }

    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<Duration> {
        let pong = Control::decode(message.command, &message.payload, 0);
        match (self.asked, pong) {
            (Some((nonce, asked)), Ok(Some(Control::Pong(said)))) if said == nonce => {
                Reply::Answer(now.since(asked))
            }
            _ => Reply::Other,
        }
    }
}
