//! `peerpool demo`: the real pool against a stand-in network in the same process.
//!
//! The network's own accept log, not the pool, says whether a burned or stale address was dialled.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use peerpool::{Pool, Status};
use peerpool_sim::actor::Kind;
use peerpool_sim::devnet::Devnet;
use serde_json::{Map, Value, json};

use crate::args;
use crate::devnet::{self, Seen};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::signals::Stop;
use crate::tally::{Refill, Tally};
use crate::{json, text};

/// Events the summary may lag behind by. One that it misses makes it say so.
const EVENT_QUEUE: usize = 100_000;

/// How long vanishing nodes live: within the length of a demo.
const VANISH_AFTER: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(12);

/// Runs it.
pub(crate) async fn run(args: args::Demo) -> Result<(), Failure> {
    let builder = Devnet::builder().nodes(args.nodes).kinds(args.mix).vanish_after(VANISH_AFTER);
    let devnet = devnet::start(builder.port(0).seed(args.rng_seed)).await?;
    let mut stop = Stop::after(Some(args.lasting))?;
    let mut screen = Screen::open(args.json, args.target);
    let start = SystemTime::now();
    let pool = Pool::builder(devnet.chain())
        .target(args.target)
        .tune(|policy| policy.event_queue = EVENT_QUEUE)
        .dns_server(devnet.dns_addr())
        .allow_unroutable(true)
        .rng_seed(args.rng_seed)
        .start()
        .await
        .map_err(Failure::said)?;
    let mut tally = Tally::new(args.target, start);
    let status = screen.show(&pool, &mut stop, |stamped| tally.on_event(stamped)).await?;
    let summary = Summary { nodes: args.nodes, seen: Seen::by(&devnet), tally, status };
    devnet.close().await;
    screen.say(&summary.json(), &summary.words())?;
    screen.stopped(&summary.status)?;
    Ok(())
}

struct Summary {
    nodes: usize,
    seen: Seen,
    tally: Tally,
    status: Status,
}

impl Summary {
    /// Connections to burned addresses, as the network saw them: those beyond the dials sent up to
    /// the burn. It takes no clock that both sides would have to share.
    fn burned_reached(&self) -> u64 {
        let beyond = |(address, dials): (peerpool::Address, u64)| {
            let accepts = address.socket_addr().map_or(0, |addr| self.seen.accepts_at(addr));
            accepts.saturating_sub(dials)
        };
        self.tally.burned().map(beyond).sum()
    }

    fn json(&self) -> Value {
        let tally = &self.tally;
        let refill =
            |refill: &Refill| json!({ "lost": refill.lost, "took": json::seconds(refill.took) });
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("event", "summary".into());
        put("at", json::unix_seconds(SystemTime::now()).into());
        put("nodes", self.nodes.into());
        put("target", self.status.target.into());
        put("time_to_full", tally.time_to_full.map(json::seconds).into());
        put("dials", self.status.dials.into());
        put("surplus", self.status.surplus.into());
        put("burned", json::burned(&self.status).into());
        put("refills", tally.refills.iter().map(refill).collect::<Vec<_>>().into());
        put("missing_at_the_end", tally.missing_at_the_end().into());
        put("burned_dialled_again", self.burned_reached().max(tally.burned_dialled).into());
        put("stale_dialled", self.seen.accepts_by(Kind::Stale).into());
        put("events_missed", tally.missed.into());
        map.extend(self.seen.json());
        map.into()
    }

    fn words(&self) -> String {
        let tally = &self.tally;
        let full = match tally.time_to_full {
            Some(took) => format!("full after {}", text::short(took)),
            None => "never full".to_owned(),
        };
        let refills = match tally.refills.len() {
            0 => "none".to_owned(),
            count => {
                let times = tally.refills.iter().map(|refill| text::short(refill.took));
                format!("{count}, which took {}", times.collect::<Vec<_>>().join(", "))
            }
        };
        let mut words = format!(
            "{} nodes, target {}: {full}, {} dials, {} surplus\nrefills: {refills}\n\
             the network {}\nburned addresses dialled again: {}   stale dialled: {}",
            self.nodes,
            self.status.target,
            self.status.dials,
            self.status.surplus,
            self.seen.words(),
            self.burned_reached().max(tally.burned_dialled),
            self.seen.accepts_by(Kind::Stale),
        );
        if tally.missed > 0 {
            words += &format!("\n{} events were missed: the counts are too low", tally.missed);
        }
        words
    }
}
