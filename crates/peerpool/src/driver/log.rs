//! What the driver writes to the log: a line for each event, as many as the ration pays for.
//!
//! Peers cause events, so a log without a bound is theirs to fill (CVE-2025-54604 was that).

use std::time::Duration;

use peerpool_core::event::Event;
use peerpool_core::time::Monotonic;
use tracing::Level;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that a subscriber writes around a line: time, level, target, names of fields.
const AROUND: usize = 100;

/// A line for each event, within a ration.
#[derive(Debug)]
pub(super) struct EventLog {
    ration: Ration,
    /// Lines that the ration did not pay for since the last that it did.
    left_out: u64,
}

impl EventLog {
    /// A log of at most so many bytes an hour.
    pub(super) fn new(bytes_per_hour: usize) -> Self {
        Self { ration: Ration::new(bytes_per_hour), left_out: 0 }
    }

    pub(super) fn write(&mut self, now: Monotonic, event: &Event) {
        if !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let line = format!("{event:?}");
        let notice = if self.left_out > 0 { AROUND } else { 0 };
        if !self.ration.take(now, line.len() + AROUND + notice) {
            self.left_out += 1;
            return;
        }
        if self.left_out > 0 {
            tracing::debug!(lines = self.left_out, "left out, see max_log_bytes_per_hour");
            self.left_out = 0;
        }
        tracing::debug!(name = event.as_str(), event = %line);
    }
}

/// A bucket of half an hour's bytes, filled evenly with the other half: no hour has more.
#[derive(Debug)]
struct Ration {
    half: u64,
    /// Bytes times milliseconds of an hour.
    credit: u64,
    at: Monotonic,
}

impl Ration {
    const BYTE: u64 = HOUR.as_millis() as u64;

    fn new(bytes_per_hour: usize) -> Self {
        let half = bytes_per_hour as u64 / 2;
        Self { half, credit: half.saturating_mul(Self::BYTE), at: Monotonic::default() }
    }

    fn take(&mut self, now: Monotonic, bytes: usize) -> bool {
        let passed = now.since(self.at).as_millis() as u64;
        // Not to `now`: what is left of a millisecond counts the next time.
        self.at = self.at + Duration::from_millis(passed);
        let brim = self.half.saturating_mul(Self::BYTE);
        let earned = self.half.saturating_mul(passed);
        self.credit = self.credit.saturating_add(earned).min(brim);
        let price = Self::BYTE.saturating_mul(bytes as u64);
        let paid = self.credit >= price;
        if paid {
            self.credit -= price;
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use peerpool_core::policy::Policy;

    use super::*;

    #[test]
    fn the_default_ration_is_a_megabyte_an_hour_at_most() {
        let bytes = Policy::default().max_log_bytes_per_hour;
        assert!(bytes <= 1_000_000, "{bytes}");
    }

    #[test]
    fn events_closer_than_a_millisecond_do_not_silence_the_log() {
        let mut ration = Ration::new(1_000_000);
        let mut written = 0;
        for event in 0..8_000_000 {
            let now = Monotonic::new(Duration::from_micros(900) * event);
            if ration.take(now, 200) {
                written += 200;
            }
        }
        // Half an hour's at once, and two hours of the other half.
        assert!((1_490_000..=1_500_000).contains(&written), "{written}");
    }

    #[test]
    fn no_hour_has_more_than_its_ration_however_many_lines_come() {
        let mut ration = Ration::new(1_000_000);
        // 1000 connections a second, three lines each; two hours of them.
        let mut hours = [0, 0];
        for millis in 0..7_200_000u64 {
            let now = Monotonic::new(Duration::from_millis(millis));
            for _ in 0..3 {
                if !ration.take(now, 200) {
                    break;
                }
                hours[(millis / 3_600_000) as usize] += 200;
            }
        }
        assert!(hours[0] > 990_000 && hours[0] <= 1_000_000, "{hours:?}");
        assert!(hours[1] > 490_000 && hours[1] <= 500_000, "{hours:?}");
    }

    #[test]
    fn a_quiet_log_saves_up_half_of_its_ration_and_no_more() {
        let mut ration = Ration::new(1_000);
        let late = Monotonic::new(HOUR * 100);
        assert!(!ration.take(late, 501));
        assert!(ration.take(late, 500) && !ration.take(late, 1));
        assert!(ration.take(late + HOUR / 500, 1));
    }
}
