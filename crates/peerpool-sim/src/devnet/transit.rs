//! What a node has said, on its way to a peer: kept back for as long as the network would take.

use std::collections::VecDeque;
use std::time::Duration;

use peerpool_core::time::Monotonic;

use crate::actor::Next;

/// Bytes under way at which a node has to wait: what a connection holds is this and one answer.
const MAX_BYTES: usize = 256 * 1024;

/// The way from a node to a peer. Sans-IO: bytes go in at one time and come out at another.
#[derive(Debug)]
pub(super) struct Transit {
    /// Oldest first.
    parcels: VecDeque<Parcel>,
    /// Bytes in all parcels.
    queued: usize,
    /// Bytes of the first parcel that have left.
    sent: usize,
    round_trip: Duration,
    /// How long what is said next takes.
    delay: Duration,
    /// Nothing leaves before what was said earlier.
    last_leaves: Monotonic,
    closing: bool,
}

/// What a node said at once.
#[derive(Debug)]
struct Parcel {
    leaves: Monotonic,
    bytes: Vec<u8>,
}

impl Transit {
    /// The way of a fresh connection.
    pub(super) fn new(round_trip: Duration) -> Self {
        Self {
            parcels: VecDeque::new(),
            queued: 0,
            sent: 0,
            round_trip,
            // The kernel answered the dial at once: its round trip is made up for here.
            delay: round_trip * 2,
            last_leaves: Monotonic::default(),
            closing: false,
        }
    }

    /// Takes what a node said, and whether it closes after it.
    pub(super) fn send(&mut self, now: Monotonic, bytes: Vec<u8>, next: Next) {
        self.closing |= next == Next::Close;
        if bytes.is_empty() && next == Next::Stay {
            return;
        }
        self.last_leaves = self.last_leaves.max(now + self.delay);
        self.delay = self.round_trip;
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.parcels.push_back(Parcel { leaves: self.last_leaves, bytes });
        }
    }

    /// Whether the node may read and speak on.
    pub(super) fn has_room(&self) -> bool {
        !self.closing && self.queued < MAX_BYTES
    }

    /// What is to be written now.
    pub(super) fn due(&self, now: Monotonic) -> Option<&[u8]> {
        let first = self.parcels.front().filter(|first| first.leaves <= now)?;
        Some(&first.bytes[self.sent..])
    }

    /// So many bytes of [`Transit::due`] were written.
    pub(super) fn on_written(&mut self, count: usize) {
        self.sent += count;
        if self.parcels.front().is_some_and(|first| first.bytes.len() == self.sent) {
            self.parcels.pop_front();
            self.queued -= self.sent;
            self.sent = 0;
        }
    }

    /// Whether all has been written and the connection is to be closed.
    pub(super) fn is_over(&self, now: Monotonic) -> bool {
        self.closing && self.parcels.is_empty() && self.last_leaves <= now
    }

    /// When something next becomes due, or is over.
    pub(super) fn wake_at(&self) -> Option<Monotonic> {
        match self.parcels.front() {
            Some(first) => Some(first.leaves),
            None => self.closing.then_some(self.last_leaves),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    /// Writes what is due, in pieces of at most `piece` bytes.
    fn drain(transit: &mut Transit, now: Monotonic, piece: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while let Some(due) = transit.due(now) {
            let part = &due[..due.len().min(piece)];
            written.extend_from_slice(part);
            let count = part.len();
            transit.on_written(count);
        }
        written
    }

    #[test]
    fn replies_take_a_round_trip_in_order_and_the_first_one_two() {
        let mut transit = Transit::new(Duration::from_millis(80));
        transit.send(at(1000), vec![], Next::Stay);
        transit.send(at(1010), vec![1; 3], Next::Stay);
        transit.send(at(1020), vec![2; 3], Next::Stay);
        transit.send(at(1100), vec![3; 3], Next::Stay);
        assert_eq!(transit.wake_at(), Some(at(1170)));
        assert_eq!(transit.due(at(1169)), None);
        assert_eq!(drain(&mut transit, at(1170), 2), [1, 1, 1, 2, 2, 2], "none overtakes");
        assert_eq!(transit.wake_at(), Some(at(1180)));
        assert_eq!(drain(&mut transit, at(1180), 9), [3; 3]);
        assert_eq!(transit.wake_at(), None);
    }

    #[test]
    fn a_close_takes_as_long_as_a_reply_and_comes_after_it() {
        let mut transit = Transit::new(Duration::from_millis(80));
        transit.send(at(1000), vec![], Next::Close);
        assert_eq!((transit.wake_at(), transit.has_room()), (Some(at(1160)), false));
        assert!(!transit.is_over(at(1159)) && transit.is_over(at(1160)));

        let mut transit = Transit::new(Duration::ZERO);
        transit.send(at(1000), vec![7], Next::Close);
        assert!(!transit.is_over(at(1000)), "a last word");
        assert_eq!(drain(&mut transit, at(1000), 9), [7]);
        assert!(transit.is_over(at(1000)));
    }

    #[test]
    fn a_peer_that_does_not_read_stops_the_node() {
        let mut transit = Transit::new(Duration::ZERO);
        while transit.has_room() {
            transit.send(at(0), vec![0; 1000], Next::Stay);
        }
        assert!(transit.queued < MAX_BYTES + 1000);
        drain(&mut transit, at(0), 1000);
        assert!(transit.has_room() && transit.queued == 0);
    }
}
