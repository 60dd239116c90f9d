//! `peerpool sim`: pools in virtual time, and what they made of it.

mod job;
mod report;
pub(crate) mod scenarios;
mod summary;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerpool::Policy;
use peerpool_sim::report::plot;
use peerpool_sim::world::{Plan, PoolPlan};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use self::job::{Done, Gauge, Job};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::print;
use crate::signals::Stop;
use crate::{args, machine};

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);

/// Runs it.
pub(crate) async fn run(args: args::Sim) -> Result<(), Failure> {
    if args.list {
        return Ok(print(&scenarios::list())?);
    }
    let policy = args.policy()?;
    if let Some(dir) = &args.plot {
        fs::create_dir_all(dir).map_err(|error| plot_failure(dir, &error))?;
    }
    let stop = Stop::after(None)?;
    let begun = Instant::now();
    let mut done = simulate(&args, &policy, stop).await?;
    done.sort_by_key(|done| done.seed);
    if args.seeds > 1 {
        // A world that was stopped is not to be compared with the others.
        done.retain(|done| !done.stopped);
    }
    let said = match &done[..] {
        [done] if args.seeds == 1 && args.json => report(&args, done).to_string(),
        [done] if args.seeds == 1 => page(&args, done),
        all if args.json => summary(&args, all, begun.elapsed()).to_string(),
        all => table(&args, all, begun.elapsed()),
    };
    print(&said)?;
    outcome(&args, &done)
}

/// Runs every world, several at once if asked to.
async fn simulate(args: &args::Sim, policy: &Policy, mut stop: Stop) -> Result<Vec<Done>, Failure> {
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
            let (plan, lasting, trace) = (plan(args, policy, seed), args.days, args.trace);
            let (job, gauge) = (Job { plan, lasting, trace }, Arc::clone(&gauge));
            under_way.spawn_blocking(move || job.run(&gauge));
        }
        tokio::select! {
            () = stop.wished(), if !gauge.is_stopped() => gauge.stop(),
            _ = redraw.tick() => bar.show(&gauge, ended.len()),
            next = under_way.join_next() => {
                let Some(next) = next else { return Ok(ended) };
                let next = next.map_err(|error| Failure::said(format_args!("a run failed: {error}")));
                let mut done = next.flatten().inspect_err(|_| gauge.stop())?;
                if let Some(dir) = &args.plot {
                    draw(dir, &done)?;
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

fn plan(args: &args::Sim, policy: &Policy, seed: u64) -> Plan {
    let pool = PoolPlan { policy: policy.clone(), ..PoolPlan::default() };
    let mut plan = Plan {
        seed,
        nodes: args.nodes,
        horizon: args.days,
        pools: vec![pool; args.pools],
        ..Plan::default()
    };
    (args.scenario.change)(&mut plan);
    plan
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
        Self { progress, begun: Instant::now(), lasting: args.days, seeds: args.seeds }
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

fn days(time: Duration) -> f64 {
    time.as_secs_f64() / 86_400.0
}

/// What the user asked for.
fn setting(args: &args::Sim) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("scenario".into(), args.scenario.name.into());
    map.insert("nodes".into(), args.nodes.into());
    map.insert("days".into(), days(args.days).into());
    map
}

/// One world as JSON. What depends on the machine is under `wall`, and nowhere else.
fn report(args: &args::Sim, done: &Done) -> Value {
    let mut map = Map::new();
    map.insert("event".into(), "report".into());
    map.insert("seed".into(), done.seed.into());
    map.extend(setting(args));
    map.insert("stopped".into(), done.stopped.into());
    map.insert("breach".into(), done.breach.as_deref().into());
    map.insert("lasted_days".into(), days(done.lasted).into());
    map.insert("events".into(), done.events.into());
    map.insert("trace_hash".into(), report::hash(done).into());
    map.insert("pools".into(), done.pools.iter().map(report::pool).collect());
    map.insert("wall".into(), wall(done.took, done.events));
    map.into()
}

fn summary(args: &args::Sim, all: &[Done], took: Duration) -> Value {
    let mut map = Map::new();
    map.insert("event".into(), "summary".into());
    map.extend(setting(args));
    map.insert("seeds".into(), json!({ "first": args.seed, "count": args.seeds }));
    map.insert("done".into(), all.len().into());
    let breaches = all.iter().filter(|done| done.breach.is_some()).map(|done| done.seed);
    map.insert("breaches".into(), breaches.collect());
    map.insert("figures".into(), summary::measures(all).into());
    map.insert("wall".into(), wall(took, all.iter().map(|done| done.events).sum()));
    map.into()
}

fn wall(took: Duration, events: u64) -> Value {
    let seconds = took.as_secs_f64();
    json!({
        "seconds": crate::json::seconds(took),
        "events_per_second": (events as f64 / seconds.max(1e-9)).round(),
        "peak_memory": machine::peak_memory(),
    })
}

/// What was run, in words.
fn heading(args: &args::Sim) -> String {
    let (nodes, days) = (report::counted(args.nodes, "node"), days(args.days));
    let unit = if days == 1.0 { "day" } else { "days" };
    format!("{}: {nodes}, {days} {unit}, seed {}", args.scenario.name, args.seed)
}

fn page(args: &args::Sim, done: &Done) -> String {
    let mut page = heading(args);
    if done.lasted < args.days {
        let why = if done.stopped { "stopped" } else { "broken off" };
        page += &format!(", {why} after {:.2} days", days(done.lasted));
    }
    page += "\n\n";
    if let [pool] = &done.pools[..] {
        page += &report::page(done, pool);
    } else {
        page += &summary::table(std::slice::from_ref(done));
        page += &format!("\n\ntrace {}\n", report::hash(done));
    }
    page + &cost(done.took, done.events)
}

fn table(args: &args::Sim, all: &[Done], took: Duration) -> String {
    format!(
        "{} and {} more\n\n{}\n\n{}",
        heading(args),
        args.seeds - 1,
        summary::table(all),
        cost(took, all.iter().map(|done| done.events).sum()),
    )
}

/// What the run took of the machine.
fn cost(took: Duration, events: u64) -> String {
    let (seconds, memory) = (took.as_secs_f64(), machine::peak_memory());
    let memory = memory.map(|bytes| format!(", {} at most", report::bytes_of(bytes as f64)));
    format!(
        "{events} events in {seconds:.1} s, {:.0} a second{}",
        events as f64 / seconds.max(1e-9),
        memory.unwrap_or_default(),
    )
}

/// Whether all went as it should.
fn outcome(args: &args::Sim, all: &[Done]) -> Result<(), Failure> {
    for done in all {
        if let Some(breach) = &done.breach {
            let replay = args.replay(done.seed);
            return Err(Failure::said(format_args!("seed {}: {breach}\n{replay}", done.seed)));
        }
    }
    match all {
        [done] if args.seeds == 1 && done.stopped => Err(Failure::said(format_args!(
            "stopped after {:.2} of {} days",
            days(done.lasted),
            days(args.days)
        ))),
        _ if (all.len() as u64) < args.seeds => {
            Err(Failure::said(format_args!("stopped after {} of {} runs", all.len(), args.seeds)))
        }
        _ => Ok(()),
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

fn plot_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::said(format_args!("--plot {}: {error}", path.display()))
}
