//! No file panics a reader or makes it keep more than the file holds; a book that was read is
//! written so that it is read again.
#![no_main]

use bitcoin::hashes::{Hash as _, sha256d};
use libfuzzer_sys::fuzz_target;
use peerpool::formats::{
    Import, anchors_dat, bitnodes, detect, json_lines, peers_dat, plain, read, seeder,
};
use peerpool_core::chain::Chain;
use peerpool_fuzz::{MAGIC, Script};

/// The fewest bytes that tell of an address: a line with `::1`.
const MIN_ENTRY: usize = 4;

fn chain() -> Chain {
    Chain { magic: MAGIC, ..Chain::from(bitcoin::Network::Regtest) }
}

/// The body of a file of Core's, between the magic and the checksum that are right for it.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut file = [&MAGIC[..], body].concat();
    let hash = sha256d::Hash::hash(&file);
    file.extend(hash.as_byte_array());
    file
}

fn judge(bytes: &[u8], import: &Import) {
    assert!(import.entries.len() <= bytes.len() / MIN_ENTRY + 1);
    assert!(import.skipped.iter().all(|(_, skips)| skips.examples.len() as u64 <= skips.count));
    for version in [peers_dat::Version::V3, peers_dat::Version::V4] {
        let export = peers_dat::write(&import.entries, MAGIC, [7; 32], version).expect("a key");
        let again = read(&export.bytes, &chain()).expect("what we write is read");
        assert_eq!((again.entries.len(), again.skipped.total()), (export.entries, 0));
    }
    let anchors = anchors_dat::write(&import.entries, MAGIC);
    let again = anchors_dat::read(&anchors.bytes, MAGIC).expect("what we write is read");
    assert_eq!(again.entries.len(), import.entries.len());
    let list = plain::write(&import.entries);
    let lines = json_lines::write(&import.entries);
    for again in [plain::read(list.as_bytes(), 1), json_lines::read(lines.as_bytes(), 1)] {
        let skipped = again.expect("it is short").skipped;
        assert_eq!(skipped.total(), skipped.count(peerpool::formats::SkipReason::Duplicate));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let how = script.u8() % 7;
    let rest = script.rest();
    let bytes = if how < 2 { framed(rest) } else { rest.to_vec() };
    detect(&bytes);
    let import = match how {
        0 => peers_dat::read(&bytes, MAGIC),
        1 => anchors_dat::read(&bytes, MAGIC),
        2 => read(&bytes, &chain()),
        3 => bitnodes::read(&bytes, 8333),
        4 => seeder::read(&bytes, 8333),
        5 => json_lines::read(&bytes, 8333),
        _ => plain::read(&bytes, 8333),
    };
    if let Ok(import) = import {
        judge(&bytes, &import);
    }
});
