//! Whether the pool gets what it needs: seeds asked, dials made, starved or full.

use std::time::Duration;

use peerpool_core::event::Event;
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;

use super::peers::Peers;
use super::{ANSWER, Fault, Rule, Verdict, demand};

/// A pool that is short of peers, with nothing under way, says so before this is over.
const SPEECHLESS: Duration = Duration::from_secs(1);

/// Rounds of asking the seeds.
#[derive(Debug)]
struct Rounds {
    /// When the last began.
    begun: Option<Monotonic>,
    /// When the next may begin.
    next: Monotonic,
    /// How long after it the one after that may.
    pause: Duration,
    /// The end of an outage owes a starved pool a round, by then.
    owed: Option<Monotonic>,
}

/// Dials in the last minute, by second.
#[derive(Debug)]
struct Window {
    seconds: [u32; 60],
    newest: u64,
    sum: u32,
    per_second: usize,
    per_minute: usize,
}

impl Window {
    fn count(&mut self, now: Monotonic) -> Verdict {
        let second = now.since_origin().as_secs();
        while self.newest < second {
            // A minute of nothing is as good as any longer time.
            self.newest = (self.newest + 1).max(second.saturating_sub(60));
            self.sum -= std::mem::take(&mut self.seconds[(self.newest % 60) as usize]);
        }
        let place = &mut self.seconds[(second % 60) as usize];
        *place += 1;
        self.sum += 1;
        let (in_second, in_minute) = (*place as usize, self.sum as usize);
        let fits = in_second <= self.per_second && in_minute <= self.per_minute;
        let text = || format!("{in_second} dials in a second, {in_minute} in a minute");
        demand(fits, Rule::Budget, text)
    }
}

#[derive(Debug)]
pub(super) struct Supply {
    /// Whether each seed's answer is awaited.
    seeds: Vec<bool>,
    open: usize,
    rounds: Rounds,
    /// When an open question must be answered.
    answer_due: Option<Monotonic>,
    dials: Window,
    /// Whether the pool says that it is starved.
    pub(super) starved: bool,
    /// Since when nothing is under way, though peers are missing.
    idle_since: Option<Monotonic>,
    /// What the pool must keep, if anything.
    pub(super) full: Option<Full>,
    /// Since when peers of that are missing.
    short_since: Option<Monotonic>,
}

/// From when on a pool must have so many peers, and how long it may be short of them at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    pub(super) peers: usize,
    pub(super) from: Monotonic,
    pub(super) at_most: Duration,
}

impl Supply {
    pub(super) fn new(seeds: usize, policy: &Policy) -> Self {
        let (per_second, per_minute) =
            (128.max(10 * policy.max_dials), 1280.max(60 * policy.max_dials));
        Self {
            seeds: vec![false; seeds],
            open: 0,
            rounds: Rounds {
                begun: None,
                next: Monotonic::default(),
                pause: policy.seed_retry_min,
                owed: None,
            },
            answer_due: None,
            dials: Window { seconds: [0; 60], newest: 0, sum: 0, per_second, per_minute },
            starved: false,
            idle_since: None,
            full: None,
            short_since: None,
        }
    }

    pub(super) fn limit_dials(&mut self, per_second: usize, per_minute: usize) {
        (self.dials.per_second, self.dials.per_minute) = (per_second, per_minute);
    }

    pub(super) fn seeds(&self) -> usize {
        self.seeds.len()
    }

    /// A seed answered. Whether it had been asked.
    pub(super) fn on_seed_answer(&mut self, seed: usize) -> bool {
        let Some(seed) = self.seeds.get_mut(seed) else { return false };
        let asked = std::mem::take(seed);
        self.open -= usize::from(asked);
        if self.open == 0 {
            self.answer_due = None;
        }
        asked
    }

    pub(super) fn on_ask_seed(&mut self, now: Monotonic, seed: usize, policy: &Policy) -> Verdict {
        let text = || format!("seed {seed} is asked, and there is none");
        let slot = self.seeds.get_mut(seed).ok_or_else(|| Fault(Rule::Order, text()))?;
        let text = || format!("seed {seed} is asked again before it has answered");
        demand(!*slot, Rule::Order, text)?;
        *slot = true;
        if self.rounds.begun != Some(now) {
            self.begin_round(now, policy)?;
        }
        self.open += 1;
        self.answer_due = Some(now + policy.seed_timeout + ANSWER);
        Ok(())
    }

    fn begin_round(&mut self, now: Monotonic, policy: &Policy) -> Verdict {
        let rounds = &mut self.rounds;
        if let Some(begun) = rounds.begun.replace(now) {
            let ago = now.since(begun);
            let text = || format!("the seeds are asked again after {ago:?}");
            demand(now >= rounds.next, Rule::Budget, text)?;
            let text = || "the seeds are asked again, and the pool is not starved".to_owned();
            demand(self.starved, Rule::Target, text)?;
        }
        let longest = policy.seed_retry_max.max(policy.seed_retry_min);
        (rounds.next, rounds.owed) = (now + rounds.pause, None);
        rounds.pause = (rounds.pause * 2).min(longest);
        Ok(())
    }

    /// The pool is full, or was offline: the next round need not wait for what former ones did.
    fn hasten(&mut self, next: Monotonic, policy: &Policy) {
        self.rounds.pause = policy.seed_retry_min;
        self.rounds.next = self.rounds.next.min(next);
    }

    pub(super) fn on_online(&mut self, now: Monotonic, policy: &Policy) {
        self.hasten(now, policy);
        self.rounds.owed = Some(now + policy.recovery_jitter);
    }

    pub(super) fn on_dialled(&mut self, now: Monotonic) -> Verdict {
        self.dials.count(now)
    }

    pub(super) fn on_event(
        &mut self,
        now: Monotonic,
        event: &Event,
        filled: usize,
        target: usize,
        policy: &Policy,
    ) -> Verdict {
        if matches!(event, Event::Full { .. }) {
            self.hasten(now + policy.seed_retry_min, policy);
        }
        let fits = match event {
            Event::Full { .. } => filled >= target,
            Event::Starved { .. } => filled < target && !std::mem::replace(&mut self.starved, true),
            Event::Fed => std::mem::take(&mut self.starved),
            _ => true,
        };
        demand(fits, Rule::Starved, || {
            format!("{} is told, with {filled} ready of {target}", event.as_str())
        })
    }

    /// A pool that must be full is, or has not been short of it for long.
    pub(super) fn check_full(&mut self, now: Monotonic, filled: usize, target: usize) -> Verdict {
        let due = self.full.map_or(target, |full| full.peers.min(target));
        if filled >= due {
            self.short_since = None;
            return Ok(());
        }
        let since = *self.short_since.get_or_insert(now);
        let Some(Full { from, at_most, .. }) = self.full else { return Ok(()) };
        let late = now.since(from.max(since + at_most));
        let text = || format!("{filled} peers ready of {due}, {late:?} late");
        demand(late.is_zero(), Rule::NotFull, text)
    }

    /// All outputs of the turn are read.
    pub(super) fn end_turn(
        &mut self,
        now: Monotonic,
        target: usize,
        peers: &Peers,
        [offline, closed]: [bool; 2],
    ) -> Verdict {
        if let Some(due) = self.answer_due {
            let text = || format!("a seed has not answered, {:?} after its time", now.since(due));
            demand(now < due, Rule::Unanswered, text)?;
        }
        if let Some(owed) = self.rounds.owed.filter(|_| self.starved && self.open == 0 && !closed) {
            let text = || "an outage is over, and no seed was asked since".to_owned();
            demand(now < owed || self.seeds.is_empty(), Rule::Late, text)?;
        }
        self.check_full(now, peers.slots_filled(), target)?;
        if peers.slots_filled() >= target {
            self.idle_since = None;
            return Ok(());
        }
        if offline || closed || self.starved || self.open > 0 || peers.any_in_flight() {
            self.idle_since = None;
            return Ok(());
        }
        let idle = now.since(*self.idle_since.get_or_insert(now));
        let text = || format!("peers are missing and nothing was done about it for {idle:?}");
        demand(idle < SPEECHLESS, Rule::Starved, text)
    }
}
