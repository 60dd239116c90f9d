//! `peerpool sim`: pools in virtual time, and what they made of it.

mod attack;
mod faults;
mod job;
mod report;
mod runs;
pub(crate) mod scenarios;
mod summary;

use std::fs;
use std::time::{Duration, Instant};

use peerpool::Policy;
use peerpool_sim::world::{Plan, PoolPlan};
use serde_json::{Map, Value, json};

use self::faults::Faults;
use self::job::{Done, Job, Trace};
pub(crate) use self::runs::caught;
use self::runs::{Work, heard, plot_failure, simulate};
use self::scenarios::Stage;
use crate::failure::Failure;
use crate::screen::print;
use crate::signals::Stop;
use crate::{args, machine};

/// Runs it.
pub(crate) async fn run(args: args::Sim) -> Result<(), Failure> {
    if args.list {
        let list = if args.json { scenarios::list_json() } else { scenarios::list() };
        return Ok(print(&list)?);
    }
    args.check()?;
    let policy = args.policy()?;
    let job: Box<dyn Fn(u64) -> Job> = match args.scenario.stage {
        Stage::Attack(attack) => return attack::run(&args, attack).await,
        Stage::Swarm => Box::new(Job::Swarm),
        Stage::Network(change) => {
            let plan = plan(&args, &policy, change);
            let lasting = args.lasting();
            Box::new(move |seed| Job::World(Box::new(Plan { seed, ..plan.clone() }), lasting))
        }
    };
    if let Some(dir) = &args.plot {
        fs::create_dir_all(dir).map_err(|error| plot_failure(dir, &error))?;
    }
    let trace = args.trace.then_some(if args.json { Trace::Json } else { Trace::Text });
    let work = |seed| -> Work {
        let job = job(seed);
        Box::new(move |gauge| job.run(trace, gauge))
    };
    let stop = Stop::after(None)?;
    let begun = Instant::now();
    let (mut done, undrawn) = simulate(&args, &work, stop).await?;
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
    let heard = heard(print(&said))?;
    match outcome(&args, &done) {
        // Whoever goes away has stopped it.
        Err(_) if !heard && done.iter().all(|done| done.breach.is_none()) => Ok(()),
        Ok(()) => undrawn.map_or(Ok(()), Err),
        failed => failed,
    }
}

fn plan(args: &args::Sim, policy: &Policy, change: fn(&mut Plan)) -> Plan {
    let pool = PoolPlan { policy: policy.clone(), ..PoolPlan::default() };
    let mut plan = Plan {
        nodes: args.nodes(),
        lasting: args.lasting(),
        pools: vec![pool; args.pools()],
        ..Plan::default()
    };
    change(&mut plan);
    plan
}

/// A time in days if they are few digits, else as a clock has it.
fn lasting(time: Duration) -> String {
    let days = days(time);
    match days.to_string() {
        one if one == "1" => "1 day".to_owned(),
        digits if digits.len() <= 5 => format!("{digits} days"),
        _ => crate::text::short(time),
    }
}

fn days(time: Duration) -> f64 {
    time.as_secs_f64() / 86_400.0
}

/// One world as JSON. What depends on the machine is under `wall`, and nowhere else.
fn report(args: &args::Sim, done: &Done) -> Value {
    let mut map = Map::new();
    map.insert("event".into(), "report".into());
    map.insert("seed".into(), done.seed.into());
    map.insert("scenario".into(), args.scenario.name.into());
    map.insert("nodes".into(), done.nodes.into());
    map.insert("answering_share".into(), done.answering.into());
    map.insert("days".into(), days(args.lasting()).into());
    map.insert("stopped".into(), done.stopped.into());
    map.insert("breach".into(), done.breach.as_deref().into());
    map.insert("lasted_days".into(), done.lasted.map(days).into());
    map.insert("events".into(), done.events.into());
    map.insert("trace_hash".into(), report::hash(done).into());
    map.insert("pools".into(), done.pools.iter().map(report::pool).collect());
    if let (Some(faults), Some(swarm)) = (Faults::of(std::slice::from_ref(done)), &done.swarm) {
        map.insert("swarm".into(), faults.run_json(swarm));
    }
    map.insert("wall".into(), wall(done.took, done.events));
    map.into()
}

fn summary(args: &args::Sim, all: &[Done], took: Duration) -> Value {
    let mut map = Map::new();
    map.insert("event".into(), "summary".into());
    map.insert("scenario".into(), args.scenario.name.into());
    map.insert("days".into(), days(args.lasting()).into());
    map.insert("seeds".into(), json!({ "first": args.seed, "count": args.seeds }));
    map.insert("done".into(), all.len().into());
    map.insert("stopped".into(), ((all.len() as u64) < args.seeds).into());
    let breaches = all.iter().filter(|done| done.breach.is_some()).map(|done| done.seed);
    map.insert("breaches".into(), breaches.collect());
    map.insert("answering_share".into(), answering(all).into());
    map.insert("figures".into(), summary::measures(all).into());
    if let Some(faults) = Faults::of(all) {
        map.insert("swarm".into(), faults.summary_json());
    }
    map.insert("wall".into(), wall(took, all.iter().map(|done| done.events).sum()));
    map.into()
}

/// The attacker's mean share, at the start, of the nodes that answer.
fn answering(all: &[Done]) -> Option<f64> {
    let shares: Vec<_> = all.iter().filter_map(|done| done.answering).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
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
fn heading(args: &args::Sim, first: Option<&Done>) -> String {
    let mut words = format!("{}: ", args.scenario.name);
    let nodes = if args.scenario.is_network() {
        Some(args.nodes())
    } else {
        first.filter(|_| args.seeds == 1).and_then(|first| first.nodes)
    };
    if let Some(nodes) = nodes {
        words += &format!("{}, ", report::counted(nodes, "node"));
    }
    words + &format!("{}, seed {}", lasting(args.lasting()), args.seed)
}

fn page(args: &args::Sim, done: &Done) -> String {
    let mut page = heading(args, Some(done));
    let why = if done.stopped { "stopped" } else { "broken off" };
    match done.lasted {
        Some(lasted) if lasted < args.lasting() => {
            page += &format!(", {why} after {:.2} days", days(lasted));
        }
        Some(_) => (),
        None => page += ", panicked",
    }
    page += "\n\n";
    match &done.pools[..] {
        [] => (),
        [pool] => page += &report::page(done, pool),
        _ => {
            page += &summary::table(std::slice::from_ref(done));
            page += &format!("\n\ntrace {}\n", report::hash(done).unwrap_or_default());
        }
    }
    if let (Some(faults), Some(swarm)) = (Faults::of(std::slice::from_ref(done)), &done.swarm) {
        page += &faults.run_page(swarm);
    }
    page += &report::answering_line(done.answering);
    page + &cost(done.took, done.events)
}

fn table(args: &args::Sim, all: &[Done], took: Duration) -> String {
    let mut page = heading(args, all.first());
    page += &format!(" and {} more\n\n{}\n\n", args.seeds - 1, summary::table(all));
    page += &Faults::of(all).map(|faults| faults.summary_page()).unwrap_or_default();
    page += &report::answering_line(answering(all));
    page + &cost(took, all.iter().map(|done| done.events).sum())
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

/// Names the runs that failed: what the first has to say, how to run it again, and which others.
fn failures(
    args: &args::Sim,
    mut failed: impl Iterator<Item = (u64, String)>,
) -> Result<(), Failure> {
    let Some((seed, first)) = failed.next() else { return Ok(()) };
    let replay = args.replay(seed);
    let seeds: Vec<_> = failed.map(|(seed, _)| seed.to_string()).collect();
    let more = if seeds.is_empty() { "" } else { "\nseeds that failed besides: " };
    Err(Failure::said(format_args!("{first}\nreplay: {replay}{more}{}", seeds.join(", "))))
}

/// Whether all went as it should.
fn outcome(args: &args::Sim, all: &[Done]) -> Result<(), Failure> {
    let failed = all.iter().filter_map(|done| {
        Some((done.seed, format!("seed {}: {}", done.seed, done.breach.as_ref()?)))
    });
    failures(args, failed)?;
    match all {
        [done] if args.seeds == 1 && done.stopped => Err(Failure::said(format_args!(
            "stopped after {:.2} of {} days",
            days(done.lasted.unwrap_or_default()),
            days(args.lasting())
        ))),
        _ if (all.len() as u64) < args.seeds => {
            Err(Failure::said(format_args!("stopped after {} of {} runs", all.len(), args.seeds)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use peerpool_sim::report::Figures;

    use super::*;
    use crate::args::{Args, Command};

    pub(super) fn parse(line: &str) -> args::Sim {
        match Args::try_parse_from(line.split(' ')).expect("a command").command {
            Command::Sim(args) => args,
            other => unreachable!("the line says sim: {other:?}"),
        }
    }

    pub(super) fn done(seed: u64, breach: Option<&str>) -> Done {
        Done {
            seed,
            lasted: Some(Duration::from_secs(1000)),
            nodes: Some(10),
            trace_hash: Some(1),
            answering: None,
            events: 1,
            pools: Vec::new(),
            swarm: None,
            stopped: false,
            breach: breach.map(str::to_owned),
            took: Duration::ZERO,
        }
    }

    pub(super) fn said(result: Result<(), Failure>) -> String {
        match result {
            Err(Failure::Said(text)) => text,
            other => unreachable!("a failure that says why: {other:?}"),
        }
    }

    #[test]
    fn a_breach_is_told_with_the_command_that_replays_it() {
        let flags = "--scenario sybil --seed 8 --nodes 50 --days 0.1 --pools 2 --target 3 \
                     --set max_dials=4";
        let args = parse(&format!("peerpool sim {flags} --seeds 3"));
        let all = [done(8, Some("burned at 1.0: x")), done(9, None), done(10, Some("late"))];
        let text = said(outcome(&args, &all));
        let (first, replay) = text.split_once("\nreplay: ").expect("a command");
        assert_eq!(first, "seed 8: burned at 1.0: x");
        let (replay, more) = replay.split_once('\n').expect("more");
        assert_eq!(more, "seeds that failed besides: 10");
        let again = parse(replay);
        assert!(again.trace);
        assert_eq!((again.seed, again.seeds), (8, 1));
        let plans = [&args, &again].map(|args| {
            let policy = args.policy().expect("good rules");
            format!("{:?}", plan(args, &policy, |_| {}))
        });
        assert_eq!(plans[0], plans[1]);
        assert_eq!(parse("peerpool sim --scenario swarm").replay(7), {
            "peerpool sim --scenario swarm --seed 7 --trace"
        });
        let mut spaced = parse("peerpool sim --set max_dials=4");
        spaced.set[0].1 = "network, witness".to_owned();
        assert_eq!(spaced.replay(1), {
            "peerpool sim --scenario internet --seed 1 --set 'max_dials=network, witness' --trace"
        });
    }

    #[test]
    fn a_panic_is_told_like_a_breach_and_takes_nothing_from_the_others() {
        let args = parse("peerpool sim --nodes 10 --seeds 2");
        let panicked = Done::panicked(2, "panicked: why".to_owned(), Duration::ZERO);
        let all = [Done { pools: vec![Figures::default()], ..done(1, None) }, panicked];
        assert_eq!(said(outcome(&args, &all)), {
            "seed 2: panicked: why\n\
             replay: peerpool sim --scenario internet --seed 2 --nodes 10 --trace"
        });
        let shown = table(&args, &all, Duration::ZERO);
        assert!(shown.contains("internet: 10 nodes") && shown.contains("\nworst "), "{shown}");
        let summed = summary(&args, &all, Duration::ZERO);
        assert_eq!((&summed["done"], &summed["breaches"]), (&2.into(), &json!([2])));
        assert_eq!(summed["figures"]["at_target"]["count"], 1);
        let args = parse("peerpool sim --seed 2 --json");
        let told = report(&args, &all[1]);
        assert_eq!((&told["breach"], &told["stopped"]), (&json!("panicked: why"), &false.into()));
        assert_eq!((&told["lasted_days"], &told["trace_hash"]), (&Value::Null, &Value::Null));
        assert!(page(&args, &all[1]).starts_with("internet: 1000 nodes, 1 day, seed 2, panicked"));
    }

    #[test]
    fn an_end_before_the_end_is_a_failure() {
        let one = parse("peerpool sim --days 2");
        assert!(outcome(&one, &[done(1, None)]).is_ok());
        let stopped = Done { stopped: true, ..done(1, None) };
        assert_eq!(said(outcome(&one, &[stopped])), "stopped after 0.01 of 2 days");
        let three = parse("peerpool sim --seeds 3");
        assert_eq!(said(outcome(&three, &[done(1, None)])), "stopped after 1 of 3 runs");
    }
}
