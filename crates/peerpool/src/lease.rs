//! Leases: what a holder does with a peer, and how it gives it back. Who gets one is the engine's
//! decision.
//!
//! A [`Ticket`] carries the reserved place for its own release, so giving a lease back, or no
//! longer waiting for one, neither blocks nor fails.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::message::NetworkMessage;
use peerpool_core::address::Address;
use peerpool_core::event::{DialError, PeerVersion, Status};
use peerpool_core::id::{LeaseId, PeerId};
use peerpool_core::io::Refusal;
use peerpool_core::misbehavior::Misbehavior;
use peerpool_core::policy::Policy;
use peerpool_core::query::Pending;
use peerpool_core::require::Unmet;
use peerpool_core::wire::{self, RawMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::times::Times;

/// A lease given back, and what its holder has to say of the peer.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) lease: LeaseId,
    pub(crate) report: Option<Report>,
}

/// What a holder says of its peer.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) peer: PeerId,
    pub(crate) address: Address,
    pub(crate) misbehavior: Misbehavior,
    pub(crate) reason: String,
}

/// The right to one lease, from the request on. Dropping it is the release.
#[derive(Debug)]
pub(crate) struct Ticket {
    lease: LeaseId,
    permit: Option<mpsc::OwnedPermit<Release>>,
    report: Option<Report>,
}

impl Ticket {
    pub(crate) fn new(lease: LeaseId, permit: mpsc::OwnedPermit<Release>) -> Self {
        Self { lease, permit: Some(permit), report: None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.send(Release { lease: self.lease, report: self.report.take() });
        }
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Waiter {
    // Above the ticket, so that it is dropped first: a driver that meets the release before the
    // request then finds the request abandoned, and grants nothing.
    pub(crate) answer: oneshot::Receiver<Result<Grant, Refusal>>,
    pub(crate) ticket: Ticket,
}

/// What the driver hands to a request that it grants.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) peer: PeerId,
    pub(crate) address: Address,
    pub(crate) version: Arc<PeerVersion>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: mpsc::Sender<Request>,
    /// How long a query has, unless its caller says otherwise.
    pub(crate) query_timeout: Duration,
    /// How long its answers take, and those of its network.
    pub(crate) times: [Arc<Times>; 2],
}

/// What the holder of a lease wants of its peer, on the way to the connection.
#[derive(Debug)]
pub(crate) enum Request {
    /// To be sent.
    Message(Box<NetworkMessage>),
    /// To be asked.
    Query(Box<Question>),
}

/// A query to be asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) query: Box<dyn Pending>,
    /// When its answer must have come.
    pub(crate) deadline: Instant,
    /// A random number of its own.
    pub(crate) nonce: u64,
}

/// What waits for the holder of a lease, in numbers.
#[derive(Debug, Default)]
struct Gauge {
    bytes: AtomicUsize,
    missed: AtomicU64,
}

/// The connection's end of a lease's queue.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) lease: LeaseId,
    sender: mpsc::Sender<RawMessage>,
    gauge: Arc<Gauge>,
    max_bytes: usize,
}

/// The holder's end of a lease's queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: mpsc::Receiver<RawMessage>,
    gauge: Arc<Gauge>,
}

/// A queue of at most `Policy::lease_queue` messages, and of at most the bytes of four of the
/// longest ones: the count alone would let one holder keep a gigabyte of blocks waiting.
pub(crate) fn queue(lease: LeaseId, policy: &Policy) -> (Tap, Inbox) {
    let (sender, receiver) = mpsc::channel(policy.lease_queue);
    let gauge = Arc::new(Gauge::default());
    let max_bytes = policy.max_message_size.saturating_mul(4);
    (Tap { lease, sender, gauge: Arc::clone(&gauge), max_bytes }, Inbox { receiver, gauge })
}

impl Tap {
    /// Queues a message, or counts it as missed. False once the holder is gone.
    pub(crate) fn offer(&self, message: &RawMessage) -> bool {
        let bytes = message.payload.len();
        if self.gauge.bytes.load(Relaxed).saturating_add(bytes) > self.max_bytes {
            self.gauge.missed.fetch_add(1, Relaxed);
            return !self.sender.is_closed();
        }
        // Counted before it is queued: the holder may take it at once and must not count below 0.
        self.gauge.bytes.fetch_add(bytes, Relaxed);
        match self.sender.try_send(message.clone()) {
            Ok(()) => true,
            Err(error) => {
                self.gauge.bytes.fetch_sub(bytes, Relaxed);
                self.gauge.missed.fetch_add(1, Relaxed);
                matches!(error, mpsc::error::TrySendError::Full(_))
            }
        }
    }
}

impl Inbox {
    pub(crate) async fn recv(&mut self) -> Option<RawMessage> {
        let message = self.receiver.recv().await?;
        self.gauge.bytes.fetch_sub(message.payload.len(), Relaxed);
        Some(message)
    }

    pub(crate) fn missed(&self) -> u64 {
        self.gauge.missed.load(Relaxed)
    }
}

/// A ready peer, lent: one of its slots, not the peer alone. Several leases share a peer, up to
/// `Policy::slots_per_peer`, and each is given every message the peer sends, but for what answers a
/// query.
///
/// Dropping the lease gives it back; that neither blocks nor fails. A lease does not keep the pool
/// alive.
///
/// ```
/// # use peerpool::{GetBlock, GetCFilters, GetHeaders, Ping, Pool, Require, ServiceFlags};
/// # use peerpool::bitcoin::{Network, constants::genesis_block};
/// # use peerpool_sim::actor::{Kind, Mix};
/// # use peerpool_sim::devnet::Devnet;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
/// # let all = ServiceFlags::NETWORK | ServiceFlags::WITNESS | ServiceFlags::NETWORK_LIMITED;
/// # let devnet = devnet.services(all | ServiceFlags::COMPACT_FILTERS);
/// # let devnet = devnet.start().await?;
/// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
/// let pool = builder.target(2).start().await?;
/// let lease = pool.lease(&Require::services(ServiceFlags::COMPACT_FILTERS)).await?;
/// println!("{} is {:?} away", lease.address(), lease.query(Ping::new()).await?);
///
/// let genesis = genesis_block(Network::Regtest).block_hash();
/// let headers = lease.query(GetHeaders::after([genesis])).await?;
/// let hash = headers[6].block_hash();
/// let block = lease.query(GetBlock(hash)).await?;
/// assert_eq!(block.block_hash(), hash);
/// let filters = lease.query(GetCFilters::new(7, hash)).await?; // of block 7 alone
/// assert_eq!(filters[0].block_hash, hash);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Lease {
    peer: PeerId,
    address: Address,
    version: Arc<PeerVersion>,
    inbox: Inbox,
    pub(crate) outbox: mpsc::Sender<Request>,
    pub(crate) query_timeout: Duration,
    pub(crate) times: [Arc<Times>; 2],
    ticket: Ticket,
}

impl Lease {
    pub(crate) fn new(grant: Grant, ticket: Ticket) -> Self {
        let Grant { peer, address, version, inbox, outbox, query_timeout, times } = grant;
        Self { peer, address, version, inbox, outbox, query_timeout, times, ticket }
    }

    /// The lease's own name, as in [`Event::Leased`](crate::Event::Leased).
    pub fn id(&self) -> LeaseId {
        self.ticket.lease
    }

    /// The peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The peer's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The services the peer says it has.
    pub fn services(&self) -> ServiceFlags {
        self.version.services
    }

    /// What the peer said of itself in its `version`.
    pub fn version(&self) -> &PeerVersion {
        &self.version
    }

    /// Queues a message to the peer; waits while the peer reads slower than its holders send. A
    /// message that waits in the queue goes out even if the lease is given back meanwhile. Cancel
    /// safe: a dropped call has queued the message or not at all.
    ///
    /// # Errors
    /// The peer is gone, or the message belongs to the pool: `version`, `verack`, `wtxidrelay`,
    /// `sendaddrv2` and `getaddr` are sent once per connection, by the pool itself.
    pub async fn send(&self, message: NetworkMessage) -> Result<(), SendError> {
        if wire::is_reserved(&message) {
            return Err(SendError::Reserved { command: message.cmd() });
        }
        let request = Request::Message(Box::new(message));
        self.outbox.send(request).await.map_err(|_| SendError::Disconnected)
    }

    /// The next message of the peer, in the order sent, but for what answers a query; what cannot be
    /// decoded comes as `NetworkMessage::Unknown`. The handshake is over and not among them; pings are, and the pool
    /// answers them. What came before the peer left can still be received. Cancel safe.
    ///
    /// # Errors
    /// The peer is gone, and everything it sent was received.
    pub async fn recv(&mut self) -> Result<NetworkMessage, Disconnected> {
        let message = self.inbox.recv().await.ok_or(Disconnected)?;
        Ok(wire::decode(&message))
    }

    /// Gives the lease back, and tells the pool what its peer did. Neither blocks nor fails. All
    /// links to the peer's host are dropped, and it is not dialled for `Policy::discourage_memory`;
    /// after [`Misbehavior::Useless`], which proves nothing, for `Policy::useless_memory`. The slot
    /// goes to another peer. It counts though the peer is gone by now.
    ///
    /// Say only what you have seen of this peer yourself. Slow, stale or silent peers need no
    /// report: the pool leaves them by itself. Of a peer whose address you named yourself it is
    /// only told, as [`Event::Misbehaved`](crate::Event::Misbehaved): it is yours to ban.
    ///
    /// `reason` is for events and logs, and cut to 256 bytes.
    pub fn report(mut self, misbehavior: Misbehavior, reason: impl Into<String>) {
        let (peer, address, reason) = (self.peer, self.address, reason.into());
        self.ticket.report = Some(Report { peer, address, misbehavior, reason });
    }

    /// Waits until the peer is gone. Cancel safe.
    pub async fn closed(&self) {
        self.outbox.closed().await;
    }

    /// Messages of the peer that were dropped because this holder received too slowly: more than
    /// `Policy::lease_queue` waited, or more bytes than four of the longest messages have.
    pub fn missed(&self) -> u64 {
        self.inbox.missed()
    }
}

/// The peer of a lease is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the leased peer is gone")
    }
}

impl std::error::Error for Disconnected {}

/// Why a message was not queued to a leased peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer is gone.
    Disconnected,
    /// The message is the pool's to send.
    Reserved {
        /// Its command.
        command: &'static str,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => Disconnected.fmt(f),
            Self::Reserved { command } => {
                write!(f, "`{command}` is sent by the pool itself, once per connection")
            }
        }
    }
}

impl std::error::Error for SendError {}

/// A dial that failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// When.
    pub at: SystemTime,
    /// Where to.
    pub address: Address,
    /// Why.
    pub error: DialError,
}

/// Why there is no lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LeaseError {
    /// No peer that meets the requirement became free in time.
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// The pool as it was then.
        status: Box<Status>,
        /// The last dials that failed, oldest first; at most 8.
        failures: Vec<DialFailure>,
    },
    /// No peer that meets the requirement is free now.
    NoneFree,
    /// `Policy::max_waiters` callers wait already.
    TooManyWaiters,
    /// No peer of this pool ever meets the requirement, and this is why.
    Unsatisfiable(Unmet),
    /// The pool is closed.
    Closed,
}

impl From<Refusal> for LeaseError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoneFree => Self::NoneFree,
            Refusal::TooManyWaiters => Self::TooManyWaiters,
            Refusal::Unsatisfiable(unmet) => Self::Unsatisfiable(unmet),
            Refusal::Closed => Self::Closed,
        }
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { waited, status, failures } => {
                write!(
                    f,
                    "no fitting peer was free for {waited:.1?}: {} of {} ready, {} connecting, \
                     {} addresses available, {} leases held",
                    status.ready_count(),
                    status.target,
                    status.connecting.len() + status.connected.len(),
                    status.available,
                    status.leases,
                )?;
                let state = [(status.starved, "starved"), (status.offline, "offline")];
                for (_, word) in state.iter().filter(|(holds, _)| *holds) {
                    write!(f, ", {word}")?;
                }
                for DialFailure { address, error, .. } in failures {
                    write!(f, "; {address} {}", error.as_str())?;
                }
                Ok(())
            }
            Self::NoneFree => f.write_str("no fitting peer is free now"),
            Self::Unsatisfiable(unmet) => f.write_str(unmet.as_str()),
            Self::TooManyWaiters => f.write_str("too many callers wait for a lease already"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl std::error::Error for LeaseError {}
