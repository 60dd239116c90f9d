//! What a node answers to requests for blocks, transactions and compact filters, as Core does.

use bitcoin::BlockHash;
use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_filter::{CFCheckpt, CFHeaders, CFilter};

use super::{HeaderChain, Mempool, Next, Said};

/// Most blocks that one request is answered by. (A client has no more under way.)
const BLOCKS: usize = 16;
/// Blocks that a pruned node keeps. Core's `NODE_NETWORK_LIMITED_MIN_BLOCKS`.
const KEPT: u32 = 288;
/// Core's `MAX_GETCFILTERS_SIZE`, `MAX_GETCFHEADERS_SIZE` and `CFCHECKPT_INTERVAL`.
const FILTERS: u32 = 1000;
const FILTER_HEADERS: u32 = 2000;
const INTERVAL: u32 = 1000;
/// The filter type that there is.
const BASIC: u8 = 0;

/// What a node has to serve from.
pub(super) struct Stock<'a> {
    pub(super) chain: &'a HeaderChain,
    pub(super) services: ServiceFlags,
    pub(super) pruned: bool,
    pub(super) mempool: &'a Option<Mempool>,
}

impl Stock<'_> {
    /// Answers a request for data. Who asks for what cannot be had is disconnected, or told so.
    pub(super) fn answer(&self, request: &NetworkMessage, out: &mut Vec<Said>) -> Next {
        match request {
            NetworkMessage::GetData(wanted) => return self.give(wanted, out),
            NetworkMessage::GetCFilters(asked) => {
                let (start, stop) = (asked.start_height, asked.stop_hash);
                let Some(heights) = self.range(asked.filter_type, start, stop, FILTERS) else {
                    return Next::Close;
                };
                for height in heights {
                    let (hash, filter) = (self.chain.hash_at(height), self.chain.filter(height));
                    let (Some(block_hash), Some(filter)) = (hash, filter) else { break };
                    let filter = CFilter { filter_type: BASIC, block_hash, filter };
                    out.push(Said::Message(NetworkMessage::CFilter(filter)));
                }
            }
            NetworkMessage::GetCFHeaders(asked) => {
                let (start, stop) = (asked.start_height, asked.stop_hash);
                let Some(heights) = self.range(asked.filter_type, start, stop, FILTER_HEADERS)
                else {
                    return Next::Close;
                };
                let all = self.chain.filter_headers(*heights.end());
                let headers = self.headers(stop, &all, start as usize);
                out.push(Said::Message(NetworkMessage::CFHeaders(headers)));
            }
            NetworkMessage::GetCFCheckpt(asked) => {
                let Some(heights) = self.range(asked.filter_type, 0, asked.stop_hash, u32::MAX)
                else {
                    return Next::Close;
                };
                let all = self.chain.filter_headers(*heights.end());
                let every = all.iter().step_by(INTERVAL as usize).skip(1);
                out.push(Said::Message(NetworkMessage::CFCheckpt(CFCheckpt {
                    filter_type: BASIC,
                    stop_hash: asked.stop_hash,
                    filter_headers: every.map(|(_, header)| *header).collect(),
                })));
            }
            _ => {}
        }
        Next::Stay
    }

    fn give(&self, wanted: &[Inventory], out: &mut Vec<Said>) -> Next {
        let mut missing = Vec::new();
        let mut given = 0;
        for entry in wanted {
            let (Inventory::Block(hash) | Inventory::WitnessBlock(hash)) = entry else {
                match self.mempool.as_ref().and_then(|mempool| mempool.find(entry)) {
                    Some(tx) => out.push(Said::Message(NetworkMessage::Tx(tx))),
                    None => missing.push(*entry),
                }
                continue;
            };
            // As Core, which says of transactions only that it has them not.
            let Some(height) = self.chain.height_of(hash) else { continue };
            if self.pruned && height + KEPT < self.chain.height() {
                return Next::Close;
            }
            given += 1;
            if given > BLOCKS {
                break;
            }
            out.extend(self.chain.block(height).map(NetworkMessage::Block).map(Said::Message));
        }
        if !missing.is_empty() {
            out.push(Said::Message(NetworkMessage::NotFound(missing)));
        }
        Next::Stay
    }

    /// The heights of a request for filters, if it may be made.
    fn range(
        &self,
        filter_type: u8,
        start: u32,
        stop: BlockHash,
        most: u32,
    ) -> Option<std::ops::RangeInclusive<u32>> {
        let served = filter_type == BASIC && self.services.has(ServiceFlags::COMPACT_FILTERS);
        let end = self.chain.height_of(&stop).filter(|_| served)?;
        (start <= end && end - start < most).then_some(start..=end)
    }

    fn headers(
        &self,
        stop_hash: BlockHash,
        all: &[(FilterHash, FilterHeader)],
        start: usize,
    ) -> CFHeaders {
        let before = start.checked_sub(1).and_then(|before| all.get(before));
        CFHeaders {
            filter_type: BASIC,
            stop_hash,
            previous_filter_header: before.map_or(FilterHeader::all_zeros(), |(_, header)| *header),
            filter_hashes: all.iter().skip(start).map(|(hash, _)| *hash).collect(),
        }
    }
}
