//! What the network saw, kept on its side of the wire: claims such as "no burned address was
//! dialled" are counted here, not by the pool that makes them.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::actor::{Kind, Stage};

/// Most entries kept; later connections are served but not logged.
const ENTRIES_MAX: usize = 1 << 20;

/// A connection that a node accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// When, since the devnet started.
    pub at: Duration,
    /// The node that was dialled.
    pub address: SocketAddr,
    /// The kind the node was built as; a revived node keeps it here.
    pub kind: Kind,
    /// Live connections to that node, this one included.
    pub concurrent: usize,
    /// How far it came.
    pub stage: Stage,
    /// Bytes that the node has read.
    pub read: u64,
    /// When hands were shaken, since the devnet started.
    pub ready: Option<Duration>,
    /// When it ended, since the devnet started; `None` while it lives.
    pub ended: Option<Duration>,
}

/// The accept log and the number of live connections, with a way to wait for either.
#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    entries: Mutex<Vec<Accept>>,
    live: watch::Sender<usize>,
}

impl Log {
    pub(super) fn new() -> Self {
        let entries = Mutex::new(Vec::new());
        Self { started: Instant::now(), entries, live: watch::Sender::new(0) }
    }

    /// Logs a connection; it counts as live until [`Log::close`]. Returns its place in the log, if
    /// it still has one.
    pub(super) fn open(&self, address: SocketAddr, kind: Kind, concurrent: usize) -> Option<usize> {
        let mut entries = self.entries();
        let place = (entries.len() < ENTRIES_MAX).then_some(entries.len());
        if place.is_some() {
            let (at, stage) = (self.started.elapsed(), Stage::Accepted);
            let (read, ready, ended) = (0, None, None);
            entries.push(Accept { at, address, kind, concurrent, stage, read, ready, ended });
        }
        drop(entries);
        self.live.send_modify(|live| *live += 1);
        place
    }

    /// So many more bytes were read, and the connection is that far.
    pub(super) fn read(&self, place: Option<usize>, count: usize, stage: Stage) {
        let Some(place) = place else { return };
        let mut entries = self.entries();
        let entry = &mut entries[place];
        entry.read += count as u64;
        let went_on = std::mem::replace(&mut entry.stage, stage) != stage;
        if went_on && stage == Stage::Ready {
            entry.ready = Some(self.started.elapsed());
        }
        drop(entries);
        if went_on {
            self.live.send_modify(|_| {});
        }
    }

    /// A logged connection is closed.
    pub(super) fn close(&self, place: Option<usize>) {
        if let Some(place) = place {
            self.entries()[place].ended = Some(self.started.elapsed());
        }
        self.live.send_modify(|live| *live -= 1);
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Accept>> {
        // A panic while the lock is held can only come from a caller's condition, which reads.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Live connections; wakes its holder at every accept, every step of a handshake and every
    /// close.
    pub(super) fn live(&self) -> watch::Receiver<usize> {
        self.live.subscribe()
    }

    pub(super) fn since_start(&self) -> Duration {
        self.started.elapsed()
    }
}
