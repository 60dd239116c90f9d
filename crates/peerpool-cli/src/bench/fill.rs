//! `peerpool bench fill`: time until the pool holds its target of different nodes, on a fresh
//! network each time, beside an oracle's: the same pool told the addresses of living nodes only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use peerpool::{Address, Builder, Event, NetGroup, Pool, Stamped};
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::Records;
use crate::args::{self, Shares};
use crate::failure::Failure;
use crate::figures::{self, Times, median};
use crate::machine::machine;
use crate::progress::Progress;
use crate::screen::GRACE;
use crate::signals::Stop;
use crate::{devnet, json, text};

/// More events than a run has: one that is missed would falsify the count of dials.
const EVENT_QUEUE: usize = 100_000;
/// The network: half of it lives, and of the dead half refuses and half is silent. How much of
/// what a pool hears of lives is the case's to say.
const MIX: Mix =
    Mix::only(Kind::Honest).with(Kind::Honest, 2).with(Kind::Refusing, 1).with(Kind::Silent, 1);

/// Runs it.
pub(crate) async fn run(args: args::Fill) -> Result<(), Failure> {
    let mut stop = Stop::after(None)?;
    let mut records = Records::open(args.json, args.raw.as_deref())?;
    records.write("bench_fill", setting(&args))?;
    let args = Arc::new(args);
    let mut progress = Progress::new(args.shares.len() * args.seeds as usize);
    let mut cases = Vec::new();
    for &shares in &args.shares {
        let mut case = Summary { shares, runs: Vec::new() };
        let whole = case.fill(&args, &mut stop, &mut records, &mut progress, &cases).await?;
        if !case.runs.is_empty() {
            records.write("case", case.json())?;
            cases.push(case);
        }
        if !whole {
            break;
        }
    }
    drop(progress);
    let done = cases.iter().map(|case| case.runs.len()).sum();
    let stopped = records.stopped(done, args.shares.len() * args.seeds as usize);
    records.say(&report(&args, &cases))?;
    stopped
}

/// What was measured, on what.
fn setting(args: &args::Fill) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("target".into(), args.target.into());
    map.insert("nodes".into(), args.nodes.into());
    map.insert("latency".into(), json::seconds(args.latency));
    map.insert("gossip_ages".into(), args.gossip_ages.as_str().into());
    map.insert("warm".into(), args.warm.into());
    map.insert("seeds".into(), args.seeds.into());
    map.insert("first_seed".into(), args.rng_seed.into());
    map.insert("timeout".into(), json::seconds(args.timeout));
    map.insert("jobs".into(), args.jobs.into());
    map.insert("machine".into(), machine().into());
    map
}

/// One run to be made.
struct Case {
    args: Arc<args::Fill>,
    shares: Shares,
    seed: u64,
}

/// One run.
struct Run {
    seed: u64,
    pool: Filled,
    oracle: Filled,
    /// Most connections one node had at once, by the network's count.
    most_links: usize,
}

/// How a pool came to be full, or did not.
struct Filled {
    took: Option<Duration>,
    dials: usize,
    surplus: usize,
    ready: usize,
    /// Dials of a pool that makes them in the same order, but one after the other, and none to a
    /// netgroup that has its peer; `None` if too few living nodes were dialled.
    need: Option<usize>,
}

impl Case {
    async fn run(self) -> Result<Run, Failure> {
        let builder = Devnet::builder().nodes(self.args.nodes).kinds(MIX).port(0).seed(self.seed);
        let builder = builder
            .dns_share(self.shares.dns)
            .gossip_share(self.shares.gossip)
            .gossip_ages(self.args.gossip_ages)
            .latency(self.args.latency);
        let devnet = devnet::start(builder).await?;
        let known = self.living(&devnet)?;
        let pool = if self.args.warm {
            self.fill_again(&devnet).await?
        } else {
            self.fill(&devnet, |pool| pool.dns_server(devnet.dns_addr())).await?
        };
        let most_links = devnet.max_concurrent().into_values().max().unwrap_or(0);
        let oracle = self.fill(&devnet, |pool| pool.connect(known)).await?;
        devnet.close().await;
        Ok(Run { seed: self.seed, pool, oracle, most_links })
    }

    /// Fills a pool that keeps its book, and then one that starts with that book and asks no seed.
    async fn fill_again(&self, devnet: &Devnet) -> Result<Filled, Failure> {
        let name = format!("peerpool-warm-{}-{}-{}", std::process::id(), self.shares, self.seed);
        let folder = std::env::temp_dir().join(name.replace('/', "-"));
        let dns = devnet.dns_addr();
        let first = self.fill(devnet, |pool| pool.data_dir(&folder).dns_server(dns)).await;
        let again = match first {
            Ok(_) => self.fill(devnet, |pool| pool.data_dir(&folder).no_dns()).await,
            Err(failure) => Err(failure),
        };
        let removed = std::fs::remove_dir_all(&folder);
        let again = again?;
        removed.map_err(|error| {
            Failure::said(format_args!("{} is left: {error}", folder.display()))
        })?;
        Ok(again)
    }

    /// Living nodes, as many as the target, each in a netgroup of its own.
    fn living(&self, devnet: &Devnet) -> Result<Vec<Address>, Failure> {
        let mut groups = BTreeSet::new();
        let living = devnet.addresses_of(Kind::Honest).into_iter().map(Address::from);
        let apart = living.filter(|address| groups.insert(NetGroup::of(&address.host)));
        let chosen: Vec<Address> = apart.take(self.args.target).collect();
        if chosen.len() < self.args.target {
            let (nodes, groups) = (self.args.nodes, chosen.len());
            return Err(Failure::said(format_args!(
                "--target {} is more than the {groups} netgroups with living nodes of --nodes \
                 {nodes}",
                self.args.target,
            )));
        }
        Ok(chosen)
    }

    async fn fill(
        &self,
        devnet: &Devnet,
        knowing: impl FnOnce(Builder) -> Builder,
    ) -> Result<Filled, Failure> {
        let builder = Pool::builder(devnet.chain())
            .target(self.args.target)
            .tune(|policy| policy.event_queue = EVENT_QUEUE)
            .allow_unroutable(true)
            .rng_seed(self.seed);
        let pool = knowing(builder).start().await.map_err(Failure::said)?;
        let mut events = pool.subscribe();
        let (mut dialled, mut took) = (Vec::new(), None);
        let watch = async {
            while let Some(Stamped { event, .. }) = events.next().await {
                match event {
                    Event::Connecting { address, connection_type, .. }
                        if connection_type.counts() =>
                    {
                        dialled.push(address)
                    }
                    // Counted from the pool's start, before it asked the seed.
                    Event::Full { took: full } => {
                        took = Some(full);
                        break;
                    }
                    Event::Missed { events } => return Err(events),
                    _ => {}
                }
            }
            Ok(())
        };
        // Running out of time is a result too: `took` stays empty.
        let watched = tokio::time::timeout(self.args.timeout, watch).await.unwrap_or(Ok(()));
        watched.map_err(|missed| Failure::said(format_args!("{missed} events were missed")))?;
        let status = pool.status().await;
        pool.close(GRACE).await;
        let counting = status.ready.iter().filter(|peer| peer.connection_type.counts());
        let ready: BTreeSet<_> = counting.map(|peer| peer.address).collect();
        let false_peer = ready.iter().find(|address| !is_alive(devnet, address));
        if let Some(address) = false_peer {
            return Err(Failure::said(format_args!(
                "{address} was called ready and does not live"
            )));
        }
        Ok(Filled {
            took,
            dials: dialled.len(),
            // What is still under way comes too late.
            surplus: status.surplus as usize + status.connected.len() + status.connecting.len(),
            ready: ready.len(),
            need: self.need(devnet, &dialled),
        })
    }

    fn need(&self, devnet: &Devnet, dialled: &[Address]) -> Option<usize> {
        let (mut groups, mut dials) = (BTreeSet::new(), 0);
        for address in dialled {
            let group = NetGroup::of(&address.host);
            dials += usize::from(!groups.contains(&group));
            if is_alive(devnet, address) {
                groups.insert(group);
            }
            if groups.len() == self.args.target {
                return Some(dials);
            }
        }
        None
    }
}

fn is_alive(devnet: &Devnet, address: &Address) -> bool {
    let kind = address.socket_addr().and_then(|address| devnet.kind_of(address));
    kind == Some(Kind::Honest)
}

impl Run {
    fn ratio(&self) -> Option<f64> {
        Some(self.pool.dials as f64 / self.pool.need? as f64)
    }

    fn json(&self, shares: Shares) -> Map<String, Value> {
        let value = json!({
            "dns": shares.dns,
            "gossip": shares.gossip,
            "seed": self.seed,
            "took": self.pool.took.map(json::seconds),
            "ready": self.pool.ready,
            "dials": self.pool.dials,
            "surplus": self.pool.surplus,
            "need": self.pool.need,
            "most_links_to_one_node": self.most_links,
            "oracle_took": self.oracle.took.map(json::seconds),
            "oracle_dials": self.oracle.dials,
        });
        let Value::Object(map) = value else { unreachable!("an object was written") };
        map
    }
}

/// All runs of one pair of shares.
struct Summary {
    shares: Shares,
    runs: Vec<Run>,
}

impl Summary {
    /// Makes the runs; false if they were stopped.
    async fn fill(
        &mut self,
        args: &Arc<args::Fill>,
        stop: &mut Stop,
        records: &mut Records,
        progress: &mut Progress,
        before: &[Self],
    ) -> Result<bool, Failure> {
        let before: usize = before.iter().map(|case| case.runs.len()).sum();
        let shares = self.shares;
        let mut seeds = (0..args.seeds).map(|more| args.rng_seed.wrapping_add(more));
        let mut under_way = JoinSet::new();
        loop {
            let doing = format!("{shares} % of DNS/gossip alive");
            progress.show(before + self.runs.len(), &doing);
            while under_way.len() < args.jobs
                && let Some(seed) = seeds.next()
            {
                under_way.spawn(Case { args: Arc::clone(args), shares, seed }.run());
            }
            let ended = tokio::select! {
                () = stop.wished() => return Ok(false),
                ended = under_way.join_next() => ended,
            };
            let Some(ended) = ended else { return Ok(true) };
            let run =
                ended.map_err(|error| Failure::said(format_args!("a run failed: {error}")))?;
            let run = run?;
            records.write("run", run.json(shares))?;
            self.runs.push(run);
        }
    }

    fn times(&self) -> Times {
        Times::new(self.runs.iter().map(|run| run.pool.took).collect())
    }

    fn oracle(&self) -> Times {
        Times::new(self.runs.iter().map(|run| run.oracle.took).collect())
    }

    fn median(&self, number: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        median(self.runs.iter().filter_map(number).collect())
    }

    fn json(&self) -> Map<String, Value> {
        let (times, oracle) = (self.times(), self.oracle());
        // The median of counts is one of them.
        let whole = |count: Option<f64>| count.map(|count| count as u64);
        let value = json!({
            "dns": self.shares.dns,
            "gossip": self.shares.gossip,
            "runs": self.runs.len(),
            "full": times.reached(),
            "median": times.quantile(0.5).map(json::seconds),
            "p95": times.quantile(0.95).map(json::seconds),
            "worst": times.worst().map(json::seconds),
            "dials": whole(self.median(|run| Some(run.pool.dials as f64))),
            "surplus": whole(self.median(|run| Some(run.pool.surplus as f64))),
            "need": whole(self.median(|run| run.pool.need.map(|need| need as f64))),
            "dials_per_need": self.median(Run::ratio),
            "oracle_median": oracle.quantile(0.5).map(json::seconds),
            "oracle_dials": whole(self.median(|run| Some(run.oracle.dials as f64))),
        });
        let Value::Object(map) = value else { unreachable!("an object was written") };
        map
    }

    fn row(&self) -> Vec<String> {
        let (times, oracle) = (self.times(), self.oracle());
        vec![
            self.shares.to_string(),
            format!("{}/{}", times.reached(), self.runs.len()),
            figures::time(times.quantile(0.5)),
            figures::time(times.quantile(0.95)),
            figures::time(times.worst()),
            figures::number(self.median(|run| Some(run.pool.dials as f64)), 0),
            figures::number(self.median(|run| Some(run.pool.surplus as f64)), 0),
            figures::number(self.median(|run| run.pool.need.map(|need| need as f64)), 0),
            figures::number(self.median(Run::ratio), 2),
            figures::time(oracle.quantile(0.5)),
        ]
    }
}

fn report(args: &args::Fill, cases: &[Summary]) -> String {
    let header = [
        "alive %", "full", "median", "p95", "worst", "dials", "surplus", "need", "ratio", "oracle",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(cases.iter().map(Summary::row));
    format!(
        "time to {} different ready nodes, {} seeds of {} nodes{}\nlatency {}, gossip ages: \
         {}\n\n{}\n\nalive %: of what DNS and gossip name; half of the dead are silent, half \
         refuse\ndials, surplus, need: medians; need: of a pool that dials one at a time\nratio: \
         dials by need; oracle: the same pool, told {} living nodes only\nlatency: the system \
         answers dials at once, so the first reply takes twice that\n-: not full within {}",
        args.target,
        args.seeds,
        args.nodes,
        if args.warm { ", after a restart with the book of the last run and no DNS" } else { "" },
        text::short(args.latency),
        args.gossip_ages.as_str(),
        figures::table(&rows),
        args.target,
        text::short(args.timeout),
    )
}
