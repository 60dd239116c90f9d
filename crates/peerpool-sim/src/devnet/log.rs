//! What the network saw, kept on its side of the wire: claims such as "no burned address was
//! dialled" are counted here, not by the pool that makes them.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::actor::Kind;

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

    /// Logs a connection; it counts as live until [`Log::close`].
    pub(super) fn open(&self, address: SocketAddr, kind: Kind, concurrent: usize) {
        let mut entries = self.entries();
        if entries.len() < ENTRIES_MAX {
            entries.push(Accept { at: self.started.elapsed(), address, kind, concurrent });
        }
        drop(entries);
        self.live.send_modify(|live| *live += 1);
    }

    /// A logged connection is closed.
    pub(super) fn close(&self) {
        self.live.send_modify(|live| *live -= 1);
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Accept>> {
        // A panic while the lock is held can only come from a caller's condition, which reads.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Live connections; wakes its holder at every accept and every close.
    pub(super) fn live(&self) -> watch::Receiver<usize> {
        self.live.subscribe()
    }

    pub(super) fn since_start(&self) -> Duration {
        self.started.elapsed()
    }
}
