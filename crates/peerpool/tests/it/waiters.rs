//! As many callers as may wait, for two slots: half of them give up at any time, and the others are
//! served in the order they came.

use std::collections::BTreeSet;

use peerpool::{Event, Lease, LeaseError, LeaseId, Policy, Pool, Require};
use peerpool_core::rng::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::events::Watch;
use crate::leases::settled;
use crate::{honest, pool_on, within};

const SEED: u64 = 20_261_204;
const CALLERS: usize = 10_000;
const SLOTS: usize = 2;

/// Callers that wait for a lease each, and hand it in with their place in the line.
struct Line {
    calls: Vec<JoinHandle<()>>,
    served: mpsc::Receiver<(usize, Lease)>,
}

impl Line {
    fn form(pool: &Pool) -> Self {
        let (serve, served) = mpsc::channel(CALLERS);
        let calls = (0..CALLERS).map(|place| {
            let (pool, serve) = (pool.clone(), serve.clone());
            tokio::spawn(async move {
                let lease = pool.lease(&Require::any()).await;
                let lease = lease.unwrap_or_else(|error| panic!("caller {place}: {error}"));
                serve.try_send((place, lease)).expect("the test takes it");
            })
        });
        Self { calls: calls.collect(), served }
    }
}

/// Who gives up, and after how many others were served.
fn draw_quitters(rng: &mut Rng) -> Vec<(usize, usize)> {
    let mut callers: Vec<usize> = (0..CALLERS).collect();
    rng.shuffle(&mut callers);
    let mut quitters: Vec<(usize, usize)> =
        callers.into_iter().take(CALLERS / 2).map(|who| (rng.below(CALLERS / 2), who)).collect();
    quitters.sort_unstable();
    quitters
}

/// Serves all who stay, one after the other, while others give up. Returns who was served.
async fn serve(line: &mut Line, quitters: &[(usize, usize)], rng: &mut Rng) -> Vec<usize> {
    let stay = CALLERS - quitters.len();
    let leave: BTreeSet<usize> = quitters.iter().map(|(_, who)| *who).collect();
    let mut quitters = quitters.iter().peekable();
    let (mut served, mut stayed) = (Vec::new(), 0);
    while stayed < stay {
        while let Some((_, who)) = quitters.next_if(|(when, _)| *when <= served.len()) {
            line.calls[*who].abort();
        }
        if rng.chance(0.5) {
            tokio::task::yield_now().await;
        }
        // Whoever is served gives the lease back here.
        let (who, _) = line.served.recv().await.expect("somebody waits");
        stayed += usize::from(!leave.contains(&who));
        served.push(who);
    }
    served
}

fn is_in_order<T: Ord>(list: &[T]) -> bool {
    list.is_sorted_by(|before, after| before < after)
}

#[tokio::test]
async fn ten_thousand_wait_and_half_of_them_leave_and_the_others_are_served_in_order() {
    within(60, async {
        println!("seed {SEED}");
        let mut rng = Rng::from_u64(SEED);
        let devnet = honest(3).await;
        let tune = |policy: &mut Policy| {
            policy.slots_per_peer = SLOTS;
            policy.max_waiters = CALLERS;
            policy.event_queue = 4 * CALLERS;
        };
        let pool = pool_on(&devnet).target(1).tune(tune).start().await.unwrap();
        let any = Require::any();
        let held = [pool.lease(&any).await.unwrap(), pool.lease(&any).await.unwrap()];
        let mut line = Line::form(&pool);
        // All stand in line, and not one more may.
        while pool.status().await.waiters < CALLERS {}
        let refused = pool.lease(&any).await.unwrap_err();
        assert!(matches!(refused, LeaseError::TooManyWaiters), "{refused:?}");

        let mut watch = Watch::of(&pool);
        let quitters = draw_quitters(&mut rng);
        drop(held);
        let served = serve(&mut line, &quitters, &mut rng).await;
        settled(&pool, 0).await;
        assert!(is_in_order(&served), "in the order they came");
        let left = CALLERS - served.len();
        println!("{} served, {left} gone before", served.len());
        assert!((1..=quitters.len()).contains(&left));

        // As the pool tells it, from its start: those included to whom a slot came too late.
        drop(pool);
        watch.end().await;
        let leased = |event: &Event| match event {
            Event::Leased { lease, .. } => Some(*lease),
            _ => None,
        };
        let leased: Vec<LeaseId> = watch.past.iter().filter_map(leased).collect();
        assert!(is_in_order(&leased));
        assert!(leased.len() >= served.len());
        assert_eq!(watch.seen("released"), leased.len());
    })
    .await;
}
