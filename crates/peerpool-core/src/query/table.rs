//! The queries that one connection has to answer.

use std::collections::VecDeque;
use std::fmt;

use bitcoin::p2p::message::NetworkMessage;

use super::{Asking, Reply};
use crate::time::Monotonic;
use crate::wire::RawMessage;

/// A query with the place where its answer is awaited.
pub trait Pending: fmt::Debug + Send {
    /// The message that asks it. Called once, before anything else.
    fn request(&mut self, asking: &Asking) -> NetworkMessage;

    /// Whether nobody waits for an answer any more.
    fn is_abandoned(&self) -> bool;

    /// Looks at a message. What it comes to is told by then to whoever waits for it.
    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<()>;

    /// Its time is up. Whoever waits for it is told, or counts the time itself.
    fn expire(&mut self);
}

/// What a message was to the queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Nothing.
    None,
    /// An answer, or a part of one, or one that comes too late.
    Some,
    /// An answer that no honest peer gives, and why not.
    Invalid(String),
}

/// Queries in the order they were asked. A message goes to the first that takes it. One whose time
/// is up stays, so that its late answer is not taken for another's: until that comes, or the same is
/// asked again, or more are late than are kept.
#[derive(Debug)]
pub struct Queries {
    entries: VecDeque<Entry>,
    /// Late ones that are kept.
    max_late: usize,
}

#[derive(Debug)]
struct Entry {
    query: Box<dyn Pending>,
    request: NetworkMessage,
    /// `None` once it is late.
    deadline: Option<Monotonic>,
}

impl Queries {
    /// None yet.
    pub const fn new(max_late: usize) -> Self {
        Self { entries: VecDeque::new(), max_late }
    }

    /// Asks a query, to be answered by then. Returns the message to send.
    pub fn ask(
        &mut self,
        asking: &Asking,
        mut query: Box<dyn Pending>,
        deadline: Monotonic,
    ) -> NetworkMessage {
        let request = query.request(asking);
        // A late answer to the same question is as good as one in time.
        self.entries.retain(|entry| entry.deadline.is_some() || entry.request != request);
        let entry = Entry { query, request: request.clone(), deadline: Some(deadline) };
        self.entries.push_back(entry);
        request
    }

    /// Takes a message of the peer.
    pub fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Answered {
        for place in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(place) else { break };
            let late = entry.deadline.is_none();
            let reply = entry.query.on_message(now, message);
            match reply {
                Reply::Other => continue,
                Reply::More => return Answered::Some,
                Reply::Answer(()) | Reply::NotFound | Reply::Invalid(_) => {}
            }
            self.entries.remove(place);
            return match reply {
                Reply::Invalid(why) if !late => Answered::Invalid(why),
                _ => Answered::Some,
            };
        }
        Answered::None
    }

    /// When [`Queries::handle_timeout`] has something to do.
    pub fn wake_at(&self) -> Option<Monotonic> {
        self.entries.iter().filter_map(|entry| entry.deadline).min()
    }

    /// Ends those whose time is up.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        for entry in &mut self.entries {
            if entry.deadline.is_some_and(|deadline| deadline <= now) {
                entry.deadline = None;
                entry.query.expire();
            }
        }
        let late = self.entries.iter().filter(|entry| entry.deadline.is_none()).count();
        let mut over = late.saturating_sub(self.max_late);
        self.entries.retain(|entry| {
            let goes = over > 0 && entry.deadline.is_none();
            over -= usize::from(goes);
            !goes
        });
    }

    /// Whether anything is to be answered, be it late.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Queries that are not answered, and not late.
    pub fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| entry.deadline.is_some()).count()
    }
}
