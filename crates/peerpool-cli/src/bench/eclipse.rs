//! `peerpool bench eclipse`: how many of a pool's slots an attacker holds after 1, 7 and 30 virtual
//! days and after a restart, by what he has and does.

use std::collections::BTreeMap;

use peerpool::Policy;
use peerpool_sim::eclipse::{Case, Held, Rules};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::Records;
use crate::args;
use crate::failure::Failure;
use crate::figures;
use crate::machine::machine;
use crate::progress::Progress;
use crate::signals::Stop;
use crate::sim::caught;

/// Slots of the pool: the default target.
const SLOTS: f64 = 8.0;

/// Runs it.
pub(crate) async fn run(args: args::Eclipse) -> Result<(), Failure> {
    let policy = policy(&args)?;
    let mut stop = Stop::after(None)?;
    let mut records = Records::open(args.json, args.raw.as_deref())?;
    records.write("bench_eclipse", setting(&args))?;
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| is_wanted(case, &args)).collect();
    let total = cases.len() * args.seeds as usize;
    let mut progress = Progress::new(total);
    let mut found = Found::default();
    let runs = (0..cases.len()).flat_map(|case| (0..args.seeds).map(move |more| (case, more)));
    let mut runs = runs.map(|(case, more)| (case, args.rng_seed.wrapping_add(more)));
    let mut under_way = JoinSet::new();
    let mut done = 0;
    loop {
        progress.show(done, "runs of 30 days");
        while under_way.len() < args.jobs
            && let Some((at, seed)) = runs.next()
        {
            let (case, policy, nodes) = (cases[at], policy.clone(), args.nodes);
            under_way.spawn_blocking(move || {
                let held = caught(|| case.run(&policy, nodes, seed));
                let held = held.and_then(|held| held.map_err(|breach| breach.to_string()));
                (at, seed, held)
            });
        }
        let ended = tokio::select! {
            () = stop.wished() => break,
            ended = under_way.join_next() => ended,
        };
        let Some(ended) = ended else { break };
        let lost = |error| Failure::said(format_args!("a run was lost: {error}"));
        let (at, seed, held) = ended.map_err(lost)?;
        found.on_run(&mut records, &cases[at], at, seed, held)?;
        done += 1;
    }
    drop(progress);
    let mut rows = Vec::new();
    let mut answering: Vec<String> = Vec::new();
    for (at, runs) in &found.held {
        let summary = Summary::of(runs);
        records.write("case", summary.json(&cases[*at]))?;
        rows.push(summary.row(&cases[*at]));
        let share = format!("{:.0} %", summary.answering * 100.0);
        if !answering.contains(&share) {
            answering.push(share);
        }
    }
    let stopped = records.stopped(done, total);
    records.say(&page(&args, rows, &answering.join(", ")))?;
    found.outcome(done)?;
    stopped
}

/// What the runs came to.
#[derive(Default)]
struct Found {
    /// Of each case.
    held: BTreeMap<usize, Vec<Held>>,
    /// Those that failed, in words.
    failed: Vec<String>,
}

impl Found {
    /// Takes a run, or why it failed: the others go on.
    fn on_run(
        &mut self,
        records: &mut Records,
        case: &Case,
        at: usize,
        seed: u64,
        held: Result<Held, String>,
    ) -> Result<(), Failure> {
        match held {
            Ok(held) => {
                records.write("run", run_json(case, &held))?;
                self.held.entry(at).or_default().push(held);
            }
            Err(why) => {
                self.failed.push(format!("{}, seed {seed}: {why}", in_words(case)));
                let mut map = case_json(case);
                map.insert("seed".into(), seed.into());
                map.insert("failure".into(), why.into());
                records.write("failed", map)?;
            }
        }
        Ok(())
    }

    /// Names the runs that failed.
    fn outcome(&self, done: usize) -> Result<(), Failure> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let (count, each) = (self.failed.len(), self.failed.join("\n"));
        Err(Failure::said(format_args!("{count} of {done} runs failed:\n{each}")))
    }
}

fn is_wanted(case: &Case, args: &args::Eclipse) -> bool {
    let share = format!("{:.0}", case.share * 100.0);
    args.share.as_ref().is_none_or(|wanted| *wanted == share)
        && args.groups.as_ref().is_none_or(|wanted| *wanted == case.groups.to_string())
        && !(args.plain && (case.floods || case.poisons))
}

/// The rules, with what the user changes of them.
fn policy(args: &args::Eclipse) -> Result<Policy, Failure> {
    let mut policy = args.rules.policy();
    for (key, value) in &args.set {
        let unknown = || Failure::said(format_args!("--set {key}: there is no such rule"));
        policy.set(key, value).ok_or_else(unknown)?.map_err(Failure::said)?;
    }
    policy.check().map_err(Failure::said)?;
    Ok(policy)
}

const fn rules(rules: Rules) -> &'static str {
    match rules {
        Rules::Pool => "pool",
        Rules::Core => "core",
    }
}

fn in_words(case: &Case) -> String {
    let share = case.share * 100.0;
    let flood = if case.floods { ", flood" } else { "" };
    let dns = if case.poisons { ", DNS" } else { "" };
    format!("{share:.0} % of addresses in {} groups{flood}{dns}", case.groups)
}

fn setting(args: &args::Eclipse) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("rules".into(), rules(args.rules).into());
    let set = args.set.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    map.insert("set".into(), Value::Object(set.collect()));
    map.insert("nodes".into(), args.nodes.into());
    map.insert("seeds".into(), args.seeds.into());
    map.insert("first_seed".into(), args.rng_seed.into());
    map.insert("jobs".into(), args.jobs.into());
    map.insert("machine".into(), machine().into());
    map
}

fn case_json(case: &Case) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("share".into(), case.share.into());
    map.insert("groups".into(), case.groups.into());
    map.insert("floods".into(), case.floods.into());
    map.insert("poisons".into(), case.poisons.into());
    map
}

fn run_json(case: &Case, held: &Held) -> Map<String, Value> {
    let mut map = case_json(case);
    map.insert("seed".into(), held.seed.into());
    map.insert("slots_after_1_7_30_days".into(), json!(held.after));
    map.insert("slots_after_restart".into(), held.after_restart.into());
    map.insert("mean_share".into(), held.mean.into());
    map.insert("answering_share".into(), held.answering.into());
    map.insert("ever_all".into(), held.all.into());
    map.insert("events".into(), held.events.into());
    map
}

/// The runs of one case, together.
struct Summary {
    runs: usize,
    /// Mean share of slots after 1, 7 and 30 days.
    after: [f64; 3],
    after_restart: f64,
    mean: f64,
    /// Mean share of the nodes that answer.
    answering: f64,
    /// Runs in which he held all slots at some time, and after the restart.
    all: usize,
    all_after_restart: usize,
}

impl Summary {
    fn of(runs: &[Held]) -> Self {
        let mean = |share: &dyn Fn(&Held) -> f64| {
            runs.iter().map(share).sum::<f64>() / runs.len().max(1) as f64
        };
        let slots = |slots: u32| f64::from(slots) / SLOTS;
        Self {
            runs: runs.len(),
            after: [0, 1, 2].map(|at| mean(&|held| slots(held.after[at]))),
            after_restart: mean(&|held| slots(held.after_restart)),
            mean: mean(&|held| held.mean),
            answering: mean(&|held| held.answering),
            all: runs.iter().filter(|held| held.all).count(),
            all_after_restart: runs.iter().filter(|held| slots(held.after_restart) >= 1.0).count(),
        }
    }

    fn json(&self, case: &Case) -> Map<String, Value> {
        let mut map = case_json(case);
        map.insert("runs".into(), self.runs.into());
        map.insert("share_after_1_7_30_days".into(), json!(self.after));
        map.insert("share_after_restart".into(), self.after_restart.into());
        map.insert("mean_share".into(), self.mean.into());
        map.insert("answering_share".into(), self.answering.into());
        map.insert("runs_ever_all".into(), self.all.into());
        map.insert("runs_all_after_restart".into(), self.all_after_restart.into());
        map
    }

    fn row(&self, case: &Case) -> Vec<String> {
        let percent = |share: f64| format!("{:.0}", share * 100.0);
        let yes = |does: bool| if does { "yes" } else { "-" }.to_owned();
        let mut row = vec![percent(case.share), case.groups.to_string()];
        row.extend([yes(case.floods), yes(case.poisons)]);
        row.extend(self.after.map(percent));
        row.extend([percent(self.after_restart), percent(self.mean)]);
        row.extend([format!("{}/{}", self.all, self.runs)]);
        row.push(format!("{}/{}", self.all_after_restart, self.runs));
        row
    }
}

fn page(args: &args::Eclipse, rows: Vec<Vec<String>>, answering: &str) -> String {
    let header = [
        "addr %",
        "groups",
        "flood",
        "DNS",
        "1 d",
        "7 d",
        "30 d",
        "restart",
        "mean",
        "ever all",
        "all again",
    ];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    table.extend(rows);
    format!(
        "an attacker's share of 8 slots in percent, {} seeds of {} nodes, rules of {}\n\n{}\n\naddr %: of all \
         addresses; of the nodes that answer {} are his\ngroups: at most; no more \
         than he has addresses, which at 1 % are {}\nDNS: one of three seeds is his; restart: an \
         hour after it, with the book kept\never all: runs in which he held every slot; all again: \
         so an hour after the restart",
        args.seeds,
        args.nodes,
        rules(args.rules),
        figures::table(&table),
        answering,
        args.nodes / 100,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_fails_is_named_and_the_others_stand() {
        let file = std::env::temp_dir().join(format!("peerpool-failed-{}", std::process::id()));
        let mut records = Records::open(false, Some(&file)).expect("a file");
        let cases = Case::all();
        let held = |seed| Held {
            seed,
            after: [0; 3],
            after_restart: 0,
            mean: 0.0,
            answering: 0.0,
            all: false,
            events: 1,
        };
        let mut found = Found::default();
        let panicked = caught(|| panic!("so be it"));
        for (at, seed, held) in [(3, 1, Ok(held(1))), (3, 2, panicked), (3, 3, Ok(held(3)))] {
            found.on_run(&mut records, &cases[at], at, seed, held).expect("written");
        }
        let written = std::fs::read_to_string(&file).expect("the raw runs");
        std::fs::remove_file(&file).expect("it is ours");
        assert_eq!(found.held[&3].len(), 2);
        let lines: Vec<Value> =
            written.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
        assert_eq!(events, ["run", "failed", "run"]);
        assert_eq!((&lines[1]["seed"], &lines[1]["groups"]), (&2.into(), &10.into()));
        assert_eq!(lines[1]["failure"], "panicked: so be it");
        let Err(Failure::Said(said)) = found.outcome(3) else { panic!("a run failed") };
        assert_eq!(said, {
            "1 of 3 runs failed:\n\
             1 % of addresses in 10 groups, flood, DNS, seed 2: panicked: so be it"
        });
        assert!(Found::default().outcome(3).is_ok());
    }
}
