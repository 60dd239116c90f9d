//! `peerpool bench hold`: what it costs to hold peers. `peerpool run` is a process of its own,
//! measured from outside; the network is in this one. Linux only, as the devnet is.

use std::process::Stdio;
use std::time::{Duration, Instant};

use peerpool::settings::ENV_PREFIX;
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::Devnet;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

use super::Records;
use crate::failure::Failure;
use crate::machine::{field, machine, proc_file};
use crate::progress::Progress;
use crate::signals::Stop;
use crate::{args, devnet, figures, json, text};

/// How long a pool may take to fill.
const FILL: Duration = Duration::from_secs(60);
/// The clock of `/proc/PID/stat` in all Linux builds (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs it.
pub(crate) async fn run(args: args::Hold) -> Result<(), Failure> {
    let mut stop = Stop::after(None)?;
    let mut records = Records::open(args.json, args.raw.as_deref())?;
    let mut setting = Map::new();
    setting.insert("lasting".into(), json::seconds(args.lasting));
    setting.insert("machine".into(), machine().into());
    records.write("bench_hold", setting)?;
    let mut progress = Progress::new(args.peers.len() + 1);
    let (mut held, mut failed) = (Vec::new(), Ok(()));
    // What a pool costs that holds next to nothing is taken off the others.
    let wanted: Vec<usize> = [1].into_iter().chain(args.peers.iter().copied()).collect();
    for (done, &peers) in wanted.iter().enumerate() {
        progress.show(done, &format!("{peers} peers for {}", text::short(args.lasting)));
        let one = tokio::select! {
            () = stop.wished() => break,
            one = hold(peers, args.lasting) => one,
        };
        let one = match one {
            Ok(one) => one,
            Err(error) => {
                failed = Err(error);
                break;
            }
        };
        held.push(one);
        let base = held.first().copied().unwrap_or(one);
        records.write("held", one.json(&base))?;
    }
    drop(progress);
    let header = ["peers", "memory", "a peer", "peak", "of a core", "threads"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    if let Some(base) = held.first() {
        rows.extend(held.iter().map(|one| one.row(base)));
    }
    records.say(&format!(
        "{}\n\nmemory: RssAnon of `peerpool run` at the end of {}: heap, stacks, static data\na \
         peer: what it has above the first row, by the peer\npeak: VmHWM, mapped files \
         included\nof a core: each peer pinged every 20 s instead of 2 min, and no other traffic",
        figures::table(&rows),
        text::short(args.lasting),
    ))?;
    failed?;
    records.stopped(held.len(), wanted.len())
}

/// What a process that held so many peers took.
#[derive(Clone, Copy)]
struct Held {
    peers: usize,
    /// Bytes of its own.
    anonymous: u64,
    peak: u64,
    threads: u64,
    /// Processor time over the time held.
    share: f64,
}

impl Held {
    fn per_peer(&self, base: &Self) -> Option<f64> {
        let more = self.peers.checked_sub(base.peers).filter(|more| *more > 0)?;
        Some((self.anonymous as f64 - base.anonymous as f64) / more as f64)
    }

    fn json(&self, base: &Self) -> Map<String, Value> {
        let value = json!({
            "peers": self.peers,
            "rss_anon": self.anonymous,
            "rss_peak": self.peak,
            "bytes_a_peer": self.per_peer(base).map(f64::round),
            "core_share": self.share,
            "threads": self.threads,
        });
        let Value::Object(map) = value else { unreachable!("an object was written") };
        map
    }

    fn row(&self, base: &Self) -> Vec<String> {
        let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
        vec![
            self.peers.to_string(),
            kib(self.anonymous as f64),
            self.per_peer(base).map_or("-".to_owned(), kib),
            kib(self.peak as f64),
            format!("{:.2} %", self.share * 100.0),
            self.threads.to_string(),
        ]
    }
}

async fn hold(peers: usize, lasting: Duration) -> Result<Held, Failure> {
    // Some more than asked for: the pool is not to wait for the last address.
    let builder = Devnet::builder().nodes(peers + peers / 2 + 10).kinds(Mix::only(Kind::Honest));
    let devnet = devnet::start(builder.port(0)).await?;
    let mut child = pool_process(peers, &devnet)?;
    let pid = child.id().ok_or_else(|| Failure::said("`peerpool run` ended at once"))?;
    let out = child.stdout.take().ok_or_else(|| Failure::said("no pipe to `peerpool run`"))?;
    let mut lines = BufReader::new(out).lines();
    match tokio::time::timeout(FILL, until_full(&mut lines)).await {
        Ok(Ok(true)) => {}
        Ok(_) => return Err(Failure::said("`peerpool run` ended by itself; it says why above")),
        Err(_) => {
            let allowed = text::short(FILL);
            return Err(Failure::said(format_args!("no {peers} peers within {allowed}")));
        }
    }
    // A pipe that is not read would stop the process.
    let drain = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let (cpu, since) = (cpu_seconds(pid)?, Instant::now());
    sleep(lasting).await;
    let share = (cpu_seconds(pid)? - cpu) / since.elapsed().as_secs_f64();
    let live = devnet.live();
    if live < peers {
        return Err(Failure::said(format_args!("only {live} of {peers} peers were held")));
    }
    let status = proc_file(pid, "status")?;
    let held = Held {
        peers,
        anonymous: field(&status, "RssAnon")? * 1024,
        peak: field(&status, "VmHWM")? * 1024,
        threads: field(&status, "Threads")?,
        share,
    };
    child.kill().await?;
    drain.abort();
    devnet.close().await;
    Ok(held)
}

/// This very program, as a pool on `devnet`.
fn pool_process(peers: usize, devnet: &Devnet) -> Result<Child, Failure> {
    let magic: String = devnet.chain().magic.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new(std::env::current_exe()?);
    // Settings of the user's own are not what is measured, and may name addresses of the world.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(ENV_PREFIX) {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command.args(["run", "--network", "custom", "--allow-unroutable", "--json"]);
    command.args(["--target", &peers.to_string(), "--seed", devnet.seed_name()]);
    command.args(["--dns-server", &devnet.dns_addr().to_string()]);
    for setting in [
        format!("chain.magic={magic}"),
        format!("chain.port={}", devnet.chain().default_port),
        // Loopback has 254 netgroups.
        "max_peers_per_netgroup=1000".to_owned(),
        "max_dials_per_netgroup=1000".to_owned(),
        // The time held is shorter than the usual pause between pings.
        "ping_interval=20s".to_owned(),
    ] {
        command.args(["--set", &setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn()?)
}

async fn until_full(lines: &mut Lines<BufReader<ChildStdout>>) -> std::io::Result<bool> {
    while let Some(line) = lines.next_line().await? {
        let event: Option<Value> = serde_json::from_str(&line).ok();
        if event.is_some_and(|event| event["event"] == "full") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Processor time a process has used, in user and system.
fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let stat = proc_file(pid, "stat")?;
    // The second field is the name in parentheses, and may hold anything; 14 and 15 are the times.
    let times: Option<Vec<f64>> = stat.rsplit_once(')').and_then(|(_, rest)| {
        rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().ok()).collect()
    });
    let times = times.filter(|times| times.len() == 2);
    let times = times.ok_or_else(|| Failure::said(format_args!("/proc/{pid}/stat: {stat:?}")))?;
    Ok(times.iter().sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_is_measured() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).is_ok_and(|seconds| seconds >= 0.0));
        let status = proc_file(pid, "status").expect("we run");
        assert!(field(&status, "RssAnon").is_ok_and(|kib| kib > 0));
        assert!(field(&status, "NoSuchField").is_err());
    }
}
