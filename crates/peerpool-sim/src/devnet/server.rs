//! The task of a node that accepts connections: it owns the listener and the task of each
//! connection, and logs what it accepts.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use peerpool_core::rng::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::line::Line;
use super::node::Common;
use crate::actor::{Actor, Kind, Listing};

/// Most connections to one node; more wait in the backlog.
const LINKS_MAX: usize = 256;
/// Pause after a failed accept, which is the machine's fault: no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// How often, and at which interval, an accept looks whether unread bytes were the last of an older
/// connection, before it takes that for live.
const SETTLE_TRIES: usize = 50;
const SETTLE_INTERVAL: Duration = Duration::from_millis(2);

/// The order to close every connection, with a way to say that it is done.
pub(super) type DropLinks = oneshot::Sender<()>;

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
        Self { address, built_as, plays, common, rng, links, streams }
    }

    /// Serves until `orders` has no sender left, or its time to vanish comes; then closes all.
    pub(super) async fn run(
        mut self,
        listener: TcpListener,
        mut orders: mpsc::Receiver<DropLinks>,
    ) {
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
                        self.on_accept(stream, peer).await;
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

    async fn on_accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.forget_ended().await;
        let stream = Arc::new(stream);
        self.streams.push(Arc::downgrade(&stream));
        let logged = Logged::new(&self.common, self.address, self.built_as, self.streams.len());
        let roster = Arc::clone(&self.common.roster);
        let node = Listing { address: self.address, kind: self.plays };
        let actor = Actor::new(roster, node, peer, Rng::from_u64(self.rng.u64()));
        self.links.spawn(async move {
            // A broken connection is the other side's affair: there is no one to tell.
            let _ = Line::new(&stream, actor, &logged.0).run().await;
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

/// What the other side of a connection has done, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    /// Cannot be told before these bytes are read.
    Unread,
}

fn far_end(stream: &TcpStream) -> End {
    let Ok(descriptor) = stream.as_fd().try_clone_to_owned() else { return End::Open };
    match std::net::TcpStream::from(descriptor).peek(&mut [0]) {
        Ok(0) => End::Closed,
        Ok(_) => End::Unread,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => End::Open,
        Err(_) => End::Closed,
    }
}
