//! `peerpool probe`: what a node is, and how long each step to it takes.
//!
//! A pool that dials only the given addresses; its events tell the steps.

use std::time::{Duration, SystemTime};

use peerpool::settings::{Flag, Settings};
use peerpool::{Address, Event, PeerVersion, Pool, Stamped, Status, parse_duration};
use serde_json::{Map, Value, json};

use crate::args::Probe;
use crate::failure::Failure;
use crate::screen::print;
use crate::signals::Stop;
use crate::{json, text};

/// How often the pool is asked for the round trip of a ping.
const LOOK: Duration = Duration::from_millis(20);
/// A link is closed once its node is known: there is nothing to wait for.
const GRACE: Duration = Duration::from_millis(500);

/// Probes every address; a failure if any of them failed.
pub(crate) async fn run(args: Probe) -> Result<(), Failure> {
    let timeout = parse_duration(&args.timeout).unwrap_or(Duration::from_secs(10));
    let settings = settings(&args)?;
    let mut probes = Vec::new();
    for address in &settings.connect {
        if !probes.iter().any(|probe: &Progress| probe.address == *address) {
            probes.push(Progress::new(*address));
        }
    }
    let mut stop = Stop::after(Some(timeout * 4))?;
    let pool = settings.into_builder().start().await.map_err(Failure::said)?;
    let result = watch(&pool, &mut probes, &mut stop, timeout, args.json).await;
    pool.close(GRACE).await;
    result?;
    if probes.iter().all(Progress::is_good) { Ok(()) } else { Err(Failure::Shown) }
}

fn settings(args: &Probe) -> Result<Settings, Failure> {
    let count = args.addresses.len().to_string();
    let in_flight = args.addresses.len().max(2).to_string();
    let mut flags = vec![
        Flag::new("network", &args.network, "--network"),
        Flag::new("dial_timeout", &args.timeout, "--timeout"),
        Flag::new("handshake_deadline", &args.timeout, "--timeout"),
        Flag::new("pong_deadline", &args.timeout, "--timeout"),
        Flag::new("target_connect_count", count, "ADDR"),
        Flag::new("max_dials", &in_flight, "ADDR"),
        Flag::new("max_dials_per_netgroup", &in_flight, "ADDR"),
        Flag::new("ping_interval", "1s", "--timeout"),
        Flag::new("allow_unroutable", "true", "ADDR"),
        // One failure is the answer; a second try would only blur the times.
        Flag::new("backoff_min", "1d", "ADDR"),
        Flag::new("backoff_max", "1d", "ADDR"),
    ];
    flags.extend(args.addresses.iter().map(|address| Flag::new("connect", address, "ADDR")));
    Settings::load(None, std::iter::empty(), &flags).map_err(Failure::said)
}

/// Follows the pool until every probe has its answer, and prints each as it comes.
async fn watch(
    pool: &Pool,
    probes: &mut [Progress],
    stop: &mut Stop,
    timeout: Duration,
    as_json: bool,
) -> Result<(), Failure> {
    let mut events = pool.subscribe();
    let mut look = tokio::time::interval(LOOK);
    while probes.iter().any(|probe| !probe.shown) {
        let stopped = tokio::select! {
            () = stop.wished() => true,
            stamped = events.next() => match stamped {
                Some(stamped) => {
                    probes.iter_mut().for_each(|probe| probe.on_event(&stamped));
                    false
                }
                None => true,
            },
            _ = look.tick() => {
                let status = pool.status().await;
                probes.iter_mut().for_each(|probe| probe.on_status(&status, timeout));
                false
            }
        };
        for probe in probes.iter_mut().filter(|probe| !probe.shown) {
            if stopped && !probe.is_done() {
                probe.failed = Some((probe.step(), "gave up".to_owned(), SystemTime::now()));
            }
            if probe.is_done() {
                probe.shown = true;
                print(&if as_json { probe.json().to_string() } else { probe.words() })?;
            }
        }
    }
    Ok(())
}

/// How far the probe of one address has come.
struct Progress {
    address: Address,
    dialled: Option<SystemTime>,
    connected: Option<SystemTime>,
    ready: Option<(SystemTime, PeerVersion)>,
    ping: Option<Duration>,
    /// The step that failed, why, and when.
    failed: Option<(&'static str, String, SystemTime)>,
    shown: bool,
}

impl Progress {
    const fn new(address: Address) -> Self {
        let (dialled, connected, ready, ping, failed) = (None, None, None, None, None);
        Self { address, dialled, connected, ready, ping, failed, shown: false }
    }

    fn is_done(&self) -> bool {
        self.failed.is_some() || self.ping.is_some()
    }

    fn is_good(&self) -> bool {
        self.failed.is_none() && self.ping.is_some()
    }

    /// The step it is at.
    fn step(&self) -> &'static str {
        match (&self.ready, self.connected) {
            (Some(_), _) => "ping",
            (None, Some(_)) => "handshake",
            (None, None) => "dial",
        }
    }

    fn on_event(&mut self, Stamped { at, event }: &Stamped) {
        if event.address() != Some(self.address) || self.is_done() {
            return;
        }
        match event {
            Event::Connecting { .. } => self.dialled = Some(*at),
            Event::Connected { .. } => self.connected = Some(*at),
            Event::Ready { version, .. } => self.ready = Some((*at, version.clone())),
            Event::DialFailed { error, .. } => self.fail(error.as_str(), *at),
            Event::Disconnected { reason, .. } => self.fail(reason.as_str(), *at),
            _ => (),
        }
    }

    fn on_status(&mut self, status: &Status, timeout: Duration) {
        let Some((since, _)) = &self.ready else { return };
        if self.is_done() {
            return;
        }
        let of_this = status.ready.iter().filter(|peer| peer.address == self.address);
        self.ping = of_this.filter_map(|peer| peer.ping).next();
        let now = SystemTime::now();
        // The first ping may be sent a ping interval late.
        let patience = timeout + Duration::from_secs(1);
        if self.ping.is_none() && now.duration_since(*since).unwrap_or_default() > patience {
            self.fail("pong_timed_out", now);
        }
    }

    fn fail(&mut self, why: &str, at: SystemTime) {
        self.failed = Some((self.step(), why.to_owned(), at));
    }

    /// Name and length of every step that was finished, or failed.
    fn steps(&self) -> Vec<(&'static str, Duration)> {
        let took = |from: Option<SystemTime>, to: Option<SystemTime>| {
            Some(to?.duration_since(from?).unwrap_or_default())
        };
        let end = |step| match &self.failed {
            Some((failed, _, at)) if *failed == step => Some(*at),
            _ => None,
        };
        let ready = self.ready.as_ref().map(|(at, _)| *at);
        let steps = [
            ("dial", took(self.dialled, self.connected.or(end("dial")))),
            ("handshake", took(self.connected, ready.or(end("handshake")))),
            ("ping", self.ping),
        ];
        steps.into_iter().filter_map(|(step, took)| Some((step, took?))).collect()
    }

    fn json(&self) -> Value {
        let mut map = Map::new();
        map.insert("event".into(), "probed".into());
        map.insert("at".into(), json::unix_seconds(SystemTime::now()).into());
        map.insert("address".into(), self.address.to_string().into());
        map.insert("good".into(), self.is_good().into());
        if let Some((step, why, _)) = &self.failed {
            map.insert("failed".into(), json!({ "step": step, "error": why }));
        }
        if let Some((_, version)) = &self.ready
            && let Value::Object(said) = json::version(version)
        {
            map.extend(said);
        }
        let steps = self.steps().into_iter();
        let took = steps.map(|(step, took)| (step.to_owned(), json::seconds(took)));
        map.insert("took".into(), Value::Object(took.collect()));
        map.into()
    }

    fn words(&self) -> String {
        let mut words = match &self.failed {
            Some((step, why, _)) => format!("{} failed at the {step}: {why}", self.address),
            None => format!("{} is good", self.address),
        };
        if let Some((_, said)) = &self.ready {
            words += &format!(
                "\n    user agent  {}\n    services    {}\n    protocol    {}\n    height      {}\n    \
                 relay       {}",
                said.user_agent,
                json::services(said.services).join(", "),
                said.protocol,
                said.height,
                said.relay,
            );
        }
        let steps = self.steps().into_iter();
        let took: Vec<_> =
            steps.map(|(step, took)| format!("{step} {}", text::short(took))).collect();
        if !took.is_empty() {
            words += &format!("\n    took        {}", took.join(", "));
        }
        words
    }
}
