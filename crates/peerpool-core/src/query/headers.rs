//! Headers after a place in the chain.

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;

use super::{Asking, BadQuery, Query, Reply, unreadable};
use crate::time::Monotonic;
use crate::wire::{self, RawMessage};

/// Most hashes of a locator. Core's `MAX_LOCATOR_SZ`: it drops who sends more.
const MAX_LOCATOR: usize = 101;

/// Asks for the headers that come after a block: 2000 at most, none at the tip.
///
/// What comes is an answer if it follows on a block of the locator, and is invalid if its headers
/// do not follow on each other, or one does not meet the target that it names itself, where the
/// chain has proof of work. That the target is the right one, only who has the chain can tell.
///
/// ```
/// use bitcoin::{Network, constants::genesis_block};
/// use peerpool_core::query::{GetHeaders, Query as _};
///
/// let genesis = genesis_block(Network::Bitcoin).block_hash();
/// assert!(GetHeaders::after([genesis]).check().is_ok());
/// assert!(GetHeaders::after([]).check().is_err(), "after what?");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetHeaders {
    locator: Vec<BlockHash>,
    stop: BlockHash,
    pow: bool,
}

impl GetHeaders {
    /// After the first of these blocks that the peer has in its chain: the best known first, genesis
    /// last. A peer that has none of them begins after genesis: then there is no answer, unless
    /// genesis is one.
    pub fn after(locator: impl IntoIterator<Item = BlockHash>) -> Self {
        Self { locator: Vec::from_iter(locator), stop: BlockHash::all_zeros(), pow: true }
    }

    /// None after this block.
    #[must_use]
    pub fn until(self, stop: BlockHash) -> Self {
        Self { stop, ..self }
    }
}

impl Query for GetHeaders {
    type Answer = Vec<Header>;

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn check(&self) -> Result<(), BadQuery> {
        let count = self.locator.len();
        if (1..=MAX_LOCATOR).contains(&count) {
            return Ok(());
        }
        let given = format!("a locator of {count} blocks");
        Err(BadQuery { query: "getheaders", given, allowed: "1 to 101" })
    }

    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.pow = asking.pow;
        NetworkMessage::GetHeaders(GetHeadersMessage::new(self.locator.clone(), self.stop))
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<Vec<Header>> {
        if message.command.as_str() != "headers" {
            return Reply::Other;
        }
        let NetworkMessage::Headers(headers) = wire::decode(message) else {
            return unreadable(message);
        };
        let Some(first) = headers.first() else { return Reply::Answer(headers) };
        if !self.locator.contains(&first.prev_blockhash) {
            return Reply::Other;
        }
        match find_fault(&headers, self.pow) {
            Some(fault) => Reply::Invalid(fault),
            None => Reply::Answer(headers),
        }
    }
}

fn find_fault(headers: &[Header], pow: bool) -> Option<String> {
    let mut before = None;
    for (nth, header) in headers.iter().enumerate() {
        if before.is_some_and(|before| header.prev_blockhash != before) {
            return Some(format!("header {nth} does not follow on the one before"));
        }
        let hash = header.block_hash();
        if pow && !header.target().is_met_by(hash) {
            return Some(format!("header {nth} does not meet its target"));
        }
        before = Some(hash);
    }
    None
}
