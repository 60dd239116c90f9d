//! The only source of randomness in the core: ChaCha20, seeded by the operating system in the
//! shell and by the seed in the simulator. The algorithm is named, so a seed replays for ever.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A seeded random generator.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator from 32 bytes of seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// A generator from a short seed, for simulations and tests.
    pub fn from_u64(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; `bound` must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "below(0) has no answer");
        // Lemire's multiply-shift. The bias is below bound / 2^64: irrelevant for table sizes.
        ((u128::from(self.u64()) * bound as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.fraction() < p
    }

    /// A number from 0 up to 1, and never 1.
    pub fn fraction(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A duration between `from` and `to`, both in reach.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_micros().min(u128::from(u64::MAX - 1)) as usize;
        from + Duration::from_micros(self.below(span + 1) as u64)
    }

    /// A waiting time that says nothing of those before it: exponential, with this mean. Drawn by
    /// comparing alone (von Neumann, 1951), so that every machine draws the same.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let mut whole = 0;
        loop {
            let first = self.u64();
            let (mut last, mut odd) = (first, true);
            loop {
                let next = self.u64();
                if next >= last {
                    break;
                }
                (last, odd) = (next, !odd);
            }
            if odd {
                let rest = (first >> 11) as f64 / (1u64 << 53) as f64;
                return mean.saturating_mul(whole).saturating_add(mean.mul_f64(rest));
            }
            whole += 1;
        }
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::from_u64(1);
        let first = (rng.u64(), rng.below(1000), rng.chance(0.5));
        assert_eq!(first, (11413071731502626714, 153, false));
    }

    #[test]
    fn waiting_times_have_their_mean_and_their_tail() {
        let mut rng = Rng::from_u64(3);
        let drawn: Vec<f64> =
            (0..20_000).map(|_| rng.exponential(Duration::from_secs(1)).as_secs_f64()).collect();
        let share =
            |least: f64| drawn.iter().filter(|time| **time > least).count() as f64 / 20_000.0;
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        for least in [0.5f64, 1.0, 2.0, 4.0] {
            assert!((share(least) - (-least).exp()).abs() < 0.01, "{least}: {}", share(least));
        }
    }

    #[test]
    fn below_covers_its_range_and_no_more() {
        let mut rng = Rng::from_u64(2);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[rng.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
