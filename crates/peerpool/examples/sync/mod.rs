//! The headers of the chain, from genesis to the tip.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use peerpool::bitcoin::blockdata::constants::genesis_block;
use peerpool::bitcoin::{BlockHash, Network};
use peerpool::{GetHeaders, Pool, Require};

/// Width of the bar, in characters.
const WIDTH: usize = 40;

/// The hashes of all blocks, genesis first. Draws a bar while it goes on.
pub(crate) async fn headers(
    pool: &Pool,
    network: Network,
) -> Result<Vec<BlockHash>, Box<dyn Error>> {
    // Some peers lag behind, or make things up: what the middle one says is near the truth.
    pool.ready(4).await?;
    let ready = pool.status().await.ready;
    let mut heights: Vec<i32> =
        ready.iter().filter_map(|peer| Some(peer.version.as_ref()?.height)).collect();
    heights.sort_unstable();
    let height = heights.get(heights.len() / 2).copied().unwrap_or(0);
    let want = Require::any().min_height(height);

    let mut hashes = vec![genesis_block(network).block_hash()];
    loop {
        // A peer on another chain has nothing to say to this: another is asked soon.
        let locator = locator(&hashes);
        let ask = pool.ask(GetHeaders::after(locator)).to(want.clone());
        let headers = ask.hedge_after(Duration::from_millis(500)).await?;
        // The answer may begin before our tip, where the peer is on a fork.
        if let Some(fork) = headers.first().map(|header| header.prev_blockhash) {
            let at = hashes.iter().rposition(|hash| *hash == fork);
            hashes.truncate(at.map_or(hashes.len(), |at| at + 1));
        }
        hashes.extend(headers.iter().map(|header| header.block_hash()));
        draw(hashes.len() - 1, height);
        if headers.is_empty() || hashes.len() > height as usize {
            println!();
            return Ok(hashes);
        }
    }
}

/// The last ten blocks, then ever fewer, and genesis: where a peer is on a fork, it finds where
/// that begins.
fn locator(hashes: &[BlockHash]) -> Vec<BlockHash> {
    let (mut locator, mut step, mut back) = (Vec::new(), 1, 0);
    while back < hashes.len() {
        locator.push(hashes[hashes.len() - 1 - back]);
        step *= if locator.len() < 10 { 1 } else { 2 };
        back += step;
    }
    locator.extend(hashes.first().filter(|genesis| locator.last() != Some(genesis)));
    locator
}

fn draw(done: usize, height: i32) {
    let all = (height as usize).max(done).max(1);
    let filled = WIDTH * done / all;
    print!("\r[{}{}] {done} of {all} headers", "#".repeat(filled), " ".repeat(WIDTH - filled));
    // A bar that cannot be drawn changes nothing.
    let _ = std::io::stdout().flush();
}
