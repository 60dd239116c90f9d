//! A chain on regtest's genesis, so that a node has something to answer with. Its headers are kept,
//! its blocks are made when they are asked for.

use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use bitcoin::{Block, BlockHash, Network, Target, Transaction, Txid, constants};

use super::blocks;

/// Most headers in one message, as in Core's `MAX_HEADERS_RESULTS`.
const ANSWER_MAX: usize = 2000;

/// Headers that link up and carry regtest's proof of work, from genesis on, and the blocks behind
/// them.
#[derive(Clone, Debug)]
pub struct HeaderChain {
    headers: Vec<Header>,
    hashes: Vec<BlockHash>,
    /// Of the coinbase of each block.
    coinbases: Vec<Txid>,
    /// Bytes of each block, about.
    size: usize,
    /// Of the filters, as far as they were asked for.
    filters: Arc<Mutex<Vec<(FilterHash, FilterHeader)>>>,
}

impl HeaderChain {
    /// Genesis and `height` headers on it, ten minutes apart; the same ones every time.
    pub fn regtest(height: u32) -> Self {
        Self::with_blocks(height, 0)
    }

    /// The same with blocks of about so many bytes, or a little more than nothing.
    pub fn with_blocks(height: u32, size: usize) -> Self {
        Self::on(constants::genesis_block(Network::Regtest).header, height, size)
    }

    /// The same on another genesis, a second younger than regtest's: a chain of strangers.
    pub fn foreign(height: u32) -> Self {
        let regtest = constants::genesis_block(Network::Regtest).header;
        let (genesis, _) = grind(Header { time: regtest.time + 1, ..regtest });
        Self::on(genesis, height, 0)
    }

    fn on(genesis: Header, height: u32, size: usize) -> Self {
        let (hashes, headers) = (vec![genesis.block_hash()], vec![genesis]);
        let (coinbases, filters) = (vec![Txid::all_zeros()], Arc::default());
        let mut chain = Self { hashes, headers, coinbases, size, filters };
        for at in 1..=height {
            let txs = chain.transactions(at);
            let (header, hash) = grind(Header {
                version: Version::NO_SOFT_FORK_SIGNALLING,
                prev_blockhash: chain.tip(),
                merkle_root: blocks::merkle_root(&txs),
                time: genesis.time.saturating_add(at.saturating_mul(600)),
                bits: genesis.bits,
                nonce: 0,
            });
            chain.headers.push(header);
            chain.hashes.push(hash);
            chain.coinbases.push(txs[0].compute_txid());
        }
        chain
    }

    fn transactions(&self, height: u32) -> Vec<Transaction> {
        let spent = height.checked_sub(blocks::MATURITY).filter(|spent| *spent > 0);
        let spent = spent.and_then(|spent| self.coinbases.get(spent as usize).copied());
        blocks::transactions(height, self.size, spent)
    }

    /// Height of the last header; genesis has height 0.
    pub fn height(&self) -> u32 {
        u32::try_from(self.headers.len() - 1).expect("built from a u32 height")
    }

    /// Hash of the last header.
    pub fn tip(&self) -> BlockHash {
        *self.hashes.last().expect("genesis is always there")
    }

    /// Every header, genesis first.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The height of the block of this hash.
    pub fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        let height = self.hashes.iter().position(|known| known == hash)?;
        u32::try_from(height).ok()
    }

    /// The hash of the block at this height.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        self.hashes.get(height as usize).copied()
    }

    /// The block at this height.
    pub fn block(&self, height: u32) -> Option<Block> {
        let header = *self.headers.get(height as usize)?;
        Some(match height {
            // It is regtest's, or has no block.
            0 => constants::genesis_block(Network::Regtest),
            _ => Block { header, txdata: self.transactions(height) },
        })
    }

    /// The basic filter of the block at this height.
    pub fn filter(&self, height: u32) -> Option<Vec<u8>> {
        Some(blocks::filter(&self.block(height)?, height).content)
    }

    /// The hashes of the filters from genesis to this height, and their headers (BIP157).
    pub fn filter_headers(&self, height: u32) -> Vec<(FilterHash, FilterHeader)> {
        let mut known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        while known.len() <= height as usize {
            let Some(filter) = self.filter(known.len() as u32) else { break };
            let before = known.last().map_or(FilterHeader::all_zeros(), |(_, header)| *header);
            let hash = FilterHash::hash(&filter);
            known.push((hash, hash.filter_header(&before)));
        }
        known.iter().take(height as usize + 1).copied().collect()
    }

    /// What a node answers to `getheaders`: the headers after the first hash of the locator that
    /// it knows (after genesis if it knows none), up to the stop hash, at most 2000.
    pub fn answer(&self, request: &GetHeadersMessage) -> Vec<Header> {
        let height_of = |hash: &BlockHash| self.hashes.iter().position(|known| known == hash);
        let start = request.locator_hashes.iter().find_map(height_of).unwrap_or(0) + 1;
        let stop = height_of(&request.stop_hash).unwrap_or(self.headers.len() - 1);
        let wanted = self.headers.iter().take(stop + 1).skip(start);
        wanted.take(ANSWER_MAX).copied().collect()
    }
}

/// The header with the first nonce that satisfies its own target: every second one, on regtest.
fn grind(mut header: Header) -> (Header, BlockHash) {
    let target: Target = header.target();
    loop {
        let hash = header.block_hash();
        if target.is_met_by(hash) {
            return (header, hash);
        }
        header.nonce = header.nonce.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(chain: &HeaderChain, locator: &[usize], stop: Option<usize>) -> Vec<u32> {
        let hash = |&at: &usize| chain.hashes[at];
        let stop = stop.as_ref().map_or(BlockHash::all_zeros(), hash);
        let request = GetHeadersMessage::new(locator.iter().map(hash).collect(), stop);
        let answer = chain.answer(&request);
        let height = |header| chain.headers.iter().position(|known| known == header).unwrap();
        answer.iter().map(|header| height(header) as u32).collect()
    }

    #[test]
    fn headers_link_up_and_carry_proof_of_work() {
        let chain = HeaderChain::regtest(10);
        assert_eq!(chain.height(), 10);
        for pair in chain.headers().windows(2) {
            assert_eq!(pair[1].prev_blockhash, pair[0].block_hash());
            assert!(pair[1].validate_pow(Target::MAX_ATTAINABLE_REGTEST).is_ok());
        }
    }

    #[test]
    fn a_foreign_chain_has_no_header_in_common() {
        let (ours, theirs) = (HeaderChain::regtest(10), HeaderChain::foreign(10));
        assert!(theirs.hashes.iter().all(|hash| !ours.hashes.contains(hash)));
        let request = GetHeadersMessage::new(vec![ours.tip()], BlockHash::all_zeros());
        assert_eq!(theirs.answer(&request), theirs.headers[1..]);
    }

    #[test]
    fn an_answer_starts_after_the_locator_and_ends_at_the_stop_hash() {
        let chain = HeaderChain::regtest(5);
        assert_eq!(ask(&chain, &[], None), [1, 2, 3, 4, 5]);
        assert_eq!(ask(&chain, &[3, 1], None), [4, 5]);
        assert_eq!(ask(&chain, &[1], Some(3)), [2, 3]);
        assert_eq!(ask(&chain, &[5], None), []);
        assert_eq!(ask(&chain, &[4], Some(2)), []);
    }
}
