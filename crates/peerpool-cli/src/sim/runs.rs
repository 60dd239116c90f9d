//! The runs of a simulation, several at once if asked to; the bar, and the curves.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerpool_sim::report::plot;
use tokio::task::JoinSet;

use super::job::{Done, Gauge};
use super::{days, report};
use crate::args;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::print;
use crate::signals::Stop;

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);

/// Makes a run; of one that panics, the words.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied());
        format!("panicked: {}", words.unwrap_or("without a word"))
    })
}

/// One run, not begun yet.
pub(super) type Work = Box<dyn FnOnce(&Arc<Gauge>) -> Result<Done, Failure> + Send>;

/// Makes the runs of all seeds, several at once if asked to. One that panics has failed.
pub(super) async fn simulate(
    args: &args::Sim,
    work: &dyn Fn(u64) -> Work,
    mut stop: Stop,
) -> Result<(Vec<Done>, Option<Failure>), Failure> {
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
            let (work, gauge, begun) = (work(seed), Arc::clone(&gauge), Instant::now());
            under_way.spawn_blocking(move || {
                // The others go on: what they find is worth as much as it was.
                let panicked = |text| Ok(Done::panicked(seed, text, begun.elapsed()));
                caught(|| work(&gauge)).unwrap_or_else(panicked)
            });
        }
        tokio::select! {
            () = stop.wished(), if !gauge.is_stopped() => gauge.stop(),
            _ = redraw.tick() => bar.show(&gauge, ended.len()),
            next = under_way.join_next() => {
                let Some(next) = next else { return Ok((ended, undrawn)) };
                let lost = |error| Failure::said(format_args!("a run was lost: {error}"));
                let mut done = next.map_err(lost).flatten().inspect_err(|_| gauge.stop())?;
                // The report is worth more than the curves.
                let drawn = args.plot.as_ref().map_or(Ok(()), |dir| draw(dir, &done));
                if let (Err(failure), true) = (drawn, undrawn.is_none()) {
                    undrawn = Some(failure);
                }
                if args.seeds > 1 {
                    if args.json && !gauge.is_stopped() {
                        // What was found is worth telling, though nobody reads the rest.
                        let heard = heard(print(&report(args, &done).to_string()))?;
                        if !heard {
                            gauge.stop();
                        }
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

/// Whether somebody reads what was said: one who has gone away has seen what he wanted.
///
/// # Errors
/// Stdout fails in another way.
pub(super) fn heard(said: std::io::Result<()>) -> Result<bool, Failure> {
    match said {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        said => Ok(said.map(|()| true)?),
    }
}

pub(super) fn plot_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::said(format_args!("--plot {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{done, parse};

    #[test]
    fn a_panic_is_told_in_its_words() {
        assert_eq!(caught(|| 1), Ok(1));
        let said: Result<(), _> = caught(|| panic!("so be it"));
        assert_eq!(said, Err("panicked: so be it".to_owned()));
        let said: Result<(), _> = caught(|| panic!("at {}", 7));
        assert_eq!(said, Err("panicked: at 7".to_owned()));
        let said: Result<(), _> = caught(|| panic::panic_any(7));
        assert_eq!(said, Err("panicked: without a word".to_owned()));
    }

    #[tokio::test]
    async fn a_run_that_panics_has_failed_and_the_others_go_on() {
        let work = |seed| -> Work {
            Box::new(move |_| {
                assert_ne!(seed, 2, "no such seed");
                Ok(done(seed, None))
            })
        };
        for jobs in [1, 3] {
            let args = parse(&format!("peerpool sim --seeds 4 --jobs {jobs}"));
            let stop = Stop::after(None).expect("signals");
            let (mut ended, undrawn) = simulate(&args, &work, stop).await.expect("all runs");
            assert!(undrawn.is_none());
            ended.sort_by_key(|done| done.seed);
            let seeds: Vec<_> = ended.iter().map(|done| done.seed).collect();
            assert_eq!(seeds, [1, 2, 3, 4]);
            let failed: Vec<_> = ended.iter().filter_map(|done| done.breach.as_deref()).collect();
            assert!(matches!(failed[..], [text] if text.starts_with("panicked: ")), "{failed:?}");
        }
    }
}
