//! Any message, and those that the caller takes for its answer.

use std::fmt;

use bitcoin::p2p::message::NetworkMessage;

use super::{Asking, BadQuery, Query, Reply};
use crate::time::Monotonic;
use crate::wire::{self, RawMessage, is_reserved};

/// Asks what has no type here: sends a message, and is answered by the first for which the caller's
/// function returns true. What cannot be decoded comes as [`NetworkMessage::Unknown`]. Nothing is
/// held against anything.
///
/// ```
/// use bitcoin::p2p::message::NetworkMessage;
/// use peerpool_core::query::{Query as _, Raw};
///
/// let fee = Raw::new(NetworkMessage::MemPool, |it| matches!(it, NetworkMessage::FeeFilter(_)));
/// assert!(fee.check().is_ok());
/// let theirs = Raw::new(NetworkMessage::GetAddr, |_| true);
/// assert!(theirs.check().is_err(), "the pool asks that itself");
/// ```
pub struct Raw {
    message: NetworkMessage,
    answers: Box<dyn FnMut(&NetworkMessage) -> bool + Send>,
}

impl Raw {
    /// Sends `message`; `answers` says which message answers it.
    pub fn new(
        message: NetworkMessage,
        answers: impl FnMut(&NetworkMessage) -> bool + Send + 'static,
    ) -> Self {
        Self { message, answers: Box::new(answers) }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

impl Query for Raw {
    type Answer = NetworkMessage;

    fn check(&self) -> Result<(), BadQuery> {
        let command = self.message.cmd();
        if !is_reserved(&self.message) {
            return Ok(());
        }
        let allowed = "anything but what the pool sends itself, once per connection";
        Err(BadQuery { query: "raw", given: format!("`{command}`"), allowed })
    }

    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        self.message.clone()
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<NetworkMessage> {
        let message = wire::decode(message);
        if (self.answers)(&message) { Reply::Answer(message) } else { Reply::Other }
    }
}
