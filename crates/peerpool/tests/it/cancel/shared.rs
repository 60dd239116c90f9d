//! Calls that are given up in the midst of others: the others have what is theirs, and all of it.

use std::collections::BTreeSet;

use peerpool::{GetBlock, NetworkMessage, Policy, Require};
use tokio::net::TcpListener;

use super::{MOST_LOOKS, Stage, block, drop_after, poll};
use crate::events::Watch;
use crate::raw::{self, LONG, Raw};
use crate::within;

#[tokio::test]
async fn of_two_that_ask_the_same_either_may_be_dropped_and_the_other_is_answered() {
    within(120, async {
        let stage = Stage::set().await;
        let ask = || Box::pin(stage.pool.ask(GetBlock(block())).asked());
        let mut outcomes = BTreeSet::new();
        for (polls, idle) in (1..=6).flat_map(|polls| (0..4).map(move |idle| (polls, idle))) {
            for first_goes in [true, false] {
                let mut watch = Watch::of(&stage.pool);
                let (mut one, mut other) = (ask(), ask());
                assert!(poll(one.as_mut()).is_none() && poll(other.as_mut()).is_none());
                let (goes, stays) = if first_goes { (one, other) } else { (other, one) };
                outcomes.insert(drop_after(polls, idle, goes).await.is_some());
                assert_eq!(stays.await.unwrap().answer.block_hash(), block(), "{polls} polls");
                watch.named("released").await;
                assert_eq!(watch.seen("leased"), 1, "they were one");
                stage.check(&format!("one of two dropped: {polls} polls, {idle} turns")).await;
            }
        }
        assert_eq!(outcomes.len(), 2, "some were dropped, and some ended before");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_recv_loses_no_message() {
    within(60, async {
        let mut stage = Stage::set().await;
        let mut lease = stage.pool.lease(&Require::any()).await.unwrap();
        let mut next = 0;
        let mut dropped = 0;
        for round in 0..50 {
            for nonce in round * 4..round * 4 + 4 {
                lease.send(NetworkMessage::Ping(nonce)).await.unwrap();
            }
            while next < round * 4 + 4 {
                let polls = 1 + (round % 3) as usize;
                let Some(message) = drop_after(polls, polls - 1, lease.recv()).await else {
                    dropped += 1;
                    assert!(dropped < MOST_LOOKS, "{next} does not come");
                    // Without it nothing would come while nobody waits.
                    tokio::task::yield_now().await;
                    continue;
                };
                // The pool's own pings have nonces as large as any.
                match message.unwrap() {
                    NetworkMessage::Pong(nonce) if nonce < 1_000_000 => {
                        assert_eq!(nonce, next);
                        next += 1;
                    }
                    _ => {}
                }
            }
        }
        assert!(dropped > 50, "{dropped} were dropped");
        stage.lease = Some(lease);
        stage.check("many dropped recvs").await;
    })
    .await;
}

/// A message that fills any queue.
fn big(number: u8) -> NetworkMessage {
    let command = "filler".try_into().unwrap();
    NetworkMessage::Unknown { command, payload: vec![number; 3_000_000] }
}

/// Reads, and tells which big messages come up to the last.
async fn read_bigs(mut peer: Raw, last: u8) -> Vec<u8> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        if let NetworkMessage::Unknown { payload, .. } = peer.request().await.unwrap() {
            assert!(payload.iter().all(|byte| *byte == payload[0]), "it came in one piece");
            numbers.push(payload[0]);
        }
    }
    numbers
}

#[tokio::test]
async fn a_dropped_send_has_sent_all_or_nothing() {
    within(60, async {
        let listener: TcpListener = raw::listen_narrow([127, 30, 0, 1]);
        let tune = |policy: &mut Policy| {
            policy.lease_send_queue = 1;
            policy.write_stall = LONG;
        };
        let address = listener.local_addr().unwrap();
        let pool = raw::pool().connect([address]).target(1).tune(tune).start().await.unwrap();
        let mut peer = Raw::accept(&listener).await;
        peer.shake_hands().await;
        let lease = pool.lease(&Require::any()).await.unwrap();
        // It does not read: in the end no send ends.
        let mut queued = Vec::new();
        let mut dropped = 0;
        for number in 0..100 {
            match drop_after(1 + usize::from(number) % 4, 1, lease.send(big(number))).await {
                Some(sent) => {
                    sent.unwrap();
                    queued.push(number);
                }
                None => dropped += 1,
            }
        }
        assert!(dropped > 50, "{dropped} dropped");
        let (read, sent) = tokio::join!(read_bigs(peer, 255), lease.send(big(255)));
        sent.unwrap();
        queued.push(255);
        assert_eq!(read, queued);
    })
    .await;
}
