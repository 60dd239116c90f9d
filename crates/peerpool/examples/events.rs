//! What is the pool doing? Prints everything that happens for ten seconds, or until Ctrl-C.
//!
//! ```text
//! cargo run --example events -- --demo
//! cargo run --example events -- testnet4
//! ```

mod setup;

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    println!("joining {}", setup.network);
    let pool = setup.builder.clone().start().await?;
    let mut events = pool.subscribe();

    let closing = pool.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::time::sleep(Duration::from_secs(10)) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        closing.close(Duration::from_secs(5)).await;
    });

    // Ends once the pool is closed, after its last event.
    while let Some(stamped) = events.next().await {
        let at = stamped.at.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let address = stamped.event.address().map(|address| address.to_string());
        println!("{at:.3} {:<13} {}", stamped.event.as_str(), address.unwrap_or_default());
    }
    setup.close().await;
    Ok(())
}
