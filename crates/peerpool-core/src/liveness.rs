//! Whether a ready peer still lives: pings, pong deadlines, inactivity.

use std::time::Duration;

use crate::id::DisconnectReason;
use crate::policy::Policy;
use crate::time::Monotonic;

/// The liveness of one ready peer.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// The ping that waits for its pong.
    outstanding: Option<(u64, Monotonic)>,
    next_ping: Monotonic,
    last_heard: Monotonic,
    /// When a message that is not for the engine last made progress.
    last_progress: Option<Monotonic>,
    last: Option<Duration>,
    min: Option<Duration>,
    smoothed: Option<Duration>,
}

/// What liveness wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this time.
    Nothing(Monotonic),
    /// Send a ping, then say so with [`Liveness::on_ping`].
    Ping,
    /// The peer is gone.
    Dead(DisconnectReason),
}

impl Liveness {
    /// The liveness of a peer that became ready now; its first ping is due at once, as Core's is.
    pub fn new(now: Monotonic) -> Self {
        Self {
            outstanding: None,
            next_ping: now,
            last_heard: now,
            last_progress: None,
            last: None,
            min: None,
            smoothed: None,
        }
    }

    /// Notes that a ping with this nonce was sent.
    pub fn on_ping(&mut self, now: Monotonic, nonce: u64) {
        self.outstanding = Some((nonce, now));
    }

    /// Takes a pong. Only the nonce we wait for proves anything; every other pong is ignored.
    /// Returns the round trip.
    pub fn on_pong(&mut self, now: Monotonic, nonce: u64, policy: &Policy) -> Option<Duration> {
        let (_, sent) = self.outstanding.filter(|(expected, _)| *expected == nonce)?;
        let round_trip = now.since(sent);
        self.outstanding = None;
        self.next_ping = sent + policy.ping_interval;
        self.last = Some(round_trip);
        self.min = Some(self.min.map_or(round_trip, |min| min.min(round_trip)));
        let smooth = |before: Duration| before - before / 8 + round_trip / 8;
        self.smoothed = Some(self.smoothed.map_or(round_trip, smooth));
        Some(round_trip)
    }

    /// Notes that a message came.
    pub fn on_heard(&mut self, now: Monotonic) {
        self.last_heard = now;
    }

    /// Notes that bytes of a bulk answer came.
    pub fn on_progress(&mut self, now: Monotonic) {
        self.last_heard = now;
        self.last_progress = Some(now);
    }

    /// What is due. While the peer serves a lease, the pong deadline pauses as long as bulk
    /// answers make progress: a pong cannot overtake the block before it.
    pub fn poll_due(&self, now: Monotonic, leased: bool, policy: &Policy) -> Due {
        let inactive_at = self.last_heard + policy.inactivity;
        if now >= inactive_at {
            return Due::Dead(DisconnectReason::Inactive);
        }
        let Some((_, sent)) = self.outstanding else {
            if now >= self.next_ping {
                return Due::Ping;
            }
            return Due::Nothing(self.next_ping.min(inactive_at));
        };
        let from = self.last_progress.filter(|_| leased).map_or(sent, |at| at.max(sent));
        let deadline = from + policy.pong_deadline;
        if now >= deadline {
            return Due::Dead(DisconnectReason::PongTimedOut);
        }
        Due::Nothing(deadline.min(inactive_at))
    }

    /// Brings the next ping forward to now, unless one is outstanding.
    pub fn hasten(&mut self, now: Monotonic) {
        self.next_ping = self.next_ping.min(now);
    }

    /// Round trip of the last ping, and the shortest seen.
    pub fn round_trips(&self) -> (Option<Duration>, Option<Duration>) {
        (self.last, self.min)
    }

    /// Round trips so far, the later ones counting more: by an eighth each, as in TCP (RFC 6298).
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_pong_counts_only_with_the_nonce_waited_for() {
        let policy = Policy::default();
        let mut liveness = Liveness::new(at(0));
        assert_eq!(liveness.poll_due(at(0), false, &policy), Due::Ping);
        liveness.on_ping(at(0), 7);
        liveness.on_pong(at(1), 8, &policy);
        assert_eq!(liveness.round_trips(), (None, None));
        let dead = Due::Dead(DisconnectReason::PongTimedOut);
        assert_eq!(liveness.poll_due(at(60), false, &policy), dead);
        liveness.on_pong(at(29), 7, &policy);
        liveness.on_ping(at(120), 9);
        liveness.on_pong(at(129), 9, &policy);
        let (last, min) = liveness.round_trips();
        assert_eq!((last, min), (Some(Duration::from_secs(9)), Some(Duration::from_secs(9))));
        assert_eq!(liveness.poll_due(at(130), false, &policy), Due::Nothing(at(240)));
    }

    #[test]
    fn a_round_trip_counts_by_an_eighth() {
        let policy = Policy::default();
        let mut liveness = Liveness::new(at(0));
        for (nonce, seconds) in [(1, 8), (2, 16), (3, 1)] {
            liveness.on_ping(at(100 * nonce), nonce);
            liveness.on_pong(at(100 * nonce + seconds), nonce, &policy);
        }
        assert_eq!(liveness.smoothed(), Some(Duration::from_secs(8)), "8, 9, 8");
    }

    #[test]
    fn the_pong_deadline_pauses_while_a_leased_peer_makes_progress() {
        let policy = Policy::default();
        let mut liveness = Liveness::new(at(0));
        liveness.on_ping(at(0), 7);
        liveness.on_progress(at(50));
        assert_eq!(liveness.poll_due(at(70), true, &policy), Due::Nothing(at(110)));
        let dead = Due::Dead(DisconnectReason::PongTimedOut);
        assert_eq!(liveness.poll_due(at(70), false, &policy), dead);
        assert_eq!(liveness.poll_due(at(110), true, &policy), dead);
    }

    #[test]
    fn silence_is_death() {
        let policy = Policy { ping_interval: Duration::from_secs(3000), ..Policy::default() };
        let mut liveness = Liveness::new(at(0));
        liveness.on_ping(at(0), 7);
        liveness.on_pong(at(1), 7, &policy);
        liveness.on_heard(at(1));
        assert_eq!(liveness.poll_due(at(1200), false, &policy), Due::Nothing(at(1201)));
        let dead = Due::Dead(DisconnectReason::Inactive);
        assert_eq!(liveness.poll_due(at(1201), false, &policy), dead);
    }
}
