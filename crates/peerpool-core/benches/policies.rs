//! What the engine's choices cost, at the sizes that its bounds allow. Prints figures; gates
//! nothing.
//!
//! ```text
//! cargo bench -p peerpool-core --bench policies
//! ```

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use peerpool_core::address::{Address, Host, Net};
use peerpool_core::dialer::{Dialer, is_closed, wants_dial};
use peerpool_core::id::ConnectionType;
use peerpool_core::lease::select_peer;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::peer::{Peers, Purpose};
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};

const NOW: Now = Now { mono: Monotonic::new(Duration::ZERO), unix: UnixTime(1_700_000_000) };
const NETS: [Net; 2] = [Net::Ipv4, Net::Ipv6];

/// The `n`th of many addresses in many netgroups.
fn nth(n: u32) -> Address {
    let ip = 0x0b00_0000 + n.wrapping_mul(0x9e37_79b1) % 0x6000_0000;
    Address { host: Host::Ipv4(ip.into()), port: 8333 }
}

fn choices(criterion: &mut Criterion) {
    let policy = Policy::default();
    let mut peers = Peers::default();
    for n in 0..1128 {
        let (connection_type, purpose) = (ConnectionType::OutboundFullRelay, Purpose::Slot);
        peers.insert(NOW.mono, nth(n), connection_type, purpose, None, u64::from(n));
    }
    let dialer = Dialer::new(&policy, &NETS, false);
    criterion.bench_function("tally 1128 peers and decide on a dial", |bench| {
        bench.iter(|| wants_dial(&dialer.tally(black_box(&peers)), 1000, policy.max_dials));
    });
    let group = NetGroup::of(&nth(7).host);
    criterion.bench_function("is a netgroup closed", |bench| {
        bench.iter(|| is_closed(black_box(&peers), group, &policy));
    });
    let mut rng = Rng::from_u64(1);
    criterion.bench_function("select a peer to lease among 1128, none ready", |bench| {
        let require = Require::services(policy.required_services);
        bench.iter(|| select_peer(black_box(&peers), &require, |_| false, &policy, &mut rng));
    });
}

criterion_group!(benches, choices);
criterion_main!(benches);
