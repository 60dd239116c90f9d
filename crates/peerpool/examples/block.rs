//! How do I get a block, fast and from nobody in particular? Asks three peers in different networks
//! at once, and another if none of them has answered in time. The first valid answer wins.
//!
//! ```text
//! cargo run --example block -- --demo
//! cargo run --example block -- signet
//! ```

mod setup;
mod sync;

use std::error::Error;
use std::time::Duration;

use peerpool::{GetBlock, Require, ServiceFlags, Spread};
use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    let pool = setup.builder.clone().target(8).start().await?;
    let hashes = sync::headers(&pool, setup.network).await?;
    let tip = hashes.last().copied().ok_or("there is a genesis at least")?;

    let asked = pool
        .ask(GetBlock(tip))
        .to(Require::services(ServiceFlags::NETWORK_LIMITED))
        .fanout(3)
        .spread(Spread::Asn)
        .hedge_after(Duration::from_millis(800))
        .asked()
        .await?;
    let block = asked.answer;
    println!("{} sent block {tip}", asked.address);
    println!("{} transactions, {} bytes", block.txdata.len(), block.total_size());

    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
