//! Questions to one peer that know their answers: what is sent, which of the peer's messages
//! answers it, and whether the answer can be true as far as that shows without a chain.
//!
//! Bitcoin has no request ids. Whose answer a message is, its content tells.

mod blocks;
mod filters;
mod headers;
mod ping;
mod raw;
mod table;
mod txs;

use std::fmt;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;

use crate::time::Monotonic;
use crate::wire::{self, RawMessage};

pub use blocks::{GetBlock, GetBlocks};
pub use filters::{GetCFCheckpt, GetCFHeaders, GetCFilters};
pub use headers::GetHeaders;
pub use ping::Ping;
pub use raw::Raw;
pub use table::{Answered, Pending, Queries};
pub use txs::GetTx;

/// A question to one peer.
pub trait Query: fmt::Debug + Send + 'static {
    /// What answers it.
    type Answer: fmt::Debug + Send + 'static;

    /// Whether it can be asked at all.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    fn check(&self) -> Result<(), BadQuery> {
        Ok(())
    }

    /// What tells it from others of its type: two with the same key have the same answer, and one
    /// may be asked for both. `None`: each is asked by itself.
    fn key(&self) -> Option<String> {
        None
    }

    /// Services that a peer must have to answer it. An ask is made of such peers only.
    fn services(&self) -> ServiceFlags {
        ServiceFlags::NONE
    }

    /// The message that asks it. Called once, before anything else.
    fn request(&mut self, asking: &Asking) -> NetworkMessage;

    /// Looks at a message of the peer that came at `now`.
    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<Self::Answer>;

    /// Whether more is to come of an answer that does not fit: then it must still be known for what
    /// it is, as after [`Query::expire`], lest it be taken for another.
    fn is_open(&self) -> bool {
        false
    }

    /// Its time is up: nobody will see an answer. What is held of it can go; what of it is yet to
    /// come must still be known for what it is.
    fn expire(&mut self) {}
}

/// What a query may have to know when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// When that is.
    pub now: Monotonic,
    /// A random number of its own.
    pub nonce: u64,
    /// Whether headers of the chain carry proof of work.
    pub pow: bool,
    /// Bytes that an answer of several messages may have.
    pub max_bytes: usize,
}

/// What a message is to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<A> {
    /// Nothing: not an answer, or one to something else.
    Other,
    /// A part of the answer, of which more is to come.
    More,
    /// The answer, or the last part of it.
    Answer(A),
    /// The peer says that it does not have it.
    NotFound,
    /// An answer to this that no honest peer gives, and why not.
    Invalid(String),
    /// It looks like an answer to this, and is not right: it may be one to something else that was
    /// asked before, or what was expected is wrong. Nothing is held against the peer.
    Unfit(String),
}

/// A query that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery {
    /// Its name.
    pub query: &'static str,
    /// What there is of what.
    pub given: String,
    /// What may be.
    pub allowed: &'static str,
}

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, given, allowed } = self;
        write!(f, "{query} of {given}; allowed: {allowed}")
    }
}

impl std::error::Error for BadQuery {}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// It cannot be asked of anybody.
    Bad(BadQuery),
    /// The peer says that it does not have it.
    NotFound,
    /// The peer's answer cannot be true, and why. It is reported for that.
    Invalid(String),
    /// The answer does not fit, and why. It is not reported for that: the answer may be one to
    /// something that was asked before, or the caller's expectation hearsay.
    Unfit(String),
    /// There was none in so long.
    TimedOut(Duration),
    /// The peer is gone.
    Disconnected,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => bad.fmt(f),
            Self::NotFound => f.write_str("the peer does not have it"),
            Self::Invalid(why) => write!(f, "the peer's answer is invalid: {why}"),
            Self::Unfit(why) => write!(f, "the answer does not fit: {why}"),
            Self::TimedOut(waited) => write!(f, "the peer has not answered in {waited:.1?}"),
            Self::Disconnected => f.write_str("the peer is gone"),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<BadQuery> for QueryError {
    fn from(bad: BadQuery) -> Self {
        Self::Bad(bad)
    }
}

/// Whether a message is a `notfound` that names any of `wanted`.
fn says_not_found(message: &RawMessage, wanted: impl Fn(&Inventory) -> bool) -> bool {
    message.command.as_str() == "notfound"
        && matches!(wire::decode(message), NetworkMessage::NotFound(list) if list.iter().any(wanted))
}

/// What an answer says that cannot be read.
fn unreadable<A>(message: &RawMessage) -> Reply<A> {
    Reply::Invalid(format!("a {} that cannot be read", message.command))
}

#[cfg(test)]
mod tests;
