//! One node: what it was built as, what it plays, and how it dies and comes back. A node that
//! accepts connections is a task, see `server.rs`; it ends when its [`Node`] lets go of it.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use peerpool_core::rng::Rng;
use peerpool_core::time::{Monotonic, Now, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::DevnetError;
use super::log::Log;
use super::server::{Order, Server, Told, listen, listen_with};
use crate::actor::{Kind, Roster};

/// What the nodes of a devnet share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) roster: Roster,
    pub(super) log: Log,
    pub(super) vanish_after: RangeInclusive<Duration>,
    pub(super) flap_up: RangeInclusive<Duration>,
    pub(super) flap_down: RangeInclusive<Duration>,
    /// The round trip to every node but near sybils.
    pub(super) latency: Duration,
}

impl Common {
    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: Monotonic::new(self.log.since_start()), unix: UnixTime(unix.as_secs()) }
    }

    /// Sleeps until this time of [`Common::now`].
    pub(super) async fn until(&self, at: Monotonic) {
        tokio::time::sleep(at.since_origin().saturating_sub(self.log.since_start())).await;
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
    Serving { orders: mpsc::Sender<Told>, task: JoinHandle<()> },
}

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

    /// Has it do something to its connections; nothing if it has none.
    pub(super) async fn tell(&self, order: Order) {
        let Life::Serving { orders, .. } = &self.state.lock().await.life else { return };
        let (done, obeyed) = oneshot::channel();
        if orders.send((order, done)).await.is_ok() {
            // An error means that the node died meanwhile, and its connections with it.
            let _ = obeyed.await;
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
            let listener = listen_with(self.address, 0)?;
            let filler = TcpStream::connect(self.address).await?;
            return Ok(Life::Silent { _listener: listener, _filler: filler });
        }
        let (orders, inbox) = mpsc::channel(1);
        let rng = Rng::from_u64(state.rng.u64());
        let common = Arc::clone(&self.common);
        let server = Server::new(self.address, self.kind, state.plays, common, rng);
        let task = tokio::spawn(server.run(listen(self.address)?, inbox));
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
