//! What the network does to packets between a pool and a node: sans-IO, and the same for the same
//! seed. Times are one way where nothing else is said.

use std::time::Duration;

use peerpool_core::address::Host;
use peerpool_core::netgroup::NetGroup;
use peerpool_core::rng::Rng;
use peerpool_core::time::Monotonic;

use crate::draw;

/// The properties of all links of a world.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkModel {
    /// Shortest and longest latency; a pair's own lies between them, by a hash of the pair and the
    /// seed. Default 10 to 150 ms.
    pub latency: (Duration, Duration),
    /// Latency to nodes that are near whatever the hash says. Default 1 ms.
    pub near: Duration,
    /// How much longer a packet may take at most, as a share of its latency. Default 0.1.
    pub jitter: f64,
    /// Bytes a second of each link, each way; at least 1. Default 1,000,000.
    pub bandwidth: u64,
    /// Share of dials that are lost: the pool hears nothing. Default 0.01.
    pub dial_loss: f64,
    /// Links that end though neither side wants it. Default none.
    pub breaks: Option<Breaks>,
    /// Partitions, planned ahead or added while the world runs. Default none.
    pub cuts: Vec<Cut>,
}

/// How links break.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaks {
    /// Mean life of a link, exponentially distributed.
    pub mean: Duration,
    /// Share of links whose bytes silently vanish from then on; the others are reset.
    pub silent: f64,
}

/// How a link ends that neither side closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A reset reaches the pool.
    Reset,
    /// Nothing arrives any more, in either direction.
    Silence,
}

/// A partition: for a while no packet passes between a pool and some netgroups. What is sent
/// meanwhile arrives after it, as TCP has it; dials go unanswered.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Of which pool; of all if `None`.
    pub pool: Option<usize>,
    /// When it begins.
    pub from: Monotonic,
    /// When it ends.
    pub until: Monotonic,
    /// From whom.
    pub apart: Apart,
    /// Whether dials fail at once, for want of a route, instead of going unanswered.
    pub no_route: bool,
}

/// Which netgroups a partition cuts off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Apart {
    /// All of them: the pool's own link is down.
    All,
    /// This share of them, by a hash with this salt.
    Share(f64, u64),
    /// IPv4 netgroups that begin with this byte: a /8.
    Ipv4Slash8(u8),
}

impl Default for LinkModel {
    fn default() -> Self {
        Self {
            latency: (Duration::from_millis(10), Duration::from_millis(150)),
            near: Duration::from_millis(1),
            jitter: 0.1,
            bandwidth: 1_000_000,
            dial_loss: 0.01,
            breaks: None,
            cuts: Vec::new(),
        }
    }
}

impl LinkModel {
    /// The latency between a pool and a host, in a world with this seed.
    pub fn latency(&self, seed: u64, pool: usize, host: &Host) -> Duration {
        let (least, most) = self.latency;
        let span = most.saturating_sub(least).as_micros() as u64;
        let drawn = draw::hash(seed, &[LATENCY, pool as u64, number(host)]);
        least + Duration::from_micros(draw::below(drawn, span + 1))
    }

    /// Whether a dial is lost on its way.
    pub fn loses_dial(&self, rng: &mut Rng) -> bool {
        rng.chance(self.dial_loss)
    }

    /// When so many bytes arrive that are sent now on a link with this latency. Never before
    /// `last`, when the bytes before them arrive; while the pair is cut, after that.
    pub fn arrival(
        &self,
        now: Monotonic,
        latency: Duration,
        bytes: usize,
        last: Monotonic,
        cut_until: Option<Monotonic>,
        rng: &mut Rng,
    ) -> Monotonic {
        let leaves = cut_until.unwrap_or(now).max(now);
        let jitter = if self.jitter > 0.0 {
            rng.between(Duration::ZERO, latency.mul_f64(self.jitter))
        } else {
            Duration::ZERO
        };
        let transfer = Duration::from_micros(bytes as u64 * 1_000_000 / self.bandwidth.max(1));
        (leaves + latency + jitter).max(last) + transfer
    }

    /// When, and how, a link breaks that is made now.
    pub fn breaks_at(&self, now: Monotonic, rng: &mut Rng) -> Option<(Monotonic, Break)> {
        let Breaks { mean, silent } = self.breaks?;
        let kind = if rng.chance(silent) { Break::Silence } else { Break::Reset };
        Some((now + draw::exponential(mean, rng), kind))
    }

    /// Until when a pair is cut; `None` if it is not.
    pub fn cut_until(&self, pool: usize, host: &Host, now: Monotonic) -> Option<Monotonic> {
        let end_of = |at| {
            let holds = |cut: &&Cut| cut.holds(pool, host, at);
            self.cuts.iter().filter(holds).map(|cut| cut.until).max()
        };
        // Where one ends another may be on.
        std::iter::successors(end_of(now), |end| end_of(*end)).last()
    }

    /// Whether a pair is cut in a way that dials hear of at once.
    pub fn has_no_route(&self, pool: usize, host: &Host, now: Monotonic) -> bool {
        self.cuts.iter().any(|cut| cut.no_route && cut.holds(pool, host, now))
    }

    /// Whether a pool's own link is down.
    pub fn is_down(&self, pool: usize, now: Monotonic) -> bool {
        self.cuts.iter().any(|cut| cut.apart == Apart::All && cut.is_on(pool, now))
    }
}

impl Cut {
    fn is_on(&self, pool: usize, now: Monotonic) -> bool {
        self.pool.is_none_or(|cut| cut == pool) && self.from <= now && now < self.until
    }

    fn holds(&self, pool: usize, host: &Host, now: Monotonic) -> bool {
        self.is_on(pool, now)
            && match (self.apart, NetGroup::of(host)) {
                (Apart::All, _) => true,
                (Apart::Share(share, salt), group) => {
                    draw::unit(draw::hash(salt, &[PARTITION, group_number(group)])) < share
                }
                (Apart::Ipv4Slash8(first), NetGroup::Ipv4([byte, _])) => first == byte,
                (Apart::Ipv4Slash8(_), _) => false,
            }
    }
}

/// What a hash is for: the same parts give other numbers for another purpose.
const LATENCY: u64 = 1;
const PARTITION: u64 = 2;

/// A number that tells hosts apart as well as 64 bits can.
fn number(host: &Host) -> u64 {
    match host {
        Host::Ipv4(ip) => u64::from(ip.to_bits()),
        Host::Ipv6(ip) | Host::Cjdns(ip) => fold(ip.to_bits()),
        Host::Onion(bytes) | Host::I2p(bytes) => {
            let (first, second) = bytes.split_at(16);
            let half =
                |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte));
            fold(half(first)) ^ fold(half(second)).rotate_left(1)
        }
    }
}

fn fold(bits: u128) -> u64 {
    bits as u64 ^ (bits >> 64) as u64
}

fn group_number(group: NetGroup) -> u64 {
    match group {
        NetGroup::Ipv4([a, b]) => u64::from_be_bytes([0, 0, 0, 0, 0, 4, a, b]),
        NetGroup::Ipv6([a, b, c, d], tail) => u64::from_be_bytes([0, 0, 6, tail, a, b, c, d]),
        NetGroup::Onion(bits) => 1 << 56 | u64::from(bits),
        NetGroup::I2p(bits) => 2 << 56 | u64::from(bits),
        NetGroup::Cjdns(bits) => 3 << 56 | u64::from(bits),
        NetGroup::Asn(asn) => 4 << 56 | u64::from(asn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn host(n: u8) -> Host {
        Host::Ipv4([11, n, 1, 1].into())
    }

    #[test]
    fn a_pair_has_its_own_latency_within_the_bounds() {
        let model = LinkModel::default();
        let latency = |n| model.latency(1, 0, &host(n));
        let all: Vec<Duration> = (0..=255).map(latency).collect();
        assert!(all.iter().all(|one| (model.latency.0..=model.latency.1).contains(one)));
        assert!(all.iter().any(|one| *one < Duration::from_millis(20)));
        assert!(all.iter().any(|one| *one > Duration::from_millis(140)));
        assert_eq!(latency(7), model.latency(1, 0, &host(7)));
        assert_ne!(latency(7), model.latency(2, 0, &host(7)));
        assert_ne!(latency(7), model.latency(1, 1, &host(7)));
    }

    #[test]
    fn bytes_keep_their_order_and_their_pace() {
        let model = LinkModel { bandwidth: 1000, ..LinkModel::default() };
        let mut rng = Rng::from_u64(1);
        let mut last = Monotonic::default();
        for _ in 0..100 {
            let next = model.arrival(at(0), Duration::from_millis(50), 10, last, None, &mut rng);
            assert!(next >= last + Duration::from_millis(10));
            last = next;
        }
        assert!(last < at(0) + Duration::from_millis(50 + 5 + 1000 + 1));
    }

    #[test]
    fn a_cut_holds_back_what_is_sent_until_it_ends() {
        let cut = Cut {
            pool: Some(0),
            from: at(10),
            until: at(20),
            apart: Apart::Ipv4Slash8(11),
            no_route: false,
        };
        let model = LinkModel { cuts: vec![cut], ..LinkModel::default() };
        assert_eq!(model.cut_until(0, &host(1), at(9)), None);
        assert_eq!(model.cut_until(0, &host(1), at(10)), Some(at(20)));
        assert_eq!(model.cut_until(0, &host(1), at(20)), None);
        assert_eq!(model.cut_until(1, &host(1), at(10)), None);
        assert_eq!(model.cut_until(0, &Host::Ipv4([12, 1, 1, 1].into()), at(10)), None);
        assert!(!model.is_down(0, at(10)), "others are still reached");
        let second = Cut { from: at(15), until: at(30), ..model.cuts[0].clone() };
        let twice = LinkModel { cuts: vec![model.cuts[0].clone(), second], ..model.clone() };
        assert_eq!(twice.cut_until(0, &host(1), at(12)), Some(at(30)), "into the midst of another");
        let mut rng = Rng::from_u64(1);
        let latency = Duration::from_millis(50);
        let arrival = model.arrival(at(12), latency, 0, at(0), Some(at(20)), &mut rng);
        assert!(arrival >= at(20) + latency);
    }

    #[test]
    fn a_partition_takes_its_share_of_netgroups() {
        let apart = Apart::Share(0.3, 5);
        let cut = Cut { pool: None, from: at(0), until: at(1), apart, no_route: false };
        let cut_off = (0..=255).filter(|&n| cut.holds(0, &host(n), at(0))).count();
        assert!((50..105).contains(&cut_off), "{cut_off} of 256");
    }

    #[test]
    fn links_break_in_both_ways() {
        let breaks = Some(Breaks { mean: Duration::from_secs(100), silent: 0.5 });
        let model = LinkModel { breaks, ..LinkModel::default() };
        let mut rng = Rng::from_u64(1);
        let all: Vec<_> = (0..100).filter_map(|_| model.breaks_at(at(0), &mut rng)).collect();
        let silent = all.iter().filter(|(_, kind)| *kind == Break::Silence).count();
        assert_eq!(all.len(), 100);
        assert!((20..80).contains(&silent));
        assert_eq!(LinkModel::default().breaks_at(at(0), &mut rng), None);
    }
}
