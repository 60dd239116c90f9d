//! What one pool made of a run, in figures: how fast it was full, how well it stayed so, what that
//! cost, and how much of it an attacker held. Told from the events, not asked of the engine.

mod curve;
mod figures;
pub mod plot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::event::Event;
use peerpool_core::id::{BurnReason, ConnectionType, DisconnectReason, PeerId, PeerState};
use peerpool_core::io::Output;
use peerpool_core::time::{Monotonic, Now};

use self::curve::Curve;
pub use self::curve::Sample;
pub use self::figures::{Figures, Hostile, Mark, Outcome, Refills, Variety};

/// What a world knows of its addresses.
pub trait Atlas {
    /// Whether the attacker answers there.
    fn is_hostile(&self, address: &Address) -> bool;

    /// The number of the autonomous system that announces the address.
    fn asn(&self, address: &Address) -> u32;
}

/// Days of the run at whose end the attacker's slots are noted.
pub const MARKS: [u32; 3] = [1, 7, 30];

/// Refills whose time is kept; later ones are counted, and only the worst of them shows.
const MAX_REFILLS: usize = 1 << 16;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches one pool. Memory is bounded by what the pool holds and by the addresses it has ever
/// held, not by the length of the run.
#[derive(Clone, Debug)]
pub struct Report {
    target: usize,
    start: Monotonic,
    attempts: BTreeMap<PeerId, Attempt>,
    level: Level,
    /// Since when peers are missing: through restarts, too.
    short_since: Option<Monotonic>,
    /// Up to when time is summed up.
    settled: Monotonic,
    /// When a sample or a mark is next due.
    due: Monotonic,
    times: Times,
    curve: Curve,
    counts: Counts,
    held: BTreeSet<Address>,
    held_asns: BTreeSet<u32>,
}

/// An attempt, and the peer that came of it.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    address: Address,
    connection_type: ConnectionType,
    /// Once it is ready.
    ready: Option<Facts>,
}

/// What the atlas says of a ready peer.
#[derive(Clone, Copy, Debug)]
struct Facts {
    hostile: bool,
    asn: u32,
}

/// What holds from one event to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Ready peers that count toward the target.
    ready: u32,
    /// Those among them that are the attacker's.
    hostile: u32,
    starved: bool,
    offline: bool,
}

/// How long what held, from the start on. That of peers is multiplied by their number.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    at_target: Duration,
    starved: Duration,
    offline: Duration,
    ready: Duration,
    hostile: Duration,
    eclipsed: Duration,
}

/// What is counted as it happens.
#[derive(Clone, Debug, Default)]
struct Counts {
    time_to_full: Option<Duration>,
    refills: u64,
    refill_times: Vec<Duration>,
    worst_refill: Option<Duration>,
    dials: BTreeMap<ConnectionType, u64>,
    outcomes: BTreeMap<Outcome, u64>,
    lost: BTreeMap<DisconnectReason, u64>,
    burned: BTreeMap<BurnReason, u64>,
    sent: u64,
    received: u64,
    most_hostile: u32,
    held_all: bool,
    marks: Vec<Mark>,
}

impl Report {
    /// Watches a pool that is to keep `target` peers from `start` on. The curve has 720 samples
    /// after `run`, and at most twice as many however long the run turns out.
    pub fn new(target: usize, start: Monotonic, run: Duration) -> Self {
        let curve = Curve::new(run / Curve::SAMPLES);
        let mut report = Self {
            target,
            start,
            attempts: BTreeMap::new(),
            level: Level::default(),
            short_since: Some(start),
            settled: start,
            due: start,
            times: Times::default(),
            curve,
            counts: Counts::default(),
            held: BTreeSet::new(),
            held_asns: BTreeSet::new(),
        };
        report.set_due();
        report
    }

    /// Takes a sample of the curve this often, at least 1 ms. To be set before the first turn.
    pub fn sample_every(mut self, every: Duration) -> Self {
        self.curve = Curve::new(every);
        self.set_due();
        self
    }

    /// To be called after each turn of the engine with what it put out, in order. A turn that put
    /// nothing out may be left out.
    pub fn on_outputs(&mut self, now: Now, outputs: &[Output], atlas: &dyn Atlas) {
        if now.mono >= self.due {
            self.settle(now.mono);
        }
        for output in outputs {
            if let Output::Event(event) = output {
                self.on_event(now.mono, event, atlas);
            }
        }
    }

    /// Bytes went over the wire, of all the pool's connections.
    pub const fn on_bytes(&mut self, sent: u64, received: u64) {
        self.counts.sent += sent;
        self.counts.received += received;
    }

    /// The pool's process ended and a new engine takes its place: every peer and attempt is gone.
    pub fn on_restart(&mut self, now: Now) {
        for attempt in std::mem::take(&mut self.attempts).into_values() {
            let reason = DisconnectReason::PoolClosed;
            if attempt.ready.is_none() {
                self.on_outcome(Outcome::Closed(reason));
            } else if attempt.connection_type.counts() {
                *self.counts.lost.entry(reason).or_default() += 1;
            }
        }
        self.change(now.mono, |level| *level = Level::default());
    }

    /// The figures up to `now`.
    pub fn figures(&self, now: Now) -> Figures {
        let mut report = self.clone();
        report.settle(now.mono);
        report.finish(now.mono.since(self.start))
    }

    fn on_event(&mut self, now: Monotonic, event: &Event, atlas: &dyn Atlas) {
        match event {
            Event::Connecting { peer, address, connection_type, .. } => {
                *self.counts.dials.entry(*connection_type).or_default() += 1;
                let (address, connection_type) = (*address, *connection_type);
                self.attempts.insert(*peer, Attempt { address, connection_type, ready: None });
            }
            Event::Ready { peer, .. } => self.on_ready(now, *peer, atlas),
            Event::DialFailed { peer, error, .. } => {
                self.on_failed(*peer, Outcome::DialFailed(*error));
            }
            Event::Disconnected { peer, state, reason, .. } => {
                self.on_disconnected(now, *peer, *state, *reason);
            }
            Event::Burned { reason, .. } => *self.counts.burned.entry(*reason).or_default() += 1,
            Event::Full { .. } => self.on_full(now),
            Event::Starved { .. } => self.change(now, |level| level.starved = true),
            Event::Fed => self.change(now, |level| level.starved = false),
            Event::Offline => self.change(now, |level| level.offline = true),
            Event::Online => self.change(now, |level| level.offline = false),
            _ => {}
        }
    }

    fn on_ready(&mut self, now: Monotonic, peer: PeerId, atlas: &dyn Atlas) {
        let Some(attempt) = self.attempts.get_mut(&peer) else { return };
        let Attempt { address, connection_type, .. } = *attempt;
        let facts = Facts { hostile: atlas.is_hostile(&address), asn: atlas.asn(&address) };
        attempt.ready = Some(facts);
        self.on_outcome(Outcome::Ready);
        if connection_type.counts() {
            self.held.insert(address);
            self.held_asns.insert(facts.asn);
            self.change(now, |level| {
                level.ready += 1;
                level.hostile += u32::from(facts.hostile);
            });
        }
    }

    fn on_disconnected(
        &mut self,
        now: Monotonic,
        peer: PeerId,
        state: PeerState,
        reason: DisconnectReason,
    ) {
        if state != PeerState::Ready {
            return self.on_failed(peer, Outcome::Closed(reason));
        }
        let Some(attempt) = self.attempts.remove(&peer) else { return };
        let Some(facts) = attempt.ready else { return };
        if attempt.connection_type.counts() {
            *self.counts.lost.entry(reason).or_default() += 1;
            self.change(now, |level| {
                level.ready -= 1;
                level.hostile -= u32::from(facts.hostile);
            });
        }
    }

    /// An attempt ended before it was ready.
    fn on_failed(&mut self, peer: PeerId, outcome: Outcome) {
        if self.attempts.remove(&peer).is_some() {
            self.on_outcome(outcome);
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        *self.counts.outcomes.entry(outcome).or_default() += 1;
    }

    /// The pool says that it is full. How long that took by its own account is since its last
    /// start.
    fn on_full(&mut self, now: Monotonic) {
        let took = self.short_since.take().map_or(Duration::ZERO, |since| now.since(since));
        let counts = &mut self.counts;
        if counts.time_to_full.is_none() {
            counts.time_to_full = Some(took);
            return;
        }
        counts.refills += 1;
        counts.worst_refill = counts.worst_refill.max(Some(took));
        if counts.refill_times.len() < MAX_REFILLS {
            counts.refill_times.push(took);
        }
    }

    /// From now on, something else holds.
    fn change(&mut self, now: Monotonic, change: impl FnOnce(&mut Level)) {
        self.settle(now);
        change(&mut self.level);
        let Level { ready, hostile, .. } = self.level;
        if (ready as usize) < self.target {
            self.short_since.get_or_insert(now);
        } else if self.short_since == Some(now) {
            // One left for another: it was never short.
            self.short_since = None;
        }
        self.counts.most_hostile = self.counts.most_hostile.max(hostile);
        self.counts.held_all |= hostile as usize >= self.target && hostile == ready;
    }

    /// Sums time up to `now`, with the samples and marks that fall due on the way.
    fn settle(&mut self, now: Monotonic) {
        while self.due <= now {
            self.pass(self.due);
            self.curve.poll_sample(self.due.since(self.start));
            if let Some(day) = self.next_mark().filter(|day| self.end_of(*day) <= self.due) {
                let Level { ready, hostile, .. } = self.level;
                self.counts.marks.push(Mark { day, ready, hostile });
            }
            self.set_due();
        }
        self.pass(now);
    }

    /// Time passes, and nothing changes.
    fn pass(&mut self, to: Monotonic) {
        let time = to.since(self.settled);
        self.settled = self.settled.max(to);
        let (level, times) = (self.level, &mut self.times);
        let add = |sum: &mut Duration, holds: bool| {
            if holds {
                *sum += time;
            }
        };
        add(&mut times.at_target, level.ready as usize >= self.target);
        add(&mut times.starved, level.starved);
        add(&mut times.offline, level.offline);
        add(&mut times.eclipsed, level.ready > 0 && level.hostile == level.ready);
        times.ready += time * level.ready;
        times.hostile += time * level.hostile;
        self.curve.on_time(time, level.ready, level.hostile);
    }

    fn set_due(&mut self) {
        let sample = self.start + self.curve.next_end();
        self.due = self.next_mark().map_or(sample, |day| sample.min(self.end_of(day)));
    }

    fn next_mark(&self) -> Option<u32> {
        MARKS.get(self.counts.marks.len()).copied()
    }

    fn end_of(&self, day: u32) -> Monotonic {
        self.start + DAY * day
    }

    fn finish(self, lasted: Duration) -> Figures {
        let Self { target, attempts, level, times, curve, mut counts, held, held_asns, .. } = self;
        let now: Vec<_> = attempts
            .values()
            .filter(|attempt| attempt.connection_type.counts())
            .filter_map(|attempt| Some((attempt.address, attempt.ready?.asn)))
            .collect();
        let under_way = attempts.values().filter(|attempt| attempt.ready.is_none()).count();
        if under_way > 0 {
            counts.outcomes.insert(Outcome::UnderWay, under_way as u64);
        }
        Figures {
            lasted,
            target,
            time_to_full: counts.time_to_full,
            refills: Refills::new(counts.refills, counts.refill_times, counts.worst_refill),
            at_target: figures::share(times.at_target, lasted),
            starved: figures::share(times.starved, lasted),
            offline: figures::share(times.offline, lasted),
            ready_mean: figures::share(times.ready, lasted),
            dials: counts.dials,
            outcomes: counts.outcomes,
            lost: counts.lost,
            burned: counts.burned,
            sent: counts.sent,
            received: counts.received,
            held: Variety::of(held.iter(), held_asns.iter()),
            holding: Variety::of(now.iter().map(|(at, _)| at), now.iter().map(|(_, asn)| asn)),
            hostile: Hostile {
                share: figures::share(times.hostile, times.ready),
                now: level.hostile,
                most: counts.most_hostile,
                held_all: counts.held_all,
                eclipsed: figures::share(times.eclipsed, lasted),
                marks: counts.marks,
            },
            curve: curve.finish(lasted),
        }
    }
}
