//! What a liar gossips. Nothing of it can make a program send a packet beyond the machine it runs
//! on, whoever believes it: the addresses are loopback ones, or such as no system connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use peerpool_core::rng::Rng;
use peerpool_core::time::UnixTime;

use super::{Listing, Profile, Surroundings};

/// Ports of one host.
const PORTS: u16 = 10;
/// Of each lie, at most.
const EACH: usize = 10;
/// How often the same address is repeated.
const REPEATED: usize = 50;
const HOUR: Duration = Duration::from_secs(3600);

/// Addresses that nothing connects to: unspecified, broadcast, multicast, link-local without a
/// zone.
const NOWHERE: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::BROADCAST),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];

/// Zero, and ports of other services (on Core's list of bad ports).
const WRONG_PORTS: [u16; 6] = [0, 22, 25, 53, 6000, 6667];

/// An address of the loopback network at which there is no node: those end neither in 0 nor in
/// 255.
pub(super) fn dead_ip(rng: &mut Rng) -> Ipv4Addr {
    let [x, y, last, ..] = rng.u64().to_le_bytes();
    // 127.0.0.0/16 and 127.255.0.0/16 belong to others, the broadcast address among them.
    Ipv4Addr::new(127, x.clamp(1, 254), y, if last % 2 == 0 { 0 } else { 255 })
}

/// A dead address, as fresh as can be.
pub(super) fn dead_entry(
    profile: &Profile,
    port: u16,
    now: UnixTime,
    rng: &mut Rng,
) -> AddrV2Message {
    profile.entry(SocketAddr::from((dead_ip(rng), port)), now)
}

/// An addr message full of lies: real nodes with impossible or ancient times; addresses that cannot
/// be; wrong ports; many ports of one host, and the very peer that is told, unless that is on this
/// machine; dead addresses, one without services and one over and over; and, for addrv2 only,
/// addresses in the wrong form.
pub(super) fn entries(
    around: &mut dyn Surroundings,
    now: UnixTime,
    node: &Listing,
    peer: SocketAddr,
    rng: &mut Rng,
) -> Vec<AddrV2Message> {
    let dead = [(); 2].map(|()| around.dead_ip(rng));
    let real = around.gossip(now, node, rng);
    let (profile, port) = (around.profile(), node.address.port());
    let mut lies = Vec::new();
    let times = [now + HOUR, UnixTime(u32::MAX.into()), UnixTime(0), now - HOUR * 24 * 40];
    for time in times {
        let time = u32::try_from(time.0).unwrap_or(u32::MAX);
        for _ in 0..EACH.min(real.len()) {
            lies.push(AddrV2Message { time, ..real[rng.below(real.len())].clone() });
        }
    }
    lies.extend(NOWHERE.map(|ip| profile.entry(SocketAddr::new(ip, port), now)));
    let dead_at =
        |which: usize, port: u16| profile.entry(SocketAddr::from((dead[which], port)), now);
    lies.extend(WRONG_PORTS.map(|port| dead_at(0, port)));
    // What only a peer that is somewhere else may believe: many ports of a host, and that the peer
    // itself is a node.
    if !peer.ip().is_loopback() {
        lies.extend((1..=PORTS).map(|n| dead_at(1, 20_000 + n)));
        lies.push(profile.entry(SocketAddr::new(peer.ip(), port), now));
    }
    lies.extend((0..EACH).map(|_| dead_entry(profile, port, now, rng)));
    let mut serviceless = dead_at(0, port);
    serviceless.services = ServiceFlags::NONE;
    lies.push(serviceless);
    lies.extend(vec![dead_entry(profile, port, now, rng); REPEATED]);
    let wrong_form = [
        AddrV2::Ipv6(dead_ip(rng).to_ipv6_mapped()),
        AddrV2::Cjdns(Ipv6Addr::LOCALHOST),
        AddrV2::TorV2([7; 10]),
        AddrV2::Unknown(99, vec![7; 512]),
    ];
    lies.extend(
        wrong_form.map(|addr| AddrV2Message { addr, ..dead_entry(profile, port, now, rng) }),
    );
    rng.shuffle(&mut lies);
    lies
}

/// Payloads of addr and addrv2 that cannot be read: none at all; more entries promised than
/// there are; a count written longer than need be; an entry cut short; a count without bounds.
pub(super) const UNDECODABLE: [&[u8]; 6] = [
    &[],
    &[0xfd, 0xe8, 0x03, 0],
    &[0xfd, 0x01, 0x00],
    &[0x01, 0xff, 0xff],
    &[0xfe, 0x01, 0x00, 0x00, 0x02],
    &[0xff; 9],
];

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::roster::tests::roster;
    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

    /// Whether no packet for it leaves the machine.
    fn is_harmless(entry: &AddrV2Message) -> bool {
        match entry.socket_addr().map(|address| address.ip().to_canonical()) {
            Ok(ip) => ip.is_loopback() || NOWHERE.contains(&ip),
            // No address of the internet.
            Err(_) => true,
        }
    }

    #[test]
    fn lies_are_harmless_and_name_no_node_by_a_right_time() {
        let roster = roster(1000);
        let node = Listing { kind: Kind::Liar, ..roster.listings[0] };
        let now = UnixTime(2_000_000_000);
        for seed in 0..20 {
            let lies = entries(&mut &roster, now, &node, PEER, &mut Rng::from_u64(seed));
            assert!(lies.len() < 1000);
            for lie in &lies {
                assert!(is_harmless(lie), "{lie:?}");
                let Ok(address) = lie.socket_addr() else { continue };
                let is_node = roster.listings.iter().any(|node| node.address == address);
                let age = now.since(UnixTime(lie.time.into()));
                let ahead = UnixTime(lie.time.into()).since(now);
                assert!(!is_node || age > HOUR || ahead >= HOUR, "{lie:?}");
            }
        }
    }

    #[test]
    fn dead_addresses_are_no_nodes_and_no_broadcasts() {
        let mut rng = Rng::from_u64(1);
        for _ in 0..10_000 {
            let [a, b, _, d] = dead_ip(&mut rng).octets();
            assert!(a == 127 && (1..=254).contains(&b) && matches!(d, 0 | 255));
        }
        let nobody = roster(0);
        let node = roster(1).listings[0];
        let lies = entries(&mut &nobody, UnixTime(2_000_000_000), &node, PEER, &mut rng);
        assert!(lies.iter().all(is_harmless), "no node to lie about");
    }
}
