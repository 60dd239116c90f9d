//! Clocks: what peers say of the time, and a clock of our own that jumps.

use std::time::Duration;

use peerpool_core::policy::Policy;
use peerpool_core::time::UnixTime;
use peerpool_core::wire::AddrEntry;

use super::bench::{self, Bench, Manner};
use super::slots::{bare, calm, ready, run_until_full};
use super::{Expected, Failure, Outcome, Scenario, Setting};
use crate::actor::{Kind, Mix};
use crate::world::{START, World};

pub(super) const PEERS_CLOCKS: Scenario = Scenario {
    name: "a16-peers-clocks",
    row: "A16",
    says: "all peers of a pool without extras say in version that the time is 0, -2^63, 2^63 - 1, \
           or a year from now or ago",
    accepts: "all that the pool does in five hours is the same, to the last dial",
    expected: Expected::Pass,
    run: run_peers_clocks,
};

pub(super) const OWN_CLOCK: Scenario = Scenario {
    name: "a17-clock-jump",
    row: "A17",
    says: "the unix clock of a pool without extras jumps a day back, a year ahead and back again, \
           two hours each",
    accepts: "no peer is lost, and no dial made",
    expected: Expected::Pass,
    run: run_own_clock,
};

pub(super) const FUTURE_TIMES: Scenario = Scenario {
    name: "a17-future-times",
    row: "A17",
    says: "peers whose clock is a year ahead as ours is gossip 100 addresses to a pool without \
           extras; ours is set right",
    accepts: "no address stays fresh beyond the 3 h of hearsay, as a time ahead of the clock's \
              would have it",
    expected: Expected::Pass,
    run: run_future_times,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// Five hours of a pool whose peers say that the time is `their_time`, told in full.
fn history(setting: &Setting, their_time: Option<i64>) -> Result<String, Failure> {
    let seed = (0..12).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, Policy::bare(), vec![seed])?;
    let at = |number| bench::address(number, 1);
    let manners = [(at(3), Manner::Silent), (at(4), Manner::Refuses), (at(5), Manner::Resets)];
    bench.manner = Box::new(move |to| {
        let found = manners.iter().find(|(address, _)| address == to);
        found.map_or(Manner::Honest, |(_, manner)| *manner)
    });
    bench.their_time = their_time;
    bench.answer = Box::new(move |_, now| {
        (20..40).map(|group| bench::entry(at(group), now, MINUTE)).collect()
    });
    bench.run_for(HOUR)?;
    for _ in 0..4 {
        let first = bench.ready().first().map(|(peer, _)| *peer);
        bench.leave(first.ok_or("no peer to lose".to_owned())?)?;
        bench.run_for(HOUR)?;
    }
    Ok(format!("{:?}\n{:?}\n{:?}", bench.dials, bench.status(), bench.events))
}

fn run_peers_clocks(setting: &Setting) -> Result<Outcome, Failure> {
    let now = START.0 as i64;
    let expected = history(setting, None)?;
    let wrong = [0, i64::MIN, i64::MAX, now - YEAR, now + YEAR];
    let mut differ = 0;
    for time in wrong {
        differ += usize::from(history(setting, Some(time))? != expected);
    }
    let mut outcome = Outcome::new();
    outcome.note_count("wrong times", wrong.len());
    outcome.demand_count("runs that they change", differ, |differ| differ == 0);
    Ok(outcome)
}

fn run_own_clock(setting: &Setting) -> Result<Outcome, Failure> {
    let mut world = World::new(bare(calm(setting.seed, 300, Mix::only(Kind::Honest))))?;
    if run_until_full(&mut world, MINUTE)?.is_none() {
        return Err(Failure::Stage("the pool does not fill".to_owned()));
    }
    let peers = ready(&world);
    world.keep_contacts();
    for error in [-DAY, YEAR, 0] {
        world.set_unix_error(0, error);
        world.run_for(HOUR * 2)?;
    }
    let lost = peers.difference(&ready(&world)).count();
    let mut outcome = Outcome::new();
    outcome.demand_count("peers lost", lost, |lost| lost == 0);
    outcome.demand_count("dials", world.contacts().len(), |dials| dials == 0);
    Ok(outcome)
}

fn run_future_times(setting: &Setting) -> Result<Outcome, Failure> {
    const NAMED: usize = 100;
    // So few hardly meet in a place of the book.
    const PLACED: usize = NAMED * 9 / 10;
    let seed = (0..8).map(|group| bench::ip(group, 1)).collect();
    let mut bench = Bench::new(setting.seed, Policy::bare(), vec![seed])?;
    bench.run_for(MINUTE)?;
    bench.unix_error = YEAR;
    bench.run_for(MINUTE)?;
    let at = |now: UnixTime| -> Vec<AddrEntry> {
        let entry = |group| bench::entry(bench::address(100 + group, 1), now, Duration::ZERO);
        (0..NAMED).map(entry).collect()
    };
    let entries = at(bench.now().unix);
    let Some((peer, _)) = bench.ready().first().copied() else {
        return Err(Failure::Stage("no peer".to_owned()));
    };
    bench.gossip(peer, entries)?;
    let candidates = |bench: &Bench| {
        let status = bench.status();
        status.available + status.known.blocked
    };
    let taken = candidates(&bench);
    bench.run_for(MINUTE)?;
    bench.unix_error = 0;
    // What is known from experience is in use: all eight are up.
    bench.run_for(HOUR * 4)?;
    let left = candidates(&bench);
    let mut outcome = Outcome::new();
    outcome.demand_count("candidates that came", taken, |taken| taken >= PLACED);
    outcome.demand_count("candidates that outlive their time", left, |left| left == 0);
    Ok(outcome)
}
