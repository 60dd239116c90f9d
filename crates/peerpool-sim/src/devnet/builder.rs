//! What a devnet is made of: size, mix, chain, seeds and times, checked before anything is bound.

use std::ops::RangeInclusive;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::p2p::ServiceFlags;
use peerpool_core::chain::Chain;

use super::{Devnet, DevnetError, DnsMode};
use crate::actor::{Ages, Kind, Mix};

/// Settings of a [`Devnet`]; see [`Devnet::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) nodes: usize,
    pub(super) kinds: Mix,
    pub(super) seed: u64,
    pub(super) chain: Chain,
    pub(super) services: ServiceFlags,
    pub(super) gossip_answer: usize,
    pub(super) gossip_share: Option<f64>,
    pub(super) gossip_ages: Ages,
    pub(super) dns_port: u16,
    pub(super) dns_share: Option<f64>,
    pub(super) dns_mode: DnsMode,
    pub(super) filter_names: bool,
    pub(super) vanish_after: RangeInclusive<Duration>,
    pub(super) flap_up: RangeInclusive<Duration>,
    pub(super) flap_down: RangeInclusive<Duration>,
    pub(super) slow_rate: u32,
    pub(super) latency: Duration,
    pub(super) height: u32,
    pub(super) block_size: usize,
}

impl Default for Builder {
    fn default() -> Self {
        let mut chain = Chain::from(Network::Regtest);
        "devnet".clone_into(&mut chain.name);
        Self {
            nodes: 100,
            kinds: Mix::default(),
            seed: 1,
            chain,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED,
            gossip_answer: 1000,
            gossip_share: None,
            gossip_ages: Ages::Kind,
            dns_port: 0,
            dns_share: None,
            dns_mode: DnsMode::Answer,
            filter_names: true,
            vanish_after: Duration::from_secs(5)..=Duration::from_secs(30),
            flap_up: Duration::from_secs(5)..=Duration::from_secs(30),
            flap_down: Duration::from_secs(5)..=Duration::from_secs(30),
            slow_rate: 1,
            latency: Duration::ZERO,
            height: 10,
            block_size: 0,
        }
    }
}

impl Builder {
    /// Most nodes a devnet may have. Each living node costs a file descriptor, each silent one two.
    pub const NODES_MAX: usize = 20_000;
    /// Highest chain: making a header takes some 10 us.
    pub const HEIGHT_MAX: u32 = 1_000_000;
    /// Longest block.
    pub const BLOCK_MAX: usize = 3_900_000;
    /// Longest round trip.
    pub const LATENCY_MAX: Duration = Duration::from_secs(60);

    /// How many nodes, 1 to [`Builder::NODES_MAX`]; default 100.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// The share of each kind; the default is [`Mix::default`].
    pub fn kinds(mut self, mix: Mix) -> Self {
        self.kinds = mix;
        self
    }

    /// Seed of everything random: addresses, kinds, answers, lifetimes; default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Magic and port, from this chain; its seeds are replaced by the devnet's own. Default:
    /// regtest's magic and port 18444, under the name `devnet`.
    pub fn chain(mut self, chain: Chain) -> Self {
        self.chain = chain;
        self
    }

    /// The port every node listens on; 0 picks a free one, which [`Devnet::chain`] then names.
    pub fn port(mut self, port: u16) -> Self {
        self.chain.default_port = port;
        self
    }

    /// Service bits every node offers; default NETWORK, WITNESS and NETWORK_LIMITED.
    pub fn services(mut self, services: ServiceFlags) -> Self {
        self.services = services;
        self
    }

    /// Most addresses in an answer to getaddr, 0 to 1000; default 1000. An answer never holds more
    /// than 23 % of the network or 10 addresses, whichever is more: Core's rule, with a floor. An
    /// attacker's nodes keep to neither.
    pub fn gossip_answer(mut self, addresses: usize) -> Self {
        self.gossip_answer = addresses;
        self
    }

    /// Share of usable nodes ([`Kind::is_usable`]) among the addresses that nodes gossip, 0 to 1;
    /// stale nodes are then never named. An answer is shorter where the network has not enough of
    /// either. Default: their natural share, stale nodes among them.
    pub fn gossip_share(mut self, share: f64) -> Self {
        self.gossip_share = Some(share);
        self
    }

    /// How old gossip is; default [`Ages::Kind`].
    pub fn gossip_ages(mut self, ages: Ages) -> Self {
        self.gossip_ages = ages;
        self
    }

    /// The DNS seed's UDP port on 127.0.0.1; default 0, which picks a free one.
    pub fn dns_port(mut self, port: u16) -> Self {
        self.dns_port = port;
        self
    }

    /// Share of usable nodes ([`Kind::is_usable`]) among the addresses the DNS seed gives, 0 to 1;
    /// stale nodes are never given. Default: their natural share.
    pub fn dns_share(mut self, share: f64) -> Self {
        self.dns_share = Some(share);
        self
    }

    /// How the DNS seed answers at first; default [`DnsMode::Answer`].
    pub fn dns_mode(mut self, mode: DnsMode) -> Self {
        self.dns_mode = mode;
        self
    }

    /// Whether the DNS seed knows names that ask for services, `x<hex>.seed.devnet`; default true.
    pub fn filter_names(mut self, known: bool) -> Self {
        self.filter_names = known;
        self
    }

    /// How long a vanishing node lives after its first connection, drawn uniformly; default 5 to
    /// 30 s.
    pub fn vanish_after(mut self, range: RangeInclusive<Duration>) -> Self {
        self.vanish_after = range;
        self
    }

    /// How long a flapping node lives each time, drawn uniformly; default 5 to 30 s.
    pub fn flap_up(mut self, range: RangeInclusive<Duration>) -> Self {
        self.flap_up = range;
        self
    }

    /// How long a flapping node is dead each time, drawn uniformly; default 5 to 30 s.
    pub fn flap_down(mut self, range: RangeInclusive<Duration>) -> Self {
        self.flap_down = range;
        self
    }

    /// Bytes a second that a slow node sends, one by one; default 1, at least 1.
    pub fn slow_rate(mut self, bytes_per_second: u32) -> Self {
        self.slow_rate = bytes_per_second;
        self
    }

    /// The round trip to every node, up to [`Builder::LATENCY_MAX`]; default zero. All that a node
    /// sends, and its closing, leaves so much after what it answers, in order, and a reply under
    /// way holds up no reading. What a node does first on a connection waits two round trips: the
    /// kernel takes every dial at once, and its round trip is made up for there. For the same
    /// reason a refusal comes without any latency. Near sybils and the DNS seed have none either.
    pub fn latency(mut self, round_trip: Duration) -> Self {
        self.latency = round_trip;
        self
    }

    /// Height of the chain that nodes have, up to [`Builder::HEIGHT_MAX`]; default 10.
    pub fn height(mut self, height: u32) -> Self {
        self.height = height;
        self
    }

    /// Bytes of each block, about, up to [`Builder::BLOCK_MAX`]; default 0, which is the least that
    /// a block has.
    pub fn block_size(mut self, bytes: usize) -> Self {
        self.block_size = bytes;
        self
    }

    /// Binds every socket and starts serving.
    ///
    /// # Errors
    /// A setting is out of bounds, the port is taken by another program or devnet, or the process
    /// is out of file descriptors.
    pub async fn start(self) -> Result<Devnet, DevnetError> {
        Devnet::start(self).await
    }

    /// Refuses what cannot be built, naming the setting.
    pub(super) fn check(&self) -> Result<(), DevnetError> {
        let setting = |name, value, allowed| Err(DevnetError::Setting { name, value, allowed });
        if !(1..=Self::NODES_MAX).contains(&self.nodes) {
            return setting("nodes", self.nodes.to_string(), "1 to 20000");
        }
        if Kind::ALL.into_iter().all(|kind| self.kinds.share(kind) == 0) {
            return setting("kinds", "all zero".to_owned(), "a mix with at least one share");
        }
        if let Some(share) = self.dns_share.filter(|share| !(0.0..=1.0).contains(share)) {
            return setting("dns_share", share.to_string(), "0 to 1");
        }
        if let Some(share) = self.gossip_share.filter(|share| !(0.0..=1.0).contains(share)) {
            return setting("gossip_share", share.to_string(), "0 to 1");
        }
        if self.latency > Self::LATENCY_MAX {
            return setting("latency", format!("{:?}", self.latency), "up to 60s");
        }
        if self.height > Self::HEIGHT_MAX {
            return setting("height", self.height.to_string(), "0 to 1000000");
        }
        if self.block_size > Self::BLOCK_MAX {
            return setting("block_size", self.block_size.to_string(), "0 to 3900000");
        }
        if self.gossip_answer > 1000 {
            return setting("gossip_answer", self.gossip_answer.to_string(), "0 to 1000");
        }
        if self.slow_rate == 0 {
            return setting("slow_rate", "0".to_owned(), "1 or more");
        }
        let ranges = [
            ("vanish_after", &self.vanish_after),
            ("flap_up", &self.flap_up),
            ("flap_down", &self.flap_down),
        ];
        if let Some((name, range)) = ranges.into_iter().find(|(_, range)| range.is_empty()) {
            let value = format!("{range:?}");
            return setting(name, value, "a range that does not end before it starts");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_named() {
        let whole = Builder::default;
        let check = |name: &str, builder: Builder| {
            let error = builder.check().expect_err("out of bounds").to_string();
            assert!(error.starts_with(name) && error.contains("allowed"), "{error}");
        };
        check("nodes", whole().nodes(0));
        check("nodes", whole().nodes(20_001));
        check("kinds", whole().kinds(Mix::only(Kind::Rude).with(Kind::Rude, 0)));
        check("dns_share", whole().dns_share(f64::NAN));
        check("dns_share", whole().dns_share(1.1));
        check("gossip_share", whole().gossip_share(-0.1));
        check("latency", whole().latency(Duration::from_secs(61)));
        check("height", whole().height(1_000_001));
        check("block_size", whole().block_size(3_900_001));
        check("gossip_answer", whole().gossip_answer(1001));
        check("slow_rate", whole().slow_rate(0));
        check("flap_down", whole().flap_down(Duration::from_secs(2)..=Duration::ZERO));
        check("vanish_after", whole().vanish_after(Duration::from_secs(2)..=Duration::ZERO));
        assert!(whole().check().is_ok());
    }
}
