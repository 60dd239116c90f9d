//! Files that say which AS an address belongs to, and whoever hands the pool a broken one.

use peerpool_core::address::Host;
use peerpool_core::netgroup::AsMap;
use peerpool_core::rng::Rng;

use super::{Expected, Failure, Outcome, Scenario, Setting};

pub(super) const BROKEN: Scenario = Scenario {
    name: "a5-as-map",
    row: "A5",
    says: "a whole AS map is loaded, and 10,000 harmed ones: half cut short anywhere, half with \
           one bit flipped",
    accepts: "the whole one is taken; each that is cut short is an error, and none of all a panic \
              (with a bit flipped it may be another good map; that a book keeps its entries \
              under another map is shown by the tests of its tables, and not here)",
    expected: Expected::Pass,
    run,
};

/// A map in the bytecode of Bitcoin Core, written by hand: nine routes of IPv4, to AS numbers that
/// are reserved for documentation and to AS 4200. Every instruction occurs in it.
pub(crate) const MAP: [u8; 63] = [
    0xfb, 0x03, 0xec, 0x0f, 0xb0, 0x3f, 0xc0, 0xfe, 0x00, 0xfb, 0x03, 0xec, //
    0x0f, 0xb0, 0x3f, 0xc0, 0xfe, 0x00, 0xfb, 0x03, 0xec, 0x0f, 0xb0, 0xff, //
    0xff, 0xfe, 0xff, 0xcd, 0xfc, 0xbc, 0xef, 0xf7, 0x43, 0x27, 0xef, 0x07, //
    0x94, 0xf7, 0x43, 0x90, 0xbc, 0x1f, 0x5f, 0x00, 0xdc, 0x3e, 0x50, 0xde, //
    0x4f, 0x85, 0x6d, 0x0c, 0x92, 0xf7, 0xb3, 0xbc, 0x5f, 0x82, 0xe4, 0xfd, //
    0x0a, 0xc1, 0x1c,
];

/// Whether the pool takes a map; one that it takes, after some look-ups.
fn is_taken(map: &[u8]) -> bool {
    let Ok(map) = AsMap::from_bytes(map.to_vec()) else { return false };
    (0..=255).for_each(|byte| {
        map.asn(&Host::Ipv4([byte, 1, 2, 3].into()));
    });
    true
}

fn run(setting: &Setting) -> Result<Outcome, Failure> {
    // Half of them are cut short, at least one at each byte.
    let maps = setting.of(10_000, 2 * MAP.len());
    let mut rng = Rng::from_u64(setting.seed);
    let (mut errors, mut good) = (0, 0);
    for number in 0..maps / 2 {
        errors += usize::from(!is_taken(&MAP[..number % MAP.len()]));
        let mut map = MAP;
        map[rng.below(MAP.len())] ^= 1 << rng.below(8);
        good += usize::from(is_taken(&map));
    }
    let mut outcome = Outcome::new();
    let whole = usize::from(is_taken(&MAP));
    outcome.demand_count("whole maps taken", whole, |taken| taken == 1);
    outcome.note_count("harmed maps", maps / 2 * 2);
    let all = |share| share >= 1.0;
    outcome.demand_share("errors among those cut short", errors, maps / 2, all);
    outcome.note_count("good ones among those flipped", good);
    Ok(outcome)
}
