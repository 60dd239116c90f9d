//! The pool's handle: turns calls into commands to the driver. It decides nothing and holds no
//! state of the pool.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use peerpool_core::address::Address;
use peerpool_core::book::Explanation;
use peerpool_core::chain::Chain;
use peerpool_core::event::{PoolStatus, Status};
use peerpool_core::id::{LeaseId, PoolId};
use peerpool_core::require::Require;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::ask::Flights;
use crate::builder::Builder;
use crate::driver::{Command, Report};
use crate::events::{Events, Stamped};
use crate::lease::{Lease, LeaseError, Release, Ticket, Waiter};

/// A running pool. Cheap to clone; all clones are the same pool.
///
/// Dropping the last clone stops the pool at once: its engine, its dials and its connections, those
/// of held leases too. [`Pool::close`] does it politely.
///
/// ```
/// # use std::time::Duration;
/// # use peerpool::{GetHeaders, Pool};
/// # use peerpool::bitcoin::{Network, constants::genesis_block};
/// # use peerpool_sim::actor::{Kind, Mix};
/// # use peerpool_sim::devnet::Devnet;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
/// # let devnet = devnet.start().await?;
/// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
/// let pool = builder.target(4).start().await?; // builder: of a network to try it on
/// pool.ready(4).await?;
/// assert_eq!(pool.status().await.ready_count(), 4);
///
/// let genesis = genesis_block(Network::Regtest).block_hash();
/// let headers = pool.ask(GetHeaders::after([genesis])).await?;
/// assert_eq!(headers[0].prev_blockhash, genesis);
/// pool.close(Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    /// Which of those that share the addr book.
    id: PoolId,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) releases: mpsc::Sender<Release>,
    /// Ready peers of each pool.
    pub(crate) ready: watch::Receiver<Vec<usize>>,
    /// Weak, so that subscribers see the end when the driver is gone.
    pub(crate) events: broadcast::WeakSender<Stamped>,
    /// Made before the first event, for the first subscriber.
    pub(crate) first: Mutex<Option<broadcast::Receiver<Stamped>>>,
    /// Set by the driver when it ends.
    pub(crate) last: Arc<OnceLock<Status>>,
    /// Every pool, as it was at the start.
    pub(crate) pools: Vec<PoolStatus>,
    pub(crate) lease_timeout: Duration,
    pub(crate) query_timeout: Duration,
    pub(crate) private_retry: Duration,
    pub(crate) ask_hedge_delay: Duration,
    pub(crate) next_lease: AtomicU64,
    pub(crate) flights: Flights,
}

impl Pool {
    /// A pool on this chain, to be configured and started.
    pub fn builder(chain: impl Into<Chain>) -> Builder {
        Builder::new(chain.into())
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), id: PoolId::MAIN }
    }

    /// The pool of this name, as [`Builder::named`] or [`Builder::separate`] gave it, or the main
    /// one, `main`. `None` if there is none. Waiting, leases, asks and broadcasts are each pool's
    /// own; status, events, the addr book and the close are common to all.
    ///
    /// ```
    /// # use peerpool::{Pool, Require};
    /// # use peerpool_sim::actor::{Kind, Mix};
    /// # use peerpool_sim::devnet::Devnet;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
    /// # let devnet = devnet.start().await?;
    /// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
    /// let pool = builder.target(3).named("wallet", 2).start().await?;
    /// let wallet = pool.named("wallet").expect("it was named");
    /// wallet.ready(2).await?;
    /// let lease = wallet.lease(&Require::any()).await?; // of one of its two peers
    /// assert_eq!((wallet.name(), pool.name()), ("wallet", "main"));
    /// # Ok(()) }
    /// ```
    pub fn named(&self, name: &str) -> Option<Self> {
        let place = self.shared.pools.iter().position(|pool| pool.name == name)?;
        Some(Self { shared: Arc::clone(&self.shared), id: PoolId(place as u64) })
    }

    /// The name of this pool; `main` for the one that [`Builder::start`] gives.
    pub fn name(&self) -> &str {
        self.own().map_or("main", |pool| &pool.name)
    }

    fn own(&self) -> Option<&PoolStatus> {
        self.shared.pools.get(self.place())
    }

    fn place(&self) -> usize {
        usize::try_from(self.id.0).unwrap_or(usize::MAX)
    }

    /// Waits until at least `n` peers that count toward this pool's target are ready. Cancel safe.
    ///
    /// # Errors
    /// At once if `n` is above that target; [`ReadyError::Closed`] if the pool closes.
    pub async fn ready(&self, n: usize) -> Result<(), ReadyError> {
        let unsatisfiable = |target| ReadyError::Unsatisfiable { wanted: n, target };
        let target = self.own().map_or(0, |pool| pool.target);
        if n > target {
            return Err(unsatisfiable(target));
        }
        // Where only named addresses are dialled, there may be fewer of them.
        let report = self.report().await.ok_or(ReadyError::Closed)?;
        if n > report.status.target {
            return Err(unsatisfiable(report.status.target));
        }
        let mut ready = self.shared.ready.clone();
        let place = self.place();
        let reached =
            ready.wait_for(|counts| counts.get(place).is_some_and(|count| *count >= n)).await;
        reached.map(|_| ()).map_err(|_| ReadyError::Closed)
    }

    /// A snapshot of the pool; after its close, the last one. Cancel safe.
    pub async fn status(&self) -> Status {
        match self.report().await {
            Some(report) => report.status,
            None => self.shared.last.get().cloned().unwrap_or_default(),
        }
    }

    /// Everything that happens from now on. The first subscriber is also given what happened since
    /// the start, as far as `Policy::event_queue` holds it.
    pub fn subscribe(&self) -> Events {
        let mut first = self.shared.first.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver =
            first.take().or_else(|| self.shared.events.upgrade().map(|sender| sender.subscribe()));
        Events::new(receiver)
    }

    /// Adds an address of the user's own: dialled before others, never burned, backed off from
    /// instead. Cancel safe. Without effect on a closed pool.
    pub async fn add(&self, address: impl Into<Address>) {
        let _ = self.shared.commands.send(Command::Add(address.into())).await;
    }

    /// Whether an address may be dialled now, and which rule of the addr book says so. `None` once
    /// the pool is closed. Cancel safe.
    pub async fn explain(&self, address: impl Into<Address>) -> Option<Explanation> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Explain(address.into(), reply);
        self.shared.commands.send(command).await.ok()?;
        answer.await.ok()
    }

    /// Leases a ready peer; waits for one for up to `Policy::lease_timeout`. Waiting callers are
    /// served in order, each by the first peer that meets its requirement. Cancel safe: dropping
    /// the call withdraws it and leaks nothing.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn lease(&self, require: &Require) -> Result<Lease, LeaseError> {
        self.lease_timeout(require, self.shared.lease_timeout).await
    }

    /// As [`Pool::lease`], waiting for up to `timeout`. Cancel safe.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn lease_timeout(
        &self,
        require: &Require,
        timeout: Duration,
    ) -> Result<Lease, LeaseError> {
        let begun = Instant::now();
        if let Ok(result) = tokio::time::timeout(timeout, self.request(require, true)).await {
            return result;
        }
        Err(self.timed_out(begun.elapsed()).await)
    }

    /// Why nobody was there for so long, as far as the pool tells.
    pub(crate) async fn timed_out(&self, waited: Duration) -> LeaseError {
        match self.report().await {
            None => LeaseError::Closed,
            Some(Report { status, failures }) => {
                LeaseError::TimedOut { waited, status: Box::new(status), failures }
            }
        }
    }

    /// Leases a peer that is free now. Cancel safe.
    ///
    /// # Errors
    /// [`LeaseError::NoneFree`] in place of a wait.
    pub async fn try_lease(&self, require: &Require) -> Result<Lease, LeaseError> {
        self.request(require, false).await
    }

    /// Closes the pool: gives up dials, takes no new leases, tells every connection to send what is
    /// queued and end, waits for them up to `grace`, then ends them by force. Subscribers are given
    /// the last events, then the end. Idempotent; of several graces the shortest counts. Cancel
    /// safe: a dropped call that was polled once has closed the pool all the same.
    pub async fn close(&self, grace: Duration) {
        let (done, closed) = oneshot::channel();
        if self.shared.commands.send(Command::Close { grace, done }).await.is_ok() {
            // An error means that the driver is gone: closed is closed.
            let _ = closed.await;
        }
    }

    /// How long a query of the pool may take in all.
    pub(crate) fn ask_timeout(&self) -> Duration {
        self.shared.lease_timeout.saturating_add(self.shared.query_timeout)
    }

    /// How long a private broadcast waits for somebody else's word.
    pub(crate) fn private_retry(&self) -> Duration {
        self.shared.private_retry
    }

    /// When an answer is late, where there were too few to tell.
    pub(crate) fn ask_hedge_delay(&self) -> Duration {
        self.shared.ask_hedge_delay
    }

    /// Queries of the pool that are under way.
    pub(crate) fn flights(&self) -> Flights {
        self.shared.flights.clone()
    }

    pub(crate) const fn id(&self) -> PoolId {
        self.id
    }

    pub(crate) fn commands(&self) -> &mpsc::Sender<Command> {
        &self.shared.commands
    }

    async fn report(&self) -> Option<Report> {
        let (reply, answer) = oneshot::channel();
        self.shared.commands.send(Command::Report(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn request(&self, require: &Require, wait: bool) -> Result<Lease, LeaseError> {
        let shared = &*self.shared;
        let permit = shared.releases.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LeaseError::TooManyWaiters,
            mpsc::error::TrySendError::Closed(_) => LeaseError::Closed,
        })?;
        let lease = LeaseId(shared.next_lease.fetch_add(1, Relaxed));
        let (reply, answer) = oneshot::channel();
        let mut waiter = Waiter { answer, ticket: Ticket::new(lease, permit) };
        let require = require.clone().of_pool(self.id);
        let command = Command::Lease { lease, require, wait, reply };
        shared.commands.send(command).await.map_err(|_| LeaseError::Closed)?;
        let grant = (&mut waiter.answer).await.map_err(|_| LeaseError::Closed)??;
        Ok(Lease::new(grant, waiter.ticket))
    }
}

/// Why [`Pool::ready`] does not wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyError {
    /// More peers than the pool will ever keep.
    Unsatisfiable {
        /// Peers asked for.
        wanted: usize,
        /// The pool's target.
        target: usize,
    },
    /// The pool is closed.
    Closed,
}

impl fmt::Display for ReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsatisfiable { wanted, target } => {
                write!(f, "{wanted} ready peers can never be: the target is {target}")
            }
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl std::error::Error for ReadyError {}
