//! The task of a node that accepts connections: it owns the listener and the task of each
//! connection, and logs what it accepts.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peerpool_core::rng::Rng;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::line::Line;
use super::node::Common;
use crate::actor::{Actor, ByteActor, Kind, Listing, Stage};

/// Connections that the kernel holds ready for a node's accept.
const BACKLOG: u32 = 128;
/// Most connections to one node; more wait in the backlog.
const LINKS_MAX: usize = 256;
/// Pause after a failed accept, which is the machine's fault: no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// How often, and at which interval, an accept looks whether unread bytes were the last of an older
/// connection, before it takes that for live.
const SETTLE_TRIES: usize = 50;
const SETTLE_INTERVAL: Duration = Duration::from_millis(2);
/// How often a node that reads nothing looks whether the other side has closed.
const HANG_UP_INTERVAL: Duration = Duration::from_millis(20);

/// What a node is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Close every connection.
    DropLinks,
    /// Read, write and accept nothing, or go on with it.
    Stall(bool),
}

/// An order, with a way to say that it is done.
pub(super) type Told = (Order, oneshot::Sender<()>);

/// Why a node's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Nobody gives orders any more.
    Stopped,
    /// Its time had come.
    Natural,
}

/// Stretches of a node's life, as long as the builder says.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Vanishing,
    Up,
    Down,
}

/// The task of a node that listens.
pub(super) struct Server {
    address: SocketAddr,
    built_as: Kind,
    plays: Kind,
    common: Arc<Common>,
    rng: Rng,
    links: JoinSet<()>,
    /// The sockets of `links`, and of some that ended.
    streams: Vec<Weak<TcpStream>>,
    stalled: watch::Sender<bool>,
}

impl Server {
    pub(super) fn new(
        address: SocketAddr,
        built_as: Kind,
        plays: Kind,
        common: Arc<Common>,
        rng: Rng,
    ) -> Self {
        let (links, streams) = (JoinSet::new(), Vec::new());
        let stalled = watch::Sender::new(false);
        Self { address, built_as, plays, common, rng, links, streams, stalled }
    }

    /// Serves until `orders` has no sender left, or its time to vanish comes; then closes all. A
    /// flapping node comes back by itself.
    pub(super) async fn run(mut self, listener: TcpListener, mut orders: mpsc::Receiver<Told>) {
        let mut listener = Some(listener);
        while let Some(listening) = listener.take() {
            let death = self.live(listening, &mut orders).await;
            if death == Death::Natural && self.plays == Kind::Flapping {
                listener = self.lie_dead(&mut orders).await;
            }
        }
    }

    async fn live(&mut self, listener: TcpListener, orders: &mut mpsc::Receiver<Told>) -> Death {
        let mut dies_at = (self.plays == Kind::Flapping).then(|| self.in_a_while(Phase::Up));
        let death = loop {
            let accepts = self.links.len() < LINKS_MAX && !*self.stalled.borrow();
            tokio::select! {
                biased;
                told = orders.recv() => match told {
                    Some(told) => self.obey(told).await,
                    None => break Death::Stopped,
                },
                () = sleep_until(dies_at.unwrap_or_else(Instant::now)), if dies_at.is_some() => {
                    break Death::Natural;
                }
                Some(_) = self.links.join_next() => {}
                accepted = listener.accept(), if accepts => match accepted {
                    Ok((stream, peer)) => {
                        self.on_accept(stream, peer).await;
                        if self.plays == Kind::Vanishing && dies_at.is_none() {
                            dies_at = Some(self.in_a_while(Phase::Vanishing));
                        }
                    }
                    Err(_) => sleep(ACCEPT_RETRY).await,
                },
            }
        };
        drop(listener);
        self.links.shutdown().await;
        death
    }

    /// The time between two lives; `None` if nobody gives orders any more.
    async fn lie_dead(&mut self, orders: &mut mpsc::Receiver<Told>) -> Option<TcpListener> {
        let mut rises_at = self.in_a_while(Phase::Down);
        loop {
            tokio::select! {
                told = orders.recv() => self.obey(told?).await,
                () = sleep_until(rises_at) => match listen(self.address) {
                    Ok(listener) => return Some(listener),
                    Err(_) => rises_at = Instant::now() + ACCEPT_RETRY,
                },
            }
        }
    }

    async fn obey(&mut self, (order, done): Told) {
        match order {
            Order::DropLinks => self.links.shutdown().await,
            // Waits for what a connection is at: it holds the value meanwhile.
            Order::Stall(stall) => {
                self.stalled.send_replace(stall);
            }
        }
        // Nobody may wait any more: it is done all the same.
        let _ = done.send(());
    }

    /// The end of a phase that begins now.
    fn in_a_while(&mut self, phase: Phase) -> Instant {
        let (from, to) = match phase {
            Phase::Vanishing => &self.common.vanish_after,
            Phase::Up => &self.common.flap_up,
            Phase::Down => &self.common.flap_down,
        }
        .clone()
        .into_inner();
        Instant::now() + self.rng.between(from, to)
    }

    async fn on_accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.forget_ended().await;
        let stream = Arc::new(stream);
        self.streams.push(Arc::downgrade(&stream));
        let logged = Logged::new(&self.common, self.address, self.built_as, self.streams.len());
        let node = Listing { address: self.address, kind: self.plays };
        let actor = Actor::new(node, peer, Rng::from_u64(self.rng.u64()));
        let actor = ByteActor::new(actor, &self.common.roster.profile);
        let near = self.plays == Kind::NearSybil;
        let round_trip = if near { Duration::ZERO } else { self.common.latency };
        let stalled = self.stalled.subscribe();
        self.links.spawn(async move {
            // A broken connection is the other side's affair: there is no one to tell.
            let _ = Line::new(&stream, actor, round_trip, &logged).run(stalled).await;
        });
    }

    /// Drops from `streams` what the other side has closed, though the task of that connection may
    /// not have been told yet: without this, a quick redial would be logged as a second connection
    /// at the same time.
    async fn forget_ended(&mut self) {
        for _ in 0..SETTLE_TRIES {
            let mut unread = false;
            self.streams.retain(|link| {
                let end = link.upgrade().map_or(End::Closed, |stream| far_end(&stream));
                unread |= end == End::Unread;
                end != End::Closed
            });
            if !unread {
                break;
            }
            // The end may follow what is unread: let the task of that connection read it.
            sleep(SETTLE_INTERVAL).await;
        }
    }
}

/// A connection that counts as live until this is dropped.
pub(super) struct Logged {
    pub(super) common: Arc<Common>,
    place: Option<usize>,
}

impl Logged {
    fn new(common: &Arc<Common>, address: SocketAddr, kind: Kind, concurrent: usize) -> Self {
        let place = common.log.open(address, kind, concurrent);
        Self { common: Arc::clone(common), place }
    }

    pub(super) fn on_read(&self, count: usize, stage: Stage) {
        self.common.log.read(self.place, count, stage);
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.common.log.close(self.place);
    }
}

/// What the other side of a connection has done, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    /// Cannot be told before these bytes are read.
    Unread,
}

/// Where what is unread hides the end, the event that told of it shows it, if it has come.
fn far_end(stream: &TcpStream) -> End {
    let Ok(descriptor) = stream.as_fd().try_clone_to_owned() else { return End::Open };
    match std::net::TcpStream::from(descriptor).peek(&mut [0]) {
        Ok(0) => End::Closed,
        Ok(_) if is_hung_up(stream) => End::Closed,
        Ok(_) => End::Unread,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => End::Open,
        Err(_) => End::Closed,
    }
}

/// Whether the other side is known to have closed, whatever is left to read. Known at the latest
/// when the task of a connection could know it.
fn is_hung_up(stream: &TcpStream) -> bool {
    let mut ready = pin!(stream.ready(Interest::READABLE));
    let mut context = Context::from_waker(Waker::noop());
    let known = ready.as_mut().poll(&mut context);
    matches!(known, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// Waits until the other side has closed, without reading what it sent before. A close that comes
/// after more than the kernel's buffers hold does not arrive.
pub(super) async fn hung_up(stream: &TcpStream) {
    while !is_hung_up(stream) {
        sleep(HANG_UP_INTERVAL).await;
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, BACKLOG)
}

/// Listens, with room for so many connections that are not accepted yet.
pub(super) fn listen_with(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // A node comes back at its address while its old connections are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}
