//! How long answers take lately, and so how long one attempt is waited for before another is made.

use std::time::Duration;

use crate::policy::Policy;

/// A moving mean of answer times. The last ten or so weigh; before the first, one imagined answer
/// makes the delay `hedge_delay`. The quickest peers answer first, so few answers move it little.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    least: Duration,
    most: Duration,
    answers: f64,
    seconds: f64,
}

impl Pace {
    const KEEP: f64 = 0.9;
    /// Of answer times spread as widely as their mean, one in twenty takes longer than this many
    /// means.
    const MARGIN: f64 = 3.0;

    /// The pace before the first answer.
    pub fn new(policy: &Policy) -> Self {
        let most = policy.hedge_delay;
        let imagined = most.as_secs_f64() / Self::MARGIN;
        Self { least: policy.hedge_delay_min.min(most), most, answers: 1.0, seconds: imagined }
    }

    /// Counts an answer. One that came late counts too: leaving it out would make the delay shrink
    /// by its own effect.
    pub fn count(&mut self, took: Duration) {
        self.count_share(took, 1.0);
    }

    /// Counts an attempt that was late and given up after so long. An answer would have taken
    /// longer still, if there was one to come: that is as likely as `share`. Without this, a pool
    /// full of the quickest would never hear of the others again.
    pub fn count_given_up(&mut self, waited: Duration, share: f64) {
        self.count_share(waited, share);
    }

    fn count_share(&mut self, took: Duration, share: f64) {
        // Each counts as a part of an answer, and so makes the others fade by as much.
        let keep = 1.0 - (1.0 - Self::KEEP) * share;
        // One answer that took ages is no reason to wait ages for the next ten.
        let took = took.min(self.most).as_secs_f64();
        self.answers = self.answers * keep + share;
        self.seconds = self.seconds * keep + took * share;
    }

    /// How long to count on an attempt: three times the mean, from `hedge_delay_min` to
    /// `hedge_delay`.
    pub fn delay(&self) -> Duration {
        let delay = self.seconds / self.answers * Self::MARGIN;
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(self.most);
        delay.clamp(self.least, self.most)
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
        let mut pace = Pace::new(&policy);
        assert_eq!(pace.delay(), policy.hedge_delay);
        pace.count(Duration::ZERO);
        assert!(pace.delay() > ms(180), "one quick answer says little");
        for _ in 0..50 {
            pace.count(Duration::ZERO);
        }
        assert_eq!(pace.delay(), policy.hedge_delay_min);
        for _ in 0..50 {
            pace.count(ms(80));
        }
        let delay = pace.delay();
        assert!(delay > ms(236) && delay < ms(241), "{delay:?}");
        pace.count(Duration::from_secs(9));
        for _ in 0..20 {
            pace.count(ms(10));
        }
        assert!(pace.delay() < ms(100), "{:?}: one that took ages is soon forgotten", pace.delay());
        for _ in 0..50 {
            pace.count(Duration::from_secs(5));
        }
        assert_eq!(pace.delay(), policy.hedge_delay);
        let short = Policy { hedge_delay: ms(20), ..policy };
        assert_eq!(Pace::new(&short).delay(), ms(20), "the least is no more than the most");
    }

    #[test]
    fn what_was_given_up_counts_as_far_as_an_answer_was_likely() {
        let policy = Policy::default();
        let after = |share: f64| {
            let mut pace = Pace::new(&policy);
            for _ in 0..50 {
                pace.count(ms(10));
            }
            for _ in 0..5 {
                pace.count_given_up(pace.delay(), share);
            }
            pace.delay()
        };
        assert!(after(0.9) > ms(80), "{:?}", after(0.9));
        assert!(after(0.05) < ms(55), "{:?}", after(0.05));
    }
}
