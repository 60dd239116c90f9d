//! How do I wait for a peer that can do what I need? Leases one that serves compact filters, with
//! the height that others have, and asks it how far away it is.
//!
//! ```text
//! cargo run --example services -- --demo
//! cargo run --example services -- bitcoin
//! ```

mod setup;

use std::error::Error;
use std::time::Duration;

use peerpool::{Ping, Require, ServiceFlags};
use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    println!("joining {}", setup.network);
    let pool = setup.builder.clone().target(8).start().await?;

    let want = Require::services(ServiceFlags::COMPACT_FILTERS).min_height(1);
    // An error says how long it took, how the pool is, and which dials failed last.
    let lease = pool.lease_timeout(&want, Duration::from_secs(60)).await?;
    println!("{} runs {}", lease.address(), lease.version().user_agent);
    println!("it has {} and {} blocks", lease.services(), lease.version().height);
    println!("it answers in {:.1?}", lease.query(Ping::new()).await?);

    // Given back before the close, which waits for it otherwise.
    drop(lease);
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
