//! How do I find what concerns me without telling whom I am? Asks for the compact filters of the
//! last thousand blocks (BIP157), looks for a script in them, and gets the blocks that match.
//!
//! ```text
//! cargo run --example filters -- --demo
//! cargo run --example filters -- signet < script.hex
//! ```

mod setup;
mod sync;

use std::error::Error;
use std::time::Duration;

use peerpool::bitcoin::ScriptBuf;
use peerpool::bitcoin::bip158::BlockFilter;
use peerpool::bitcoin::p2p::message_filter::CFilter;
use peerpool::{GetBlock, GetCFHeaders, GetCFilters, Require, ServiceFlags};
use peerpool_sim::actor::script_at;
use setup::Setup;

/// Blocks to look at.
const LAST: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setup = Setup::from_arguments().await?;
    let pool = setup.builder.clone().target(8).start().await?;
    let hashes = sync::headers(&pool, setup.network).await?;
    let script: ScriptBuf = match &setup.devnet {
        // Somebody's whose coinbase is spent 100 blocks later.
        Some(_) => script_at(hashes.len() as u32 - 500),
        None => ScriptBuf::from_hex(std::io::read_to_string(std::io::stdin())?.trim())?,
    };

    let tip = hashes.last().copied().ok_or("there is a genesis at least")?;
    let start = hashes.len().saturating_sub(LAST);
    let serves = Require::services(ServiceFlags::COMPACT_FILTERS);
    // The hashes from one peer, the filters from another: each is held against them.
    let headers = pool.ask(GetCFHeaders::new(start as u32, tip)).to(serves.clone()).asked().await?;
    let filters = GetCFilters::new(start as u32, tip).expecting(headers.answer.filter_hashes);
    let other = serves.clone().except([headers.peer]);
    let filters = pool.ask(filters).to(other).await?;
    println!("{} filters, {} bytes", filters.len(), bytes(&filters));

    for (height, filter) in (start..).zip(&filters) {
        let reader = BlockFilter::new(&filter.filter);
        if reader.match_any(&filter.block_hash, std::iter::once(script.as_bytes()))? {
            // Pruned peers have the last 288 only.
            let all = Require::services(ServiceFlags::NETWORK);
            let block = pool.ask(GetBlock(filter.block_hash)).to(all).await?;
            let pays = block.txdata.iter().flat_map(|tx| &tx.output);
            let paid = pays.filter(|output| output.script_pubkey == script).count();
            println!("block {height} pays {paid} times to the script, or spends from it");
        }
    }
    pool.close(Duration::from_secs(5)).await;
    setup.close().await;
    Ok(())
}

fn bytes(filters: &[CFilter]) -> usize {
    filters.iter().map(|filter| filter.filter.len()).sum()
}
