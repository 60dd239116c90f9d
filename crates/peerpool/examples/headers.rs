//! How do I get the chain's headers? Asks the pool for them, 2000 at a time, until it has the tip.
//!
//! ```text
//! cargo run --example headers -- --demo
//! cargo run --example headers -- regtest 127.0.0.1:18444
//! ```

mod setup;
mod sync;

use std::error::Error;
use std::time::{Duration, Instant};

use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    let pool = setup.builder.clone().target(8).start().await?;
    let begun = Instant::now();
    let hashes = sync::headers(&pool, setup.network).await?;
    let took = begun.elapsed();
    if let Some(tip) = hashes.last() {
        println!("block {} is {tip}, after {took:.2?}", hashes.len() - 1);
    }
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
