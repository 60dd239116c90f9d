//! How do I talk to a peer? Leases one, asks it for the headers after genesis, and gives it back.
//!
//! ```text
//! cargo run --example headers -- --demo
//! cargo run --example headers -- regtest 127.0.0.1:18444
//! ```

mod setup;

use std::error::Error;
use std::time::Duration;

use peerpool::bitcoin::BlockHash;
use peerpool::bitcoin::blockdata::constants::genesis_block;
use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::p2p::message_blockdata::GetHeadersMessage;
use peerpool::{NetworkMessage, Require, ServiceFlags};
use setup::Setup;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    let pool = setup.builder.clone().target(2).start().await?;

    // Waits until a peer that keeps the chain is ready; an error says why there was none.
    let mut lease = pool.lease(&Require::services(ServiceFlags::NETWORK)).await?;
    println!("{} runs {}", lease.address(), lease.version().user_agent);

    let genesis = genesis_block(setup.network).block_hash();
    let request = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
    lease.send(NetworkMessage::GetHeaders(request)).await?;

    // The peer may say other things first, and a peer need not answer at all.
    let answer = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let NetworkMessage::Headers(headers) = lease.recv().await? {
                return Ok::<_, peerpool::Disconnected>(headers);
            }
        }
    });
    for header in answer.await??.iter().take(10) {
        println!("{} at {}", header.block_hash(), header.time);
    }

    drop(lease);
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}
