//! The one task that owns the engine: takes inputs, drains outputs, sleeps until `wake_at`.
//!
//! It waits for its queues and for time, never for a connection or a caller: everything it hands
//! out goes through `try_send` or a one-shot. It makes no decision of its own.

mod log;
mod outputs;
mod saving;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use peerpool_core::address::{Address, PerNet};
use peerpool_core::book::Explanation;
use peerpool_core::engine::Engine;
use peerpool_core::event::{PeerVersion, PoolStatus, Status};
use peerpool_core::id::{DisconnectReason, LeaseId, PeerId};
use peerpool_core::io::{Input, Refusal};
use peerpool_core::policy::Policy;
use peerpool_core::require::Require;
use peerpool_core::time::Now;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::ask::Flights;
use crate::bans::BanCommand;
use crate::clock::Clock;
use crate::connection::{Close, Common, End, Order};
use crate::events::Stamped;
use crate::lease::{self, DialFailure, Grant, Release, Request};
use crate::pool::{Pool, Shared};
use crate::seeds::Resolver;
use crate::store::{Saver, State};
use crate::times::Times;
use log::EventLog;
use saving::Saving;

/// Inputs taken before commands and releases get their turn.
const INPUT_BATCH: usize = 64;

/// Failed dials remembered for `LeaseError::TimedOut`.
const FAILURES: usize = 8;

/// What a caller asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Lease {
        lease: LeaseId,
        require: Require,
        wait: bool,
        reply: oneshot::Sender<Result<Grant, Refusal>>,
    },
    Add(Address),
    Bans(BanCommand),
    Explain(Address, oneshot::Sender<Explanation>),
    Report(oneshot::Sender<Report>),
    Close {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
}

/// The pool as it is, and what went wrong lately.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) status: Status,
    pub(crate) failures: Vec<DialFailure>,
}

/// What a driver is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) engine: Engine,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) magic: [u8; 4],
    pub(crate) pow: bool,
    pub(crate) seeds: Vec<String>,
    pub(crate) resolver: Resolver,
    pub(crate) saver: Option<Saver>,
}

/// The driver's side of one peer, from the dial on.
#[derive(Debug)]
struct Peer {
    address: Address,
    /// Opened for one lease, and nobody's business.
    private: bool,
    orders: mpsc::Sender<Order>,
    requests: mpsc::Sender<Request>,
    /// Queries that it has not answered, and how many the engine knows of.
    load: Arc<AtomicUsize>,
    told_load: usize,
    /// How long its answers take.
    times: Arc<Times>,
    /// Gone once the task is told to end.
    close: Option<oneshot::Sender<Close>>,
    /// The engine asked for the end: the report is `Closed`, whatever the dial came to.
    asked: bool,
    /// Set while the peer is ready.
    ready: Option<Arc<PeerVersion>>,
}

/// What a task of the driver is for.
#[derive(Clone, Copy, Debug)]
enum Job {
    Peer(PeerId),
    Seed(usize),
}

/// What a task of the driver came to.
#[derive(Debug)]
enum Outcome {
    Peer(End),
    Seed(Result<Vec<IpAddr>, String>),
}

/// The pool is closing.
#[derive(Debug)]
struct Closing {
    deadline: Instant,
    done: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) common: Arc<Common>,
    seeds: Vec<String>,
    resolver: Resolver,
    commands: mpsc::Receiver<Command>,
    releases: mpsc::Receiver<Release>,
    inputs: mpsc::Receiver<(Now, Input)>,
    /// For new connections.
    to_inputs: mpsc::Sender<(Now, Input)>,
    /// Every connection and seed question; none outlives the driver, and none ends unnoticed.
    tasks: JoinSet<Outcome>,
    jobs: HashMap<Id, Job>,
    peers: HashMap<PeerId, Peer>,
    /// How long answers take, by network.
    times: PerNet<Arc<Times>>,
    waiting: HashMap<LeaseId, oneshot::Sender<Result<Grant, Refusal>>>,
    held: HashMap<LeaseId, PeerId>,
    events: broadcast::Sender<Stamped>,
    /// Ready peers of each pool.
    ready: watch::Sender<Vec<usize>>,
    failures: VecDeque<DialFailure>,
    log: EventLog,
    /// Keeps what the pool learns, if it has a data directory.
    saver: Option<Saver>,
    saving: Saving,
    last: Arc<OnceLock<Status>>,
    closing: Option<Closing>,
}

/// What the driver waited for.
enum Turn {
    Command(Option<Command>),
    Release(Release),
    Inputs,
    Ended(Result<(Id, Outcome), JoinError>),
    /// It stands otherwise with the store; `None` if its thread is gone.
    Saving(Option<State>),
    Wake,
}

/// Spawns a driver on the current runtime.
pub(crate) fn start(setup: Setup) -> Pool {
    let (driver, pool) = prepare(setup);
    tokio::spawn(driver.run());
    pool
}

/// A driver that does not run yet, and its handle.
fn prepare(setup: Setup) -> (Driver, Pool) {
    let Setup { engine, policy, clock, magic, pow, seeds, resolver, saver } = setup;
    let (to_commands, commands) = mpsc::channel(policy.command_queue);
    let (to_releases, releases) = mpsc::channel(release_queue(&policy));
    let (to_inputs, inputs) = mpsc::channel(policy.input_queue);
    let (events, first) = broadcast::channel(policy.event_queue);
    let pools: Vec<PoolStatus> = engine.pools().collect();
    let (ready, ready_count) = watch::channel(vec![0; pools.len()]);
    let last = Arc::new(OnceLock::new());
    let log = EventLog::new(policy.max_log_bytes_per_hour);
    let shared = Shared {
        commands: to_commands,
        releases: to_releases,
        ready: ready_count,
        events: events.downgrade(),
        first: Mutex::new(Some(first)),
        last: Arc::clone(&last),
        pools,
        lease_timeout: policy.lease_timeout,
        query_timeout: policy.query_timeout,
        private_retry: policy.private_retry,
        ask_hedge_delay: policy.ask_hedge_delay,
        next_lease: AtomicU64::new(0),
        flights: Flights::default(),
    };
    let driver = Driver {
        engine,
        common: Arc::new(Common { magic, pow, policy, clock }),
        seeds,
        resolver,
        commands,
        releases,
        inputs,
        to_inputs,
        tasks: JoinSet::new(),
        jobs: HashMap::new(),
        peers: HashMap::new(),
        times: PerNet::default(),
        waiting: HashMap::new(),
        held: HashMap::new(),
        events,
        ready,
        failures: VecDeque::new(),
        log,
        saver,
        saving: Saving::default(),
        last,
        closing: None,
    };
    (driver, Pool::new(shared))
}

/// Places for releases: one for every waiter and every lease there can be.
fn release_queue(policy: &Policy) -> usize {
    let slots = policy.target_connect_count * policy.slots_per_peer;
    policy.max_waiters + slots + policy.max_private
}

impl Driver {
    async fn run(mut self) {
        self.handle(Input::Wake);
        let mut batch = Vec::with_capacity(INPUT_BATCH);
        while !self.is_over() {
            match self.turn(&mut batch).await {
                Turn::Command(Some(command)) => self.on_command(command),
                // Every handle is dropped: nobody waits for a polite end.
                Turn::Command(None) => self.on_close(Duration::ZERO, None),
                Turn::Release(release) => self.on_release(release),
                Turn::Inputs => self.on_batch(&mut batch),
                Turn::Ended(ended) => {
                    // What the task sent before it ended goes first.
                    self.take_waiting_inputs();
                    self.on_ended(ended);
                }
                Turn::Saving(state) => self.on_saving(state),
                Turn::Wake => {
                    // A pong that is here already must not be called late.
                    self.take_waiting_inputs();
                    self.handle(Input::Wake);
                }
            }
        }
        self.finish().await;
    }

    /// Waits for the next thing to do. `select!` starts with a random branch each time, and a
    /// batch is bounded: no queue, however full, starves another.
    async fn turn(&mut self, batch: &mut Vec<(Now, Input)>) -> Turn {
        let engine_wakes = self.engine.wake_at().map(|at| self.common.clock.instant(at));
        let gives_up = self.closing.as_ref().map(|closing| closing.deadline);
        let wake = engine_wakes.into_iter().chain(gives_up).min();
        // Dropped handles are told once; then the pool is closing.
        let listens = self.closing.is_none() || !self.commands.is_closed();
        tokio::select! {
            command = self.commands.recv(), if listens => Turn::Command(command),
            Some(release) = self.releases.recv() => Turn::Release(release),
            _ = self.inputs.recv_many(batch, INPUT_BATCH) => Turn::Inputs,
            Some(ended) = self.tasks.join_next_with_id() => Turn::Ended(ended),
            state = saving::changed(&mut self.saver) => Turn::Saving(state),
            () = sleep_or_never(wake) => Turn::Wake,
        }
    }

    /// Whether the pool is closed and every connection has ended, or was given its time.
    fn is_over(&self) -> bool {
        let Some(closing) = &self.closing else { return false };
        self.peers.is_empty() || closing.deadline <= Instant::now()
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.handle_at(self.common.clock.now(), input);
    }

    pub(crate) fn handle_at(&mut self, now: Now, input: Input) {
        self.engine.handle(now, input);
        while let Some(output) = self.engine.poll() {
            self.on_output(output);
        }
        self.hand_over(now);
    }

    fn on_batch(&mut self, batch: &mut Vec<(Now, Input)>) {
        for (now, input) in batch.drain(..) {
            self.handle_at(now, input);
        }
    }

    /// Handles the inputs that are queued now; later ones wait for their turn.
    fn take_waiting_inputs(&mut self) {
        for _ in 0..self.inputs.len() {
            let Ok((now, input)) = self.inputs.try_recv() else { return };
            self.handle_at(now, input);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Lease { lease, require, wait, reply } => {
                // An abandoned request may have been released before it came here.
                if !reply.is_closed() {
                    self.waiting.insert(lease, reply);
                    self.tell_loads();
                    self.handle(Input::Lease { lease, require, wait });
                }
            }
            Command::Add(address) => self.handle(Input::AddManual(address)),
            Command::Bans(command) => self.on_ban_command(command),
            Command::Explain(address, reply) => {
                let now = self.common.clock.now();
                // The caller may be gone.
                let _ = reply.send(self.engine.book().explain(now, &address));
            }
            Command::Report(reply) => {
                self.tell_loads();
                let status = self.status();
                let failures = self.failures.iter().copied().collect();
                // The caller may be gone; then nobody needs the report.
                let _ = reply.send(Report { status, failures });
            }
            Command::Close { grace, done } => self.on_close(grace, Some(done)),
        }
    }

    /// What connections have to do changes all the time. The engine need know it only where it
    /// chooses among them.
    fn tell_loads(&mut self) {
        let changed = |(peer, it): (&PeerId, &mut Peer)| {
            let requests = it.load.load(Relaxed);
            let before = std::mem::replace(&mut it.told_load, requests);
            (before != requests).then_some(Input::Load { peer: *peer, requests })
        };
        let changed: Vec<Input> = self.peers.iter_mut().filter_map(changed).collect();
        for input in changed {
            self.handle(input);
        }
    }

    fn on_close(&mut self, grace: Duration, done: Option<oneshot::Sender<()>>) {
        let deadline = Instant::now() + grace;
        match &mut self.closing {
            Some(closing) => {
                closing.deadline = closing.deadline.min(deadline);
                closing.done.extend(done);
            }
            None => {
                self.closing = Some(Closing { deadline, done: Vec::from_iter(done) });
                self.handle(Input::Close);
            }
        }
    }

    fn on_release(&mut self, Release { lease, report }: Release) {
        self.waiting.remove(&lease);
        if let Some(peer) = self.held.remove(&lease) {
            self.order(peer, Order::Detach(lease));
        }
        if let Some(lease::Report { peer, address, misbehavior, reason }) = report {
            self.handle(Input::Report { peer, address, misbehavior, reason });
        }
        self.handle(Input::Release { lease });
    }

    fn on_ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) => (error.id(), None),
        };
        match (self.jobs.remove(&id), outcome) {
            (Some(Job::Peer(peer)), Some(Outcome::Peer(end))) => self.on_peer_ended(peer, end),
            (Some(Job::Seed(seed)), Some(Outcome::Seed(result))) => {
                self.handle(Input::SeedAnswer { seed, result });
            }
            // The task panicked. The slot is freed all the same.
            (Some(Job::Peer(peer)), _) => {
                tracing::error!(%peer, "a connection's task failed");
                self.on_peer_ended(peer, End::Closed(DisconnectReason::Broken));
            }
            (Some(Job::Seed(seed)), _) => {
                let result = Err("the resolver's task failed".to_owned());
                self.handle(Input::SeedAnswer { seed, result });
            }
            (None, _) => {}
        }
    }

    /// Tells the engine of a peer's end; the only place that does, and once for each dial.
    fn on_peer_ended(&mut self, peer: PeerId, end: End) {
        let Some(gone) = self.peers.get(&peer) else { return };
        self.handle(match end {
            End::Dial(error) if !gone.asked => Input::DialFailed { peer, error },
            End::Dial(_) => Input::Closed { peer, reason: DisconnectReason::PoolClosed },
            End::Closed(reason) => Input::Closed { peer, reason },
        });
        // Only now: what is told of its end is told of a private one, if it is one.
        self.peers.remove(&peer);
        self.count_ready();
    }

    /// Ends what is left, tells the last events, and says that it is over.
    async fn finish(mut self) {
        self.tasks.shutdown().await;
        let left: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in left {
            self.on_peer_ended(peer, End::Closed(DisconnectReason::PoolClosed));
        }
        self.finish_saving().await;
        // Nobody else sets it, so it is unset.
        let _ = self.last.set(self.status());
        let done = self.closing.take().map(|closing| closing.done).unwrap_or_default();
        // Ends the streams of events and refuses callers, before the close returns.
        drop(self);
        for caller in done {
            let _ = caller.send(());
        }
    }
}

async fn sleep_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
