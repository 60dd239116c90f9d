//! Calls that are given up: every future of the crate, dropped after every number of polls up to its
//! end, at peers that answer and at peers that do not. Afterwards nothing is held, nobody waits, and
//! the pool goes on.

mod cases;
mod ends;
mod shared;

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use peerpool::bitcoin::{BlockHash, Transaction, absolute::LockTime};
use peerpool::{Broadcast, Events, Lease, LeaseError, Ping, Policy, Pool, Require};
use peerpool_sim::actor::{HeaderChain, Kind};
use peerpool_sim::devnet::Devnet;
use tokio::runtime::Handle;

use crate::raw::LONG;
use crate::{honest, pool_on, within};
use cases::Case;

const TARGET: usize = 2;
const SLOTS: usize = 2;
/// A call that has not ended after so many polls waits for what does not come.
const MOST_POLLS: usize = 40;
/// The same where nobody answers.
const MOST_POLLS_UNANSWERED: usize = 10;
/// Turns that the runtime has between the last poll and the drop, at most: what is called for may
/// come in them, and nobody looks at it.
const MOST_TURNS: usize = 2;
/// Looks at the status until a call that was dropped must have left no trace.
const MOST_LOOKS: usize = 10_000;

type Called<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What calls are made on.
struct Stage {
    threads: usize,
    devnet: Devnet,
    pool: Pool,
    events: Events,
    lease: Option<Lease>,
    tx: Transaction,
    /// So far, of those that must differ.
    calls: u32,
}

impl Stage {
    async fn set() -> Self {
        let devnet = honest(4).await;
        let tune = |policy: &mut Policy| {
            policy.slots_per_peer = SLOTS;
            policy.relay = true;
            policy.block_relay_count = 0;
            policy.feeler_interval = std::time::Duration::ZERO;
            policy.pong_deadline = LONG;
            policy.query_timeout = LONG;
        };
        let pool = pool_on(&devnet).target(TARGET).tune(tune).start().await.unwrap();
        pool.ready(TARGET).await.unwrap();
        let events = pool.subscribe();
        let tx = HeaderChain::regtest(101).block(101).unwrap().txdata[1].clone();
        let threads = Handle::current().metrics().num_workers();
        Self { threads, devnet, pool, events, lease: None, tx, calls: 0 }
    }

    /// From now on nobody answers.
    async fn stall(&self) {
        for address in self.devnet.addresses_of(Kind::Honest) {
            self.devnet.stall(address).await.unwrap();
        }
    }

    /// A broadcast of what nobody has yet.
    fn broadcast(&mut self) -> Broadcast {
        self.calls += 1;
        let lock_time = LockTime::from_consensus(self.calls);
        self.pool.broadcast(Transaction { lock_time, ..self.tx.clone() })
    }

    fn held(&self) -> usize {
        usize::from(self.lease.is_some())
    }

    /// Waits until no more leases are held than ours.
    async fn settle(&self, after: &str) {
        let mut status = self.pool.status().await;
        for _ in 0..MOST_LOOKS {
            if (status.waiters, status.leases) == (0, self.held()) {
                return;
            }
            tokio::task::yield_now().await;
            status = self.pool.status().await;
        }
        panic!("{after}: {} waiters and {} leases are left", status.waiters, status.leases);
    }

    /// Holds every slot but ours to be free, and no more than there are.
    async fn check(&self, after: &str) {
        self.settle(after).await;
        let any = Require::any();
        let mut all = Vec::new();
        for _ in self.held()..TARGET * SLOTS {
            // On another thread, what was given up may be at its last call yet.
            let free = match self.threads {
                1 => self.pool.try_lease(&any).await,
                _ => self.pool.lease(&any).await,
            };
            all.push(free.unwrap_or_else(|error| panic!("{after}: {error}")));
        }
        let further = self.pool.try_lease(&any).await;
        assert!(matches!(further, Err(LeaseError::NoneFree)), "{after}: {further:?}");
        drop(all);
        self.settle(after).await;
    }
}

/// The hash of a block that every node has.
fn block() -> BlockHash {
    HeaderChain::regtest(10).hash_at(7).unwrap()
}

/// Polls once. The runtime has no part in it: what wakes the call wakes nobody.
pub(crate) fn poll<F: Future + ?Sized>(call: Pin<&mut F>) -> Option<F::Output> {
    match call.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Polls so many times, with a turn of the runtime between two, lets so many more turns pass, and
/// drops the call. Its output, if it has ended.
async fn drop_after<F: Future>(polls: usize, idle: usize, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    for nth in 0..polls {
        turns(nth.min(1)).await;
        let output = poll(call.as_mut());
        if output.is_some() {
            return output;
        }
    }
    turns(idle).await;
    None
}

/// Drops one call after every number of polls. Returns after how many it ended.
async fn play(stage: &mut Stage, (name, call): &Case, most: usize) -> Option<usize> {
    for polls in 1..=most {
        let mut ended = false;
        for idle in 0..=MOST_TURNS {
            ended |= drop_after(polls, idle, call(stage)).await.is_some();
            stage.check(&format!("{name} dropped after {polls} polls and {idle} turns")).await;
        }
        if ended {
            return Some(polls);
        }
    }
    None
}

async fn play_all(cases: &[Case], leased: bool) {
    let mut stage = Stage::set().await;
    if leased {
        stage.lease = Some(stage.pool.lease(&Require::any()).await.unwrap());
    }
    for case in cases {
        let most = if stage.threads == 1 { MOST_POLLS } else { MOST_POLLS_UNANSWERED };
        let ended = play(&mut stage, case, most).await;
        println!("{}: {ended:?} polls", case.0);
        // And all goes on: through the lease, and through others.
        stage.pool.ask(Ping::new()).await.unwrap();
        if let Some(lease) = &stage.lease {
            lease.query(Ping::new()).await.unwrap();
        }
        stage.settle(case.0).await;
    }
    stage.stall().await;
    for case in cases {
        play(&mut stage, case, MOST_POLLS_UNANSWERED).await;
    }
}

#[tokio::test]
async fn a_dropped_call_of_a_pool_leaves_nothing_behind() {
    within(60, play_all(cases::OF_A_POOL, false)).await;
}

#[tokio::test]
async fn a_dropped_call_of_a_lease_leaves_nothing_behind() {
    within(60, play_all(cases::OF_A_LEASE, true)).await;
}

#[tokio::test]
async fn a_dropped_ask_leaves_nothing_behind() {
    within(60, play_all(cases::OF_AN_ASK, false)).await;
}

#[tokio::test]
async fn a_dropped_broadcast_leaves_nothing_behind() {
    within(60, play_all(cases::OF_A_BROADCAST, false)).await;
}

/// Turns are what they are here: the others run meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_several_threads_they_leave_nothing_behind_either() {
    within(240, async {
        play_all(cases::OF_A_POOL, false).await;
        play_all(cases::OF_A_LEASE, true).await;
        play_all(cases::OF_AN_ASK, false).await;
        play_all(cases::OF_A_BROADCAST, false).await;
    })
    .await;
}
