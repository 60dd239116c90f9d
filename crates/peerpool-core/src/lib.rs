//! The engine of peerpool, without input or output of its own.
//!
//! Two machines decide everything. The [`Engine`](engine::Engine) is the control plane: whom to
//! dial, when to ping, whom to drop, who gets a lease. A [`Link`](link::Link) is the data plane of
//! one connection: bytes in; messages, faults and progress out. Neither reads a clock, opens a
//! socket or draws a random number that its caller's seed does not fix.
//!
//! The contract: one `handle`, then drain `poll` to `None`, then sleep until `wake_at`.
//!
//! Needs Rust 1.85 or later.

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

pub mod address;
pub mod banned;
pub mod book;
pub mod chain;
pub mod dialer;
pub mod discovery;
pub mod engine;
pub mod event;
pub mod handshake;
pub mod id;
pub mod io;
pub mod lease;
pub mod link;
pub mod liveness;
pub mod misbehavior;
pub mod netgroup;
pub mod peer;
pub mod policy;
pub mod query;
pub mod require;
pub mod rng;
pub mod slots;
pub mod time;
mod timers;
pub mod wire;
