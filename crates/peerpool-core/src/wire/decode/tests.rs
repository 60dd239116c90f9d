//! Every kind of message there and back, and the payloads that must not decode.

use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::merkle_tree::MerkleBlock;
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory};
use bitcoin::p2p::message_bloom::{BloomFlags, FilterAdd, FilterLoad};
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn, SendCmpct};
use bitcoin::p2p::message_filter::{
    CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters,
};
use bitcoin::p2p::message_network::{Reject, RejectReason, VersionMessage};
use bitcoin::p2p::{Magic, ServiceFlags, address};
use bitcoin::{BlockHash, FilterHash, FilterHeader, Network};
use proptest::prelude::*;

use super::*;
use crate::wire::{Command, FrameEvent, FrameReader, Kind};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

fn lists() -> Vec<NetworkMessage> {
    use NetworkMessage as M;
    let block = genesis_block(Network::Regtest);
    let hash = block.block_hash();
    let inventory = vec![Inventory::Block(hash), Inventory::Unknown { inv_type: 9, hash: [1; 32] }];
    let peer = address::Address::new(&([1, 2, 3, 4], 8333).into(), ServiceFlags::NETWORK);
    let peer_v2 = address::AddrV2Message {
        time: 5,
        services: ServiceFlags::WITNESS,
        addr: address::AddrV2::Ipv4([1, 2, 3, 4].into()),
        port: 8333,
    };
    let header = FilterHeader::all_zeros();
    vec![
        M::Addr(vec![(5, peer)]),
        M::AddrV2(vec![peer_v2]),
        M::Inv(inventory.clone()),
        M::GetData(inventory.clone()),
        M::NotFound(inventory),
        M::GetBlocks(GetBlocksMessage::new(vec![hash], BlockHash::all_zeros())),
        M::GetHeaders(GetHeadersMessage::new(vec![hash; 2], BlockHash::all_zeros())),
        M::Headers(vec![block.header; 3]),
        M::Tx(block.txdata[0].clone()),
        M::MerkleBlock(MerkleBlock::from_block_with_predicate(&block, |_| true)),
        M::CFHeaders(CFHeaders {
            filter_type: 0,
            stop_hash: hash,
            previous_filter_header: header,
            filter_hashes: vec![FilterHash::all_zeros(); 2],
        }),
        M::CFCheckpt(CFCheckpt { filter_type: 0, stop_hash: hash, filter_headers: vec![header] }),
        M::CmpctBlock(CmpctBlock {
            compact_block: HeaderAndShortIds::from_block(&block, 1, 2, &[]).expect("a valid block"),
        }),
        M::GetBlockTxn(GetBlockTxn {
            txs_request: BlockTransactionsRequest { block_hash: hash, indexes: vec![0, 3, 9] },
        }),
        M::BlockTxn(BlockTxn {
            transactions: BlockTransactions {
                block_hash: hash,
                transactions: block.txdata.clone(),
            },
        }),
        M::Block(block),
    ]
}

fn others() -> Vec<NetworkMessage> {
    use NetworkMessage as M;
    let hash = BlockHash::all_zeros();
    let peer = address::Address::new(&([1, 2, 3, 4], 8333).into(), ServiceFlags::NETWORK);
    let mut version =
        VersionMessage::new(ServiceFlags::NETWORK, 5, peer.clone(), peer, 7, "/x/".to_owned(), 9);
    version.relay = true;
    vec![
        M::Version(version),
        M::Verack,
        M::MemPool,
        M::SendHeaders,
        M::GetAddr,
        M::Ping(1),
        M::Pong(2),
        M::FilterLoad(FilterLoad {
            filter: vec![1; 40],
            hash_funcs: 1,
            tweak: 2,
            flags: BloomFlags::All,
        }),
        M::FilterAdd(FilterAdd { data: vec![1; 3] }),
        M::FilterClear,
        M::GetCFilters(GetCFilters { filter_type: 0, start_height: 1, stop_hash: hash }),
        M::CFilter(CFilter { filter_type: 0, block_hash: hash, filter: vec![1; 300] }),
        M::GetCFHeaders(GetCFHeaders { filter_type: 0, start_height: 1, stop_hash: hash }),
        M::GetCFCheckpt(GetCFCheckpt { filter_type: 0, stop_hash: hash }),
        M::SendCmpct(SendCmpct { send_compact: true, version: 2 }),
        M::Alert(vec![1, 2]),
        M::Reject(Reject {
            message: "tx".into(),
            ccode: RejectReason::Dust,
            reason: "dust".into(),
            hash: bitcoin::hashes::sha256d::Hash::all_zeros(),
        }),
        M::FeeFilter(1000),
        M::WtxidRelay,
        M::SendAddrV2,
    ]
}

fn raw(command: &str, payload: &[u8]) -> RawMessage {
    RawMessage { command: Command::parse(command).expect("a command"), payload: payload.into() }
}

fn is_unknown(command: &str, payload: &[u8]) -> bool {
    match decode(&raw(command, payload)) {
        NetworkMessage::Unknown { command: name, payload: bytes } => {
            assert_eq!((name.as_ref(), bytes.as_slice()), (command, payload));
            true
        }
        _ => false,
    }
}

#[test]
fn every_kind_round_trips_and_agrees_with_rust_bitcoin() {
    for message in lists().into_iter().chain(others()) {
        let ours = encode_message(MAGIC, &message);
        let theirs = RawNetworkMessage::new(Magic::from_bytes(MAGIC), message.clone());
        assert_eq!(ours, serialize(&theirs), "{message:?}");

        let mut reader = FrameReader::new(MAGIC, 4_000_000);
        let mut rest = ours.as_slice();
        let frame = loop {
            match reader.read(&mut rest).expect("a valid frame").expect("a whole frame") {
                FrameEvent::Ended(frame) => break frame.expect("a right checksum"),
                _ => continue,
            }
        };
        assert_ne!(Kind::of(frame.command), Kind::Unknown, "{message:?}");
        // Compared as bytes: the bits of a merkle block come back padded to a byte.
        for payload in [frame.payload.clone(), [&frame.payload[..], &[0xff; 50]].concat()] {
            let decoded = decode(&raw(frame.command.as_str(), &payload));
            assert_eq!(decoded.cmd(), message.cmd());
            assert_eq!(encode_payload(&decoded), frame.payload);
        }
    }
}

#[test]
fn a_list_cut_short_is_unknown() {
    for message in lists() {
        let payload = encode_payload(&message);
        for length in [payload.len() / 2, payload.len() - 1] {
            assert!(is_unknown(message.cmd(), &payload[..length]), "{message:?} cut to {length}");
        }
    }
}

#[test]
fn a_count_that_the_bytes_do_not_back_is_unknown() {
    let huge = [0xfe, 0, 0, 0, 2];
    for (command, offset) in [
        ("inv", 0),
        ("addr", 0),
        ("addrv2", 0),
        ("headers", 0),
        ("getheaders", 4),
        ("block", 80),
        ("tx", 4),
        ("merkleblock", 84),
        ("cfheaders", 65),
        ("cfcheckpt", 33),
        ("cmpctblock", 88),
        ("getblocktxn", 32),
        ("blocktxn", 32),
    ] {
        let payload = [&vec![1; offset], &huge[..], &[0; 100]].concat();
        assert!(is_unknown(command, &payload), "{command}");
        assert!(is_unknown(command, &[]), "{command}");
    }
    // The same behind the marker and flag of a witness.
    assert!(is_unknown("tx", &[&[1, 0, 0, 0, 0, 1][..], &huge, &[0; 100]].concat()));
}

#[test]
fn headers_are_at_most_2000_and_their_transactions_are_not_counted() {
    let header = genesis_block(Network::Regtest).header;
    let bytes = serialize(&header);
    let headers = |count: &[u8], repeat: usize, tail: &[u8]| {
        let payload = [count, &[&bytes, tail].concat().repeat(repeat)].concat();
        match decode(&raw("headers", &payload)) {
            NetworkMessage::Headers(headers) => Some(headers.len()),
            _ => None,
        }
    };
    assert_eq!(headers(&[0], 0, &[0]), Some(0));
    assert_eq!(headers(&[1], 1, &[5]), Some(1));
    assert_eq!(headers(&[1], 1, &[0xfd, 0xfd, 0]), Some(1));
    assert_eq!(headers(&[1], 1, &[0xfd, 1, 0]), None);
    assert_eq!(headers(&[1], 1, &[]), None);
    assert_eq!(headers(&[0xfd, 0xd0, 7], 2000, &[0]), Some(2000));
    assert_eq!(headers(&[0xfd, 0xd1, 7], 2001, &[0]), None);
}

#[test]
fn unknown_commands_keep_their_payload_and_bad_ones_are_made_sendable() {
    assert!(is_unknown("", &[]));
    assert!(is_unknown("Version", &[1, 2, 3]));
    let message = NetworkMessage::Unknown {
        command: "p\u{e9}ng\n".try_into().expect("at most 12 bytes"),
        payload: vec![1],
    };
    let frame = encode_message(MAGIC, &message);
    assert_eq!(&frame[4..16], b"p??ng?\0\0\0\0\0\0");
}

proptest! {
    #[test]
    fn any_payload_decodes_or_is_unknown(
        which in any::<prop::sample::Index>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
        tail in any::<bool>(),
    ) {
        let messages: Vec<_> = lists().into_iter().chain(others()).collect();
        let message = which.get(&messages);
        let mut bytes = encode_payload(message);
        if tail {
            bytes.truncate(payload.len());
            bytes.extend(&payload);
        } else {
            bytes = payload;
        }
        let decoded = decode(&raw(message.cmd(), &bytes));
        let name = decoded.command();
        prop_assert_eq!(name.as_ref(), message.cmd());
    }
}
