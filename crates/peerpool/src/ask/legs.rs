//! The peers that one query is asked of.

use std::future::{Future, pending};
use std::pin::Pin;

use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::query::{Query, QueryError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Ask, AskError, Asked, Hedge};
use crate::clock;
use crate::lease::{Lease, LeaseError};
use crate::pool::Pool;

/// Peers that take the place of others that fail, unless the caller says otherwise.
const SPARE: usize = 3;

type Leased = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;

/// How one leg ended.
struct Ended<A> {
    peer: PeerId,
    address: Address,
    result: Result<A, QueryError>,
}

/// The peers that a query is asked of.
pub(super) struct Legs<Q: Query> {
    ask: Ask<Q>,
    deadline: Instant,
    running: JoinSet<Ended<Q::Answer>>,
    /// Everybody who was asked.
    asked: Vec<(PeerId, Address)>,
    failed: Vec<(Address, QueryError)>,
    /// The next lease, while it is waited for.
    next: Option<Leased>,
    /// How many are to be asked at once.
    wanted: usize,
    hedge_at: Option<Instant>,
    /// Why no further peer can be had.
    refused: Option<LeaseError>,
}

/// What the legs waited for.
enum Turn<A> {
    Leased(Result<Lease, LeaseError>),
    Ended(Ended<A>),
    Hedge,
    /// A leg's task failed.
    Lost,
}

impl<Q: Query<Answer: Clone + Sync> + Clone> Legs<Q> {
    pub(super) fn new(ask: Ask<Q>, deadline: Instant) -> Self {
        Self {
            wanted: ask.fanout,
            hedge_at: None,
            ask,
            deadline,
            running: JoinSet::new(),
            asked: Vec::new(),
            failed: Vec::new(),
            next: None,
            refused: None,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Asked<Q::Answer>, AskError> {
        loop {
            self.seek();
            if self.next.is_none() && self.running.is_empty() {
                return Err(self.give_up());
            }
            match self.turn().await {
                Turn::Leased(Ok(lease)) => self.start(lease),
                Turn::Leased(Err(error)) => self.refused = Some(error),
                Turn::Ended(Ended { peer, address, result: Ok(answer) }) => {
                    return Ok(Asked { answer, peer, address });
                }
                Turn::Ended(Ended { address, result: Err(error), .. }) => {
                    self.failed.push((address, error));
                }
                Turn::Hedge => {
                    self.wanted += 1;
                    self.hedge_at = None;
                }
                Turn::Lost => {}
            }
        }
    }

    /// Begins to wait for a further lease, if one is due.
    fn seek(&mut self) {
        let most = self.ask.most.unwrap_or(self.ask.fanout + SPARE);
        let due = self.running.len() < self.wanted && self.asked.len() < most;
        if self.next.is_some() || self.refused.is_some() || !due {
            return;
        }
        let mut require = self.ask.needed().except(self.asked.iter().map(|(peer, _)| *peer));
        if let Some(spread) = self.ask.spread {
            require = require.apart(spread, self.asked.iter().map(|(_, address)| *address));
        }
        let pool = self.ask.pool.clone();
        // Where all say that they have it not, nobody is waited for who may say so, too.
        let not_found = |(_, error): &(Address, QueryError)| *error == QueryError::NotFound;
        if self.running.is_empty() && !self.failed.is_empty() && self.failed.iter().all(not_found) {
            self.next = Some(Box::pin(async move { pool.try_lease(&require).await }));
            return;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.next = Some(Box::pin(async move { pool.lease_timeout(&require, left).await }));
    }

    async fn turn(&mut self) -> Turn<Q::Answer> {
        let Self { next, running, hedge_at, .. } = self;
        let lease = async {
            match next.as_mut() {
                Some(next) => next.await,
                None => pending().await,
            }
        };
        let hedge = async {
            match *hedge_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let turn = tokio::select! {
            Some(ended) = running.join_next() => ended.map_or(Turn::Lost, Turn::Ended),
            result = lease => Turn::Leased(result),
            () = hedge => Turn::Hedge,
        };
        if matches!(turn, Turn::Leased(_)) {
            self.next = None;
        }
        turn
    }

    fn start(&mut self, lease: Lease) {
        let (peer, address) = (lease.peer(), lease.address());
        self.asked.push((peer, address));
        // Counted from the last that was asked: whoever is asked next has as long.
        let delay = |hedge| match hedge {
            Hedge::After(delay) => delay,
            Hedge::AtP95 => lease.p95::<Q>().unwrap_or_else(|| self.ask.pool.ask_hedge_delay()),
        };
        self.hedge_at = self.ask.hedge.map(delay).map(clock::after);
        let query = self.ask.query.clone();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(lease.query_timeout);
        self.running.spawn(async move {
            let result = lease.query_timeout(query, timeout).await;
            Ended { peer, address, result }
        });
    }

    /// Nobody is left to be asked.
    fn give_up(&mut self) -> AskError {
        let failed = std::mem::take(&mut self.failed);
        match self.refused.take() {
            Some(error) if !matches!(error, LeaseError::NoneFree) => {
                AskError::NoPeer(Box::new(error), failed)
            }
            _ if failed.iter().any(|(_, error)| *error == QueryError::NotFound) => {
                AskError::NotFound(failed)
            }
            _ => AskError::Failed(failed),
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.ask.pool
    }

    /// Whether nobody was to be had who could be asked.
    pub(super) fn is_nobody_asked(&self) -> bool {
        self.asked.is_empty()
    }

    /// Who failed, and who has not answered.
    pub(super) fn left(&mut self) -> (Vec<(Address, QueryError)>, Vec<Address>) {
        let failed = std::mem::take(&mut self.failed);
        let ended = |address: &Address| failed.iter().any(|(it, _)| it == address);
        let asked = self.asked.iter().map(|(_, address)| *address);
        let silent = asked.filter(|address| !ended(address)).collect();
        (failed, silent)
    }
}
