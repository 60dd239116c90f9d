//! A Bitcoin network in a box, to test Bitcoin programs against.
//!
//! [`actor`] holds the virtual nodes: sans-IO machines, bytes in and bytes out, that speak through
//! rust-bitcoin's codec and share no code with peerpool's own. `devnet` (feature `tcp`) puts the
//! same actors on real loopback sockets, with a DNS seed of its own; [`world`] puts them and
//! peerpool's engine into virtual time: weeks in seconds, from one seed, watched by [`check`].
//! [`swarm`] draws whole runs with their faults, [`scenario`] plays attacks by name.
//!
//! Any program can be tested on it, in any language: run `peerpool devnet`, point the program at
//! its DNS seed or at a node, and read the summary. In Rust, use the library: the docs of `devnet`
//! say how, those of [`actor`] what each kind of node does to a client, and the example
//! `foreign_client` finds the faults of a client written in an afternoon.

pub mod actor;
pub mod check;
#[cfg(feature = "tcp")]
pub mod devnet;
pub mod draw;
pub mod eclipse;
pub mod link_model;
pub mod report;
pub mod scenario;
pub mod swarm;
pub mod trace;
pub mod world;
