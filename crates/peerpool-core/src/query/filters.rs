//! Compact block filters and their headers (BIP157).

use bitcoin::BlockHash;
use bitcoin::bip158::FilterHash;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_filter::{self as filter, CFCheckpt, CFHeaders, CFilter};

use super::{Asking, BadQuery, Query, Reply, unreadable};
use crate::time::Monotonic;
use crate::wire::{self, RawMessage};

/// The filter type that there is: basic (BIP158).
const BASIC: u8 = 0;
/// Most filters in one answer. Core's `MAX_GETCFILTERS_SIZE`.
const MAX_FILTERS: usize = 1000;
/// Most filter headers in one answer. Core's `MAX_GETCFHEADERS_SIZE`.
const MAX_HEADERS: usize = 2000;
/// Every so many blocks there is a checkpoint. Core's `CFCHECKPT_INTERVAL`.
const INTERVAL: u32 = 1000;

/// Asks for the basic filters of the blocks from a height up to a block, 1000 at most.
///
/// They come one by one, the one of the last block last. They do not fit if a block has two, or if
/// one is not that of the hash asked, where these are given ([`GetCFilters::expecting`]). Nobody is
/// blamed for that: the hashes are hearsay, and the filters may be those of a question before.
///
/// ```
/// use bitcoin::{BlockHash, bip158::FilterHash, hashes::Hash as _};
/// use peerpool_core::query::{GetCFilters, Query as _};
///
/// let stop = BlockHash::from_byte_array([1; 32]);
/// assert!(GetCFilters::new(800_000, stop).check().is_ok());
/// let hashes = [FilterHash::all_zeros(); 1001];
/// assert!(GetCFilters::new(800_000, stop).expecting(hashes).check().is_err(), "too many");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetCFilters {
    start_height: u32,
    stop: BlockHash,
    expected: Vec<FilterHash>,
    filters: Vec<CFilter>,
    bytes: usize,
    max_bytes: usize,
    expired: bool,
    /// Whether more is to come.
    open: bool,
}

impl GetCFilters {
    /// From the block at `start_height` to the block `stop`, both included.
    pub fn new(start_height: u32, stop: BlockHash) -> Self {
        let (expected, filters, expired) = (Vec::new(), Vec::new(), false);
        let (max_bytes, open) = (usize::MAX, false);
        Self { start_height, stop, expected, filters, bytes: 0, max_bytes, expired, open }
    }

    /// The hashes that the filters must have, from `cfheaders` of other peers: as many as filters
    /// are asked for. None: any will do.
    #[must_use]
    pub fn expecting(self, hashes: impl IntoIterator<Item = FilterHash>) -> Self {
        Self { expected: Vec::from_iter(hashes), ..self }
    }

    fn find_fault(&self, filter: &CFilter) -> Option<String> {
        let (nth, ends) = (self.filters.len(), filter.block_hash == self.stop);
        if self.filters.iter().any(|before| before.block_hash == filter.block_hash) {
            return Some(format!("the block of filter {nth} has one already"));
        }
        if nth >= MAX_FILTERS || self.bytes + filter.filter.len() > self.max_bytes {
            return Some(format!("more than {nth} filters of {} bytes", self.bytes));
        }
        if self.expected.is_empty() {
            return None;
        }
        if self.expected.get(nth) != Some(&FilterHash::hash(&filter.filter)) {
            return Some(format!("filter {nth} is not that of the hash asked"));
        }
        let left = self.expected.len() - nth - 1;
        (ends && left > 0).then(|| format!("{left} filters are missing"))
    }
}

impl Query for GetCFilters {
    type Answer = Vec<CFilter>;

    fn services(&self) -> ServiceFlags {
        ServiceFlags::COMPACT_FILTERS
    }

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn check(&self) -> Result<(), BadQuery> {
        let count = self.expected.len();
        if count <= MAX_FILTERS {
            return Ok(());
        }
        let given = format!("{count} filters");
        Err(BadQuery { query: "getcfilters", given, allowed: "at most 1000" })
    }

    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.max_bytes = asking.max_bytes;
        let Self { start_height, stop, .. } = *self;
        let filter_type = BASIC;
        NetworkMessage::GetCFilters(filter::GetCFilters {
            filter_type,
            start_height,
            stop_hash: stop,
        })
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<Vec<CFilter>> {
        if message.command.as_str() != "cfilter" {
            return Reply::Other;
        }
        let NetworkMessage::CFilter(filter) = wire::decode(message) else {
            return unreadable(message);
        };
        if filter.filter_type != BASIC {
            return Reply::Other;
        }
        let ends = filter.block_hash == self.stop;
        self.open = !ends;
        if let Some(fault) = self.find_fault(&filter) {
            return Reply::Unfit(fault);
        }
        self.bytes += filter.filter.len();
        self.filters.push(filter);
        if self.expired {
            self.expire();
        }
        if ends { Reply::Answer(std::mem::take(&mut self.filters)) } else { Reply::More }
    }

    fn is_open(&self) -> bool {
        self.open
    }

    fn expire(&mut self) {
        self.expired = true;
        self.filters.iter_mut().for_each(|filter| filter.filter = Vec::new());
    }
}

/// Asks for the hashes of the basic filters from a height up to a block, 2000 at most, and for the
/// filter header before them.
///
/// It is invalid if there are none, or more.
///
/// ```
/// use bitcoin::{BlockHash, hashes::Hash as _};
/// use peerpool_core::query::{GetCFHeaders, Query as _};
///
/// let stop = BlockHash::from_byte_array([1; 32]);
/// assert!(GetCFHeaders::new(800_000, stop).check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetCFHeaders {
    start_height: u32,
    stop: BlockHash,
}

impl GetCFHeaders {
    /// From the block at `start_height` to the block `stop`, both included.
    pub const fn new(start_height: u32, stop: BlockHash) -> Self {
        Self { start_height, stop }
    }
}

impl Query for GetCFHeaders {
    type Answer = CFHeaders;

    fn services(&self) -> ServiceFlags {
        ServiceFlags::COMPACT_FILTERS
    }

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        let Self { start_height, stop } = *self;
        let filter_type = BASIC;
        NetworkMessage::GetCFHeaders(filter::GetCFHeaders {
            filter_type,
            start_height,
            stop_hash: stop,
        })
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<CFHeaders> {
        if message.command.as_str() != "cfheaders" {
            return Reply::Other;
        }
        let NetworkMessage::CFHeaders(headers) = wire::decode(message) else {
            return unreadable(message);
        };
        if (headers.filter_type, headers.stop_hash) != (BASIC, self.stop) {
            return Reply::Other;
        }
        let count = headers.filter_hashes.len();
        if (1..=MAX_HEADERS).contains(&count) {
            Reply::Answer(headers)
        } else {
            Reply::Invalid(format!("{count} hashes of filters"))
        }
    }
}

/// Asks for the filter headers of every thousandth block up to a block.
///
/// Where the height of the block is given ([`GetCFCheckpt::at`]), it does not fit if there are more
/// or fewer than there must be. Nobody is blamed for that: the height may be wrong.
///
/// ```
/// use bitcoin::{BlockHash, hashes::Hash as _};
/// use peerpool_core::query::{GetCFCheckpt, Query as _};
///
/// let stop = BlockHash::from_byte_array([1; 32]);
/// assert!(GetCFCheckpt::new(stop).check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetCFCheckpt {
    stop: BlockHash,
    height: Option<u32>,
}

impl GetCFCheckpt {
    /// Up to the block `stop`.
    pub const fn new(stop: BlockHash) -> Self {
        Self { stop, height: None }
    }

    /// The height of that block.
    #[must_use]
    pub const fn at(self, height: u32) -> Self {
        Self { height: Some(height), ..self }
    }
}

impl Query for GetCFCheckpt {
    type Answer = CFCheckpt;

    fn services(&self) -> ServiceFlags {
        ServiceFlags::COMPACT_FILTERS
    }

    fn key(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        NetworkMessage::GetCFCheckpt(filter::GetCFCheckpt {
            filter_type: BASIC,
            stop_hash: self.stop,
        })
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<CFCheckpt> {
        if message.command.as_str() != "cfcheckpt" {
            return Reply::Other;
        }
        let NetworkMessage::CFCheckpt(checkpoints) = wire::decode(message) else {
            return unreadable(message);
        };
        if (checkpoints.filter_type, checkpoints.stop_hash) != (BASIC, self.stop) {
            return Reply::Other;
        }
        let count = checkpoints.filter_headers.len();
        let due = self.height.map(|height| (height / INTERVAL) as usize);
        match due.filter(|due| *due != count) {
            // The height is hearsay, too.
            Some(due) => Reply::Unfit(format!("{count} checkpoints where there are {due}")),
            None => Reply::Answer(checkpoints),
        }
    }
}
