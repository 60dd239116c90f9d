//! How do I get peers? Starts a pool, prints each peer as it becomes ready, and ends when the pool
//! is full.
//!
//! ```text
//! cargo run --example fill -- --demo
//! cargo run --example fill -- signet
//! ```

mod setup;

use std::error::Error;
use std::time::Duration;

use peerpool::Event;
use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    println!("joining {}", setup.network);
    let pool = setup.builder.clone().target(8).start().await?;
    let mut events = pool.subscribe();
    while let Some(stamped) = events.next().await {
        match stamped.event {
            Event::Ready { address, version, .. } => {
                println!("{address}  {}  height {}", version.user_agent, version.height);
            }
            Event::Full { took } => {
                println!("full after {took:.2?}");
                break;
            }
            _ => {}
        }
    }
    let status = pool.status().await;
    println!("{} dials, {} addresses left to try", status.dials, status.available);
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
