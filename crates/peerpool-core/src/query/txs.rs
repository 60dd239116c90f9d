//! A transaction by its id.

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Transaction, Txid, Wtxid};

use super::{Asking, Query, Reply, says_not_found};
use crate::time::Monotonic;
use crate::wire::{self, RawMessage};

/// Asks for a transaction, with its witness. A peer has those in its mempool that it may tell of,
/// and lately relayed ones; most say [`NotFound`](super::QueryError::NotFound) of others.
///
/// ```
/// use bitcoin::{Txid, hashes::Hash as _};
/// use peerpool_core::query::{GetTx, Query as _};
///
/// let query = GetTx::by_txid(Txid::from_byte_array([1; 32]));
/// assert!(query.check().is_ok() && query.key().is_some(), "who asks the same shares its answer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetTx(Name);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Id(Txid),
    Witness(Wtxid),
}

impl GetTx {
    /// By its id, which says nothing of its witness: that may be any, or missing.
    pub const fn by_txid(id: Txid) -> Self {
        Self(Name::Id(id))
    }

    /// By the id of the whole of it (BIP339).
    pub const fn by_wtxid(id: Wtxid) -> Self {
        Self(Name::Witness(id))
    }
}

impl Query for GetTx {
    type Answer = Transaction;

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        NetworkMessage::GetData(vec![match self.0 {
            Name::Id(id) => Inventory::WitnessTransaction(id),
            Name::Witness(id) => Inventory::WTx(id),
        }])
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<Transaction> {
        let is_named = |entry: &Inventory| match (self.0, entry) {
            (Name::Id(wanted), Inventory::WitnessTransaction(id) | Inventory::Transaction(id)) => {
                *id == wanted
            }
            (Name::Witness(wanted), Inventory::WTx(id)) => *id == wanted,
            _ => false,
        };
        if says_not_found(message, is_named) {
            return Reply::NotFound;
        }
        if message.command.as_str() != "tx" {
            return Reply::Other;
        }
        // One that cannot be read is nobody's: peers relay transactions unasked.
        let NetworkMessage::Tx(tx) = wire::decode(message) else { return Reply::Other };
        let is_it = match self.0 {
            Name::Id(id) => tx.compute_txid() == id,
            Name::Witness(id) => tx.compute_wtxid() == id,
        };
        if is_it { Reply::Answer(tx) } else { Reply::Other }
    }
}
