//! Files that Bitcoin Core 28.1 wrote, on a signet of its own. They are no part of the project, and
//! cannot be made without Core: these tests are run by hand, with the folder of the files in
//! `PEERPOOL_CORE_FILES` (see CONTRIBUTING.md).

use super::*;

fn file(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("PEERPOOL_CORE_FILES").expect("PEERPOOL_CORE_FILES is set");
    std::fs::read(std::path::Path::new(&folder).join(name)).expect("the file is there")
}

fn signet() -> Chain {
    Chain::from(bitcoin::Network::Signet)
}

#[test]
#[ignore = "wants a file of Bitcoin Core's that is not part of the project; see CONTRIBUTING.md"]
fn a_peers_dat_of_core_28_is_read_and_written_back() {
    let bytes = file("peers-core-28.1-signet.dat");
    assert_eq!(bytes[..6], [0x0a, 0x03, 0xcf, 0x40, 4, 36]);
    let import = read(&bytes, &signet()).unwrap();
    assert_eq!((import.format, import.skipped.total()), (Format::PeersDat, 0));
    let (tried, new): (Vec<Entry>, Vec<Entry>) = import.entries.iter().partition(|e| e.tried);
    assert_eq!((new.len(), tried.len()), (4_295, 10));
    for entry in &import.entries {
        let Host::Ipv4(ip) = entry.address.host else { panic!("{}", entry.address) };
        assert!(matches!(ip.octets()[0], 11 | 12), "{ip}");
        assert!(matches!(entry.address.port, 38_333 | 38_334), "{}", entry.address);
        assert_eq!(entry.last_success.is_some(), entry.tried);
    }

    // With Core's own key each entry finds its place, but for 42 that lost it to others and stand
    // where further sources put them, which the file does not name.
    let key = *bytes[6..].first_chunk().unwrap();
    let export = peers_dat::write(&import.entries, signet().magic, key, peers_dat::Version::V4);
    let export = export.unwrap();
    assert_eq!((export.entries, export.tried), (4_263, 10));
    assert_eq!(export.skipped.count(SkipReason::Collision), 42);
    let again = read(&export.bytes, &signet()).unwrap();
    let known: BTreeSet<_> = texts(&import.entries).into_iter().collect();
    assert!(texts(&again.entries).iter().all(|address| known.contains(address)));
}

/// The buckets that Core itself put each entry into are those that we work out.
#[test]
#[ignore = "wants a file of Bitcoin Core's that is not part of the project; see CONTRIBUTING.md"]
fn the_buckets_of_core_28_are_ours() {
    let bytes = file("peers-core-28.1-signet.dat");
    let import = read(&bytes, &signet()).unwrap();
    let new: Vec<Entry> = import.entries.into_iter().filter(|entry| !entry.tried).collect();
    let keyed = buckets::Buckets(*bytes[6..].first_chunk().unwrap());
    let ours: Vec<_> =
        new.iter().map(|entry| keyed.new_place(&entry.address, &entry.source).bucket).collect();
    // The tables stand behind the entries, each of which ends in 12 bytes of its own.
    let mut reader = disk::Reader::new(&bytes, signet().magic).unwrap();
    reader.take(46).unwrap();
    for _ in 0..4_305 {
        reader.address(disk::Encoding::V2).unwrap();
        reader.host(disk::Encoding::V2).unwrap();
        reader.take(12).unwrap();
    }
    let mut pairs = Vec::new();
    for bucket in 0..1024 {
        for _ in 0..reader.u32().unwrap() {
            pairs.push((bucket, reader.u32().unwrap() as usize));
        }
    }
    assert_eq!(reader.remaining(), 64);
    // All but the 42 stand where their source puts them.
    let primary = pairs.iter().filter(|(bucket, at)| ours[*at] == *bucket).count();
    assert_eq!((primary, pairs.len()), (4_295 - 42, 6_734));
}

#[test]
#[ignore = "wants a file of Bitcoin Core's that is not part of the project; see CONTRIBUTING.md"]
fn an_anchors_dat_of_core_28_is_read() {
    let import = read(&file("anchors-core-28.1-signet.dat"), &signet()).unwrap();
    assert_eq!((import.format, import.skipped.total()), (Format::AnchorsDat, 0));
    assert_eq!(texts(&import.entries), ["11.76.61.150:38333", "11.191.114.72:38333"]);
}
