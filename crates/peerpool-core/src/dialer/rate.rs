//! The success rate seen lately.

/// A moving share of successes. The last twenty or so outcomes weigh; before the first, four
/// imagined ones of which nine in ten succeeded, so that a fresh pool on a healthy network dials
/// few more than it needs, while a handful of failures is enough to make it dial many.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    successes: f64,
    outcomes: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { successes: 3.6, outcomes: 4.0 }
    }
}

impl Rate {
    const KEEP: f64 = 0.95;
    /// No estimate falls below this: a rate of zero would ask for infinitely many dials.
    const FLOOR: f64 = 1.0 / 64.0;

    /// Counts an outcome.
    pub fn count(&mut self, success: bool) {
        self.successes = self.successes * Self::KEEP + f64::from(u8::from(success));
        self.outcomes = self.outcomes * Self::KEEP + 1.0;
    }

    /// The share of successes, if so many attempts that are late come to nothing. They are not
    /// counted before they end: one that is given up says nothing.
    pub fn estimate(&self, late: usize) -> f64 {
        (self.successes / (self.outcomes + late as f64)).max(Self::FLOOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_estimate_finds_the_truth_from_anywhere() {
        for truth in [0.05, 0.3, 0.9, 1.0] {
            let mut rng = Rng::from_u64(5);
            let (mut rate, mut sum) = (Rate::default(), 0.0);
            for n in 0..2_100 {
                rate.count(rng.chance(truth));
                if n >= 100 {
                    sum += rate.estimate(0);
                }
            }
            assert!((sum / 2000.0 - truth).abs() < 0.04, "{truth}: {}", sum / 2000.0);
        }
    }
}
