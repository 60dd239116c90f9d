//! What a slow node has said and not yet sent.

use std::collections::VecDeque;
use std::time::Duration;

use peerpool_core::time::Monotonic;

/// Bytes kept; a node that has more to say stops reading.
const MAX_BYTES: usize = 64 * 1024;

/// Lets bytes go one by one.
#[derive(Clone, Debug)]
pub(super) struct Drip {
    waiting: VecDeque<u8>,
    /// Between two bytes.
    pause: Duration,
    /// When the next byte goes, if there is one.
    next: Monotonic,
}

impl Drip {
    /// Lets `rate` bytes go in a second, at least one.
    pub(super) fn new(rate: u32) -> Self {
        let pause = Duration::from_secs(1) / rate.max(1);
        Self { waiting: VecDeque::new(), pause, next: Monotonic::default() }
    }

    /// Holds bytes back until their time comes. The first of all waits a pause, too.
    pub(super) fn hold(&mut self, now: Monotonic, bytes: impl IntoIterator<Item = u8>) {
        if self.waiting.is_empty() {
            self.next = self.next.max(now + self.pause);
        }
        self.waiting.extend(bytes);
    }

    /// Appends to `out` what is due.
    pub(super) fn release(&mut self, now: Monotonic, out: &mut Vec<u8>) {
        while self.next <= now {
            let Some(byte) = self.waiting.pop_front() else { break };
            out.push(byte);
            self.next = self.next + self.pause;
        }
    }

    pub(super) fn wake_at(&self) -> Option<Monotonic> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    #[test]
    fn bytes_go_at_their_rate_whenever_they_are_asked_for() {
        let mut drip = Drip::new(10);
        let mut out = Vec::new();
        drip.hold(at(1000), vec![1, 2]);
        drip.hold(at(1050), vec![3, 4, 5]);
        assert_eq!(drip.wake_at(), Some(at(1100)));
        drip.release(at(1099), &mut out);
        assert!(out.is_empty());
        drip.release(at(1100), &mut out);
        assert_eq!(out, [1]);
        drip.release(at(1450), &mut out);
        assert_eq!(out, [1, 2, 3, 4]);
        drip.release(at(9000), &mut out);
        assert_eq!((out, drip.wake_at()), (vec![1, 2, 3, 4, 5], None));
        drip.hold(at(9000), vec![6]);
        assert_eq!(drip.wake_at(), Some(at(9100)), "no time saved up");
    }
}
