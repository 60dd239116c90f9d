//! How do I send a transaction, and know that it went out? Tells three peers of it, and waits until
//! others tell of it in turn.
//!
//! ```text
//! cargo run --example broadcast -- --demo
//! cargo run --example broadcast -- signet < transaction.hex
//! ```

mod setup;

use std::error::Error;
use std::time::Duration;

use peerpool::Require;
use peerpool::bitcoin::Transaction;
use peerpool::bitcoin::consensus::encode::deserialize_hex;
use peerpool_sim::actor::HeaderChain;
use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    let tx: Transaction = match &setup.devnet {
        // Any will do: nodes of the demo look at none of them closely.
        Some(_) => {
            let block = HeaderChain::regtest(101).block(101).ok_or("it has that")?;
            block.txdata.into_iter().last().ok_or("a block has transactions")?
        }
        None => deserialize_hex(std::io::read_to_string(std::io::stdin())?.trim())?,
    };
    println!("sending {} to {}", tx.compute_txid(), setup.network);

    // Peers tell of transactions only if they are asked to when they are dialled.
    let pool = setup.builder.clone().target(8).tune(|policy| policy.relay = true);
    let pool = pool.start().await?;
    // Three are told, and the others listened to: who comes later has been told by others.
    pool.ready(8).await?;
    let mut cast = pool.broadcast(tx).to(Require::any());
    println!("{} asked for it", cast.sent().await?);
    println!("{} tells of it in turn", cast.announced_back(1).await?);
    for address in cast.reach().announced {
        println!("  {address}");
    }
    drop(cast);
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
