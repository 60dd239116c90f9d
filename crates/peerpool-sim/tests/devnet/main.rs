//! The devnet, seen by a raw client that speaks through rust-bitcoin's codec.

#![allow(clippy::unwrap_used)] // a test says by failing what was expected
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it lives in real time")]

mod client;
mod dns;
mod faults;
mod hostile;
mod kinds;
mod latency;
