//! Where the nodes live: addresses from the seed, and a port that no other devnet on this machine
//! uses.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use peerpool_core::rng::Rng;
use tokio::net::TcpSocket;

use super::DevnetError;

/// 127.1/16 to 127.254/16. 127.0/16 is left to everything else on the machine, 127.255/16 holds
/// the broadcast address and the reservations.
const NETGROUPS: usize = 254;
/// Where a devnet claims its port: two devnets on one port would see each other's nodes at
/// addresses that are meant to refuse.
const CLAIM: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
/// Ports to choose from: below the range from which systems take ports of outgoing connections.
const PORTS: Range<u16> = 20_000..32_000;

/// `nodes` different addresses, spread evenly over the /16s of 127/8; none ends in 0 or 255.
pub(super) fn addresses(nodes: usize, rng: &mut Rng) -> Vec<Ipv4Addr> {
    let mut groups: Vec<u8> = (1..=NETGROUPS).filter_map(|a| u8::try_from(a).ok()).collect();
    rng.shuffle(&mut groups);
    let mut taken = BTreeSet::new();
    let mut found = Vec::with_capacity(nodes);
    while found.len() < nodes {
        let [x, y, ..] = rng.u64().to_le_bytes();
        let ip = Ipv4Addr::new(127, groups[found.len() % NETGROUPS], x, y);
        if !matches!(y, 0 | 255) && taken.insert(ip) {
            found.push(ip);
        }
    }
    found
}

/// A port of this machine that belongs to one devnet until this is dropped. Bound, never
/// listening.
#[derive(Debug)]
pub(super) struct PortClaim {
    pub(super) port: u16,
    _socket: TcpSocket,
}

impl PortClaim {
    /// Claims this port.
    pub(super) fn of(port: u16) -> Result<Self, DevnetError> {
        let address = SocketAddr::from((CLAIM, port));
        let bind = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bind().map_err(|source: io::Error| match source.kind() {
            // The address of the claim is nobody's but ours: it would tell the user nothing.
            io::ErrorKind::AddrInUse => DevnetError::PortTaken(port),
            _ => DevnetError::Bind { address, source },
        })?;
        Ok(Self { port, _socket: socket })
    }
}

/// Ports to try in turn, in an order of this call's own, so that devnets starting at the same time
/// with the same seed seldom meet.
pub(super) fn candidate_ports() -> impl Iterator<Item = u16> {
    let mut rng = Rng::from_u64(RandomState::new().hash_one(std::process::id()));
    let mut ports: Vec<u16> = PORTS.collect();
    rng.shuffle(&mut ports);
    ports.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_spread() {
        let found = addresses(1000, &mut Rng::from_u64(1));
        let distinct: BTreeSet<_> = found.iter().collect();
        let groups: BTreeSet<_> = found.iter().map(|ip| ip.octets()[1]).collect();
        assert_eq!((distinct.len(), groups.len()), (1000, NETGROUPS));
        for ip in &found {
            let [a, b, _, d] = ip.octets();
            assert!(a == 127 && !matches!(b, 0 | 255) && !matches!(d, 0 | 255), "{ip}");
        }
        assert_eq!(found, addresses(1000, &mut Rng::from_u64(1)));
        assert_ne!(found, addresses(1000, &mut Rng::from_u64(2)));
    }

    #[tokio::test]
    async fn a_port_is_claimed_once() {
        let claim = candidate_ports().find_map(|port| PortClaim::of(port).ok()).unwrap();
        let again = PortClaim::of(claim.port).unwrap_err();
        let said = format!("port {} is in use by another devnet or program", claim.port);
        assert_eq!(again.to_string(), said);
    }
}
