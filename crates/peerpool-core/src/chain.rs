//! Which Bitcoin network the pool is on: magic, default port, DNS seeds.

use bitcoin::Network;
use bitcoin::p2p::Magic;

/// A chain as peers know it. `From<bitcoin::Network>` gives the public ones; a custom chain is
/// this struct filled in by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name in settings and logs.
    pub name: String,
    /// First four bytes of every v1 frame.
    pub magic: [u8; 4],
    /// Port assumed for addresses from DNS seeds.
    pub default_port: u16,
    /// Host names of the DNS seeds.
    pub seeds: Vec<String>,
    /// Whether headers of this chain carry SHA256d proof of work.
    pub pow: bool,
    /// Whether unroutable addresses are let through unless settings say otherwise: regtest.
    pub local: bool,
}

const MAINNET_SEEDS: &[&str] = &[
    "seed.bitcoin.sipa.be",
    "dnsseed.bluematt.me",
    "seed.bitcoin.jonasschnelli.ch",
    "seed.btc.petertodd.net",
    "seed.bitcoin.sprovoost.nl",
    "dnsseed.emzy.de",
    "seed.bitcoin.wiz.biz",
    "seed.mainnet.achownodes.xyz",
    "seed.bitnodes.io",
];
const TESTNET3_SEEDS: &[&str] = &[
    "testnet-seed.bitcoin.jonasschnelli.ch",
    "seed.tbtc.petertodd.net",
    "seed.testnet.bitcoin.sprovoost.nl",
    "testnet-seed.bluematt.me",
    "seed.testnet.achownodes.xyz",
];
const TESTNET4_SEEDS: &[&str] = &["seed.testnet4.bitcoin.sprovoost.nl", "seed.testnet4.wiz.biz"];
const SIGNET_SEEDS: &[&str] = &["seed.signet.bitcoin.sprovoost.nl", "seed.signet.achownodes.xyz"];

impl From<Network> for Chain {
    fn from(network: Network) -> Self {
        let (name, port, seeds): (_, _, &[&str]) = match network {
            Network::Bitcoin => ("bitcoin", 8333, MAINNET_SEEDS),
            Network::Testnet => ("testnet3", 18333, TESTNET3_SEEDS),
            Network::Testnet4 => ("testnet4", 48333, TESTNET4_SEEDS),
            Network::Signet => ("signet", 38333, SIGNET_SEEDS),
            Network::Regtest => ("regtest", 18444, &[]),
        };
        Self {
            name: name.to_owned(),
            magic: Magic::from(network).to_bytes(),
            default_port: port,
            seeds: seeds.iter().map(|&seed| seed.to_owned()).collect(),
            pow: true,
            local: network == Network::Regtest,
        }
    }
}

impl Chain {
    /// Names that [`Chain::named`] knows.
    pub const NAMES: [&str; 5] = ["bitcoin", "testnet3", "testnet4", "signet", "regtest"];

    /// The public chain called `name`; `mainnet`, `main` and `testnet` are accepted too.
    pub fn named(name: &str) -> Option<Self> {
        Some(Self::from(match name {
            "bitcoin" | "mainnet" | "main" => Network::Bitcoin,
            "testnet3" | "testnet" => Network::Testnet,
            "testnet4" => Network::Testnet4,
            "signet" => Network::Signet,
            "regtest" => Network::Regtest,
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magics_and_ports_are_those_of_core() {
        let check = |name, magic: [u8; 4], port, seeds| {
            let chain = Chain::named(name).expect("a public chain");
            assert_eq!((chain.magic, chain.default_port, chain.seeds.len()), (magic, port, seeds));
        };
        check("bitcoin", [0xf9, 0xbe, 0xb4, 0xd9], 8333, 9);
        check("testnet3", [0x0b, 0x11, 0x09, 0x07], 18333, 5);
        check("testnet4", [0x1c, 0x16, 0x3f, 0x28], 48333, 2);
        check("signet", [0x0a, 0x03, 0xcf, 0x40], 38333, 2);
        check("regtest", [0xfa, 0xbf, 0xb5, 0xda], 18444, 0);
        assert_eq!(Chain::named("mainet"), None);
    }
}
