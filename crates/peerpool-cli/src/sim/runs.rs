//! The runs of a simulation, several at once if asked to; the bar, and the curves.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerpool_sim::report::plot;
use tokio::task::JoinSet;

use super::job::{Done, Gauge, Job, Trace};
use super::{days, report};
use crate::args;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::print;
use crate::signals::Stop;

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);

/// Makes the run of a seed; a panic is a failure that names it.
pub(crate) fn caught<T>(seed: u64, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let ended = panic::catch_unwind(AssertUnwindSafe(run));
    ended.unwrap_or_else(|_| Err(Failure::said(format_args!("seed {seed}: the run panicked"))))
}

/// Runs every world, several at once if asked to.
pub(super) async fn simulate(
    args: &args::Sim,
    jobs: &dyn Fn(u64) -> Job,
    mut stop: Stop,
) -> Result<(Vec<Done>, Option<Failure>), Failure> {
    let trace = args.trace.then_some(if args.json { Trace::Json } else { Trace::Text });
    let mut undrawn = None;
    let gauge = Arc::new(Gauge::default());
    let mut seeds = (0..args.seeds).map(|more| args.seed.wrapping_add(more));
    let mut under_way = JoinSet::new();
    let mut ended: Vec<Done> = Vec::new();
    let mut bar = Bar::new(args);
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        while under_way.len() < args.jobs
            && !gauge.is_stopped()
            && let Some(seed) = seeds.next()
        {
            let (job, gauge) = (jobs(seed), Arc::clone(&gauge));
            under_way.spawn_blocking(move || caught(seed, || job.run(trace, &gauge)));
        }
        tokio::select! {
            () = stop.wished(), if !gauge.is_stopped() => gauge.stop(),
            _ = redraw.tick() => bar.show(&gauge, ended.len()),
            next = under_way.join_next() => {
                let Some(next) = next else { return Ok((ended, undrawn)) };
                let next = next.map_err(|error| Failure::said(format_args!("a run failed: {error}")));
                let mut done = next.flatten().inspect_err(|_| gauge.stop())?;
                // The report is worth more than the curves.
                let drawn = args.plot.as_ref().map_or(Ok(()), |dir| draw(dir, &done));
                if let (Err(failure), true) = (drawn, undrawn.is_none()) {
                    undrawn = Some(failure);
                }
                if args.seeds > 1 {
                    if args.json {
                        print(&report(args, &done).to_string())?;
                    }
                    done.drop_curves();
                }
                ended.push(done);
            }
        }
    }
}

/// The bar: how much virtual time has passed, and how fast.
struct Bar {
    /// None where a trace would run through it.
    progress: Option<Progress>,
    begun: Instant,
    lasting: Duration,
    seeds: u64,
}

impl Bar {
    fn new(args: &args::Sim) -> Self {
        let progress = (!args.trace).then(|| Progress::new(args.seeds as usize));
        Self { progress, begun: Instant::now(), lasting: args.lasting(), seeds: args.seeds }
    }

    fn show(&mut self, gauge: &Gauge, ended: usize) {
        let (passed, whole) = (days(gauge.passed()), days(self.lasting) * self.seeds as f64);
        let rate = gauge.events() as f64 / self.begun.elapsed().as_secs_f64() / 1000.0;
        let runs = match self.seeds {
            1 => String::new(),
            seeds => format!(", {ended}/{seeds} runs"),
        };
        let words = format!("{passed:.1}/{whole:.1} days{runs}, {rate:.0}k events/s");
        if let Some(progress) = &mut self.progress {
            progress.show_share(passed / whole, &words);
        }
    }
}

fn draw(dir: &Path, done: &Done) -> Result<(), Failure> {
    for (index, pool) in done.pools.iter().enumerate() {
        for (name, svg) in
            [("ready", plot::ready_peers(pool)), ("attacker", plot::hostile_slots(pool))]
        {
            let path = dir.join(format!("seed{}-pool{index}-{name}.svg", done.seed));
            fs::write(&path, svg).map_err(|error| plot_failure(&path, &error))?;
        }
    }
    Ok(())
}

pub(super) fn plot_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::said(format_args!("--plot {}: {error}", path.display()))
}
