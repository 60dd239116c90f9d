//! A Bitcoin network in a box, to test Bitcoin programs against.
//!
//! [`actor`] holds the virtual nodes: sans-IO machines, bytes in and bytes out, that speak through
//! rust-bitcoin's codec and share no code with peerpool's own. `devnet` (feature `tcp`) puts the
//! same actors on real loopback sockets, with a DNS seed of its own.

pub mod actor;
#[cfg(feature = "tcp")]
pub mod devnet;
