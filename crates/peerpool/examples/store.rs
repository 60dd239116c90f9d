//! How large is an addr book on disk, and how long does it take to save and to open one? Fills a
//! directory with 80,000 addresses, 10,000 of them burned, and prints what that came to.
//!
//! `cargo run --release --example store`

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peerpool::store::{AddressRow, BurnedRow, Origin, STORE_FILE};
use peerpool::{Address, BurnReason, Net, Policy, ServiceFlags, Store};
use peerpool_core::book::Book;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

const HEARSAY: usize = 60_000;
const EXPERIENCED: usize = 10_000;
const BURNED: usize = 10_000;

fn random(rng: &mut Rng) -> Address {
    let ip = Ipv4Addr::from_bits(rng.u64() as u32 % 0xbf00_0000 + 0x0b00_0000);
    Address { host: std::net::IpAddr::V4(ip).into(), port: 8333 }
}

fn row(rng: &mut Rng, source: Address, experienced: bool) -> AddressRow {
    let now = unix() - Duration::from_secs(rng.below(7200) as u64);
    let known = experienced.then_some(now);
    AddressRow {
        address: random(rng),
        origin: Origin::Peer(source),
        heard_at: now,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        last_seen: now,
        last_success: known,
        proven: experienced,
        failures: 0,
        strikes: 0,
        retry_at: None,
        tried_at: known,
        asked_at: None,
        tried: experienced,
        anchor: false,
    }
}

fn unix() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn took(what: &str, begun: Instant) {
    println!("{what}: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
}

fn fill(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut rng = Rng::from_u64(1);
    let sources: Vec<Address> = (0..2000).map(|_| random(&mut rng)).collect();
    let mut rows = Vec::new();
    for n in 0..HEARSAY + EXPERIENCED {
        let source = sources[rng.below(sources.len())];
        rows.push(row(&mut rng, source, n >= HEARSAY));
    }
    let burned: Vec<BurnedRow> = (0..BURNED)
        .map(|_| {
            let AddressRow { address, last_seen: at, .. } = row(&mut rng, sources[0], false);
            BurnedRow { address, at, reason: BurnReason::TimedOut }
        })
        .collect();
    let mut store = Store::open(dir)?;
    let begun = Instant::now();
    store.insert(&rows)?;
    store.insert_burned(&burned)?;
    took("save all of it", begun);
    let begun = Instant::now();
    store.insert(&rows[..100])?;
    took("save 100 of it again", begun);
    let begun = Instant::now();
    store.insert(&rows)?;
    took("save all of it again", begun);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("peerpool-example-store-{}", std::process::id()));
    println!("{HEARSAY} from hearsay, {EXPERIENCED} from experience, {BURNED} burned");
    fill(&dir)?;
    let bytes = std::fs::metadata(dir.join(STORE_FILE))?.len();
    println!("file: {:.1} MB", bytes as f64 / 1e6);
    let begun = Instant::now();
    let store = Store::open(&dir)?;
    took("open and check", begun);
    let begun = Instant::now();
    let changes = store.changes(&[])?;
    took("read all of it", begun);
    let policy = Policy { max_addresses: 100_000, ..Policy::default() };
    let now = Now { mono: Monotonic::new(Duration::from_secs(1 << 30)), unix: unix() };
    let mut book = Book::new(&policy, 8333, &[Net::Ipv4], &mut Rng::from_u64(2));
    let begun = Instant::now();
    let restored = book.restore(now, changes);
    took("fill the tables", begun);
    println!("{} addresses have a place, {} burned", restored.kept, restored.burned);
    let begun = Instant::now();
    let all = book.take_all(now).len();
    took(&format!("take {all} from the book"), begun);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
