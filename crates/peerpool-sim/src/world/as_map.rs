//! A world's own AS map, in the bytecode of Bitcoin Core's `-asmap`.

/// Who owns the addresses that begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// The first address; IPv4 as it is mapped into IPv6.
    pub(super) first: u128,
    /// Bits that all of them share.
    pub(super) len: u32,
    /// The autonomous system, not 0.
    pub(super) asn: u32,
}

impl Route {
    fn bit(&self, at: u32) -> bool {
        self.first >> (127 - at) & 1 == 1
    }
}

/// Writes a map of `routes`, none of which lies within another.
pub(super) fn encode(mut routes: Vec<Route>) -> Vec<u8> {
    routes.sort_unstable();
    let mut bits = Vec::new();
    write(&routes, 0, &mut bits);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

/// Writes what is said of addresses whose bits before `depth` are those of all `routes`.
fn write(routes: &[Route], depth: u32, bits: &mut Vec<bool>) {
    let (Some(first), Some(last)) = (routes.first(), routes.last()) else { return };
    let same = (first.first ^ last.first).leading_zeros().min(first.len);
    let mut at = depth;
    while at < same {
        let len = (same - at).min(8);
        let run = (0..len).fold(1, |run, bit| run << 1 | u32::from(first.bit(at + bit)));
        bits.extend([true, true, false]);
        write_number(run, 2, 1..=8, bits);
        at += len;
    }
    if same == first.len {
        bits.push(false);
        return write_number(first.asn, 1, 15..=24, bits);
    }
    let (zeros, ones) = routes.split_at(routes.partition_point(|route| !route.bit(same)));
    let mut left = Vec::new();
    write(zeros, same + 1, &mut left);
    bits.extend([true, false]);
    write_number(left.len() as u32, 17, 5..=30, bits);
    bits.append(&mut left);
    write(ones, same + 1, bits);
}

/// A number from `least` on: a one for each class that it is too large for, a zero, the rest.
fn write_number(
    number: u32,
    least: u32,
    classes: std::ops::RangeInclusive<u32>,
    bits: &mut Vec<bool>,
) {
    let (mut rest, last) = (number - least, *classes.end());
    for size in classes {
        if rest >> size == 0 {
            bits.extend((size < last).then_some(false));
            bits.extend((0..size).rev().map(|bit| rest >> bit & 1 == 1));
            return;
        }
        rest -= 1 << size;
        bits.push(true);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use peerpool_core::address::Host;
    use peerpool_core::netgroup::AsMap;
    use peerpool_core::rng::Rng;

    use super::*;

    #[test]
    fn a_map_says_what_its_routes_say() {
        let mut rng = Rng::from_u64(1);
        let mut routes = vec![Route { first: 0xffff << 32 | 0x0102 << 16, len: 112, asn: 7 }];
        for n in 0..500_u32 {
            let first = 0xffff << 32 | u128::from(0x0b00 + 3 * n) << 16;
            routes.push(Route { first, len: 112, asn: 1 + rng.below(1 << 24) as u32 });
            let first = (0x2a01_0000 + u128::from(n)) << 96 | u128::from(n & 15) << 92;
            routes.push(Route { first, len: 36, asn: 1 + rng.below(70_000) as u32 });
        }
        let map = AsMap::from_bytes(encode(routes.clone())).expect("a map");
        let asn = |bits: u128| map.asn(&Host::from(IpAddr::from(Ipv6Addr::from(bits))));
        for route in &routes {
            let last = route.first | (u128::MAX >> route.len);
            assert_eq!((asn(route.first), asn(last)), (Some(route.asn), Some(route.asn)));
            let within = |at: u128| {
                routes.iter().any(|it| it.first <= at && at <= it.first | (u128::MAX >> it.len))
            };
            for beside in [route.first - 1, last + 1].into_iter().filter(|at| !within(*at)) {
                assert_eq!(asn(beside), None, "{beside:x}");
            }
        }
        let one = AsMap::from_bytes(encode(routes[..1].to_vec())).expect("a map of one route");
        assert_eq!(one.asn(&Host::Ipv4([1, 2, 3, 4].into())), Some(7));
    }
}
