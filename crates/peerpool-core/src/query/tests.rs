//! Questions and answers, right and wrong ones.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bitcoin::absolute::LockTime;
use bitcoin::bip158::FilterHash;
use bitcoin::block::{Header, Version};
use bitcoin::blockdata::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use bitcoin::p2p::message_filter::{CFCheckpt, CFHeaders, CFilter};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, Network, OutPoint, ScriptBuf, Sequence, Transaction,
    TxIn, TxMerkleNode, TxOut, Txid, Witness,
};

use super::*;
use crate::wire::{Command, encode_payload};

const NOW: Monotonic = Monotonic::new(Duration::from_secs(100));
const ASKING: Asking = Asking { now: NOW, nonce: 7, pow: true, max_bytes: 1_000_000 };
/// A target that every other hash meets.
const EASY: u32 = 0x207f_ffff;

fn raw(message: &NetworkMessage) -> RawMessage {
    let command = Command::parse(message.cmd()).expect("a known command");
    RawMessage { command, payload: encode_payload(message).into() }
}

fn garbled(command: &'static str) -> RawMessage {
    RawMessage { command: Command::new(command), payload: [0xff; 90].into() }
}

/// What a query that was asked makes of a message.
fn reply<Q: Query>(query: &mut Q, message: &NetworkMessage) -> Reply<Q::Answer> {
    query.request(&ASKING);
    query.on_message(NOW, &raw(message))
}

fn unfit<A: fmt::Debug>(reply: Reply<A>) -> String {
    match reply {
        Reply::Unfit(why) => why,
        other => panic!("{other:?}"),
    }
}

fn invalid<A: fmt::Debug>(reply: Reply<A>) -> String {
    match reply {
        Reply::Invalid(why) => why,
        other => panic!("{other:?}"),
    }
}

fn hash(n: u8) -> BlockHash {
    BlockHash::from_byte_array([n; 32])
}

// ---- headers ----

/// A header after `before` that meets its target, or does not.
fn header(before: BlockHash, meets: bool) -> Header {
    let mut header = Header {
        version: Version::TWO,
        prev_blockhash: before,
        merkle_root: TxMerkleNode::all_zeros(),
        time: 1_700_000_000,
        bits: CompactTarget::from_consensus(EASY),
        nonce: 0,
    };
    while header.target().is_met_by(header.block_hash()) != meets {
        header.nonce += 1;
    }
    header
}

fn chain(before: BlockHash, count: usize) -> Vec<Header> {
    let mut last = before;
    let next = |_| {
        let header = header(last, true);
        last = header.block_hash();
        header
    };
    (0..count).map(next).collect()
}

fn after(headers: Vec<Header>) -> Reply<Vec<Header>> {
    reply(&mut GetHeaders::after([hash(1), hash(2)]), &NetworkMessage::Headers(headers))
}

#[test]
fn headers_after_a_block_of_the_locator_are_the_answer() {
    for first in [1, 2] {
        let headers = chain(hash(first), 5);
        assert_eq!(after(headers.clone()), Reply::Answer(headers));
    }
    assert_eq!(after(vec![]), Reply::Answer(vec![]), "at the tip");
    assert_eq!(after(chain(hash(3), 5)), Reply::Other, "what somebody else has asked for");
    let mut query = GetHeaders::after([hash(1)]).until(hash(9));
    let asked = NetworkMessage::GetHeaders(GetHeadersMessage::new(vec![hash(1)], hash(9)));
    assert_eq!(query.request(&ASKING), asked);
    assert_eq!(reply(&mut query, &NetworkMessage::Ping(1)), Reply::Other);
}

#[test]
fn headers_that_do_not_hang_together_are_invalid() {
    let mut headers = chain(hash(1), 5);
    headers[3] = header(hash(4), true);
    assert_eq!(invalid(after(headers)), "header 3 does not follow on the one before");
    let mut headers = chain(hash(1), 5);
    headers[4] = header(headers[3].block_hash(), false);
    assert_eq!(invalid(after(headers.clone())), "header 4 does not meet its target");
    let mut query = GetHeaders::after([hash(1)]);
    query.request(&Asking { pow: false, ..ASKING });
    let message = raw(&NetworkMessage::Headers(headers.clone()));
    assert_eq!(query.on_message(NOW, &message), Reply::Answer(headers), "a chain without");
    let why = invalid(query.on_message(NOW, &garbled("headers")));
    assert_eq!(why, "a headers that cannot be read");
}

#[test]
fn a_locator_has_as_many_blocks_as_peers_read() {
    let check = |count| GetHeaders::after((0..count).map(|n| hash(n as u8))).check();
    assert_eq!((check(1), check(101)), (Ok(()), Ok(())));
    for count in [0, 102] {
        let said = check(count).expect_err("not asked").to_string();
        assert_eq!(said, format!("getheaders of a locator of {count} blocks; allowed: 1 to 101"));
    }
}

// ---- blocks ----

fn output(script: ScriptBuf) -> TxOut {
    TxOut { value: Amount::ONE_SAT, script_pubkey: script }
}

fn transaction(n: u8, witness: &[&[u8]], output: TxOut) -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([n; 32]), vout: 0 };
    let witness = Witness::from_slice(witness);
    let (script_sig, sequence) = (ScriptBuf::new(), Sequence::MAX);
    let input = vec![TxIn { previous_output, script_sig, sequence, witness }];
    let (version, lock_time) = (bitcoin::transaction::Version::TWO, LockTime::ZERO);
    Transaction { version, lock_time, input, output: vec![output] }
}

/// A block with so many transactions that have a witness, and as many without.
fn block(count: u8) -> Block {
    let plain = || output(ScriptBuf::new());
    let mut coinbase = transaction(0, &[&[0; 32]], plain());
    coinbase.input[0].previous_output = OutPoint::null();
    let with = (1..=count).map(|n| transaction(n, &[b"signed"], plain()));
    let without = (101..=100 + count).map(|n| transaction(n, &[], plain()));
    let txdata = std::iter::once(coinbase).chain(with).chain(without).collect();
    let mut block = Block { header: header(hash(1), true), txdata };
    let root = block.witness_root().expect("it has transactions");
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend(commitment.to_byte_array());
    block.txdata[0].output.push(output(script.into()));
    block.header.merkle_root = block.compute_merkle_root().expect("it has transactions");
    block
}

fn answers(asked: &Block, came: Block) -> Reply<Block> {
    reply(&mut GetBlock(asked.block_hash()), &NetworkMessage::Block(came))
}

#[test]
fn a_block_is_answered_by_itself() {
    let genesis = genesis_block(Network::Bitcoin);
    for block in [block(0), block(1), block(5), genesis.clone()] {
        assert_eq!(answers(&block, block.clone()), Reply::Answer(block.clone()));
    }
    assert_eq!(answers(&block(1), genesis.clone()), Reply::Other);
    let inventory = vec![Inventory::Block(hash(1)), Inventory::WitnessBlock(genesis.block_hash())];
    let missing = NetworkMessage::NotFound(inventory.clone());
    let mut query = GetBlock(genesis.block_hash());
    assert_eq!(reply(&mut query, &missing), Reply::NotFound);
    assert_eq!(reply(&mut query, &NetworkMessage::Inv(inventory)), Reply::Other);
    assert_eq!(reply(&mut GetBlock(hash(3)), &missing), Reply::Other);
}

#[test]
fn a_block_that_is_not_what_it_commits_to_is_invalid() {
    let right = block(3);
    let spoilt = |spoil: &dyn Fn(&mut Block)| {
        let mut block = right.clone();
        spoil(&mut block);
        invalid(answers(&right, block))
    };
    let (other, witness) = (
        "its transactions are not those that its header commits to",
        "its witnesses are not those that its coinbase commits to",
    );
    assert_eq!(spoilt(&|it| it.txdata.truncate(2)), other);
    assert_eq!(spoilt(&|it| it.txdata.clear()), other);
    assert_eq!(spoilt(&|it| it.txdata[1].output[0].value = Amount::MAX_MONEY), other);
    assert_eq!(spoilt(&|it| it.txdata[1].input[0].witness.push(b"more")), witness);
    let mut stripped = right.clone();
    stripped.txdata.iter_mut().for_each(|tx| tx.input[0].witness.clear());
    assert_eq!(answers(&right, stripped), Reply::Other, "another may have asked for that");
    // The last ones again: the same root.
    let odd = |it: &mut Block| {
        let again = it.txdata[6].clone();
        it.txdata.push(again);
    };
    assert_eq!(spoilt(&odd), other);
    let mut cut = raw(&NetworkMessage::Block(right.clone()));
    cut.payload = cut.payload[..100].into();
    let why = invalid(GetBlock(right.block_hash()).on_message(NOW, &cut));
    assert_eq!(why, "a block that cannot be read");
}

#[test]
fn a_block_from_before_segwit_may_look_as_if_it_had_witnesses() {
    let mut early = block(1);
    early.txdata.iter_mut().for_each(|tx| tx.input[0].witness.clear());
    early.header.time = 1_500_000_000;
    assert_eq!(answers(&early, early.clone()), Reply::Answer(early));
}

#[test]
fn blocks_come_in_any_order_and_are_given_in_the_order_asked() {
    let blocks = [block(1), block(2), block(3)];
    let came = |n: usize| raw(&NetworkMessage::Block(blocks[n].clone()));
    let mut query = GetBlocks::new(blocks.iter().map(Block::block_hash));
    assert_eq!(query.check(), Ok(()));
    assert_eq!(query.on_message(NOW, &came(2)), Reply::More);
    assert_eq!(query.on_message(NOW, &came(2)), Reply::Other, "it has that");
    let alien = raw(&NetworkMessage::Block(block(4)));
    assert_eq!(query.on_message(NOW, &alien), Reply::Other);
    assert_eq!(query.on_message(NOW, &came(0)), Reply::More);
    assert_eq!(query.on_message(NOW, &came(1)), Reply::Answer(blocks.to_vec()));
    let said = GetBlocks::new([hash(1), hash(1)]).check().expect_err("one twice").to_string();
    assert_eq!(said, "getdata of 2 blocks, 1 different ones; allowed: 1 to 16 different ones");
    assert!(GetBlocks::new([]).check().is_err());
    assert!(GetBlocks::new((0..17).map(hash)).check().is_err());
}

#[test]
fn blocks_that_come_too_late_are_not_held() {
    let blocks = [block(1), block(2)];
    let came = |n: usize| raw(&NetworkMessage::Block(blocks[n].clone()));
    let mut query = GetBlocks::new(blocks.iter().map(Block::block_hash));
    assert_eq!(query.on_message(NOW, &came(0)), Reply::More);
    query.expire();
    assert_eq!(query.on_message(NOW, &came(1)), Reply::Answer(vec![]));
}

#[test]
fn blocks_are_no_longer_than_is_borne() {
    let blocks = [block(1), block(2)];
    let came = |n: usize| raw(&NetworkMessage::Block(blocks[n].clone()));
    let (first, both) = (came(0).payload.len(), came(0).payload.len() + came(1).payload.len());
    let asked = |max_bytes| {
        let mut query = GetBlocks::new(blocks.iter().map(Block::block_hash));
        query.request(&Asking { max_bytes, ..ASKING });
        assert_eq!(query.on_message(NOW, &came(0)), Reply::More);
        query
    };
    assert_eq!(asked(both).on_message(NOW, &came(1)), Reply::Answer(blocks.to_vec()));
    let said = unfit(asked(both - 1).on_message(NOW, &came(1)));
    assert_eq!(said, format!("more than 1 blocks of {first} bytes"));
    let mut late = asked(both - 1);
    late.expire();
    assert_eq!(late.on_message(NOW, &came(1)), Reply::Answer(vec![]), "none of it is held");
}

// ---- transactions, pings, anything ----

#[test]
fn a_transaction_is_answered_by_the_one_of_its_name() {
    let tx = transaction(1, &[b"signed"], output(ScriptBuf::new()));
    let mut bare = tx.clone();
    bare.input[0].witness.clear();
    let (by_id, by_whole) =
        (GetTx::by_txid(tx.compute_txid()), GetTx::by_wtxid(tx.compute_wtxid()));
    let come =
        |mut query: GetTx, tx: &Transaction| reply(&mut query, &NetworkMessage::Tx(tx.clone()));
    assert_eq!(come(by_id, &tx), Reply::Answer(tx.clone()));
    assert_eq!(come(by_whole, &tx), Reply::Answer(tx.clone()));
    assert_eq!(come(by_id, &bare), Reply::Answer(bare.clone()), "its id is the same");
    assert_eq!(come(by_whole, &bare), Reply::Other);
    assert_eq!(by_id.clone().on_message(NOW, &garbled("tx")), Reply::Other);
    let said = |mut query: GetTx, entry| reply(&mut query, &NetworkMessage::NotFound(vec![entry]));
    assert_eq!(said(by_id, Inventory::WitnessTransaction(tx.compute_txid())), Reply::NotFound);
    assert_eq!(said(by_whole, Inventory::WTx(tx.compute_wtxid())), Reply::NotFound);
    assert_eq!(said(by_whole, Inventory::WitnessTransaction(tx.compute_txid())), Reply::Other);
}

#[test]
fn a_ping_is_answered_by_its_own_pong() {
    let mut ping = Ping::new();
    assert_eq!(ping.request(&ASKING), NetworkMessage::Ping(7));
    let later = NOW + Duration::from_millis(80);
    let pong = |nonce| raw(&NetworkMessage::Pong(nonce));
    assert_eq!(ping.on_message(later, &pong(8)), Reply::Other);
    assert_eq!(ping.on_message(later, &raw(&NetworkMessage::Ping(7))), Reply::Other);
    assert_eq!(ping.on_message(later, &pong(7)), Reply::Answer(Duration::from_millis(80)));
}

#[test]
fn anything_is_answered_by_what_the_caller_says() {
    let is_fee = |message: &NetworkMessage| matches!(message, NetworkMessage::FeeFilter(_));
    let mut query = Raw::new(NetworkMessage::MemPool, is_fee);
    assert_eq!(query.check(), Ok(()));
    assert_eq!(query.request(&ASKING), NetworkMessage::MemPool);
    assert_eq!(reply(&mut query, &NetworkMessage::Ping(1)), Reply::Other);
    let fee = NetworkMessage::FeeFilter(1000);
    assert_eq!(reply(&mut query, &fee), Reply::Answer(fee.clone()));
    let said = Raw::new(NetworkMessage::Verack, is_fee).check().expect_err("ours").to_string();
    assert!(said.starts_with("raw of `verack`; allowed: "), "{said}");
}

// ---- filters ----

fn filter(n: u8) -> CFilter {
    CFilter { filter_type: 0, block_hash: hash(n), filter: vec![n; 10] }
}

fn filter_hash(n: u8) -> FilterHash {
    FilterHash::hash(&[n; 10])
}

/// What a query makes of filters that come one after the other.
fn filters(mut query: GetCFilters, came: &[CFilter]) -> Vec<Reply<Vec<CFilter>>> {
    query.request(&ASKING);
    let came = came.iter().map(|filter| raw(&NetworkMessage::CFilter(filter.clone())));
    came.map(|message| query.on_message(NOW, &message)).collect()
}

#[test]
fn filters_end_with_that_of_the_last_block() {
    let asked = || GetCFilters::new(1, hash(3));
    let came = [filter(1), filter(2), filter(3)];
    let whole = vec![Reply::More, Reply::More, Reply::Answer(came.to_vec())];
    assert_eq!(filters(asked(), &came), whole);
    let expected = || asked().expecting([1, 2, 3].map(filter_hash));
    assert_eq!(filters(expected(), &came), whole);
    let last = |query, came: &[CFilter]| unfit(filters(query, came).pop().expect("one"));
    let wrong = "filter 1 is not that of the hash asked";
    assert_eq!(last(expected(), &[filter(1), filter(3)]), wrong);
    let short = asked().expecting([1, 3, 4].map(filter_hash));
    assert_eq!(last(short, &[filter(1), filter(3)]), "1 filters are missing");
    let long = asked().expecting([filter_hash(1)]);
    assert_eq!(last(long, &[filter(1), filter(2)]), wrong);
    let twice = "the block of filter 1 has one already";
    assert_eq!(last(asked(), &[filter(1), filter(1)]), twice);
    let other = CFilter { filter_type: 1, ..filter(1) };
    assert_eq!(filters(asked(), &[other]), [Reply::Other]);
}

#[test]
fn filters_are_no_more_than_are_asked_for_and_no_longer_than_is_borne() {
    let named = |n: u16| {
        let mut block_hash = [9; 32];
        block_hash[..2].copy_from_slice(&n.to_le_bytes());
        CFilter { block_hash: BlockHash::from_byte_array(block_hash), ..filter(1) }
    };
    let many: Vec<CFilter> = (0..1001).map(named).collect();
    let replies = filters(GetCFilters::new(1, hash(3)), &many);
    assert!(replies[..1000].iter().all(|reply| *reply == Reply::More));
    assert_eq!(unfit(replies[1000].clone()), "more than 1000 filters of 10000 bytes");
    let giant = |n| CFilter { filter: vec![0; 600_000], ..filter(n) };
    let replies = filters(GetCFilters::new(1, hash(3)), &[giant(1), giant(2)]);
    assert_eq!(unfit(replies[1].clone()), "more than 1 filters of 600000 bytes");
    let expecting =
        GetCFilters::new(1, hash(3)).expecting((0..=250).cycle().map(filter_hash).take(1001));
    assert!(expecting.check().is_err());
}

#[test]
fn filter_headers_are_those_up_to_the_block_asked() {
    let headers = |stop, count: u8| CFHeaders {
        filter_type: 0,
        stop_hash: hash(stop),
        previous_filter_header: bitcoin::bip158::FilterHeader::all_zeros(),
        filter_hashes: (0..count).map(filter_hash).collect(),
    };
    let come = |answer: CFHeaders| {
        reply(&mut GetCFHeaders::new(1, hash(3)), &NetworkMessage::CFHeaders(answer))
    };
    assert_eq!(come(headers(3, 2)), Reply::Answer(headers(3, 2)));
    assert_eq!(come(headers(4, 2)), Reply::Other);
    assert_eq!(invalid(come(headers(3, 0))), "0 hashes of filters");
}

#[test]
fn checkpoints_are_as_many_as_there_must_be() {
    let checkpoints = |stop, count: usize| CFCheckpt {
        filter_type: 0,
        stop_hash: hash(stop),
        filter_headers: vec![bitcoin::bip158::FilterHeader::all_zeros(); count],
    };
    let come = |mut query: GetCFCheckpt, answer: CFCheckpt| {
        reply(&mut query, &NetworkMessage::CFCheckpt(answer))
    };
    let asked = GetCFCheckpt::new(hash(3));
    for count in [0, 2] {
        assert_eq!(come(asked, checkpoints(3, count)), Reply::Answer(checkpoints(3, count)));
    }
    assert_eq!(come(asked, checkpoints(4, 2)), Reply::Other);
    assert_eq!(come(asked.at(2999), checkpoints(3, 2)), Reply::Answer(checkpoints(3, 2)));
    let why = unfit(come(asked.at(3000), checkpoints(3, 2)));
    assert_eq!(why, "2 checkpoints where there are 3");
}

// ---- the table ----

type Said = Arc<Mutex<Vec<String>>>;

/// A query that tells what it came to.
#[derive(Debug)]
struct Told<Q> {
    name: &'static str,
    query: Q,
    said: Said,
    abandoned: Arc<AtomicBool>,
}

impl<Q: Query<Answer: fmt::Debug>> Pending for Told<Q> {
    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.query.request(asking)
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    fn is_open(&self) -> bool {
        self.query.is_open()
    }

    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<()> {
        let reply = self.query.on_message(now, message);
        let told = match reply {
            Reply::Other => Reply::Other,
            Reply::More => Reply::More,
            Reply::Answer(_) => Reply::Answer(()),
            Reply::NotFound => Reply::NotFound,
            Reply::Invalid(why) => Reply::Invalid(why),
            Reply::Unfit(why) => Reply::Unfit(why),
        };
        if told != Reply::Other {
            self.said.lock().expect("one thread").push(format!("{} {told:?}", self.name));
        }
        told
    }

    fn expire(&mut self) {
        self.query.expire();
        self.said.lock().expect("one thread").push(format!("{} expired", self.name));
    }
}

struct Table {
    queries: Queries,
    said: Said,
    abandoned: Arc<AtomicBool>,
}

impl Table {
    fn new(max_late: usize) -> Self {
        Self { queries: Queries::new(max_late), said: Said::default(), abandoned: Arc::default() }
    }

    fn ask<Q: Query<Answer: fmt::Debug>>(&mut self, name: &'static str, query: Q, secs: u64) {
        let (said, abandoned) = (Arc::clone(&self.said), Arc::clone(&self.abandoned));
        let told = Box::new(Told { name, query, said, abandoned });
        self.queries.ask(&ASKING, told, NOW + Duration::from_secs(secs));
    }

    fn take(&mut self, message: &NetworkMessage) -> Answered {
        self.queries.on_message(NOW, &raw(message))
    }

    fn wait(&mut self, secs: u64) {
        self.queries.handle_timeout(NOW + Duration::from_secs(secs));
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().expect("one thread"))
    }
}

#[test]
fn an_answer_goes_to_the_first_that_it_answers() {
    let mut table = Table::new(4);
    table.ask("a", GetHeaders::after([hash(1)]), 10);
    table.ask("b", GetHeaders::after([hash(2)]), 10);
    table.ask("c", GetBlock(block(1).block_hash()), 10);
    assert_eq!(table.take(&NetworkMessage::Block(block(1))), Answered::Some);
    assert_eq!(table.take(&NetworkMessage::Headers(chain(hash(2), 2))), Answered::Some);
    assert_eq!(table.take(&NetworkMessage::Headers(chain(hash(3), 2))), Answered::None);
    assert_eq!(table.queries.in_flight(), 1);
    assert_eq!(table.take(&NetworkMessage::Headers(vec![])), Answered::Some);
    assert_eq!(table.said(), ["c Answer(())", "b Answer(())", "a Answer(())"]);
    assert!(table.queries.is_empty());
    assert_eq!(table.take(&NetworkMessage::Headers(vec![])), Answered::None);
}

#[test]
fn a_late_answer_is_not_taken_for_another() {
    let mut table = Table::new(4);
    table.ask("a", GetHeaders::after([hash(1)]), 10);
    assert_eq!(table.queries.wake_at(), Some(NOW + Duration::from_secs(10)));
    table.wait(9);
    assert_eq!(table.said(), [""; 0]);
    table.wait(10);
    assert_eq!((table.said(), table.queries.in_flight()), (vec!["a expired".to_owned()], 0));
    assert_eq!(table.queries.wake_at(), None);
    table.ask("b", GetHeaders::after([hash(2)]), 20);
    assert_eq!(table.take(&NetworkMessage::Headers(vec![])), Answered::Some, "that of a");
    assert_eq!(table.take(&NetworkMessage::Headers(chain(hash(2), 1))), Answered::Some);
    assert_eq!(table.said(), ["a Answer(())", "b Answer(())"]);
}

#[test]
fn what_is_left_of_an_answer_that_does_not_fit_is_not_taken_for_another() {
    let mut table = Table::new(8);
    let wrong = GetCFilters::new(0, filter(3).block_hash).expecting([filter_hash(9)]);
    table.ask("first", wrong, 10);
    table.ask("second", GetCFilters::new(4, filter(5).block_hash), 10);
    for n in 1..=5 {
        table.take(&NetworkMessage::CFilter(filter(n)));
    }
    let said = table.said();
    assert!(said[0].starts_with("first Unfit"), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("second Answer(())"));
    let second = said.iter().filter(|it| it.starts_with("second")).count();
    assert_eq!(second, 2, "its own two, and no other: {said:?}");
}

#[test]
fn a_late_answer_to_the_same_question_is_one() {
    let mut table = Table::new(4);
    table.ask("a", GetHeaders::after([hash(1)]), 10);
    table.wait(10);
    table.ask("b", GetHeaders::after([hash(1)]), 20);
    assert_eq!(table.take(&NetworkMessage::Headers(vec![])), Answered::Some);
    assert_eq!(table.said(), ["a expired", "b Answer(())"]);
    // That was the one to a; the one to b is owed, and nobody else's.
    table.ask("c", GetHeaders::after([hash(2)]), 20);
    assert_eq!(table.queries.in_flight(), 1);
    assert_eq!(table.take(&NetworkMessage::Headers(vec![])), Answered::Some);
    assert_eq!(table.take(&NetworkMessage::Headers(chain(hash(2), 1))), Answered::Some);
    assert_eq!(table.said(), ["b Answer(())", "c Answer(())"]);
    assert!(table.queries.is_empty());
}

#[test]
fn one_whose_answer_has_begun_is_not_taken_for_another() {
    let mut table = Table::new(4);
    let asked = || GetCFilters::new(1, hash(3)).expecting([1, 2, 3].map(filter_hash));
    let came = |table: &mut Table, n| table.take(&NetworkMessage::CFilter(filter(n)));
    table.ask("a", asked(), 10);
    assert_eq!(came(&mut table, 1), Answered::Some);
    table.wait(10);
    table.ask("b", asked(), 20);
    for n in [2, 3, 1, 2, 3] {
        assert_eq!(came(&mut table, n), Answered::Some);
    }
    let (more, done) = ("b More", "b Answer(())");
    assert_eq!(table.said(), ["a More", "a expired", "a More", "a Answer(())", more, more, done]);
}

#[test]
fn one_that_nobody_waits_for_is_late() {
    let mut table = Table::new(4);
    table.ask("a", GetHeaders::after([hash(1)]), 10);
    table.abandoned.store(true, Relaxed);
    table.ask("b", GetHeaders::after([hash(2)]), 10);
    assert_eq!((table.said(), table.queries.in_flight()), (vec!["a expired".to_owned()], 1));
}

#[test]
fn an_invalid_answer_counts_against_the_peer_unless_it_is_late() {
    let mut broken = chain(hash(1), 3);
    broken[2] = header(hash(5), true);
    let why = "header 2 does not follow on the one before".to_owned();
    let mut table = Table::new(4);
    table.ask("a", GetHeaders::after([hash(1)]), 10);
    let broken = NetworkMessage::Headers(broken);
    assert_eq!(table.take(&broken), Answered::Invalid(why));
    table.ask("b", GetHeaders::after([hash(1)]), 10);
    table.wait(10);
    assert_eq!(table.take(&broken), Answered::Some);
    assert!(table.queries.is_empty());
}

#[test]
fn no_more_late_ones_are_kept_than_may_be() {
    let mut table = Table::new(2);
    for (nth, name) in (1..).zip(["a", "b", "c", "d"]) {
        table.ask(name, GetHeaders::after([hash(nth)]), 10 + u64::from(nth));
    }
    table.wait(13);
    assert_eq!(table.said(), ["a expired", "b expired", "c expired"]);
    for (nth, taken) in [(1, Answered::None), (2, Answered::Some), (3, Answered::Some)] {
        assert_eq!(table.take(&NetworkMessage::Headers(chain(hash(nth), 1))), taken, "{nth}");
    }
    assert_eq!(table.queries.in_flight(), 1);
}
