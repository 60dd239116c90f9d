//! The two clocks of the shell, read together. Not a timer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerpool_core::time::{Monotonic, Now, UnixTime};
use tokio::time::Instant;

/// What the monotonic clock shows when it is started. Times of former runs, which are kept, lie
/// before that: ten years are as long as any time of the policy.
const START: Duration = Duration::from_secs(10 * 365 * 86_400);

/// As far off as any deadline.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// So long from now; what is beyond all reason never comes.
pub(crate) fn after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FAR)
}

/// Reads both clocks; the monotonic one counts from ten years before this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono(), unix: unix_now() }
    }

    pub(crate) fn mono(&self) -> Monotonic {
        Monotonic::new(START + self.origin.elapsed())
    }

    /// The instant at which the monotonic clock shows `at`.
    pub(crate) fn instant(&self, at: Monotonic) -> Instant {
        // A deadline past the end of the clock never comes; so far off, any late instant does.
        self.origin + at.since_origin().saturating_sub(START).min(FAR)
    }
}

fn unix_now() -> UnixTime {
    // A clock set before 1970 reads as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(since.as_secs())
}
