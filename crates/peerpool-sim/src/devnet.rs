//! A Bitcoin network on loopback: many nodes at addresses of their own all over 127/8, and a DNS
//! seed that names them. It is what a Bitcoin program can be tested against without touching the
//! real network, and it keeps the log that says what the program did.
//!
//! Linux only: elsewhere 127.0.0.1 is the only loopback address, and a full backlog refuses.
//!
//! Not a network of its own: nodes serve a made-up chain, and do not talk to each other.
//!
//! # Testing a program of your own
//!
//! Choose the [kinds](crate::actor#the-kinds-of-node) of node, start the network, let the program
//! join it by its DNS seed (or give it [addresses](Devnet::addresses_of)), and ask the
//! [log](Devnet::accept_log) what it did: whom it dialled, how far each connection came, how much
//! it sent, how many links it had to one node. [`Devnet::kill`], [`Devnet::stall`] and
//! [`Devnet::pause`] do what happens to networks. The example `foreign_client` is a whole test.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use peerpool_sim::actor::{Ages, Kind, Mix};
//! use peerpool_sim::devnet::Devnet;
//!
//! let mix = Mix::only(Kind::Honest).with_each([Kind::Silent, Kind::Mute, Kind::Liar]);
//! let devnet = Devnet::builder()
//!     .nodes(200)
//!     .kinds(mix)
//!     .port(0)
//!     .latency(Duration::from_millis(80))
//!     .gossip_ages(Ages::Core)
//!     .start()
//!     .await?;
//! println!("join by {} at {}", devnet.seed_name(), devnet.dns_addr());
//! println!("magic {:x?}, port {}", devnet.chain().magic, devnet.chain().default_port);
//!
//! // Start the program here, and wait for what it should reach.
//! devnet.accepted(|log| log.iter().filter(|accept| accept.ready.is_some()).count() >= 8).await;
//!
//! assert!(devnet.max_concurrent().values().all(|&most| most == 1), "linked twice to a node");
//! let log = devnet.accept_log();
//! let mute = log.iter().filter(|accept| accept.kind == Kind::Mute);
//! let held = |accept: &&peerpool_sim::devnet::Accept| {
//!     accept.ended.is_some_and(|ended| ended - accept.at > Duration::from_secs(60))
//! };
//! assert_eq!(mute.filter(held).count(), 0, "handshakes end at a deadline");
//! devnet.close().await;
//! # Ok(()) }
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it lives in real time, on real sockets"
)]

mod builder;
mod dns;
mod error;
mod layout;
mod line;
mod log;
mod node;
mod server;
mod transit;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitcoin::p2p::Magic;
use peerpool_core::chain::Chain;
use peerpool_core::rng::Rng;

pub use builder::Builder;
pub use dns::{DnsMode, Queries};
pub use error::DevnetError;
pub use log::Accept;

use crate::actor::{HeaderChain, Kind, Listing, Mempool, Profile, Roster};
use dns::{DnsServer, SEED_NAME, Zone};
use layout::PortClaim;
use log::Log;
use node::{Common, Node};
use server::Order;

/// Height of the chain of nodes on a wrong one, at most.
const FOREIGN_HEIGHT: u32 = 10;
/// Ports tried before a devnet without a port of its own gives up.
const PORT_TRIES: usize = 64;

/// A running network. Dropping it stops everything.
///
/// Nodes are named by their addresses. Methods that change a node wait until the change is done:
/// after [`Devnet::kill`], the next connection attempt is refused.
#[derive(Debug)]
pub struct Devnet {
    chain: Chain,
    nodes: BTreeMap<SocketAddr, Node>,
    common: Arc<Common>,
    dns: DnsServer,
    _claim: PortClaim,
}

impl Devnet {
    /// Settings with their defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    async fn start(builder: Builder) -> Result<Self, DevnetError> {
        builder.check()?;
        let mut rng = Rng::from_u64(builder.seed);
        let kinds = builder.kinds.deal(builder.nodes, &mut rng);
        let places: Vec<Place> =
            layout::addresses(builder.nodes, &mut rng).into_iter().zip(kinds).collect();
        let dns_at = SocketAddr::from((Ipv4Addr::LOCALHOST, builder.dns_port));
        let zone = zone(&builder, &places);
        let dns = DnsServer::start(dns_at, zone, builder.dns_mode, Rng::from_u64(rng.u64()))
            .await
            .map_err(|source| DevnetError::Bind { address: dns_at, source })?;
        let Settled { claim, common, nodes } = match builder.chain.default_port {
            0 => settle_anywhere(&builder, &places, &rng).await?,
            port => settle(&builder, &places, rng, port).await?,
        };
        let chain = Chain {
            default_port: claim.port,
            seeds: vec![SEED_NAME.to_owned()],
            local: true,
            ..builder.chain
        };
        Ok(Self { chain, nodes, common, dns, _claim: claim })
    }

    /// The chain that a program needs to join this network: its magic, the port of all its nodes,
    /// its DNS seed, and loopback addresses let through.
    pub fn chain(&self) -> Chain {
        self.chain.clone()
    }

    /// The name the DNS seed answers to.
    pub fn seed_name(&self) -> &'static str {
        SEED_NAME
    }

    /// Where the DNS seed listens, by UDP.
    pub fn dns_addr(&self) -> SocketAddr {
        self.dns.address
    }

    /// Addresses of all nodes built as `kind`, in order.
    pub fn addresses_of(&self, kind: Kind) -> Vec<SocketAddr> {
        self.nodes.values().filter(|node| node.kind == kind).map(|node| node.address).collect()
    }

    /// What the node at this address was built as.
    pub fn kind_of(&self, address: SocketAddr) -> Option<Kind> {
        self.nodes.get(&address).map(|node| node.kind)
    }

    /// Every connection accepted so far, in order; the first million of them. A silent node
    /// accepts none: [`Devnet::revive`] it to see whether it is dialled.
    pub fn accept_log(&self) -> Vec<Accept> {
        self.common.log.entries().clone()
    }

    /// Waits until `condition` holds for the accept log. Cancel safe.
    pub async fn accepted(&self, condition: impl Fn(&[Accept]) -> bool) {
        let mut changes = self.common.log.live();
        while !condition(&self.common.log.entries()) {
            changes.changed().await.expect("the devnet holds the sender");
        }
    }

    /// Connections open now, over all nodes.
    pub fn live(&self) -> usize {
        *self.common.log.live().borrow()
    }

    /// Waits until `condition` holds for the number of open connections. Cancel safe.
    pub async fn until_live(&self, condition: impl Fn(usize) -> bool) {
        let mut changes = self.common.log.live();
        let reached = changes.wait_for(|&live| condition(live)).await;
        reached.expect("the devnet holds the sender");
    }

    /// Most connections that each node ever had at once; nodes never reached are left out.
    pub fn max_concurrent(&self) -> BTreeMap<SocketAddr, usize> {
        let mut most = BTreeMap::new();
        for accept in self.common.log.entries().iter() {
            let known = most.entry(accept.address).or_insert(0);
            *known = accept.concurrent.max(*known);
        }
        most
    }

    /// How often each name was asked of the DNS seed, in lower case without the last dot; the
    /// first 1024 names.
    pub fn dns_queries(&self) -> BTreeMap<String, Queries> {
        self.dns.queries()
    }

    /// Changes how the DNS seed treats queries from now on.
    pub fn set_dns_mode(&self, mode: DnsMode) {
        self.dns.set_mode(mode);
    }

    /// Stops a node: its listener and its connections close.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn kill(&self, address: SocketAddr) -> Result<(), DevnetError> {
        self.node(address)?.stop().await;
        Ok(())
    }

    /// Starts a killed or vanished node again as what it was, a vanishing one with a new life.
    /// Does nothing to a living one.
    ///
    /// # Errors
    /// There is no such node, or its socket cannot be bound.
    pub async fn restart(&self, address: SocketAddr) -> Result<(), DevnetError> {
        self.node(address)?.start().await
    }

    /// Has a living node do nothing at all until [`Devnet::unstall`]: it reads and writes nothing,
    /// and accepts nothing. As with a process that is stopped, the kernel goes on: dials to it
    /// succeed, until its backlog of 128 is full, and what is sent to it is buffered. Its life goes
    /// on, too: a vanishing or flapping node may die stalled, and any may be killed. A node that
    /// does not accept (dead, refusing, silent) stays as it is.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn stall(&self, address: SocketAddr) -> Result<(), DevnetError> {
        self.node(address)?.tell(Order::Stall(true)).await;
        Ok(())
    }

    /// Has a stalled node go on where it was. Does nothing to any other.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn unstall(&self, address: SocketAddr) -> Result<(), DevnetError> {
        self.node(address)?.tell(Order::Stall(false)).await;
        Ok(())
    }

    /// Makes a node honest from now on, whatever it was built as, so that a dial to it would
    /// succeed and be logged. Gossip and DNS go on treating it as what it was built as.
    ///
    /// # Errors
    /// There is no such node, or its socket cannot be bound.
    pub async fn revive(&self, address: SocketAddr) -> Result<(), DevnetError> {
        self.node(address)?.revive().await
    }

    /// Stops every node; the DNS seed goes on.
    pub async fn kill_all(&self) {
        for node in self.nodes.values() {
            node.stop().await;
        }
    }

    /// Closes every connection; nodes go on listening.
    pub async fn drop_connections(&self) {
        for node in self.nodes.values() {
            node.tell(Order::DropLinks).await;
        }
    }

    /// Takes the network offline: every living node stops, its connections close, and all dials
    /// are refused until [`Devnet::resume`]. The DNS seed goes on; see [`Devnet::set_dns_mode`].
    pub async fn pause(&self) {
        for node in self.nodes.values() {
            node.pause().await;
        }
    }

    /// Brings back, at the same addresses, what [`Devnet::pause`] stopped.
    ///
    /// # Errors
    /// A node's socket cannot be bound; call again to go on with the rest.
    pub async fn resume(&self) -> Result<(), DevnetError> {
        for node in self.nodes.values() {
            node.resume().await?;
        }
        Ok(())
    }

    /// Stops everything and waits for it. Dropping the devnet stops it too, without waiting.
    pub async fn close(self) {
        self.kill_all().await;
        self.dns.stop().await;
    }

    fn node(&self, address: SocketAddr) -> Result<&Node, DevnetError> {
        self.nodes.get(&address).ok_or(DevnetError::NoSuchNode(address))
    }
}

/// A node's address and what it is built as.
type Place = (Ipv4Addr, Kind);

/// What the DNS seed is told: every node but the stale ones.
fn zone(builder: &Builder, places: &[Place]) -> Zone {
    let named = places.iter().filter(|(_, kind)| *kind != Kind::Stale);
    let (living, dead): (Vec<&Place>, _) = named.partition(|(_, kind)| kind.is_usable());
    let hostile = living.iter().copied().filter(|(_, kind)| kind.is_hostile()).collect();
    let ips = |places: Vec<&Place>| places.into_iter().map(|&(ip, _)| ip).collect();
    Zone {
        living: ips(living),
        dead: ips(dead),
        hostile: ips(hostile),
        share: builder.dns_share,
        services: builder.services,
        filter_names: builder.filter_names,
    }
}

/// Every node alive on one port.
struct Settled {
    claim: PortClaim,
    common: Arc<Common>,
    nodes: BTreeMap<SocketAddr, Node>,
}

/// Settles on a free port.
async fn settle_anywhere(
    builder: &Builder,
    places: &[Place],
    rng: &Rng,
) -> Result<Settled, DevnetError> {
    let mut last = None;
    for port in layout::candidate_ports().take(PORT_TRIES) {
        match settle(builder, places, rng.clone(), port).await {
            Err(error) if error.is_port_taken() => last = Some(error),
            done => return done,
        }
    }
    Err(last.expect("PORT_TRIES is not zero"))
}

/// Settles on this port.
async fn settle(
    builder: &Builder,
    places: &[Place],
    mut rng: Rng,
    port: u16,
) -> Result<Settled, DevnetError> {
    let claim = PortClaim::of(port)?;
    let listing = |&(ip, kind): &Place| Listing { address: SocketAddr::from((ip, port)), kind };
    let common = Arc::new(Common {
        roster: Roster {
            profile: Profile {
                magic: Magic::from_bytes(builder.chain.magic),
                services: builder.services,
                user_agent: concat!("/devnet:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
                ages: builder.gossip_ages,
                headers: HeaderChain::with_blocks(builder.height, builder.block_size),
                wrong_headers: HeaderChain::foreign(builder.height.min(FOREIGN_HEIGHT)),
                mempool: Some(Mempool::default()),
                slow_rate: builder.slow_rate,
            },
            gossip_answer: builder.gossip_answer,
            gossip_share: builder.gossip_share,
            seed: builder.seed,
            listings: places.iter().map(listing).collect(),
        },
        log: Log::new(),
        vanish_after: builder.vanish_after.clone(),
        flap_up: builder.flap_up.clone(),
        flap_down: builder.flap_down.clone(),
        latency: builder.latency,
    });
    let mut nodes = BTreeMap::new();
    for &Listing { address, kind } in &common.roster.listings {
        let node = Node::new(address, kind, Arc::clone(&common), Rng::from_u64(rng.u64()));
        node.start().await?;
        nodes.insert(address, node);
    }
    Ok(Settled { claim, common, nodes })
}
