//! How long answers take lately, and so how long one attempt is waited for before another is made.

use std::time::Duration;

use crate::policy::Policy;

/// A moving mean of answer times. The last ten or so weigh; before the first, one imagined answer
/// makes the delay `hedge_delay`. The quickest peers answer first, so few answers move it little.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    imagined: f64,
    answers: f64,
    seconds: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { imagined: 1.0, answers: 0.0, seconds: 0.0 }
    }
}

impl Pace {
    const KEEP: f64 = 0.9;
    /// Of answer times spread as widely as their mean, one in twenty takes longer than this many
    /// means.
    const MARGIN: f64 = 3.0;

    /// Counts an answer. One that came late counts too: leaving it out would make the delay shrink
    /// by its own effect.
    pub fn count(&mut self, took: Duration) {
        self.imagined *= Self::KEEP;
        self.answers = self.answers * Self::KEEP + 1.0;
        self.seconds = self.seconds * Self::KEEP + took.as_secs_f64();
    }

    /// How long to count on an attempt: three times the mean, from `hedge_delay_min` to
    /// `hedge_delay`.
    pub fn delay(&self, policy: &Policy) -> Duration {
        let most = policy.hedge_delay;
        let imagined = self.imagined * most.as_secs_f64() / Self::MARGIN;
        let mean = (imagined + self.seconds) / (self.imagined + self.answers);
        let delay = Duration::try_from_secs_f64(mean * Self::MARGIN).unwrap_or(most);
        delay.max(policy.hedge_delay_min).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_delay_follows_the_answers_within_its_bounds() {
        let policy = Policy::default();
        let mut pace = Pace::default();
        assert_eq!(pace.delay(&policy), policy.hedge_delay);
        pace.count(Duration::ZERO);
        assert!(pace.delay(&policy) > ms(180), "one quick answer says little");
        for _ in 0..50 {
            pace.count(Duration::ZERO);
        }
        assert_eq!(pace.delay(&policy), policy.hedge_delay_min);
        for _ in 0..50 {
            pace.count(ms(80));
        }
        let delay = pace.delay(&policy);
        assert!(delay > ms(236) && delay < ms(241), "{delay:?}");
        for _ in 0..50 {
            pace.count(Duration::from_secs(5));
        }
        assert_eq!(pace.delay(&policy), policy.hedge_delay);
    }
}
