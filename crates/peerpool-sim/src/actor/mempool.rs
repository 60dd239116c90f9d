//! The transactions that the nodes of a network have: one takes a transaction in, and all have it.
//! Each tells its peers of it in its own time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Transaction, Txid, Wtxid};
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;

/// Most transactions that are kept; further ones are not taken in.
const MOST: usize = 10_000;
/// Most bytes of them.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long a node waits before it tells a peer of what is new. Core takes 5 s in the mean, or 2.
const PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// What the nodes of a network have, the oldest first. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Mempool(Arc<Mutex<Pooled>>);

#[derive(Debug, Default)]
struct Pooled {
    txs: Vec<(Txid, Wtxid, Transaction)>,
    ids: BTreeSet<Wtxid>,
    bytes: usize,
}

impl Mempool {
    /// Takes a transaction in, unless it is there, or too many are.
    pub fn add(&self, tx: Transaction) {
        let (txid, wtxid, bytes) = (tx.compute_txid(), tx.compute_wtxid(), tx.total_size());
        let mut pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = pooled.txs.len() >= MOST || pooled.bytes + bytes > MOST_BYTES;
        if !full && pooled.ids.insert(wtxid) {
            pooled.bytes += bytes;
            pooled.txs.push((txid, wtxid, tx));
        }
    }

    /// The transaction that an entry of an inventory names.
    pub fn find(&self, entry: &Inventory) -> Option<Transaction> {
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(txid, wtxid, _): &&(Txid, Wtxid, Transaction)| match entry {
            Inventory::Transaction(id) | Inventory::WitnessTransaction(id) => id == txid,
            Inventory::WTx(id) => id == wtxid,
            _ => false,
        };
        pooled.txs.iter().find(is_it).map(|(.., tx)| tx.clone())
    }

    /// The names of all after the first so many.
    fn after(&self, count: usize) -> Vec<(Txid, Wtxid)> {
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pooled.txs.iter().skip(count).map(|(txid, wtxid, _)| (*txid, *wtxid)).collect()
    }
}

/// What one connection is told of transactions, if its peer wants to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Relay {
    /// By wtxid (BIP339).
    pub(super) by_wtxid: bool,
    told: usize,
    /// What the peer has told of itself.
    heard: BTreeSet<[u8; 32]>,
    /// When the peer is told next.
    pub(super) next: Option<Monotonic>,
}

impl Relay {
    /// From now on. What was there before is not told.
    pub(super) fn begin(&mut self, now: Monotonic, mempool: &Mempool, rng: &mut Rng) {
        self.told = mempool.after(0).len();
        self.plan(now, rng);
    }

    fn plan(&mut self, now: Monotonic, rng: &mut Rng) {
        self.next = Some(now + rng.between(PAUSE[0], PAUSE[1]));
    }

    /// The peer announces: what is to be asked for.
    pub(super) fn on_inv(&mut self, inventory: &[Inventory], mempool: &Mempool) -> Vec<Inventory> {
        let mut wanted = Vec::new();
        for entry in inventory.iter().take(MOST) {
            let (id, asked) = match entry {
                Inventory::Transaction(id) => (to_bytes(*id), Inventory::WitnessTransaction(*id)),
                Inventory::WTx(id) => (to_bytes(*id), *entry),
                _ => continue,
            };
            if self.heard.len() < MOST {
                self.heard.insert(id);
            }
            if mempool.find(entry).is_none() {
                wanted.push(asked);
            }
        }
        wanted
    }

    /// What the peer is told now.
    pub(super) fn announce(
        &mut self,
        now: Monotonic,
        mempool: &Mempool,
        rng: &mut Rng,
    ) -> Vec<Inventory> {
        self.plan(now, rng);
        let news = mempool.after(self.told);
        self.told += news.len();
        let unheard = news.into_iter().filter(|(txid, wtxid)| {
            !self.heard.contains(&to_bytes(*txid)) && !self.heard.contains(&to_bytes(*wtxid))
        });
        let by_wtxid = self.by_wtxid;
        let name = |(txid, wtxid)| match by_wtxid {
            true => Inventory::WTx(wtxid),
            false => Inventory::Transaction(txid),
        };
        unheard.map(name).collect()
    }
}

fn to_bytes(id: impl bitcoin::hashes::Hash<Bytes = [u8; 32]>) -> [u8; 32] {
    id.to_byte_array()
}
