//! The pool as its users see it: against a devnet, against real nodes, and against the limits of
//! the process. What the engine decides is tested where it is decided; here it is seen to happen.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy.toml covers test functions only"
)]

mod alone;
mod answers;
mod asks;
mod bad_input;
mod bans;
mod broadcasts;
mod cancel;
mod chaos;
mod closing;
#[path = "../../../peerpool-core/tests/it/cores_as_map.rs"]
mod cores_as_map;
mod devnet;
mod dns;
mod events;
mod formats;
mod hedges;
mod kinds;
mod leases;
mod limits;
mod litecoind;
mod log;
mod offsets;
mod parity;
mod pools;
mod pressure;
mod queries;
mod raw;
mod real_nodes;
mod resources;
mod soak;
mod store;
mod waiters;

use std::time::Duration;

use peerpool::{Builder, Policy, Pool};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;

/// Runs a test that waits for events, and fails it if they do not come.
async fn within<T>(seconds: u64, test: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, test).await.expect("what the test waits for comes in time")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Times shrunk so that a test sees retries, and long enough that a loaded machine does not take
/// an honest node for a dead one.
fn quick(policy: &mut Policy) {
    policy.dial_timeout = ms(1000);
    policy.handshake_deadline = ms(2000);
    policy.hedge_delay = ms(100);
    policy.quick_drop = ms(10);
    policy.backoff_min = ms(50);
    policy.backoff_max = ms(500);
    policy.seed_retry_min = ms(50);
    policy.seed_retry_max = ms(200);
    policy.probe_interval = ms(50);
    policy.recovery_jitter = ms(50);
}

/// A network of honest nodes on a port of its own.
async fn honest(nodes: usize) -> Devnet {
    network(nodes, Mix::only(Kind::Honest)).await
}

async fn network(nodes: usize, mix: Mix) -> Devnet {
    Devnet::builder().nodes(nodes).kinds(mix).port(0).start().await.expect("a devnet starts")
}

/// A pool on this network that finds it through its DNS seed.
fn pool_on(devnet: &Devnet) -> Builder {
    Pool::builder(devnet.chain()).dns_server(devnet.dns_addr()).tune(quick).rng_seed(1)
}
