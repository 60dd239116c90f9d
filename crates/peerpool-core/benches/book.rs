//! What the addr book costs, filled as Bitcoin Core's own benches fill theirs
//! (`src/bench/addrman.cpp`): 64 sources, each of which names 256 random IPv6 addresses. Prints
//! figures; gates nothing.
//!
//! ```text
//! cargo bench -p peerpool-core --bench book
//! cargo bench -p peerpool-core --bench book memory
//! ```

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use peerpool_core::address::{Address, Host, Net};
use peerpool_core::book::{Book, Source};
use peerpool_core::netgroup::NetGroup;
use peerpool_core::policy::Policy;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

const NOW: Now = Now { mono: Monotonic::new(Duration::ZERO), unix: UnixTime(1_700_000_000) };
const NETS: [Net; 3] = [Net::Ipv4, Net::Ipv6, Net::I2p];
const SOURCES: usize = 64;
const EACH: usize = 256;
const ANY: ServiceFlags = ServiceFlags::NONE;

fn random(rng: &mut Rng) -> Address {
    let bits = (u128::from(rng.u64()) << 64 | u128::from(rng.u64())) >> 4 | 0x2000 << 112;
    Address { host: Host::Ipv6(Ipv6Addr::from_bits(bits)), port: 8333 }
}

/// Who names whom.
fn told(rng: &mut Rng) -> Vec<(Source, Address)> {
    let mut all = Vec::new();
    for _ in 0..SOURCES {
        let source = Source::Peer(random(rng));
        all.extend((0..EACH).map(|_| (source, random(rng))));
    }
    all
}

fn empty(rng: &mut Rng) -> Book {
    Book::new(&Policy::default(), 8333, &NETS, rng)
}

fn add(book: &mut Book, told: &[(Source, Address)], rng: &mut Rng) {
    let services = Policy::default().required_services;
    for (source, address) in told {
        book.hear(NOW, *address, services, NOW.unix, *source, rng);
    }
}

fn good(book: &mut Book, told: &[(Source, Address)]) {
    let services = Policy::default().required_services;
    for (_, address) in told {
        book.on_ready(NOW, *address, services);
    }
}

fn filling(criterion: &mut Criterion) {
    let mut rng = Rng::from_u64(1);
    let told = told(&mut rng);
    criterion.bench_function("make a book, add 64 x 256", |bench| {
        bench.iter(|| {
            let mut book = empty(&mut rng);
            add(&mut book, &told, &mut rng);
            book
        });
    });
    criterion.bench_function("make a book, add 64 x 256, then each is good", |bench| {
        bench.iter(|| {
            let mut book = empty(&mut rng);
            add(&mut book, &told, &mut rng);
            good(&mut book, &told);
            book
        });
    });
    let mut full = empty(&mut rng);
    add(&mut full, &told, &mut rng);
    criterion.bench_function("hear again of one that is known", |bench| {
        bench.iter_batched(
            || told[rng.below(told.len())],
            |(source, at)| {
                let services = Policy::default().required_services;
                full.hear(NOW, at, services, NOW.unix, source, &mut Rng::from_u64(1))
            },
            BatchSize::SmallInput,
        );
    });
}

fn selecting(criterion: &mut Criterion) {
    let mut rng = Rng::from_u64(1);
    let told = told(&mut rng);
    let mut book = empty(&mut rng);
    add(&mut book, &told, &mut rng);
    let mut both = empty(&mut rng);
    add(&mut both, &told, &mut rng);
    good(&mut both, &told[..told.len() / 4]);
    let i2p = Address { host: Host::I2p([7; 32]), port: 0 };
    let services = Policy::default().required_services;
    let mut one_i2p = book.clone();
    one_i2p.hear(NOW, i2p, services, NOW.unix, Source::Seed(0), &mut rng);
    let mut almost_empty = empty(&mut rng);
    add(&mut almost_empty, &told[..1], &mut rng);
    let filters = services | ServiceFlags::COMPACT_FILTERS;
    let mut rare = book.clone();
    rare.hear(NOW, told[9].1, filters, NOW.unix, Source::Seed(0), &mut rng);
    let mut shut = both.clone();
    for (_, address) in told.iter().take(200) {
        shut.set_closed(NetGroup::of(&address.host), true);
    }
    // Who failed is less likely: several draws each.
    let mut failed = book.clone();
    for (_, address) in &told {
        for _ in 0..5 {
            failed.back_off(NOW, *address, true, &mut rng);
        }
    }
    let later = Now { mono: NOW.mono + Duration::from_secs(3 * 3600 - 1), ..NOW };
    failed.advance(later);
    let mut select = |name: &str, book: &Book, nets: &[Net], services: ServiceFlags| {
        assert!(book.select(NOW, nets, services, &mut rng).is_some(), "{name}");
        criterion.bench_function(name, |bench| {
            bench.iter(|| black_box(book.select(NOW, nets, services, &mut rng)));
        });
    };
    select("select, all new", &book, &NETS, ANY);
    select("select, new and tried", &both, &NETS, ANY);
    select("select by a network that has 1 of 16,385", &one_i2p, &[Net::I2p], ANY);
    select("select from a book of one", &almost_empty, &NETS, ANY);
    select("select by services that 1 of 16,384 has", &rare, &NETS, filters);
    select("select, 200 netgroups closed", &shut, &NETS, ANY);
    select("select, each failed five times", &failed, &NETS, ANY);
}

/// Core's getaddr: 23 % of the book, 2500 addresses at most.
fn sampling(criterion: &mut Criterion) {
    let mut rng = Rng::from_u64(1);
    let told = told(&mut rng);
    let mut book = empty(&mut rng);
    add(&mut book, &told, &mut rng);
    criterion.bench_function("sample 23 %, at most 2500", |bench| {
        bench.iter(|| black_box(book.sample(NOW, 23, 2500, &mut rng)));
    });
}

/// What a book holds that has as many addresses as its tables take, which is near 80,000, a fifth
/// of them from experience: in netgroups of one (IPv6 drawn at random), and of some (IPv4 in 4000
/// /16). Each is named by a source of its own. Both books are kept, so that none takes memory that
/// the other gave back.
fn memory(_: &mut Criterion) {
    // Not in the way of other figures.
    if !std::env::args().any(|argument| argument == "memory") {
        return;
    }
    let policy = Policy { max_addresses: 100_000, ..Policy::default() };
    let services = policy.required_services;
    let ipv4 = |rng: &mut Rng| {
        let bits = 0x0b00_0000 + rng.below(4000) as u32 * 0x1_0000 + rng.below(0x1_0000) as u32;
        Address { host: Host::Ipv4(bits.into()), port: 8333 }
    };
    let mut books = Vec::new();
    for (name, draw) in [("IPv6", random as fn(&mut Rng) -> Address), ("IPv4", ipv4)] {
        let mut rng = Rng::from_u64(1);
        let before = resident();
        let mut book = Book::new(&policy, 8333, &NETS, &mut rng);
        for _ in 0..500_000 {
            let (source, address) = (Source::Peer(random(&mut rng)), draw(&mut rng));
            book.hear(NOW, address, services, NOW.unix, source, &mut rng);
            if rng.below(4) == 0 {
                book.on_ready(NOW, address, services);
            }
        }
        let bytes = resident() - before;
        let len = book.len();
        println!("{name}: {len} addresses hold {bytes} bytes, {} each", bytes / len);
        books.push(book);
    }
}

/// Bytes of memory this process holds; 0 where the system does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or_default() * 1024
}

criterion_group!(benches, memory, filling, selecting, sampling);
criterion_main!(benches);
