//! What the examples have in common: which network to join.
//!
//! `--demo` starts a network of its own on this machine. Otherwise the first argument names the
//! chain (`bitcoin`, `testnet4`, `signet`, `regtest`), and addresses after it are the only ones
//! dialled.

use std::error::Error;

use peerpool::bitcoin::Network;
use peerpool::{Address, Builder, Chain, Pool, ServiceFlags};
use peerpool_sim::devnet::Devnet;

/// Blocks of the demo's chain.
const HEIGHT: u32 = 5_000;

/// A pool to be started, and the network it is for.
pub(crate) struct Setup {
    pub(crate) builder: Builder,
    pub(crate) network: Network,
    /// Keeps the demo's network alive.
    pub(crate) devnet: Option<Devnet>,
}

impl Setup {
    pub(crate) async fn from_arguments() -> Result<Self, Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let first = arguments.next().ok_or("give --demo, or a chain such as signet")?;
        if first == "--demo" {
            let services = ServiceFlags::NETWORK
                | ServiceFlags::WITNESS
                | ServiceFlags::NETWORK_LIMITED
                | ServiceFlags::COMPACT_FILTERS;
            let devnet = Devnet::builder().nodes(200).height(HEIGHT).services(services);
            let devnet = devnet.port(0).start().await?;
            let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
            return Ok(Self { builder, network: Network::Regtest, devnet: Some(devnet) });
        }
        let network: Network = first.parse()?;
        let port = Chain::from(network).default_port;
        let addresses: Vec<Address> =
            arguments.map(|text| Address::parse(&text, port)).collect::<Result<_, _>>()?;
        let mut builder = Pool::builder(network);
        if !addresses.is_empty() {
            builder = builder.connect(addresses);
        }
        Ok(Self { builder, network, devnet: None })
    }

    /// Stops the demo's network, if there is one.
    pub(crate) async fn close(self) {
        if let Some(devnet) = self.devnet {
            devnet.close().await;
        }
    }
}
