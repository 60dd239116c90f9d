//! Queries through a lease: what carries one to the connection, and its answer back.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use peerpool_core::query::{Asking, Pending, Query, QueryError, Reply};
use peerpool_core::time::Monotonic;
use peerpool_core::wire::RawMessage;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::lease::{Lease, Question, Request};
use crate::random;
use crate::times::Times;

/// A query on its way, with the place where its answer is awaited. Dropped unanswered, it tells
/// that the peer is gone.
#[derive(Debug)]
struct Typed<Q: Query> {
    query: Q,
    timeout: Duration,
    /// `None` once told.
    answer: Option<oneshot::Sender<Result<Q::Answer, QueryError>>>,
}

impl<Q: Query> Typed<Q> {
    fn tell(&mut self, result: Result<Q::Answer, QueryError>) {
        if let Some(answer) = self.answer.take() {
            // A caller that is gone needs no answer.
            let _ = answer.send(result);
        }
    }
}

impl<Q: Query> Pending for Typed<Q> {
    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.query.request(asking)
    }

    fn is_abandoned(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<()> {
        match self.query.on_message(now, message) {
            Reply::Other => Reply::Other,
            Reply::More => Reply::More,
            Reply::Answer(answer) => {
                self.tell(Ok(answer));
                Reply::Answer(())
            }
            Reply::NotFound => {
                self.tell(Err(QueryError::NotFound));
                Reply::NotFound
            }
            Reply::Invalid(why) => {
                self.tell(Err(QueryError::Invalid(why.clone())));
                Reply::Invalid(why)
            }
            Reply::Unfit(why) => {
                self.tell(Err(QueryError::Unfit(why.clone())));
                Reply::Unfit(why)
            }
        }
    }

    fn is_open(&self) -> bool {
        self.query.is_open()
    }

    fn expire(&mut self) {
        self.query.expire();
        self.tell(Err(QueryError::TimedOut(self.timeout)));
    }
}

/// Times a query, and takes note of it however it ends.
struct Timed<'a> {
    times: &'a [Arc<Times>],
    query: TypeId,
    begun: Instant,
    ended: bool,
}

impl Timed<'_> {
    fn end<A>(&mut self, result: &Result<A, QueryError>) {
        self.ended = !matches!(result, Err(QueryError::TimedOut(_)));
        if matches!(result, Ok(_) | Err(QueryError::NotFound)) {
            self.times.iter().for_each(|times| times.note(self.query, self.begun.elapsed()));
        }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        // Given up, or out of time: it takes so long at least.
        if !self.ended {
            self.times.iter().for_each(|times| times.note_least(self.query, self.begun.elapsed()));
        }
    }
}

impl Lease {
    /// Asks the peer, and waits for its answer for up to `Policy::query_timeout`. Several queries
    /// may wait at once; answers are told apart by what they are. Answers that cannot be true are
    /// reported as [`Misbehavior::InvalidData`](crate::Misbehavior::InvalidData) at once, with the
    /// consequences of [`Lease::report`].
    ///
    /// Cancel safe: a dropped call asks nothing, or drops the answer when it comes.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query<Q: Query>(&self, query: Q) -> Result<Q::Answer, QueryError> {
        self.query_timeout(query, self.query_timeout).await
    }

    /// As [`Lease::query`], waiting for up to `timeout`. Cancel safe.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query_timeout<Q: Query>(
        &self,
        query: Q,
        timeout: Duration,
    ) -> Result<Q::Answer, QueryError> {
        query.check()?;
        let deadline = clock::after(timeout);
        let (answer, told) = oneshot::channel();
        let query = Box::new(Typed { query, timeout, answer: Some(answer) });
        // Where the system has no randomness, no pool has started.
        let nonce = random::draw().map_or(0, u64::from_le_bytes);
        let ask = async {
            let request = Request::Query(Box::new(Question { query, deadline, nonce }));
            self.outbox.send(request).await.map_err(|_| QueryError::Disconnected)?;
            told.await.unwrap_or(Err(QueryError::Disconnected))
        };
        let mut timed = Timed {
            times: &self.times,
            query: TypeId::of::<Q>(),
            begun: Instant::now(),
            ended: false,
        };
        let result = timeout_at(deadline, ask).await;
        let result = result.unwrap_or(Err(QueryError::TimedOut(timeout)));
        timed.end(&result);
        result
    }

    /// The time within which the peer gives 95 of 100 answers to such queries, or where it has
    /// given too few, the peers of its network; `None` where they have, too.
    pub(crate) fn p95<Q: Query>(&self) -> Option<Duration> {
        self.times.iter().find_map(|times| times.p95(TypeId::of::<Q>()))
    }
}
