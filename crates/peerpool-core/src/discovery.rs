//! Where addresses come from: rounds of asking the DNS seeds, and budgets for gossip.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::address::Address;
use crate::policy::Policy;
use crate::rng::Rng;
use crate::time::Monotonic;
use crate::wire::AddrEntry;

/// Rounds of asking the DNS seeds: one at the start, then one whenever the pool is starved and
/// the last lies far enough back.
#[derive(Clone, Debug)]
pub struct Seeds {
    count: usize,
    in_flight: BTreeSet<usize>,
    next_round: Monotonic,
    delay: Duration,
}

impl Seeds {
    /// Rounds over this many seeds, the first of which is due at once.
    pub fn new(count: usize, policy: &Policy) -> Self {
        Self {
            count,
            in_flight: BTreeSet::new(),
            next_round: Monotonic::default(),
            delay: policy.seed_retry_min,
        }
    }

    /// Begins a round if one is due: these seeds are to be asked. The next round is put off, by
    /// twice as long each time.
    pub fn begin_round(&mut self, now: Monotonic, policy: &Policy) -> Vec<usize> {
        if self.is_asking() || now < self.next_round {
            return Vec::new();
        }
        self.next_round = now + self.delay;
        self.delay = (self.delay * 2).min(policy.seed_retry_max.max(policy.seed_retry_min));
        self.in_flight = (0..self.count).collect();
        self.in_flight.iter().copied().collect()
    }

    /// Notes an answer; false if nobody had asked.
    pub fn on_answer(&mut self, seed: usize) -> bool {
        self.in_flight.remove(&seed)
    }

    /// Whether an answer is awaited.
    pub fn is_asking(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// When the next round may begin, for a starved pool; `None` without seeds, or while asking.
    pub fn next_round(&self) -> Option<Monotonic> {
        (self.count > 0 && !self.is_asking()).then_some(self.next_round)
    }

    /// The pool is full, or was offline: the next round need not wait for what former ones did.
    pub fn reset(&mut self, next_round: Monotonic, policy: &Policy) {
        self.delay = policy.seed_retry_min;
        self.next_round = self.next_round.min(next_round);
    }
}

/// Core's token bucket for gossiped addresses (`MAX_ADDR_RATE_PER_SECOND`,
/// `MAX_ADDR_PROCESSING_TOKEN_BUCKET`): starts with one token.
#[derive(Clone, Debug)]
pub struct AddrBudget {
    /// Tokens times [`AddrBudget::TOKEN`].
    credit: u64,
    at: Monotonic,
}

impl AddrBudget {
    /// A token, in milliseconds times addresses per 100 s.
    const TOKEN: u64 = 100_000;

    /// The budget of a peer that became ready now.
    pub fn new(now: Monotonic) -> Self {
        Self { credit: Self::TOKEN, at: now }
    }

    /// We sent a getaddr: what it may bring is paid in advance, beyond the bucket's brim if need
    /// be.
    pub fn on_getaddr(&mut self, policy: &Policy) {
        self.credit += policy.addr_burst as u64 * Self::TOKEN;
    }

    /// Takes at most `wanted` tokens.
    pub fn take(&mut self, now: Monotonic, wanted: usize, policy: &Policy) -> usize {
        let passed = now.since(self.at).as_millis() as u64;
        let brim = policy.addr_burst as u64 * Self::TOKEN;
        if self.credit < brim {
            let earned = passed.saturating_mul(policy.addr_rate_per_100s as u64);
            self.credit = self.credit.saturating_add(earned).min(brim);
        }
        // Not to `now`: what is left of a millisecond counts the next time.
        self.at = self.at + Duration::from_millis(passed);
        let taken = (self.credit / Self::TOKEN).min(wanted as u64);
        self.credit -= taken * Self::TOKEN;
        taken as usize
    }
}

/// The entries of one message that a budget pays for: repeated addresses dropped, then drawn at
/// random, as Core does.
pub fn select_entries(
    mut entries: Vec<AddrEntry>,
    now: Monotonic,
    budget: &mut AddrBudget,
    policy: &Policy,
    rng: &mut Rng,
) -> Vec<AddrEntry> {
    let mut seen: BTreeSet<Address> = BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.address));
    rng.shuffle(&mut entries);
    entries.truncate(budget.take(now, entries.len(), policy));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    #[test]
    fn the_bucket_gives_what_cores_gives() {
        // p2p_addr_relay: 600, 600, 10, then 200 after 100 s, then 200 after 1000 s more.
        let policy = Policy::default();
        let run = |getaddr: bool| {
            let mut budget = AddrBudget::new(at(0));
            if getaddr {
                budget.on_getaddr(&policy);
            }
            let mut total = 0;
            [(0, 600), (0, 600), (0, 10), (100, 200), (1100, 200)].map(|(time, wanted)| {
                total += budget.take(at(time), wanted, &policy);
                total
            })
        };
        assert_eq!(run(true), [600, 1001, 1001, 1011, 1111]);
        assert_eq!(run(false), [1, 1, 1, 11, 111]);
    }

    #[test]
    fn messages_closer_than_a_millisecond_do_not_stop_the_bucket() {
        let policy = Policy::default();
        let mut budget = AddrBudget::new(at(0));
        let now = |message| Monotonic::new(Duration::from_micros(900) * message);
        let taken: usize = (0..=1_000_000).map(|n| budget.take(now(n), 10, &policy)).sum();
        assert_eq!(taken, 1 + 90, "0.1 a second for 900 s");
    }

    #[test]
    fn rounds_of_seeds_double_their_distance() {
        let policy = Policy::default();
        let mut seeds = Seeds::new(2, &policy);
        let mut begun = Vec::new();
        for second in 0..3600 {
            for seed in seeds.begin_round(at(second), &policy) {
                assert!(seeds.on_answer(seed));
                begun.push(second);
            }
        }
        begun.dedup();
        assert_eq!(begun, [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300]);
    }
}
