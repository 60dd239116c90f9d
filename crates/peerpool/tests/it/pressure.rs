//! Back-pressure: who does not read what comes, and who is not read. What waits is bounded, whoever
//! is too slow pays for it, and nobody else notices.

use std::pin::{Pin, pin};
use std::time::Duration;

use peerpool::{
    Address, DisconnectReason, Event, GetBlock, Lease, NetworkMessage, Ping, Policy, Pool,
    QueryError, Require, SendError,
};

use crate::answers::{asked_for, block_at, give, hash_at, two_peers};
use crate::cancel::poll;
use crate::events::Watch;
use crate::leases::settled;
use crate::raw::{self, Raw};
use crate::within;

/// How long a peer may read nothing.
const STALL: Duration = Duration::from_secs(30);

/// Lets so much time pass at once. Nothing else does: it stands still for nobody who waits for a
/// socket.
pub(crate) async fn jump(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// A lease of the peer at this address.
async fn lease_of(pool: &Pool, address: Address) -> Lease {
    let ready = pool.status().await.ready;
    let others = ready.iter().filter(|peer| peer.address != address).map(|peer| peer.id);
    pool.lease(&Require::any().except(others)).await.unwrap()
}

fn address(peer: &Raw) -> Address {
    peer.stream.local_addr().unwrap().into()
}

/// Answers each request for a block, and sends so many other messages before, each of so many bytes.
async fn serve(peer: &mut Raw, answers: usize, others: usize, size: usize) {
    let other = raw::frame("tx", &vec![0xff; size]);
    for _ in 0..answers {
        assert_eq!(asked_for(peer).await, [hash_at(101)]);
        for _ in 0..others {
            peer.write(&other).await;
        }
        give(peer, 101).await;
    }
}

/// What waits for the holder of a lease now.
fn waiting(lease: &mut Lease) -> Vec<NetworkMessage> {
    let mut waiting = Vec::new();
    while let Some(message) = poll(pin!(lease.recv())) {
        waiting.push(message.unwrap());
    }
    waiting
}

/// The bytes of messages that `serve` sends.
fn bytes(messages: &[NetworkMessage]) -> usize {
    let size = |message: &NetworkMessage| match message {
        NetworkMessage::Unknown { payload, .. } => payload.len(),
        _ => 0,
    };
    messages.iter().map(size).sum()
}

/// A holder that reads nothing, where so many messages of so many bytes come each time another
/// holder asks for something. Returns what waits for it in the end, and the lease.
async fn hold_and_read_nothing(
    tune: impl FnOnce(&mut Policy),
    rounds: usize,
    others: usize,
    size: usize,
) -> (Vec<NetworkMessage>, u64) {
    let (pool, [mut flooder, mut quiet]) = two_peers(raw::pool().tune(tune)).await;
    let mut deaf = lease_of(&pool, address(&flooder)).await;
    let same = lease_of(&pool, address(&flooder)).await;
    let elsewhere = lease_of(&pool, address(&quiet)).await;
    let play = async {
        tokio::join!(serve(&mut flooder, rounds, others, size), serve(&mut quiet, rounds, 0, 0),);
        // And answer pings from then on.
        while flooder.request().await.is_some() {}
    };
    let ask = async {
        for _ in 0..rounds {
            let same = same.query(GetBlock(hash_at(101)));
            let (same, elsewhere) = tokio::join!(same, elsewhere.query(GetBlock(hash_at(101))));
            assert_eq!((same, elsewhere), (Ok(block_at(101)), Ok(block_at(101))));
        }
        assert_eq!(elsewhere.missed(), 0);
        // By the pong, what came before it has been handed on.
        same.query(Ping::new()).await.unwrap();
    };
    tokio::select! {
        () = ask => {}
        () = play => panic!("the pool goes on"),
    }
    let waiting = waiting(&mut deaf);
    // But for the answers, which have whom they are for.
    let all = (rounds * others) as u64;
    assert!(deaf.missed() + waiting.len() as u64 >= all, "{} missed of {all}", deaf.missed());
    assert_eq!(pool.status().await.ready_count(), 2);
    (waiting, deaf.missed())
}

#[tokio::test]
async fn a_holder_that_receives_nothing_misses_messages_and_others_miss_no_answer() {
    within(60, async {
        let tune = |policy: &mut Policy| policy.lease_queue = 16;
        let (waiting, missed) = hold_and_read_nothing(tune, 5, 200, 10_000).await;
        assert_eq!(waiting.len(), 16);
        assert!(missed >= 5 * 200 - 16, "{missed}");
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_holder_is_bounded_in_bytes_too() {
    within(60, async {
        let tune = |policy: &mut Policy| policy.max_message_size = 100_000;
        let (waiting, missed) = hold_and_read_nothing(tune, 2, 100, 100_000).await;
        // Of the longest message, four times. (A pong may be among them, in place of the fourth.)
        let bytes = bytes(&waiting);
        assert!((300_000..=400_000).contains(&bytes), "{bytes} bytes");
        assert!(missed >= 2 * 100 - 4, "{missed}");
    })
    .await;
}

fn big() -> NetworkMessage {
    let command = "filler".try_into().unwrap();
    NetworkMessage::Unknown { command, payload: vec![7; 3_000_000] }
}

/// Sends until it would wait, however many turns pass. Returns how many were sent.
async fn send_until_it_waits(lease: &Lease) -> usize {
    let mut sent = 0;
    loop {
        let mut send = pin!(lease.send(big()));
        let mut turns = 0..1000;
        while poll(send.as_mut()).is_none() {
            if turns.next().is_none() {
                return sent;
            }
            tokio::task::yield_now().await;
        }
        sent += 1;
        assert!(sent < 10, "a sender waits");
    }
}

/// Lets time pass until the call ends.
async fn end_of<F: Future>(mut call: Pin<Box<F>>, step: Duration) -> F::Output {
    loop {
        if let Some(output) = poll(call.as_mut()) {
            return output;
        }
        jump(step).await;
        tokio::task::yield_now().await;
    }
}

/// A pool with two peers, both ready, of which the first can be sent next to nothing unread; and a
/// long time before it is given up.
async fn deaf_and_good() -> (Pool, [Raw; 2]) {
    let narrow = raw::listen_narrow([127, 31, 0, 2]);
    let listeners = [narrow, raw::listen([127, 32, 0, 2], 0).await];
    let hour = Duration::from_secs(3600);
    let tune = |policy: &mut Policy| {
        policy.write_stall = STALL;
        (policy.ping_interval, policy.pong_deadline, policy.query_timeout) = (hour, hour, hour);
        (policy.backoff_min, policy.backoff_max) = (hour, hour);
        policy.lease_send_queue = 1;
    };
    let at: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let pool = raw::pool().connect(at).target(2).tune(tune).start().await.unwrap();
    let mut peers = [Raw::accept(&listeners[0]).await, Raw::accept(&listeners[1]).await];
    for peer in &mut peers {
        peer.shake_hands().await;
    }
    pool.ready(2).await.unwrap();
    (pool, peers)
}

#[tokio::test]
async fn a_peer_that_does_not_read_has_its_senders_wait_and_is_dropped() {
    // Its time is up long before, unless it is never up.
    within(60 + 10 * STALL.as_secs(), async {
        let (pool, [deaf, mut good]) = deaf_and_good().await;
        let mut watch = Watch::of(&pool);
        let first = lease_of(&pool, address(&deaf)).await;
        let same = lease_of(&pool, address(&deaf)).await;
        let elsewhere = lease_of(&pool, address(&good)).await;
        let echo = tokio::spawn(async move { while good.request().await.is_some() {} });

        let sent = send_until_it_waits(&first).await;
        assert!(sent > 0);
        let mut waits = Box::pin(first.send(big()));
        assert!(poll(waits.as_mut()).is_none());
        // The engine, and others, go on meanwhile.
        let status = pool.status().await;
        assert_eq!((status.ready_count(), status.leases, status.waiters), (2, 3, 0));
        elsewhere.query(Ping::new()).await.unwrap();
        let mut asked = Box::pin(same.query(Ping::new()));
        assert!(poll(asked.as_mut()).is_none() && poll(waits.as_mut()).is_none());

        jump(STALL / 2).await;
        elsewhere.query(Ping::new()).await.unwrap();
        assert!(poll(waits.as_mut()).is_none(), "not before its time");
        assert_eq!(end_of(waits, STALL).await, Err(SendError::Disconnected));
        assert_eq!(asked.await, Err(QueryError::Disconnected));
        let ended = |event: &Event| match event {
            Event::Disconnected { peer, reason, .. } => Some((*peer, *reason)),
            _ => None,
        };
        assert_eq!(watch.until(ended).await, (first.peer(), DisconnectReason::NotReading));
        elsewhere.query(Ping::new()).await.unwrap();
        drop((first, same, elsewhere));
        settled(&pool, 0).await;
        assert_eq!(pool.status().await.ready_count(), 1);
        echo.abort();
        drop(deaf);
    })
    .await;
}
