//! Messages of any kind, for whoever leases a peer: rust-bitcoin's types out of payloads and back.
//! Not the link's own reading of control messages, which is more tolerant.

use bitcoin::block::Header;
use bitcoin::consensus::encode::{Decodable, deserialize, deserialize_partial, serialize};
use bitcoin::p2p::message::{CommandString, NetworkMessage};

use super::cursor::Cursor;
use super::{RawMessage, frame};

/// Most headers in one `headers`. Core's `MAX_HEADERS_RESULTS`.
pub(crate) const MAX_HEADERS: usize = 2000;
/// Most entries in one `inv`, `getdata` or `notfound`. Core's `MAX_INV_SZ`.
pub(crate) const MAX_INVENTORY: usize = 50_000;

/// Decodes a message of any kind. Bytes after its end are not looked at.
///
/// What cannot be decoded comes back as [`NetworkMessage::Unknown`], and so does what nobody here
/// knows. The count of a message's list is held against the bytes that are there before anything
/// is allocated for it. (For lists within transactions rust-bitcoin reserves up to 1 MB for a
/// moment.)
#[expect(clippy::expect_used, reason = "no command is longer than 12 characters")]
pub fn decode(message: &RawMessage) -> NetworkMessage {
    let RawMessage { command, payload } = message;
    decode_known(command.as_str(), payload).unwrap_or_else(|| NetworkMessage::Unknown {
        command: CommandString::try_from(command.as_str()).expect("at most 12 characters"),
        payload: payload.to_vec(),
    })
}

fn decode_known(command: &str, payload: &[u8]) -> Option<NetworkMessage> {
    use NetworkMessage as M;
    if !is_list_backed(command, payload) {
        return None;
    }
    Some(match command {
        "version" => M::Version(read(payload)?),
        "verack" => M::Verack,
        "addr" => M::Addr(read(payload)?),
        "inv" => M::Inv(read(payload)?),
        "getdata" => M::GetData(read(payload)?),
        "notfound" => M::NotFound(read(payload)?),
        "getblocks" => M::GetBlocks(read(payload)?),
        "getheaders" => M::GetHeaders(read(payload)?),
        "mempool" => M::MemPool,
        "tx" => M::Tx(read(payload)?),
        "block" => M::Block(read(payload)?),
        "headers" => M::Headers(read_headers(payload)?),
        "sendheaders" => M::SendHeaders,
        "getaddr" => M::GetAddr,
        "ping" => M::Ping(read(payload)?),
        "pong" => M::Pong(read(payload)?),
        "merkleblock" => M::MerkleBlock(read(payload)?),
        "filterload" => M::FilterLoad(read(payload)?),
        "filteradd" => M::FilterAdd(read(payload)?),
        "filterclear" => M::FilterClear,
        "getcfilters" => M::GetCFilters(read(payload)?),
        "cfilter" => M::CFilter(read(payload)?),
        "getcfheaders" => M::GetCFHeaders(read(payload)?),
        "cfheaders" => M::CFHeaders(read(payload)?),
        "getcfcheckpt" => M::GetCFCheckpt(read(payload)?),
        "cfcheckpt" => M::CFCheckpt(read(payload)?),
        "sendcmpct" => M::SendCmpct(read(payload)?),
        "cmpctblock" => M::CmpctBlock(read(payload)?),
        "getblocktxn" => M::GetBlockTxn(read(payload)?),
        "blocktxn" => M::BlockTxn(read(payload)?),
        "alert" => M::Alert(read(payload)?),
        "reject" => M::Reject(read(payload)?),
        "feefilter" => M::FeeFilter(read(payload)?),
        "wtxidrelay" => M::WtxidRelay,
        "addrv2" => M::AddrV2(read(payload)?),
        "sendaddrv2" => M::SendAddrV2,
        _ => return None,
    })
}

fn read<T: Decodable>(payload: &[u8]) -> Option<T> {
    deserialize_partial(payload).ok().map(|(value, _)| value)
}

/// Headers by hand: rust-bitcoin holds no limit and wants the count of transactions to be one byte.
fn read_headers(payload: &[u8]) -> Option<Vec<Header>> {
    let mut cursor = Cursor::new(payload);
    let count = cursor.count().filter(|&count| count <= MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(count.min(cursor.remaining() / (Header::SIZE + 1)));
    for _ in 0..count {
        headers.push(deserialize(cursor.take(Header::SIZE)?).ok()?);
        cursor.compact_size()?;
    }
    Some(headers)
}

/// Whether the payload has bytes enough for the list that it begins with, or that stands behind
/// its fixed fields: rust-bitcoin reserves up to 1 MB on the word of a count.
fn is_list_backed(command: &str, payload: &[u8]) -> bool {
    let (offset, min_item) = match command {
        "inv" | "getdata" | "notfound" => (0, 36),
        "addr" => (0, 30),
        "addrv2" => (0, 9),
        "getblocks" | "getheaders" => (4, 32),
        "block" => (80, 10),
        // A zero in place of the count of inputs marks a witness (BIP144); a flag follows it.
        "tx" => (if payload.get(4) == Some(&0) { 6 } else { 4 }, 41),
        "merkleblock" => (84, 32),
        "cfheaders" => (65, 32),
        "cfcheckpt" => (33, 32),
        "cmpctblock" => (88, 6),
        "getblocktxn" => (32, 1),
        "blocktxn" => (32, 10),
        _ => return true,
    };
    let mut cursor = Cursor::new(payload);
    let mut count = || {
        cursor.take(offset)?;
        cursor.count()
    };
    count().is_some_and(|count| count <= cursor.remaining() / min_item)
}

/// The count that a list of a message begins with; `None` where there is no valid one.
pub(crate) fn leading_count(payload: &[u8]) -> Option<usize> {
    Cursor::new(payload).count()
}

/// Whether a message is the pool's own to send: once per connection.
pub const fn is_reserved(message: &NetworkMessage) -> bool {
    matches!(
        message,
        NetworkMessage::Version(_)
            | NetworkMessage::Verack
            | NetworkMessage::WtxidRelay
            | NetworkMessage::SendAddrV2
            | NetworkMessage::GetAddr
    )
}

/// The payload of a message of any kind.
pub fn encode_payload(message: &NetworkMessage) -> Vec<u8> {
    serialize(message)
}

/// A message of any kind as one frame. Bytes of an unknown command that no command may have are
/// sent as `?`.
///
/// # Panics
/// The payload has 4 GiB or more. (A peer refuses more than 4,000,000 bytes.)
pub fn encode_message(magic: [u8; 4], message: &NetworkMessage) -> Vec<u8> {
    let mut command = [0; 12];
    for (to, from) in command.iter_mut().zip(message.command().as_ref().bytes()) {
        *to = if matches!(from, b' '..=b'~') { from } else { b'?' };
    }
    frame::frame(magic, command, &encode_payload(message))
}

#[cfg(test)]
mod tests;
