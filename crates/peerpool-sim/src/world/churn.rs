//! How nodes come and go.
//!
//! What is published, and what we took of it:
//!
//! - Imtiaz, Starobinski, Trachtenberg and Younis, *Churn in the Bitcoin Network* (2019): 97 % of
//!   nodes are there only at times; session lengths are spread as widely as log-normal ones.
//! - KIT's monitors (DSN Bitcoin Monitoring): more than 90 % of peers stay connected for an hour.
//! - Core's makeseeds (2019): of 464,000 known addresses 6,000 were up for half of 30 days.
//! - Grundmann and others, *On the Estimation of the Number of Unreachable Peers* (2021): about
//!   31,000 unreachable nodes announce themselves a day, about twice as many as are reachable.
//!
//! The papers' parameters of the distributions were not at hand: the quantiles below are ours, made
//! to agree with the first two and the last of these. With them and [`Plan::internet`] some 9 % of
//! all addresses can be used for half of 30 days, not the 1.3 % of makeseeds: its list holds what
//! was heard of in years, a world only what is known of in a month.
//!
//! [`Plan::internet`]: super::Plan::internet

use std::time::Duration;

use crate::draw::{self, Quantiles};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How long a node is there at a stretch; 56 h in the mean.
pub const UP: Quantiles = Quantiles::new(&[
    (0.0, secs(3 * MINUTE)),
    (0.1, secs(HOUR)),
    (0.25, secs(4 * HOUR)),
    (0.5, secs(14 * HOUR)),
    (0.75, secs(2 * DAY)),
    (0.9, secs(5 * DAY)),
    (0.99, secs(20 * DAY)),
    (1.0, secs(30 * DAY)),
]);

/// How long it is away then; 28 h in the mean, so that two of three are there at any time.
pub const DOWN: Quantiles = Quantiles::new(&[
    (0.0, secs(MINUTE)),
    (0.25, secs(HOUR / 2)),
    (0.5, secs(5 * HOUR)),
    (0.75, secs(16 * HOUR)),
    (0.9, secs(3 * DAY)),
    (0.99, secs(10 * DAY)),
    (1.0, secs(20 * DAY)),
]);

/// How long a node that changes its address keeps one: lines that are given a new one each day, and
/// such as keep it for weeks.
pub const STAY: Quantiles = Quantiles::new(&[
    (0.0, secs(HOUR)),
    (0.3, secs(DAY)),
    (0.7, secs(4 * DAY)),
    (1.0, secs(21 * DAY)),
]);

/// How nodes come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Share of nodes that never leave. Default 0.03.
    pub steady: f64,
    /// Share of addresses that are given to a node for a while ([`STAY`]), as by lines that get a
    /// new address now and then. Default 0.2.
    pub moving: f64,
    /// Share of addresses at which a node lives for some part of the horizon: it arrives, and
    /// leaves for good. Default 0.2.
    pub turnover: f64,
    /// How many times sooner everything happens than is published, at least 1. Default 1.
    pub pace: u32,
}

impl Default for Churn {
    fn default() -> Self {
        Self { steady: 0.03, moving: 0.2, turnover: 0.2, pace: 1 }
    }
}

impl Churn {
    /// A length of time from `lengths`, in whole seconds, at least one.
    pub(super) fn length(&self, lengths: &Quantiles, bits: u64) -> u32 {
        let seconds = lengths.at(bits).as_secs() / u64::from(self.pace.max(1));
        u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
    }
}

/// Sessions began so long before the world did: long ones are likelier to be under way.
const WARM_UP: u32 = 60 * DAY as u32;

/// Whether a node is there, worked out when somebody looks. Times are seconds, [`WARM_UP`] ahead of
/// the world's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// When it changes next; never at `u32::MAX`.
    until: u32,
    /// When it was there last, if it is away.
    left: u32,
    draws: u32,
    present: bool,
}

impl Session {
    /// There, and never away.
    pub(super) const STEADY: Self = Self { until: u32::MAX, left: 0, draws: 0, present: true };

    /// At the beginning of a session, or between two of them, `WARM_UP` before the world begins.
    pub(super) fn begun(seed: u64, node: u64, churn: &Churn) -> Self {
        let draw = |part| draw::hash(seed, &[BEGIN, node, part]);
        // Up for two thirds of the time: see `UP` and `DOWN`.
        let present = draw::unit(draw(0)) < 0.67;
        let length = churn.length(if present { &UP } else { &DOWN }, draw(1));
        Self { until: length, left: 0, draws: 0, present }
    }

    /// Works out what happened up to `now`, in the world's time.
    pub(super) fn advance(&mut self, seed: u64, node: u64, now: u32, churn: &Churn) {
        let now = now.saturating_add(WARM_UP);
        while self.until <= now {
            if self.present {
                self.left = self.until;
            }
            self.present = !self.present;
            self.draws += 1;
            let lengths = if self.present { &UP } else { &DOWN };
            let bits = draw::hash(seed, &[SESSION, node, u64::from(self.draws)]);
            self.until = self.until.saturating_add(churn.length(lengths, bits));
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// When the node was there last.
    pub(super) fn last_present(&self, now: u32) -> u32 {
        if self.present { now } else { self.left.saturating_sub(WARM_UP) }
    }

    /// When it comes or goes next; never at `u32::MAX`.
    pub(super) fn until(&self) -> u32 {
        if self.until == u32::MAX { u32::MAX } else { self.until.saturating_sub(WARM_UP) }
    }
}

/// What a hash is for.
const BEGIN: u64 = 10;
const SESSION: u64 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_are_there_and_nearly_all_leave() {
        let churn = Churn::default();
        let mut sessions: Vec<Session> =
            (0..2000).map(|node| Session::begun(1, node, &churn)).collect();
        let mut ever_away = vec![false; sessions.len()];
        for day in 0..60u32 {
            for (node, session) in sessions.iter_mut().enumerate() {
                session.advance(1, node as u64, day * DAY as u32, &churn);
                ever_away[node] |= !session.is_present();
            }
            let there = sessions.iter().filter(|session| session.is_present()).count();
            assert!((1200..1500).contains(&there), "day {day}: {there} of 2000");
        }
        let away = ever_away.iter().filter(|&&away| away).count();
        assert!(away > 1900, "{away} of 2000 were away once");
    }

    #[test]
    fn who_is_there_at_first_stays_as_long_as_who_is_there_later() {
        let churn = Churn::default();
        let left = |day: u64| {
            let now = (day * DAY) as u32;
            let sessions = (0..2000).filter_map(|node| {
                let mut session = Session::begun(1, node, &churn);
                session.advance(1, node, now, &churn);
                session.is_present().then(|| u64::from(session.until() - now))
            });
            let left: Vec<u64> = sessions.collect();
            left.iter().sum::<u64>() / left.len() as u64
        };
        let (first, later) = (left(0), left(40));
        assert!(first.abs_diff(later) < later / 5, "{} h, {} h", first / HOUR, later / HOUR);
    }

    #[test]
    fn nine_of_ten_stay_for_an_hour() {
        let churn = Churn::default();
        let short =
            (0..1000u64).filter(|&n| churn.length(&UP, draw::hash(1, &[n])) < HOUR as u32).count();
        assert!((60..140).contains(&short), "{short} of 1000");
    }

    #[test]
    fn looking_often_or_seldom_tells_the_same() {
        let churn = Churn { pace: 100, ..Churn::default() };
        let (mut often, mut seldom) = (Session::begun(1, 7, &churn), Session::begun(1, 7, &churn));
        for second in 0..100_000 {
            often.advance(1, 7, second, &churn);
        }
        seldom.advance(1, 7, 99_999, &churn);
        assert_eq!((often.until, often.left), (seldom.until, seldom.left));
        assert_eq!(often.present, seldom.present);
    }
}
