//! What the bytes of a peer cost: the longest message of each kind, the shortest ones that fill as
//! many bytes, and a flood of small `addr` messages. Prints figures; gates nothing.
//!
//! ```text
//! cargo bench -p peerpool-core --bench link
//! ```

use std::hint::black_box;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerpool_core::address::{Address, Host};
use peerpool_core::link::Link;
use peerpool_core::policy::Policy;
use peerpool_core::time::{Monotonic, UnixTime};
use peerpool_core::wire::{AddrEntry, Command, Control, HEADER_LEN, encode_frame};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
const READ: usize = 16 * 1024;
const LONGEST: usize = 4_000_000;

/// A policy that bears whatever is sent, so that its price shows.
fn patient() -> Policy {
    Policy {
        max_unasked_bytes_per_min: 1_000_000_000,
        max_unknown_bytes_per_min: 1_000_000_000,
        max_control_per_min: 1_000_000,
        max_pings_answered_per_min: 1_000_000,
        max_pings_per_min: 1_000_000,
        max_bad_frames: 1_000_000,
        max_undecodable: 1_000_000,
        ..Policy::default()
    }
}

/// Feeds a link after its handshake as the shell does, and counts what comes out.
fn feed(bytes: &[u8], watched: bool) -> usize {
    let mut link = Link::new(MAGIC, &patient());
    link.handle_bytes(Monotonic::default(), &encode_frame(MAGIC, Command::new("verack"), &[]));
    link.set_watched(watched);
    let mut outputs = 0;
    for piece in bytes.chunks(READ) {
        link.handle_bytes(Monotonic::default(), black_box(piece));
        outputs += std::iter::from_fn(|| link.poll()).count();
    }
    outputs
}

fn longest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("4,000,000 bytes");
    group.throughput(Throughput::Bytes(LONGEST as u64)).sample_size(10);
    for command in ["version", "addr", "addrv2", "ping", "inv", "headers", "block", "novelty"] {
        let payload = vec![0; LONGEST];
        let bytes = encode_frame(MAGIC, Command::parse(command).expect("a command"), &payload);
        for watched in [false, true] {
            let name = format!("one {command}, leased: {watched}");
            group.bench_function(name, |bench| bench.iter(|| feed(&bytes, watched)));
        }
    }
    for command in ["ping", "verack", "inv", "novelty"] {
        let frame = encode_frame(MAGIC, Command::parse(command).expect("a command"), &[]);
        let bytes = frame.repeat(LONGEST / HEADER_LEN);
        group.bench_function(format!("empty {command}s, leased: false"), |bench| {
            bench.iter(|| feed(&bytes, false));
        });
    }
    group.finish();
}

fn gossip(criterion: &mut Criterion) {
    let entry = |n: u32| AddrEntry {
        time: UnixTime(1_700_000_000),
        services: ServiceFlags::NETWORK,
        address: Address { host: Host::Ipv4((0x0b00_0000 + n).into()), port: 8333 },
    };
    let message = |n: u32| Control::Addr((10 * n..10 * n + 10).map(entry).collect());
    let bytes: Vec<u8> = (0..500).flat_map(|n| message(n).encode(MAGIC, None)).collect();
    criterion.bench_function("500 addrv2 of 10 addresses, the link's part", |bench| {
        bench.iter(|| feed(&bytes, false));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = longest, gossip
}
criterion_main!(benches);
