//! How long peers took to answer queries, by what was asked: for whoever wonders when an answer is
//! late. Kept of each peer, and of each network, for those that have answered little yet.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Answers that are kept of each kind of query, the latest.
const KEPT: usize = 64;
/// Fewer say nothing.
const ENOUGH: usize = 8;

/// The times that answers took, by the type of the query.
#[derive(Debug, Default)]
pub(crate) struct Times(Mutex<HashMap<TypeId, VecDeque<Duration>>>);

impl Times {
    /// No answer came within this time. That tells something where most come sooner; otherwise its
    /// caller was merely in a hurry.
    pub(crate) fn note_least(&self, query: TypeId, waited: Duration) {
        if self.p95(query).is_some_and(|p95| waited > p95) {
            self.note(query, waited);
        }
    }

    /// An answer came after so long.
    pub(crate) fn note(&self, query: TypeId, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(query).or_default();
        if times.len() == KEPT {
            times.pop_front();
        }
        times.push_back(took);
    }

    /// The time within which 95 of 100 answers came (the nearest rank); `None` where they are too
    /// few to tell.
    pub(crate) fn p95(&self, query: TypeId) -> Option<Duration> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.get(&query).filter(|times| times.len() >= ENOUGH)?;
        let mut sorted: Vec<Duration> = times.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_of_100_and_of_the_latest_only() {
        let (times, query) = (Times::default(), TypeId::of::<u8>());
        let ms = Duration::from_millis;
        for n in 1..ENOUGH as u64 {
            times.note(query, ms(n));
        }
        assert_eq!(times.p95(query), None, "too few");
        times.note(query, ms(ENOUGH as u64));
        assert_eq!(times.p95(query), Some(ms(8)));
        for n in 1..=1000 {
            times.note(query, ms(n));
        }
        // 937 to 1000: the 61st of 64.
        assert_eq!(times.p95(query), Some(ms(997)));
        assert_eq!(times.p95(TypeId::of::<u16>()), None, "each query by itself");
        // Who is in a hurry tells nothing, who waits in vain for longer does.
        (0..KEPT).for_each(|_| times.note_least(query, ms(10)));
        assert_eq!(times.p95(query), Some(ms(997)));
        (0..KEPT).for_each(|_| times.note_least(query, ms(5000)));
        assert_eq!(times.p95(query), Some(ms(5000)));
    }
}
