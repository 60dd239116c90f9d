//! Blocks by their hash.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, BlockHash, Txid, merkle_tree};

use super::{Asking, BadQuery, Query, Reply, says_not_found, unreadable};
use crate::time::Monotonic;
use crate::wire::{self, RawMessage};

/// Most blocks asked for at once. Core's `MAX_BLOCKS_IN_TRANSIT_PER_PEER`.
const MAX_BLOCKS: usize = 16;
/// Bytes of a header.
const HEADER: usize = 80;
/// When segwit came to bind on the main chain (block 481,824), in its own time: before, a block may
/// have had what looks like a commitment, and no witness.
const SEGWIT_TIME: u32 = 1_503_539_857;

/// Asks for a block, with its witnesses.
///
/// It is invalid if its transactions or its witnesses are not those that its header, or its
/// coinbase, commits to.
///
/// ```
/// use bitcoin::p2p::ServiceFlags;
/// use bitcoin::{Network, constants::genesis_block};
/// use peerpool_core::query::{GetBlock, Query as _};
///
/// let query = GetBlock(genesis_block(Network::Bitcoin).block_hash());
/// // Asked of the pool, it is asked of peers that have all blocks.
/// assert!(query.services().has(ServiceFlags::NETWORK));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetBlock(pub BlockHash);

impl Query for GetBlock {
    type Answer = Block;

    fn services(&self) -> ServiceFlags {
        ServiceFlags::NETWORK | ServiceFlags::WITNESS
    }

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        NetworkMessage::GetData(vec![Inventory::WitnessBlock(self.0)])
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<Block> {
        if is_not_found(message, |hash| *hash == self.0) {
            return Reply::NotFound;
        }
        match hash_of(message) {
            Some(hash) if hash == self.0 => read(message).map_or_else(|fault| fault, Reply::Answer),
            _ => Reply::Other,
        }
    }
}

/// Asks for several blocks at once, 16 at most, each held against what [`GetBlock`] is. They are
/// answered in the order asked, whatever the order they come in. Not to have one is not to have
/// any. They do not fit if they are longer than `Policy::max_answer_size`; nobody is blamed for that.
///
/// ```
/// use bitcoin::{Network, constants::genesis_block};
/// use peerpool_core::query::{GetBlocks, Query as _};
///
/// let genesis = genesis_block(Network::Bitcoin).block_hash();
/// assert!(GetBlocks::new([genesis]).check().is_ok());
/// assert!(GetBlocks::new([genesis, genesis]).check().is_err(), "each once");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBlocks {
    hashes: Vec<BlockHash>,
    /// What came; `None` of one that nobody will see.
    came: BTreeMap<usize, Option<Block>>,
    /// Of what came.
    bytes: usize,
    max_bytes: usize,
    expired: bool,
}

impl GetBlocks {
    /// These blocks.
    pub fn new(hashes: impl IntoIterator<Item = BlockHash>) -> Self {
        let (hashes, came) = (Vec::from_iter(hashes), BTreeMap::new());
        Self { hashes, came, bytes: 0, max_bytes: usize::MAX, expired: false }
    }
}

impl Query for GetBlocks {
    type Answer = Vec<Block>;

    fn services(&self) -> ServiceFlags {
        ServiceFlags::NETWORK | ServiceFlags::WITNESS
    }

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn check(&self) -> Result<(), BadQuery> {
        let count = self.hashes.len();
        let different = BTreeSet::from_iter(&self.hashes).len();
        if (1..=MAX_BLOCKS).contains(&count) && different == count {
            return Ok(());
        }
        let given = format!("{count} blocks, {different} different ones");
        Err(BadQuery { query: "getdata", given, allowed: "1 to 16 different ones" })
    }

    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.max_bytes = asking.max_bytes;
        let wanted = self.hashes.iter().map(|hash| Inventory::WitnessBlock(*hash));
        NetworkMessage::GetData(wanted.collect())
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<Vec<Block>> {
        if is_not_found(message, |hash| self.hashes.contains(hash)) {
            return Reply::NotFound;
        }
        let place = hash_of(message).and_then(|hash| self.hashes.iter().position(|it| *it == hash));
        let Some(place) = place.filter(|place| !self.came.contains_key(place)) else {
            return Reply::Other;
        };
        let bytes = self.bytes.saturating_add(message.payload.len());
        if bytes > self.max_bytes && !self.expired {
            let (came, before) = (self.came.len(), self.bytes);
            self.came.insert(place, None);
            return Reply::Unfit(format!("more than {came} blocks of {before} bytes"));
        }
        match read(message) {
            Ok(block) => self.came.insert(place, (!self.expired).then_some(block)),
            Err(fault) => return fault,
        };
        self.bytes = bytes;
        if self.came.len() < self.hashes.len() {
            return Reply::More;
        }
        Reply::Answer(std::mem::take(&mut self.came).into_values().flatten().collect())
    }

    fn is_open(&self) -> bool {
        self.came.len() < self.hashes.len()
    }

    fn expire(&mut self) {
        self.expired = true;
        self.max_bytes = usize::MAX;
        self.came.values_mut().for_each(|block| *block = None);
    }
}

fn is_not_found(message: &RawMessage, wanted: impl Fn(&BlockHash) -> bool) -> bool {
    says_not_found(
        message,
        |entry| matches!(entry, Inventory::WitnessBlock(hash) | Inventory::Block(hash) if wanted(hash)),
    )
}

/// The hash of a block that is not decoded yet.
fn hash_of(message: &RawMessage) -> Option<BlockHash> {
    let header = message.payload.get(..HEADER).filter(|_| message.command.as_str() == "block")?;
    Some(BlockHash::hash(header))
}

fn read<A>(message: &RawMessage) -> Result<Block, Reply<A>> {
    let NetworkMessage::Block(block) = wire::decode(message) else {
        return Err(unreadable(message));
    };
    if let Some(fault) = find_fault(&block) {
        return Err(Reply::Invalid(fault.to_owned()));
    }
    // Whoever asks for it without witnesses is given it without.
    if is_stripped(&block) { Err(Reply::Other) } else { Ok(block) }
}

fn find_fault(block: &Block) -> Option<&'static str> {
    let ids: Vec<Txid> = block.txdata.iter().map(|tx| tx.compute_txid()).collect();
    let root = merkle_tree::calculate_root(ids.iter().map(|id| id.to_raw_hash()));
    let is_root = root.is_some_and(|root| block.header.merkle_root.to_raw_hash() == root);
    // A tree of an odd number has the same root as one that repeats its last transactions
    // (CVE-2012-2459).
    if !is_root || BTreeSet::from_iter(&ids).len() != ids.len() {
        return Some("its transactions are not those that its header commits to");
    }
    let right = block.check_witness_commitment();
    (!right).then_some("its witnesses are not those that its coinbase commits to")
}

/// Whether it has lost its witnesses: its coinbase commits to some, and has none itself.
fn is_stripped(block: &Block) -> bool {
    block.header.time >= SEGWIT_TIME && commits(block) && !has_reserved(block)
}

/// Whether the coinbase commits to witnesses (BIP141).
fn commits(block: &Block) -> bool {
    const MAGIC: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    let outputs = block.txdata.first().map(|coinbase| coinbase.output.as_slice());
    let is_commitment = |script: &[u8]| script.len() >= 38 && script.starts_with(&MAGIC);
    outputs.unwrap_or_default().iter().any(|out| is_commitment(out.script_pubkey.as_bytes()))
}

/// Whether the coinbase has a witness, as it must where it commits to others.
fn has_reserved(block: &Block) -> bool {
    let input = block.txdata.first().and_then(|coinbase| coinbase.input.first());
    input.is_some_and(|input| !input.witness.is_empty())
}
