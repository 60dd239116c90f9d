//! What is in the blocks of a made-up chain, and their compact filters. The same ones every time,
//! made anew whenever they are asked for: a chain of any height takes no memory for its blocks.

use bitcoin::absolute::LockTime;
use bitcoin::bip158::BlockFilter;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
    WScriptHash, Witness, WitnessMerkleNode, merkle_tree,
};

/// Blocks until a coinbase may be spent. Core's `COINBASE_MATURITY`.
pub(super) const MATURITY: u32 = 100;
/// Most bytes of one push that fills a block up.
const FILLER: usize = 9_000;
/// The value of every output that has one.
const VALUE: Amount = Amount::from_sat(50 * 100_000_000);

/// What the coinbase of the block at this height pays to.
pub fn script_at(height: u32) -> ScriptBuf {
    ScriptBuf::new_p2wsh(&WScriptHash::hash(&height.to_le_bytes()))
}

/// The transactions of the block at this height: a coinbase, and one that spends that of
/// [`MATURITY`] blocks before, where there is one. Filled up to about `size` bytes, if they have
/// fewer.
pub(super) fn transactions(height: u32, size: usize, spent: Option<Txid>) -> Vec<Transaction> {
    let mut txs = vec![coinbase(height, size)];
    txs.extend(spent.map(|txid| spend(OutPoint { txid, vout: 0 }, height)));
    commit(&mut txs);
    txs
}

/// The root of the transactions of a header.
pub(super) fn merkle_root(txs: &[Transaction]) -> TxMerkleNode {
    let ids = txs.iter().map(|tx| tx.compute_txid().to_raw_hash());
    TxMerkleNode::from_raw_hash(merkle_tree::calculate_root(ids).expect("there is a coinbase"))
}

/// The basic filter of the block at this height.
pub(super) fn filter(block: &Block, height: u32) -> BlockFilter {
    // Nothing else is ever spent.
    let spent = script_at(height.saturating_sub(MATURITY));
    BlockFilter::new_script_filter(block, |_| Ok(spent.clone())).expect("every script is known")
}

fn coinbase(height: u32, size: usize) -> Transaction {
    let pay = TxOut { value: VALUE, script_pubkey: script_at(height) };
    let fillers = size / FILLER;
    let mut outputs = vec![pay, TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() }];
    let filler = TxOut { value: Amount::ZERO, script_pubkey: filler() };
    outputs.extend(std::iter::repeat_n(filler, fillers));
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // BIP34: the height.
            script_sig: Builder::new().push_int(i64::from(height)).push_int(0).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: outputs,
    }
}

fn filler() -> ScriptBuf {
    let bytes = PushBytesBuf::try_from(vec![0x70; FILLER]).expect("short enough for a push");
    Builder::new().push_opcode(OP_RETURN).push_slice(bytes).into_script()
}

fn spend(previous_output: OutPoint, height: u32) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[height.to_le_bytes()]),
        }],
        output: vec![TxOut { value: VALUE, script_pubkey: script_at(height.wrapping_neg()) }],
    }
}

/// Has the coinbase commit to the witnesses (BIP141).
fn commit(txs: &mut [Transaction]) {
    // The coinbase's own counts as zero.
    let ids = txs.iter().enumerate().map(|(nth, tx)| match nth {
        0 => bitcoin::Wtxid::all_zeros().to_raw_hash(),
        _ => tx.compute_wtxid().to_raw_hash(),
    });
    let root = merkle_tree::calculate_root(ids).expect("there is a coinbase");
    let root = WitnessMerkleNode::from_raw_hash(root);
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend(commitment.to_byte_array());
    txs[0].output[1].script_pubkey = script.into();
}

#[cfg(test)]
mod tests {
    use super::super::HeaderChain;
    use super::*;

    #[test]
    fn blocks_are_what_their_headers_commit_to() {
        let chain = HeaderChain::with_blocks(105, 20_000);
        // Lower heights are opcodes, which rust-bitcoin does not read.
        for height in [17, 50, 101, 105] {
            let block = chain.block(height).expect("it has that");
            assert!(block.check_merkle_root() && block.check_witness_commitment(), "{height}");
            assert_eq!(block.bip34_block_height(), Ok(u64::from(height)));
            assert_eq!(block.txdata.len(), if height > 100 { 2 } else { 1 });
            assert!((18_000..22_000).contains(&block.total_size()), "{}", block.total_size());
        }
        assert_eq!(chain.block(106), None);
    }

    #[test]
    fn a_spent_coinbase_is_that_of_an_earlier_block() {
        let chain = HeaderChain::with_blocks(101, 0);
        let (first, last) = (chain.block(1).unwrap(), chain.block(101).unwrap());
        let spent = last.txdata[1].input[0].previous_output;
        assert_eq!((spent.txid, spent.vout), (first.txdata[0].compute_txid(), 0));
    }

    #[test]
    fn a_filter_knows_what_its_block_pays_to_and_spends_from() {
        let chain = HeaderChain::with_blocks(101, 0);
        let block = chain.block(101).unwrap();
        let filter = filter(&block, 101);
        let has = |height| {
            let script = script_at(height);
            let wanted = std::iter::once(script.as_bytes());
            filter.match_any(&block.block_hash(), wanted).unwrap()
        };
        assert!(has(101) && has(1) && !has(50));
    }
}
