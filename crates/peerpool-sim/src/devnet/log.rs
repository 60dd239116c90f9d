//! What the network saw: one entry per accepted connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::actor::Kind;

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
