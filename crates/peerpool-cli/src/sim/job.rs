//! One world, run on a thread of its own to its end or until it is to stop.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peerpool_sim::report::Figures;
use peerpool_sim::world::{Plan, World};

use crate::failure::Failure;

/// How much virtual time passes between looks at the gauge.
const SLICE: Duration = Duration::from_secs(10 * 60);

/// What the threads tell of their progress, and are told.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    stop: AtomicBool,
    /// Virtual seconds that have passed in all worlds together.
    seconds: AtomicU64,
    events: AtomicU64,
}

impl Gauge {
    /// Has all worlds stop where they are.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Virtual time that has passed in all worlds together.
    pub(super) fn passed(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// A world to be run.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) lasting: Duration,
    /// Whether to print a line an event.
    pub(super) trace: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) seed: u64,
    /// Virtual time that passed.
    pub(super) lasted: Duration,
    pub(super) events: u64,
    pub(super) trace_hash: u64,
    pub(super) pools: Vec<Figures>,
    /// What a checker found.
    pub(super) breach: Option<String>,
    /// Whether it was stopped before its end.
    pub(super) stopped: bool,
    /// Time by the wall.
    pub(super) took: Duration,
}

impl Done {
    /// Lets go of what takes most of the room, and is of no use among many.
    pub(super) fn drop_curves(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.curve = Vec::new());
    }
}

impl Job {
    pub(super) fn run(self, gauge: &Arc<Gauge>) -> Result<Done, Failure> {
        let begun = Instant::now();
        let seed = self.plan.seed;
        let mut world = World::new(self.plan).map_err(Failure::said)?;
        if self.trace {
            let (mut out, gauge) = (BufWriter::new(io::stdout()), Arc::clone(gauge));
            world.set_lines(move |line| {
                // A reader that goes away has seen what it wanted.
                if writeln!(out, "{line}").is_err() {
                    gauge.stop();
                }
            });
        }
        let mut breach = None;
        let mut left = self.lasting;
        while !left.is_zero() && breach.is_none() && !gauge.is_stopped() {
            let (slice, events) = (left.min(SLICE), world.events());
            breach = world.run_for(slice).err();
            left -= slice;
            gauge.seconds.fetch_add(slice.as_secs(), Ordering::Relaxed);
            gauge.events.fetch_add(world.events() - events, Ordering::Relaxed);
        }
        if breach.is_none() {
            breach = world.finish().err();
        }
        let now = world.now();
        Ok(Done {
            seed,
            lasted: now.mono.since_origin(),
            events: world.events(),
            trace_hash: world.trace_hash(),
            pools: world.pools().iter().map(|pool| pool.report().figures(now)).collect(),
            stopped: breach.is_none() && !left.is_zero(),
            breach: breach.map(|breach| format!("{breach:?}")),
            took: begun.elapsed(),
        })
    }
}
