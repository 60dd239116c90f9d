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

    /// Whether more is to come of an answer that does not fit.
    fn is_open(&self) -> bool {
        false
    }

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
    /// Whether a part of the answer came.
    begun: bool,
    /// Answers to the same question, asked before and too late, that are yet to come.
    owed: usize,
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
        self.lapse(asking.now);
        let request = query.request(asking);
        // A late answer to the same question is as good as one in time, if it is whole.
        let mut owed = 0;
        self.entries.retain(|entry| {
            let same = entry.deadline.is_none() && !entry.begun && entry.request == request;
            owed += if same { 1 + entry.owed } else { 0 };
            !same
        });
        let (request_kept, deadline) = (request.clone(), Some(deadline));
        let entry = Entry { query, request: request_kept, deadline, begun: false, owed };
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
                Reply::More => {
                    entry.begun = true;
                    return Answered::Some;
                }
                Reply::Unfit(_) if entry.query.is_open() => {
                    entry.query.expire();
                    (entry.deadline, entry.begun) = (None, true);
                    self.lapse(now);
                    return Answered::Some;
                }
                Reply::Answer(()) | Reply::NotFound | Reply::Invalid(_) | Reply::Unfit(_) => {}
            }
            match entry.owed.checked_sub(1) {
                // The answer to the one asked last comes yet, and nobody waits for it.
                Some(owed) => (entry.owed, entry.deadline) = (owed, None),
                None => {
                    self.entries.remove(place);
                }
            }
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
        self.lapse(now);
    }

    /// Those whose time is up, or that nobody waits for, are late, and no more of them are kept than
    /// may be.
    fn lapse(&mut self, now: Monotonic) {
        for entry in &mut self.entries {
            let over = |deadline| deadline <= now || entry.query.is_abandoned();
            if entry.deadline.is_some_and(over) {
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
