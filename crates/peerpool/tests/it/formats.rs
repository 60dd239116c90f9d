//! Files of a real node: read by us, and ours read by it.

use std::path::PathBuf;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{SystemTime, UNIX_EPOCH};

use peerpool::bitcoin::Network;
use peerpool::bitcoin::hashes::{Hash as _, sha256d};
use peerpool::formats::{self, Entry, Format, Source, peers_dat};
use peerpool::{Address, Chain, Host, ServiceFlags};
use peerpool_core::time::UnixTime;
use serde_json::json;

use crate::litecoind::{self, Litecoind, free_port, skip};
use crate::within;

impl Litecoind {
    /// Where a file of the node's is.
    fn file(&self, name: &str) -> PathBuf {
        self.data.join("regtest").join(name)
    }
}

const NODE: Ipv4Addr = Ipv4Addr::new(127, 2, 0, 1);
const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
const KEY: [u8; 32] = [7; 32];

/// A node that dials nobody, so that nothing but what the test does changes what it knows.
async fn aloof() -> Litecoind {
    Litecoind::start((NODE, free_port(NODE)).into(), &["-connect=0"]).await
}

fn regtest() -> Chain {
    // Litecoin's regtest has the same magic.
    Chain::from(Network::Regtest)
}

fn import(node: &Litecoind, name: &str) -> Vec<Entry> {
    let import = formats::read(&std::fs::read(node.file(name)).unwrap(), &regtest()).unwrap();
    assert_eq!(import.format, Format::named(name).unwrap());
    assert_eq!(import.skipped.total(), 0, "{}", import.skipped);
    let mut entries = import.entries;
    entries.sort_by_key(|entry| entry.address);
    entries
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn we_read_the_peers_dat_that_a_node_writes() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let mut node = aloof().await;
        node.stop().await;
        // With a key of its own it would now and then lose an address to another.
        let empty = peers_dat::write(&[], regtest().magic, KEY, peers_dat::Version::V3).unwrap();
        std::fs::write(node.file("peers.dat"), &empty.bytes).unwrap();
        node.resume().await;
        let began = now();
        let mut given = BTreeSet::new();
        let ipv4 = (0..100).map(|group| format!("11.{group}.0.1"));
        let ipv6 = (0..20).map(|group| format!("2a01:{group:x}::1"));
        for (host, port) in ipv4.chain(ipv6).chain([ONION.to_owned()]).zip(18_444..) {
            let added = node.call("addpeeraddress", json!([host, port])).await;
            assert_eq!(added["success"], true, "{host}");
            given.insert(Address::parse(&host, port).unwrap());
        }
        node.stop().await;

        let bytes = std::fs::read(node.file("peers.dat")).unwrap();
        assert_eq!(bytes[..6], [0xfa, 0xbf, 0xb5, 0xda, 3, 35]);
        assert_eq!(bytes[6..38], KEY);
        let entries = import(&node, "peers.dat");
        let read: BTreeSet<_> = entries.iter().map(|entry| entry.address).collect();
        assert_eq!(read, given);
        for entry in entries {
            assert!((began..=now()).contains(&entry.last_seen.0), "{entry:?}");
            let expected = Entry {
                source: Source::Host(entry.address.host),
                services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
                last_seen: entry.last_seen,
                ..Entry::of(entry.address)
            };
            assert_eq!(entry, expected);
        }
    })
    .await;
}

/// New and tried entries on every network, from peers and from seeds.
fn entries() -> Vec<Entry> {
    let v4 = |n: u32| Host::Ipv4((0x0b00_0000 + (n << 13)).into());
    let v6 = |n: u32| Host::Ipv6((0x2a01_u128 << 112 | u128::from(n) << 96 | 1).into());
    let key = |n: u32| {
        let mut key = [n as u8; 32];
        key[1] = (n >> 8) as u8;
        key
    };
    let yesterday = formats::round_to_day(UnixTime(now() - 86_400));
    let known = (0..1_500).map(|n| {
        let host = match n % 8 {
            0..=3 => v4(n),
            4 => v6(n),
            5 => Host::Onion(key(n)),
            6 => Host::I2p(key(n)),
            _ => Host::Cjdns((0xfc_u128 << 120 | u128::from(n) << 112 | u128::from(n)).into()),
        };
        let tried = n % 10 == 0;
        Entry {
            address: Address { host, port: 1000 + n as u16 },
            source: match n % 3 {
                0 => Source::named("seed.test"),
                1 => Source::Host(v4(n + 7)),
                _ => Source::Host(v6(n / 5)),
            },
            services: ServiceFlags::from(u64::from(n) << 30 | 9),
            last_seen: yesterday,
            last_success: (tried || n % 7 == 0).then_some(yesterday),
            attempts: n % 4,
            tried,
        }
    });
    known.collect()
}

#[tokio::test]
async fn a_node_reads_the_peers_dat_that_we_write() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let mut node = aloof().await;
        node.stop().await;
        let version = peers_dat::Version::V3;
        let written = peers_dat::write(&entries(), regtest().magic, KEY, version).unwrap();
        assert!(written.entries > 1_300 && written.tried > 100, "{}", written.entries);
        std::fs::write(node.file("peers.dat"), &written.bytes).unwrap();
        let ours = import(&node, "peers.dat");
        node.resume().await;

        // What it tells of them: 23 %, by its own choice.
        let told = node.call("getnodeaddresses", json!([0])).await;
        let told = told.as_array().unwrap();
        assert!(told.len() > 200, "{}", told.len());
        let known: BTreeSet<_> = ours.iter().map(|entry| entry.address).collect();
        for told in told {
            let port = told["port"].as_u64().unwrap().try_into().unwrap();
            let list = formats::plain::read(told["address"].as_str().unwrap().as_bytes(), port);
            assert!(known.contains(&list.unwrap().entries[0].address), "{told}");
        }

        // And all of them, in each detail, as it writes them down again.
        std::fs::remove_file(node.file("peers.dat")).unwrap();
        node.stop().await;
        assert_eq!(import(&node, "peers.dat"), ours);
    })
    .await;
}

/// An `anchors.dat` in the form that Core had before 22, which our own is too new for.
fn old_anchors(anchor: SocketAddrV4) -> Vec<u8> {
    let body = [
        &regtest().magic[..],
        &[1],
        &210_000_u32.to_le_bytes(),
        &[0; 4],
        &(u64::MAX >> 1).to_le_bytes(),
        &anchor.ip().to_ipv6_mapped().octets(),
        &anchor.port().to_be_bytes(),
    ]
    .concat();
    [&body[..], sha256d::Hash::hash(&body).as_byte_array()].concat()
}

#[tokio::test]
async fn we_read_the_anchors_dat_that_a_node_writes() {
    if !litecoind::is_installed() {
        return skip("litecoind is not installed");
    }
    within(120, async {
        let ip = Ipv4Addr::new(127, 3, 0, 1);
        let at = SocketAddrV4::new(ip, free_port(ip));
        let _anchor = Litecoind::start(at.into(), &["-connect=0"]).await;
        // It knows no address, so the anchor is all that it can dial.
        let mut node = Litecoind::start((NODE, free_port(NODE)).into(), &[]).await;
        node.stop().await;
        std::fs::write(node.file("anchors.dat"), old_anchors(at)).unwrap();
        assert_eq!(import(&node, "anchors.dat")[0].address, SocketAddr::from(at).into());
        node.resume().await;
        let ready = async || {
            let peers = node.call("getpeerinfo", json!([])).await;
            peers[0]["version"].as_u64().is_some_and(|version| version > 0)
        };
        while !ready().await {
            tokio::task::yield_now().await;
        }
        node.stop().await;
        let anchors = import(&node, "anchors.dat");
        assert_eq!(anchors.len(), 1);
        assert_eq!(anchors[0].address, SocketAddr::from(at).into());
    })
    .await;
}
