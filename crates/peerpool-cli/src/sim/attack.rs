//! One attack, played with one seed or several.

use std::time::{Duration, Instant};

use peerpool_sim::scenario::{Failure as Fault, Figure, Outcome, Scenario, Setting};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::report::{counted, wrapped};
use super::runs::heard;
use super::scenarios::needs;
use super::{caught, failures};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::print;
use crate::signals::Stop;
use crate::{args, json};

/// One run.
struct Played {
    seed: u64,
    /// None if a rule was broken, or the attack could not be brought about; or if it was stopped.
    outcome: Option<Outcome>,
    /// Why it is not as expected; None if it is, or was stopped.
    fault: Option<String>,
    took: Duration,
}

/// Plays it. A run cannot be stopped halfway: it is left behind.
pub(super) async fn run(args: &args::Sim, attack: &'static Scenario) -> Result<(), Failure> {
    let mut stop = Stop::after(None)?;
    let begun = Instant::now();
    let mut progress = Progress::new(args.seeds as usize);
    let mut seeds = (0..args.seeds).map(|more| args.seed.wrapping_add(more));
    let mut under_way = JoinSet::new();
    let mut all: Vec<Played> = Vec::new();
    let mut reader = true;
    loop {
        while under_way.len() < args.jobs
            && let Some(seed) = seeds.next()
        {
            under_way.spawn_blocking(move || Played::caught(seed, || Played::of(attack, seed)));
        }
        progress.show(all.len(), attack.name);
        let played = tokio::select! {
            () = stop.wished() => break,
            played = under_way.join_next() => played,
        };
        let Some(played) = played else { break };
        let lost = |error| Failure::said(format_args!("a run was lost: {error}"));
        let played = played.map_err(lost)?;
        let told = if args.json { print(&played.json(attack).to_string()) } else { Ok(()) };
        all.push(played);
        reader = reader && heard(told)?;
        if !reader {
            break;
        }
    }
    drop(progress);
    all.sort_by_key(|played| played.seed);
    let took = begun.elapsed();
    let told = if !args.json {
        print(page(args, attack, &all, took).trim_end())
    } else if args.seeds > 1 {
        print(&summary(args, attack, &all, took).to_string())
    } else if all.is_empty() {
        // Whoever reads lines waits for a report.
        print(&Played::stopped(args.seed, took).json(attack).to_string())
    } else {
        Ok(())
    };
    reader = heard(told)? && reader;
    match outcome(args, &all) {
        // Whoever goes away has stopped it.
        Err(_) if !reader && all.iter().all(|played| played.fault.is_none()) => Ok(()),
        outcome => outcome,
    }
}

impl Played {
    /// Makes a run; one that panics has failed.
    fn caught(seed: u64, run: impl FnOnce() -> Self) -> Self {
        let begun = Instant::now();
        caught(run).unwrap_or_else(|text| Self {
            seed,
            outcome: None,
            fault: Some(text),
            took: begun.elapsed(),
        })
    }

    fn of(attack: &Scenario, seed: u64) -> Self {
        let begun = Instant::now();
        let (outcome, fault) = match attack.run(&Setting { seed, ..Setting::default() }) {
            Ok(outcome) => (Some(outcome), None),
            Err(fault) => {
                let said = fault.to_string();
                match fault {
                    Fault::Missed(outcome) | Fault::Surprise(outcome) => {
                        (Some(outcome), Some(said))
                    }
                    Fault::Breach(_) | Fault::Stage(_) => (None, Some(said)),
                }
            }
        };
        Self { seed, outcome, fault, took: begun.elapsed() }
    }

    /// A run that was left behind.
    const fn stopped(seed: u64, took: Duration) -> Self {
        Self { seed, outcome: None, fault: None, took }
    }

    const fn is_stopped(&self) -> bool {
        self.outcome.is_none() && self.fault.is_none()
    }

    fn json(&self, attack: &Scenario) -> Value {
        let outcome = self.outcome.as_ref();
        let figure = |(name, figure): &(&str, Figure)| ((*name).to_owned(), number(figure));
        let figures = outcome.into_iter().flat_map(|outcome| outcome.figures.iter().map(figure));
        json!({
            "event": "report",
            "seed": self.seed,
            "scenario": attack.name,
            "attack": attack.row,
            "done": attack.says,
            "demanded": attack.accepts,
            "needs": needs(attack),
            "stopped": self.is_stopped(),
            "met": outcome.map(|outcome| outcome.met),
            "missed": outcome.map(|outcome| outcome.missed.clone()),
            "figures": figures.collect::<Map<_, _>>(),
            "failure": self.fault,
            "wall": { "seconds": json::seconds(self.took) },
        })
    }
}

/// Counts and shares as they are, times in seconds.
fn number(figure: &Figure) -> Value {
    match figure {
        Figure::Count(count) => (*count).into(),
        Figure::Share(share) | Figure::Rate(share) => (*share).into(),
        Figure::Time(time) => time.map(json::seconds).into(),
    }
}

fn summary(args: &args::Sim, attack: &Scenario, all: &[Played], took: Duration) -> Value {
    let seeds = |fits: &dyn Fn(&Played) -> bool| {
        all.iter().filter(|played| fits(played)).map(|played| played.seed).collect::<Vec<_>>()
    };
    let met = |played: &Played| played.outcome.as_ref().is_some_and(|outcome| outcome.met);
    json!({
        "event": "summary",
        "scenario": attack.name,
        "seeds": { "first": args.seed, "count": args.seeds },
        "done": all.len(),
        "stopped": is_stopped(args, all),
        "met": seeds(&met).len(),
        "failures": seeds(&|played| played.fault.is_some()),
        "wall": { "seconds": json::seconds(took) },
    })
}

/// What is done and demanded, and what each run came to.
fn page(args: &args::Sim, attack: &Scenario, all: &[Played], took: Duration) -> String {
    let mut page = format!("{} ({})\n\n", attack.name, attack.row);
    let mut line = |name: &str, text: &str| {
        wrapped(&mut page, name, " ", &text.split(' ').collect::<Vec<_>>());
    };
    line("done", attack.says);
    line("demanded", attack.accepts);
    if let Some(why) = needs(attack) {
        line("needs", why);
    }
    for played in all {
        let said = match (&played.fault, &played.outcome) {
            (Some(fault), _) => fault.clone(),
            (None, Some(outcome)) => outcome.to_string(),
            (None, None) => String::new(),
        };
        line(&format!("seed {}", played.seed), &said);
    }
    let as_expected = all.iter().filter(|played| played.fault.is_none()).count();
    page.push('\n');
    let ended = counted(all.len(), "run");
    if is_stopped(args, all) {
        page += &format!("stopped after {} of {} runs", all.len(), args.seeds);
    }
    if !all.is_empty() {
        let between = if is_stopped(args, all) { ": " } else { "" };
        let demanded =
            if needs(attack).is_some() { "to miss the figure" } else { "to reach the figure" };
        page += &format!("{between}{as_expected} of {ended} as expected ({demanded})");
    }
    page + &format!(", in {:.1} s\n", took.as_secs_f64())
}

/// Whether not all runs came to their end.
fn is_stopped(args: &args::Sim, all: &[Played]) -> bool {
    (all.len() as u64) < args.seeds
}

/// Whether all went as expected.
fn outcome(args: &args::Sim, all: &[Played]) -> Result<(), Failure> {
    // The page or the lines say why.
    let failed = all.iter().filter(|played| played.fault.is_some());
    let said = |played: &Played| format!("seed {} did not go as expected", played.seed);
    failures(args, failed.map(|played| (played.seed, said(played))))?;
    if is_stopped(args, all) {
        let (played, seeds) = (all.len(), args.seeds);
        return Err(Failure::said(format_args!("stopped after {played} of {seeds} runs")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{parse, said};

    fn attack() -> &'static Scenario {
        peerpool_sim::scenario::find("a16-peers-clocks").expect("an attack")
    }

    fn played(seed: u64) -> Played {
        let outcome = Outcome { figures: Vec::new(), met: true, missed: Vec::new() };
        Played { seed, outcome: Some(outcome), fault: None, took: Duration::from_secs(2) }
    }

    #[test]
    fn a_run_that_panics_has_failed_and_the_others_stand() {
        let args = parse("peerpool sim --scenario a16-peers-clocks --seeds 2");
        let all = [played(1), Played::caught(2, || panic!("why"))];
        assert_eq!(said(outcome(&args, &all)), {
            "seed 2 did not go as expected\n\
             replay: peerpool sim --scenario a16-peers-clocks --seed 2"
        });
        assert!(parse("peerpool sim --scenario a16-peers-clocks --seed 2").check().is_ok());
        let shown = page(&args, attack(), &all, Duration::ZERO);
        assert!(shown.contains("\nseed 2     panicked: why\n"), "{shown}");
        assert!(shown.contains("\n1 of 2 runs as expected"), "{shown}");
        assert!(shown.ends_with(", in 0.0 s\n"), "by the wall, not by the threads: {shown}");
        assert_eq!(all[1].json(attack())["failure"], "panicked: why");
        let took = Duration::from_secs(3);
        let summary = summary(&args, attack(), &all, took);
        assert_eq!((&summary["failures"], &summary["wall"]["seconds"]), (&json!([2]), &3.0.into()));
    }
    #[test]
    fn an_end_before_the_end_is_told() {
        let args = parse("peerpool sim --scenario a16-peers-clocks --seeds 3");
        let all = [played(1), played(2)];
        assert_eq!(said(outcome(&args, &all)), "stopped after 2 of 3 runs");
        let took = Duration::from_secs(5);
        let shown = page(&args, attack(), &all, took);
        let told = "\n\nstopped after 2 of 3 runs: 2 of 2 runs as expected (to reach the figure), in \
                    5.0 s\n";
        assert!(shown.ends_with(told), "{shown}");
        let shown = page(&args, attack(), &[], took);
        assert!(shown.ends_with("\n\nstopped after 0 of 3 runs, in 5.0 s\n"), "{shown}");
        assert_eq!(summary(&args, attack(), &all, took)["stopped"], true);
        let report = Played::stopped(7, took).json(attack());
        assert_eq!((&report["seed"], &report["stopped"]), (&7.into(), &true.into()));
        assert_eq!((&report["met"], &report["failure"]), (&Value::Null, &Value::Null));
        assert_eq!(all[0].json(attack())["stopped"], false);
    }
}
