//! A pool of Bitcoin peers: it finds addresses, dials, handshakes, keeps as many healthy peers as
//! asked for, and lends them out.
//!
//! ```no_run
//! # use peerpool::bitcoin::{BlockHash, Network};
//! # use peerpool::{GetBlock, GetCFilters, GetHeaders, Pool, Require, ServiceFlags, Spread};
//! # async fn doc(genesis: BlockHash, hash: BlockHash, height: u32)
//! #     -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Network::Bitcoin).target(8).start().await?;
//! let headers = pool.ask(GetHeaders::after([genesis])).await?;
//! let block = pool.ask(GetBlock(hash)).fanout(3).spread(Spread::Asn).await?;
//! let lease = pool.lease(&Require::services(ServiceFlags::COMPACT_FILTERS)).await?;
//! let filters = lease.query(GetCFilters::new(height, hash)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Lease`] is a slot of one peer: [`Lease::query`] asks it what a [`Query`] knows the answer of,
//! and holds the answer against that. [`Pool::ask`] asks the pool, of as many peers as it takes.
//! [`Pool::broadcast`] tells peers of a transaction, and counts who tells of it in turn.
//! [`Pool::named`] is one of several pools over the same addr book.
//!
//! This crate moves bytes and time; every decision is made by the sans-IO machines of
//! `peerpool-core`. One task owns the engine, one task runs each connection, and everything a
//! user holds ([`Pool`], [`Lease`], [`Events`]) is a thin handle over bounded queues to them.
//!
//! Dropping the last [`Pool`] stops the engine and every connection at once; [`Pool::close`] does
//! it politely.
//!
//! Needs Rust 1.89 or later.

#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used,
        reason = "nothing that a peer sends may panic"
    )
)]

mod ask;
mod bans;
mod broadcast;
mod builder;
mod clock;
mod connect;
mod connection;
mod driver;
mod events;
pub mod formats;
mod lease;
mod pool;
mod query;
mod random;
pub mod seeds;
pub mod settings;
pub mod store;
mod times;

pub use bitcoin;
pub use bitcoin::p2p::ServiceFlags;
pub use bitcoin::p2p::message::NetworkMessage;

pub use ask::{Ask, AskError, Asked};
pub use broadcast::{Broadcast, BroadcastError, Reach};
pub use builder::{Builder, StartError};
pub use events::{Events, Stamped};
pub use lease::{DialFailure, Disconnected, Lease, LeaseError, SendError};
pub use pool::{Pool, ReadyError};
pub use store::{Store, StoreError};

pub use peerpool_core::address::{Address, Host, Net, ParseAddressError};
pub use peerpool_core::banned::{Ban, BanError, Banned, Subnet, SubnetError};
pub use peerpool_core::book::{Book, Explanation, Rule, Unfit};
pub use peerpool_core::chain::Chain;
pub use peerpool_core::engine::NETS;
pub use peerpool_core::event::{
    DialError, Event, Known, PeerStatus, PeerVersion, PoolStatus, Status, UserAgent, Variety,
};
pub use peerpool_core::id::{
    BurnReason, Chosen, ConnectionType, DisconnectReason, LeaseId, LinkFault, PeerId, PeerState,
    PoolId,
};
pub use peerpool_core::misbehavior::Misbehavior;
pub use peerpool_core::netgroup::{AsMap, AsMapError, MAX_AS_MAP, NetGroup, NetGroups};
pub use peerpool_core::policy::{Field, Policy, PolicyError, format_duration, parse_duration};
pub use peerpool_core::query::{
    Asking, BadQuery, GetBlock, GetBlocks, GetCFCheckpt, GetCFHeaders, GetCFilters, GetHeaders,
    GetTx, Ping, Query, QueryError, Raw, Reply,
};
pub use peerpool_core::require::{Require, Spread, Unmet};
pub use peerpool_core::time::{Now, UnixTime};
pub use peerpool_core::wire::PROTOCOL_VERSION;
