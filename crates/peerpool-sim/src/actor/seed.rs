//! DNS seeds: what whoever asks one is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of the attacker in a poisoned answer. UDP holds no more than some dozens, TCP does.
const POISON: usize = 10_000;

/// What no node of the internet listens at: loopback, private, multicast, unspecified.
const UNROUTABLE: [IpAddr; 10] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

/// How a DNS seed behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeedKind {
    /// Names nodes of the network.
    #[default]
    Honest,
    /// An attacker's: names up to 10,000 of his nodes, and before them addresses that are nobody's:
    /// loopback, private, multicast and unspecified ones.
    Poisoned,
    /// An attacker's who wants to be believed: names his nodes and nobody else.
    Hostile,
    /// Fails to answer (SERVFAIL).
    Failing,
}

impl SeedKind {
    /// The answer of such a seed: `honest` draws what an honest one would say, `hostile` up to so
    /// many of the attacker's nodes.
    ///
    /// # Errors
    /// The seed fails; the text is what a resolver would say.
    pub fn answer(
        self,
        honest: impl FnOnce() -> Vec<IpAddr>,
        hostile: impl FnOnce(usize) -> Vec<IpAddr>,
    ) -> Result<Vec<IpAddr>, String> {
        match self {
            SeedKind::Honest => Ok(honest()),
            SeedKind::Poisoned => Ok(UNROUTABLE.into_iter().chain(hostile(POISON)).collect()),
            SeedKind::Hostile => Ok(hostile(POISON)),
            SeedKind::Failing => Err("the seed answered SERVFAIL".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_seed_answers_in_its_way() {
        let ip = |last| IpAddr::V4(Ipv4Addr::new(11, 0, 0, last));
        let answer = |kind: SeedKind| kind.answer(|| vec![ip(1)], |count| vec![ip(2); count]);
        assert_eq!(answer(SeedKind::Honest), Ok(vec![ip(1)]));
        assert!(answer(SeedKind::Failing).is_err());
        assert_eq!(answer(SeedKind::Hostile), Ok(vec![ip(2); POISON]));
        let poisoned = answer(SeedKind::Poisoned).unwrap();
        let (nobodys, hostile): (Vec<IpAddr>, _) = poisoned.iter().partition(|&&at| at != ip(2));
        assert_eq!((nobodys, hostile.len()), (UNROUTABLE.to_vec(), 10_000));
        assert_eq!(poisoned[..10], UNROUTABLE, "whoever takes the first few meets them");
    }
}
