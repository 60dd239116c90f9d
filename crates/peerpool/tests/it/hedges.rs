//! When a hedge takes its slot. Time passes only as the test says.

use std::time::Duration;

use peerpool::{Address, GetBlock, Policy, Pool, Require};

use crate::answers::{asked_for, block_at, give, hash_at, two_peers};
use crate::events::Watch;
use crate::leases::settled;
use crate::pressure::jump;
use crate::raw::{self, Raw};
use crate::within;

const HEDGE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// Of which the test itself lets pass less than half.
const WITHIN: u64 = 6 * HEDGE.as_secs();
const HOUR: Duration = Duration::from_secs(3600);

/// A pool with two peers that have so many slots each.
async fn pool_of(slots: usize) -> (Pool, [Raw; 2]) {
    let tune = |policy: &mut Policy| {
        policy.slots_per_peer = slots;
        policy.ping_interval = HOUR;
    };
    two_peers(raw::pool().tune(tune)).await
}

fn ask(pool: &Pool) -> tokio::task::JoinHandle<Result<Address, peerpool::AskError>> {
    let ask = pool.ask(GetBlock(hash_at(101))).hedge_after(HEDGE).timeout(HOUR);
    tokio::spawn(async move {
        let asked = ask.asked().await?;
        assert_eq!(asked.answer, block_at(101));
        Ok(asked.address)
    })
}

/// The peer that is asked first, and the other.
async fn who_is_asked([mut one, mut other]: [Raw; 2]) -> [Raw; 2] {
    tokio::select! {
        _ = asked_for(&mut one) => [one, other],
        _ = asked_for(&mut other) => [other, one],
    }
}

fn address(peer: &Raw) -> Address {
    peer.stream.local_addr().unwrap().into()
}

/// The leases of each peer that has any, and who waits for one; after many turns of the runtime.
async fn held(pool: &Pool) -> (Vec<(Address, usize)>, usize) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let status = pool.status().await;
    let leases = status.ready.iter().map(|peer| (peer.address, peer.leases));
    (leases.filter(|(_, leases)| *leases > 0).collect(), status.waiters)
}

#[tokio::test]
async fn a_hedge_takes_a_slot_when_it_is_due_and_not_before() {
    within(WITHIN, async {
        let (pool, peers) = pool_of(16).await;
        let mut watch = Watch::of(&pool);
        let ask = ask(&pool);
        let [slow, mut other] = who_is_asked(peers).await;
        let alone = (vec![(address(&slow), 1)], 0);
        assert_eq!(held(&pool).await, alone);
        jump(HEDGE - SECOND).await;
        assert_eq!(held(&pool).await, alone, "a second too soon");
        jump(SECOND).await;
        assert_eq!(within(30, asked_for(&mut other)).await, [hash_at(101)]);
        let (leases, waiters) = held(&pool).await;
        assert_eq!((leases.len(), waiters), (2, 0), "{leases:?}");
        // There is nobody left to be asked: one that is due has nobody to go to.
        jump(HEDGE + SECOND).await;
        assert_eq!(held(&pool).await.0.len(), 2);
        give(&mut other, 101).await;
        assert_eq!(ask.await.unwrap().unwrap(), address(&other));
        settled(&pool, 0).await;
        watch.count(2, |event| event.as_str() == "released").await;
        assert_eq!(watch.seen("leased"), 2);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_answers_in_time_is_not_hedged() {
    within(WITHIN, async {
        let (pool, peers) = pool_of(16).await;
        let mut watch = Watch::of(&pool);
        let ask = ask(&pool);
        let [mut first, _other] = who_is_asked(peers).await;
        jump(HEDGE - SECOND).await;
        give(&mut first, 101).await;
        assert_eq!(ask.await.unwrap().unwrap(), address(&first));
        jump(HEDGE * 2).await;
        settled(&pool, 0).await;
        assert_eq!(held(&pool).await, (vec![], 0));
        watch.named("released").await;
        assert_eq!(watch.seen("leased"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_hedge_that_is_due_waits_for_a_slot_until_the_answer_is_there() {
    within(WITHIN, async {
        let (pool, peers) = pool_of(1).await;
        let ask = ask(&pool);
        let [mut slow, other] = who_is_asked(peers).await;
        // Somebody else has the only slot of the other.
        let others = pool.try_lease(&Require::any()).await.unwrap();
        assert_eq!(others.address(), address(&other));
        jump(HEDGE).await;
        within(30, async { while pool.status().await.waiters == 0 {} }).await;
        let (leases, waiters) = held(&pool).await;
        assert_eq!((leases.len(), waiters), (2, 1), "it waits: {leases:?}");
        give(&mut slow, 101).await;
        assert_eq!(ask.await.unwrap().unwrap(), address(&slow));
        // It no longer does.
        settled(&pool, 1).await;
        drop(others);
        settled(&pool, 0).await;
    })
    .await;
}
