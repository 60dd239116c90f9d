//! Ready peers and the attacker's share of them over time, in a bounded number of samples.

use std::time::Duration;

use super::figures::share;

/// One interval of the run. Peers are those that count toward the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its end, from the start of the run.
    pub at: Duration,
    /// Ready peers at its end.
    pub ready: u32,
    /// The attacker's at its end.
    pub hostile: u32,
    /// Ready peers over the interval, weighted by time.
    pub ready_mean: f64,
    /// The attacker's over the interval, weighted by time.
    pub hostile_mean: f64,
    /// Fewest ready peers in the interval.
    pub ready_least: u32,
    /// Most of the attacker's in the interval.
    pub hostile_most: u32,
}

/// Samples at an even pace. When there are twice as many as planned, each two become one.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    every: Duration,
    samples: Vec<Sample>,
    /// Where the interval under way began.
    begun: Duration,
    /// Times of ready peers and of the attacker's in it, multiplied by their number.
    ready: Duration,
    hostile: Duration,
    least: u32,
    most: u32,
    /// Ready peers and the attacker's, up to now.
    level: (u32, u32),
}

impl Curve {
    /// Samples in a run as long as planned.
    pub(super) const SAMPLES: u32 = 720;
    const MAX: usize = 2 * Self::SAMPLES as usize;
    const SHORTEST: Duration = Duration::from_millis(1);

    pub(super) fn new(every: Duration) -> Self {
        Self {
            every: every.max(Self::SHORTEST),
            samples: Vec::new(),
            begun: Duration::ZERO,
            ready: Duration::ZERO,
            hostile: Duration::ZERO,
            least: u32::MAX,
            most: 0,
            level: (0, 0),
        }
    }

    /// When the interval under way ends.
    pub(super) fn next_end(&self) -> Duration {
        self.begun + self.every
    }

    /// Time passed at this level.
    pub(super) fn on_time(&mut self, time: Duration, ready: u32, hostile: u32) {
        self.level = (ready, hostile);
        if !time.is_zero() {
            self.ready += time * ready;
            self.hostile += time * hostile;
            self.least = self.least.min(ready);
            self.most = self.most.max(hostile);
        }
    }

    /// Ends the interval if it is over.
    pub(super) fn poll_sample(&mut self, now: Duration) {
        if now < self.next_end() {
            return;
        }
        if self.samples.len() == Self::MAX {
            // The interval under way is the first half of one twice as long.
            self.samples = self.samples.chunks(2).map(merge).collect();
            self.every *= 2;
            return;
        }
        self.sample(now);
    }

    /// Every sample, and the interval under way as one that is shorter.
    pub(super) fn finish(mut self, now: Duration) -> Vec<Sample> {
        if now > self.begun {
            self.sample(now);
        }
        self.samples
    }

    fn sample(&mut self, now: Duration) {
        let length = now - self.begun;
        let (ready, hostile) = self.level;
        self.samples.push(Sample {
            at: now,
            ready,
            hostile,
            ready_mean: share(self.ready, length),
            hostile_mean: share(self.hostile, length),
            ready_least: self.least,
            hostile_most: self.most,
        });
        (self.begun, self.ready, self.hostile) = (now, Duration::ZERO, Duration::ZERO);
        (self.least, self.most) = (u32::MAX, 0);
    }
}

/// Neighbours of one length become one.
fn merge(samples: &[Sample]) -> Sample {
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    Sample {
        ready_mean: (first.ready_mean + last.ready_mean) / 2.0,
        hostile_mean: (first.hostile_mean + last.hostile_mean) / 2.0,
        ready_least: first.ready_least.min(last.ready_least),
        hostile_most: first.hostile_most.max(last.hostile_most),
        ..last
    }
}
