//! One world, run on a thread of its own to its end or until it is to stop.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peerpool_sim::check::Breach;
use peerpool_sim::report::Figures;
use peerpool_sim::swarm::{self, Swarm};
use peerpool_sim::world::{Plan, World};
use serde_json::json;

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

/// How each event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// As a line.
    Text,
    /// The line as a JSON object.
    Json,
}

/// What is to be run.
pub(super) enum Job {
    /// A world of this plan, for so long.
    World(Box<Plan>, Duration),
    /// The swarm run of this seed.
    Swarm(u64),
}

/// What became of it.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) seed: u64,
    /// Virtual time that passed; unknown if it panicked, as are the next.
    pub(super) lasted: Option<Duration>,
    /// Addresses in the network.
    pub(super) nodes: Option<usize>,
    pub(super) trace_hash: Option<u64>,
    /// The attacker's share, at the start, of the nodes that answer and may be kept; None without
    /// an attacker, and of a swarm run.
    pub(super) answering: Option<f64>,
    pub(super) events: u64,
    pub(super) pools: Vec<Figures>,
    /// The faults, if it was a swarm run.
    pub(super) swarm: Option<swarm::Outcome>,
    /// What a checker found, or the words of the panic.
    pub(super) breach: Option<String>,
    /// Whether it was stopped before its end.
    pub(super) stopped: bool,
    /// Time by the wall.
    pub(super) took: Duration,
}

impl Done {
    /// A run of which a panic left nothing but its words.
    pub(super) fn panicked(seed: u64, text: String, took: Duration) -> Self {
        Self {
            seed,
            lasted: None,
            nodes: None,
            trace_hash: None,
            answering: None,
            events: 0,
            pools: Vec::new(),
            swarm: None,
            breach: Some(text),
            stopped: false,
            took,
        }
    }

    /// Lets go of what takes most of the room, and is of no use among many.
    pub(super) fn drop_curves(&mut self) {
        self.pools.iter_mut().for_each(|pool| pool.curve = Vec::new());
    }
}

impl Job {
    /// Runs it to its end, or until the gauge says stop. With `trace`, each event is printed.
    pub(super) fn run(self, trace: Option<Trace>, gauge: &Arc<Gauge>) -> Result<Done, Failure> {
        let begun = Instant::now();
        let (seed, lasting) = match &self {
            Self::World(plan, lasting) => (plan.seed, *lasting),
            Self::Swarm(seed) => (*seed, swarm::LENGTH),
        };
        let mut run = Run::begin(self)?;
        if let Some(trace) = trace {
            run.print_lines(trace, Arc::clone(gauge));
        }
        let answering = run.answering();
        let mut breach = None;
        let mut left = lasting;
        while !left.is_zero() && breach.is_none() && !gauge.is_stopped() {
            let (slice, events) = (left.min(SLICE), run.world().events());
            left -= slice;
            breach = run.run_for(slice, left.is_zero()).err();
            gauge.seconds.fetch_add(slice.as_secs(), Ordering::Relaxed);
            gauge.events.fetch_add(run.world().events() - events, Ordering::Relaxed);
        }
        let world = run.world();
        let now = world.now();
        Ok(Done {
            seed,
            lasted: Some(now.mono.since_origin()),
            nodes: Some(world.population().len()),
            trace_hash: Some(world.trace_hash()),
            answering,
            events: world.events(),
            pools: world.pools().iter().map(|pool| pool.report().figures(now)).collect(),
            swarm: run.swarm(),
            stopped: breach.is_none() && !left.is_zero(),
            breach: breach.map(|breach| breach.to_string()),
            took: begun.elapsed(),
        })
    }
}

/// A job under way.
enum Run {
    World(Box<World>),
    Swarm(Box<Swarm>),
}

impl Run {
    fn begin(job: Job) -> Result<Self, Failure> {
        Ok(match job {
            Job::World(plan, _) => Self::World(Box::new(World::new(*plan).map_err(Failure::said)?)),
            Job::Swarm(seed) => Self::Swarm(Box::new(Swarm::new(seed))),
        })
    }

    fn world(&self) -> &World {
        match self {
            Self::World(world) => world,
            Self::Swarm(swarm) => swarm.world(),
        }
    }

    /// The attacker's share of the nodes that answer now.
    fn answering(&mut self) -> Option<f64> {
        match self {
            Self::World(world) => world.hostile_share(),
            Self::Swarm(swarm) => swarm.hostile_share(),
        }
    }

    fn swarm(&self) -> Option<swarm::Outcome> {
        match self {
            Self::World(_) => None,
            Self::Swarm(swarm) => Some(swarm.outcome()),
        }
    }

    fn print_lines(&mut self, trace: Trace, gauge: Arc<Gauge>) {
        let mut out = BufWriter::new(io::stdout());
        let line = move |line: &str| {
            let written = match trace {
                Trace::Text => writeln!(out, "{line}"),
                Trace::Json => writeln!(out, "{}", json!({ "event": "trace", "line": line })),
            };
            // A reader that goes away has seen what it wanted.
            if written.is_err() {
                gauge.stop();
            }
        };
        match self {
            Self::World(world) => world.set_lines(line),
            Self::Swarm(swarm) => swarm.set_lines(line),
        }
    }

    fn run_for(&mut self, time: Duration, last: bool) -> Result<(), Breach> {
        match self {
            Self::World(world) => {
                world.run_for(time)?;
                if last { world.finish() } else { Ok(()) }
            }
            Self::Swarm(swarm) => swarm.run_for(time).map(|_| ()).map_err(|failed| failed.breach),
        }
    }
}
