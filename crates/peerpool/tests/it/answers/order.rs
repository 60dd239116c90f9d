//! Whose answer is whose, and what becomes of those that are cut off or too long.

use peerpool::bitcoin::block::Header;
use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::p2p::message_filter::CFilter;
use peerpool::bitcoin::{Block, BlockHash};
use peerpool::{GetBlock, GetBlocks, GetCFilters, GetHeaders, NetworkMessage, Ping, QueryError};
use peerpool_sim::actor::HeaderChain;
use tokio::io::AsyncWriteExt as _;

use super::{Pair, asked_for, block_at, chain, give, hash_at, two_peers};
use crate::alone::is_alone;
use crate::leases::settled;
use crate::raw::{self, Raw};
use crate::{ms, within};

const MB: usize = 1_000_000;

#[tokio::test]
async fn answers_in_another_order_reach_those_who_asked() {
    within(60, async {
        let Pair { pool: _pool, mut peer, lease } = Pair::meet(|_| ()).await;
        let play = async {
            let asked = [asked_for(&mut peer).await, asked_for(&mut peer).await].concat();
            assert_eq!(asked, [hash_at(3), hash_at(5)]);
            give(&mut peer, 5).await;
            give(&mut peer, 3).await;
        };
        let (three, five) = (lease.query(GetBlock(hash_at(3))), lease.query(GetBlock(hash_at(5))));
        let (three, five, ()) = tokio::join!(three, five, play);
        assert_eq!((three, five), (Ok(block_at(3)), Ok(block_at(5))));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_nobody_elses() {
    within(60, async {
        let Pair { pool: _pool, mut peer, mut lease } = Pair::meet(|_| ()).await;
        let play = async {
            for _ in 0..2 {
                asked_for(&mut peer).await;
            }
            // Answered twice here, and once more each before the next answer.
            for height in [5, 5, 3, 3] {
                give(&mut peer, height).await;
            }
            assert_eq!(asked_for(&mut peer).await, [hash_at(7)]);
            for height in [3, 5, 7, 7] {
                give(&mut peer, height).await;
            }
            assert_eq!(asked_for(&mut peer).await, [hash_at(3)]);
            for height in [7, 3] {
                give(&mut peer, height).await;
            }
        };
        let ask = async {
            let three = lease.query(GetBlock(hash_at(3)));
            let (three, five) = tokio::join!(three, lease.query(GetBlock(hash_at(5))));
            assert_eq!((three, five), (Ok(block_at(3)), Ok(block_at(5))));
            assert_eq!(lease.query(GetBlock(hash_at(7))).await, Ok(block_at(7)));
            assert_eq!(lease.query(GetBlock(hash_at(3))).await, Ok(block_at(3)), "asked anew");
        };
        tokio::join!(ask, play);
        // The holder of the lease is given those that answered nothing, as they came.
        let mut came = Vec::new();
        while came.len() < 6 {
            if let NetworkMessage::Block(block) = lease.recv().await.unwrap() {
                came.push(chain().height_of(&block.block_hash()).unwrap());
            }
        }
        assert_eq!(came, [5, 3, 3, 5, 7, 7]);
    })
    .await;
}

/// The headers above a block.
fn headers_above(height: u32) -> Vec<Header> {
    chain().headers()[1 + height as usize..].to_vec()
}

async fn until_getheaders(peer: &mut Raw) {
    while !matches!(peer.request().await, Some(NetworkMessage::GetHeaders(_))) {}
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_that_of_the_next_question() {
    within(60, async {
        let Pair { pool: _pool, mut peer, lease } = Pair::meet(|_| ()).await;
        let above = |height| GetHeaders::after([hash_at(height)]);
        let play = async {
            for _ in 0..2 {
                until_getheaders(&mut peer).await;
            }
            peer.send(&NetworkMessage::Headers(headers_above(0))).await;
            peer.send(&NetworkMessage::Headers(headers_above(104))).await;
            // Nothing above the tip: so says the late one, and so does not the next.
            for _ in 0..2 {
                until_getheaders(&mut peer).await;
            }
            peer.send(&NetworkMessage::Headers(vec![])).await;
            peer.send(&NetworkMessage::Headers(headers_above(108))).await;
            for _ in 0..2 {
                asked_for(&mut peer).await;
            }
            give(&mut peer, 4).await;
            give(&mut peer, 6).await;
        };
        let late = Err(QueryError::TimedOut(ms(50)));
        let ask = async {
            assert_eq!(lease.query_timeout(above(0), ms(50)).await, late);
            assert_eq!(lease.query(above(104)).await, Ok(headers_above(104)));
            assert_eq!(lease.query_timeout(above(110), ms(50)).await, late);
            assert_eq!(lease.query(above(108)).await, Ok(headers_above(108)));
            let four = lease.query_timeout(GetBlock(hash_at(4)), ms(50)).await;
            assert_eq!(four, Err(QueryError::TimedOut(ms(50))));
            assert_eq!(lease.query(GetBlock(hash_at(6))).await, Ok(block_at(6)));
        };
        tokio::join!(ask, play);
    })
    .await;
}

#[tokio::test]
async fn a_late_answer_does_for_the_same_question_and_the_other_one_for_nobody() {
    within(60, async {
        let Pair { pool: _pool, mut peer, lease } = Pair::meet(|_| ()).await;
        let above = |height| GetHeaders::after([hash_at(height)]);
        let play = async {
            for _ in 0..2 {
                until_getheaders(&mut peer).await;
            }
            // It has grown by one meanwhile.
            peer.send(&NetworkMessage::Headers(headers_above(100)[..9].to_vec())).await;
            until_getheaders(&mut peer).await;
            peer.send(&NetworkMessage::Headers(headers_above(100))).await;
            peer.send(&NetworkMessage::Headers(vec![])).await;
        };
        let ask = async {
            let late = lease.query_timeout(above(100), ms(50)).await;
            assert_eq!(late, Err(QueryError::TimedOut(ms(50))));
            assert_eq!(lease.query(above(100)).await.map(|headers| headers.len()), Ok(9));
            let third = GetHeaders::after([hash_at(110), hash_at(100)]);
            assert_eq!(lease.query(third).await, Ok(vec![]));
        };
        tokio::join!(ask, play);
    })
    .await;
}

#[tokio::test]
async fn a_peer_lost_in_the_midst_of_its_answer_fails_the_query_at_once() {
    within(60, async {
        let Pair { pool: _pool, mut peer, lease } = Pair::meet(|_| ()).await;
        let play = async move {
            asked_for(&mut peer).await;
            give_half(peer, 101).await;
        };
        let query = lease.query(GetBlock(hash_at(101)));
        let (answer, waits, ()) = tokio::join!(query, lease.query(Ping::new()), play);
        assert_eq!(answer, Err(QueryError::Disconnected));
        // The pong may have come before.
        assert!(matches!(waits, Ok(_) | Err(QueryError::Disconnected)), "{waits:?}");
        assert_eq!(lease.query(Ping::new()).await, Err(QueryError::Disconnected));
    })
    .await;
}

/// The first half of a block, and the end.
async fn give_half(mut peer: Raw, height: u32) {
    let frame = raw::encode(&NetworkMessage::Block(block_at(height)));
    peer.write(&frame[..frame.len() / 2]).await;
    peer.stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_ask_goes_on_to_another_when_a_peer_is_lost_in_the_midst_of_its_answer() {
    within(60, async {
        let (pool, [mut one, mut other]) = two_peers(raw::pool()).await;
        let play = async {
            // Whoever is asked first is the one that is lost.
            let (lost, mut left) = tokio::select! {
                _ = asked_for(&mut one) => (one, other),
                _ = asked_for(&mut other) => (other, one),
            };
            give_half(lost, 101).await;
            assert_eq!(asked_for(&mut left).await, [hash_at(101)]);
            give(&mut left, 101).await;
            left
        };
        let (answer, _left) = tokio::join!(pool.ask(GetBlock(hash_at(101))), play);
        assert_eq!(answer.unwrap(), block_at(101));
        settled(&pool, 0).await;
    })
    .await;
}

/// So many filters of this size, each of another block, and then that of the one asked for.
async fn flood_with_filters(peer: &mut Raw, stop: BlockHash, count: u32, size: usize) {
    for number in 0..=count {
        let block_hash = if number < count { BlockHash::hash(&number.to_le_bytes()) } else { stop };
        let filter = CFilter { filter_type: 0, block_hash, filter: vec![1; size] };
        peer.send(&NetworkMessage::CFilter(filter)).await;
    }
}

#[tokio::test]
async fn an_answer_of_more_than_the_limit_fails_and_is_not_kept() {
    const NAME: &str = "answers::order::an_answer_of_more_than_the_limit_fails_and_is_not_kept";
    if !is_alone(NAME) {
        return;
    }
    within(120, async {
        let Pair { pool, mut peer, lease } = Pair::meet(|policy| {
            policy.max_message_size = MB;
            policy.max_answer_size = 8 * MB;
        })
        .await;
        let play = async {
            while !matches!(peer.request().await, Some(NetworkMessage::GetCFilters(_))) {}
            flood_with_filters(&mut peer, hash_at(100), 300, MB / 2).await;
            // And answers what is asked next.
            peer.request().await
        };
        let before = raw::memory("VmHWM");
        let ask = async {
            let failed = lease.query(GetCFilters::new(0, hash_at(100))).await.unwrap_err();
            assert!(matches!(&failed, QueryError::Unfit(why) if why.contains("16 filters")));
            lease.query(Ping::new()).await.unwrap();
        };
        tokio::join!(ask, async {
            tokio::select! { _ = play => {} }
        });
        let grown = raw::memory("VmHWM") - before;
        println!("150 MB of filters where 8 MB may be: {grown} more at the most");
        assert!(grown < 40 * MB, "{grown}");
        assert_eq!(pool.status().await.ready_count(), 1, "and nobody is blamed");
    })
    .await;
}

#[tokio::test]
async fn blocks_of_more_than_the_limit_fail() {
    within(60, async {
        let Pair { pool: _pool, mut peer, lease } = Pair::meet(|policy| {
            policy.max_message_size = MB / 4;
            policy.max_answer_size = MB / 2;
        })
        .await;
        let chain = HeaderChain::with_blocks(20, MB / 5);
        let blocks: Vec<Block> = (17..21).map(|height| chain.block(height).unwrap()).collect();
        let hashes: Vec<BlockHash> = blocks.iter().map(Block::block_hash).collect();
        let play = async {
            for _ in 0..2 {
                let asked = asked_for(&mut peer).await;
                for block in blocks.iter().filter(|block| asked.contains(&block.block_hash())) {
                    peer.send(&NetworkMessage::Block(block.clone())).await;
                }
            }
        };
        let ask = async {
            let failed = lease.query(GetBlocks::new(hashes.clone())).await.unwrap_err();
            assert!(matches!(&failed, QueryError::Unfit(why) if why.contains("2 blocks")));
            let two = lease.query(GetBlocks::new(hashes[..2].to_vec())).await;
            assert_eq!(two.map(|blocks| blocks.len()), Ok(2), "within the limit");
        };
        tokio::join!(ask, play);
    })
    .await;
}
