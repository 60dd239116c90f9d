//! One node: its listener, its connections, and how it dies and comes back. Each serving node is
//! a task that owns its listener and the tasks of its connections; the task ends when its
//! [`Node`] lets go of it.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::DevnetError;
use super::log::Log;
use crate::actor::{Actor, Kind, Next, Roster};

/// Most connections to one node; more wait in the backlog.
const LINKS_MAX: usize = 256;
/// Connections that the kernel holds ready for a node's accept.
const BACKLOG: u32 = 128;
/// Pause after a failed accept, which is the machine's fault: no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// What the nodes of a devnet share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) roster: Arc<Roster>,
    pub(super) log: Log,
    pub(super) vanish_after: RangeInclusive<Duration>,
}

impl Common {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: Monotonic::new(self.log.since_start()), unix: UnixTime(unix.as_secs()) }
    }
}

/// A node of the devnet, alive or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    /// What it was built as.
    pub(super) kind: Kind,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What it behaves as; differs from `kind` once revived.
    plays: Kind,
    life: Life,
    /// Stopped by a pause, to be started by the resume.
    paused: bool,
    rng: Rng,
}

#[derive(Debug)]
enum Life {
    /// Nothing is bound.
    Stopped,
    /// A backlog of none, filled by a connection of our own: the kernel drops every further SYN.
    Silent { _listener: TcpListener, _filler: TcpStream },
    /// A task accepts connections. It ends when `orders` is dropped.
    Serving { orders: mpsc::Sender<DropLinks>, task: JoinHandle<()> },
}

/// The order to close every connection, with a way to say that it is done.
type DropLinks = oneshot::Sender<()>;

impl Life {
    fn is_over(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Silent { .. } => false,
            Self::Serving { task, .. } => task.is_finished(),
        }
    }
}

impl Node {
    pub(super) fn new(address: SocketAddr, kind: Kind, common: Arc<Common>, rng: Rng) -> Self {
        let state = State { plays: kind, life: Life::Stopped, paused: false, rng };
        Self { address, kind, common, state: Mutex::new(state) }
    }

    /// Brings the node to life unless it lives.
    pub(super) async fn start(&self) -> Result<(), DevnetError> {
        self.start_locked(&mut *self.state.lock().await).await
    }

    /// Closes its listener and its connections.
    pub(super) async fn stop(&self) {
        stop_locked(&mut *self.state.lock().await).await;
    }

    /// Closes its connections.
    pub(super) async fn drop_links(&self) {
        let Life::Serving { orders, .. } = &self.state.lock().await.life else { return };
        let (done, dropped) = oneshot::channel();
        if orders.send(done).await.is_ok() {
            // An error means that the node died meanwhile, and its connections with it.
            let _ = dropped.await;
        }
    }

    /// Makes it honest, and starts it.
    pub(super) async fn revive(&self) -> Result<(), DevnetError> {
        let state = &mut *self.state.lock().await;
        stop_locked(state).await;
        state.plays = Kind::Honest;
        self.start_locked(state).await
    }

    /// Stops it until [`Node::resume`], if it lives.
    pub(super) async fn pause(&self) {
        let state = &mut *self.state.lock().await;
        state.paused |= !state.life.is_over();
        stop_locked(state).await;
    }

    /// Starts it if a pause stopped it.
    pub(super) async fn resume(&self) -> Result<(), DevnetError> {
        let state = &mut *self.state.lock().await;
        if state.paused { self.start_locked(state).await } else { Ok(()) }
    }

    async fn start_locked(&self, state: &mut State) -> Result<(), DevnetError> {
        if state.life.is_over() {
            let bound = self.bind(state).await;
            let fail = |source| DevnetError::Bind { address: self.address, source };
            state.life = bound.map_err(fail)?;
        }
        state.paused = false;
        Ok(())
    }

    async fn bind(&self, state: &mut State) -> io::Result<Life> {
        if state.plays == Kind::Refusing {
            return Ok(Life::Stopped);
        }
        if state.plays == Kind::Silent {
            let listener = listen(self.address, 0)?;
            let filler = TcpStream::connect(self.address).await?;
            return Ok(Life::Silent { _listener: listener, _filler: filler });
        }
        let (orders, inbox) = mpsc::channel(1);
        let server = Server {
            address: self.address,
            built_as: self.kind,
            plays: state.plays,
            common: Arc::clone(&self.common),
            rng: Rng::from_u64(state.rng.u64()),
            links: JoinSet::new(),
            streams: Vec::new(),
        };
        let task = tokio::spawn(server.run(listen(self.address, BACKLOG)?, inbox));
        Ok(Life::Serving { orders, task })
    }
}

async fn stop_locked(state: &mut State) {
    if let Life::Serving { orders, task } = std::mem::replace(&mut state.life, Life::Stopped) {
        drop(orders);
        // An error means that the runtime is going down, and took the task along.
        let _ = task.await;
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // A node comes back at its address while its old connections are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// The task of a node that listens.
struct Server {
    address: SocketAddr,
    built_as: Kind,
    plays: Kind,
    common: Arc<Common>,
    rng: Rng,
    links: JoinSet<()>,
    /// The sockets of `links`, and of some that ended.
    streams: Vec<Weak<TcpStream>>,
}

impl Server {
    async fn run(mut self, listener: TcpListener, mut orders: mpsc::Receiver<DropLinks>) {
        let mut death: Option<Instant> = None;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(done) => {
                        self.links.shutdown().await;
                        // Nobody waits any more: the connections are closed all the same.
                        let _ = done.send(());
                    }
                    None => break,
                },
                () = sleep_until(death.unwrap_or_else(Instant::now)), if death.is_some() => break,
                Some(_) = self.links.join_next() => {}
                accepted = listener.accept(), if self.links.len() < LINKS_MAX => match accepted {
                    Ok((stream, peer)) => {
                        self.on_accept(stream, peer);
                        if self.plays == Kind::Vanishing && death.is_none() {
                            let (from, to) = self.common.vanish_after.clone().into_inner();
                            death = Some(Instant::now() + self.rng.between(from, to));
                        }
                    }
                    Err(_) => sleep(ACCEPT_RETRY).await,
                },
            }
        }
        drop(listener);
        self.links.shutdown().await;
    }

    fn on_accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.streams.retain(|link| link.upgrade().is_some_and(|stream| !has_ended(&stream)));
        let stream = Arc::new(stream);
        self.streams.push(Arc::downgrade(&stream));
        let logged = Logged::new(&self.common, self.address, self.built_as, self.streams.len());
        let roster = Arc::clone(&self.common.roster);
        let actor = Actor::new(roster, self.plays, peer, Rng::from_u64(self.rng.u64()));
        self.links.spawn(async move {
            // A broken connection is the other side's affair: there is no one to tell.
            let _ = converse(&stream, actor, &logged.0).await;
        });
    }
}

/// A connection that counts as live until this is dropped.
struct Logged(Arc<Common>);

impl Logged {
    fn new(common: &Arc<Common>, address: SocketAddr, kind: Kind, concurrent: usize) -> Self {
        common.log.open(address, kind, concurrent);
        Self(Arc::clone(common))
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.0.log.close();
    }
}

/// Whether the other side has closed, though our task may not have been told yet: without this, a
/// quick redial would be logged as a second connection at the same time.
fn has_ended(stream: &TcpStream) -> bool {
    let Ok(descriptor) = stream.as_fd().try_clone_to_owned() else { return false };
    match std::net::TcpStream::from(descriptor).peek(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Moves bytes between a socket and its actor until either closes.
async fn converse(stream: &TcpStream, mut actor: Actor, common: &Common) -> io::Result<()> {
    let mut next = actor.handle_open();
    let mut buffer = vec![0; 4096];
    let mut out = Vec::new();
    while next == Next::Stay {
        stream.readable().await?;
        let count = match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        next = actor.handle_bytes(common.now(), &buffer[..count], &mut out);
        // A peer that does not read stops us here, and costs no more than this one answer.
        write_all(stream, &out).await?;
        out.clear();
    }
    Ok(())
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
