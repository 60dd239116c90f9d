//! A query asked of the pool: of several peers where one is too slow, or wrong, or has not what is
//! asked for. The first valid answer wins.
//!
//! Legs are leases like others: each is waited for in turn, and only once it is due. Dropping the
//! future drops them all.

mod flight;
mod legs;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::query::{BadQuery, Query, QueryError};
use peerpool_core::require::{Require, Spread};
use tokio::time::sleep_until;

pub(crate) use flight::Flights;

use crate::clock;
use crate::lease::LeaseError;
use crate::pool::Pool;
use legs::Legs;

/// A query that is about to be asked: await it. See [`Pool::ask`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before it is awaited"]
pub struct Ask<Q> {
    pool: Pool,
    query: Q,
    require: Require,
    fanout: usize,
    hedge: Option<Hedge>,
    spread: Option<Spread>,
    timeout: Duration,
    most: Option<usize>,
}

/// When one more peer is asked.
#[derive(Clone, Copy, Debug)]
enum Hedge {
    After(Duration),
    AtP95,
}

/// An answer, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<A> {
    /// What was answered.
    pub answer: A,
    /// The peer that did.
    pub peer: PeerId,
    /// Its address.
    pub address: Address,
}

/// Why a query has no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AskError {
    /// It cannot be asked of anybody.
    Bad(BadQuery),
    /// Nobody of those asked has it; each, and what it said: at least one
    /// [`QueryError::NotFound`].
    NotFound(Vec<(Address, QueryError)>),
    /// All who were asked failed, each for this reason.
    Failed(Vec<(Address, QueryError)>),
    /// No peer could be asked, or none that is left: this is why. Those who were failed.
    NoPeer(Box<LeaseError>, Vec<(Address, QueryError)>),
    /// There was no answer in so long. Who had failed by then, and who was still asked.
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Each that failed, and why.
        failed: Vec<(Address, QueryError)>,
        /// Those that had not answered.
        silent: Vec<Address>,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = match self {
            Self::Bad(bad) => return bad.fmt(f),
            Self::NotFound(failed) => {
                f.write_str("no peer has it")?;
                failed
            }
            Self::Failed(failed) => {
                f.write_str("every peer that was asked failed")?;
                failed
            }
            Self::NoPeer(error, failed) => {
                write!(f, "no peer to ask: {error}")?;
                failed
            }
            Self::TimedOut { waited, failed, silent } => {
                write!(f, "no answer in {waited:.1?}")?;
                for address in silent {
                    write!(f, "; {address} was asked")?;
                }
                failed
            }
        };
        for (address, error) in failed {
            write!(f, "; {address}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AskError {}

impl Pool {
    /// Asks a query of the pool, to be configured and awaited:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use peerpool::{GetBlock, Pool, Spread};
    /// # use peerpool_sim::actor::HeaderChain;
    /// # use peerpool_sim::actor::{Kind, Mix};
    /// # use peerpool_sim::devnet::Devnet;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
    /// # let hash = HeaderChain::regtest(5).hash_at(3).expect("it is in the chain");
    /// # let devnet = devnet.start().await?;
    /// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
    /// let pool = builder.target(4).start().await?;
    /// let block = pool
    ///     .ask(GetBlock(hash))
    ///     .fanout(3)
    ///     .spread(Spread::Asn)
    ///     .hedge_after(Duration::from_millis(800))
    ///     .await?;
    /// assert_eq!(block.block_hash(), hash);
    /// # Ok(()) }
    /// ```
    ///
    /// Asks that are the same in everything, and made while one is under way, share its answer, and
    /// what is left of its time.
    ///
    /// By default one peer is asked; one that fails, or does not have it, is replaced by another,
    /// up to three times.
    ///
    /// Cancel safe: dropping the future gives every slot back.
    pub fn ask<Q>(&self, query: Q) -> Ask<Q>
    where
        Q: Query<Answer: Clone + Sync> + Clone,
    {
        Ask {
            pool: self.clone(),
            query,
            require: Require::any(),
            fanout: 1,
            hedge: None,
            spread: None,
            timeout: self.ask_timeout(),
            most: None,
        }
    }
}

impl<Q: Query<Answer: Clone + Sync> + Clone> Ask<Q> {
    /// What every peer that is asked must meet, beside having the services that the query needs. A
    /// query of blocks is asked of peers that have all of them, unless this names
    /// `NETWORK_LIMITED`: then of pruned ones, too, which have the last 288 (BIP159).
    pub fn to(self, require: Require) -> Self {
        Self { require, ..self }
    }

    /// Asks so many peers at once, at least one.
    pub fn fanout(self, peers: usize) -> Self {
        Self { fanout: peers.max(1), ..self }
    }

    /// Asks one more peer each time there was no valid answer for so long. It takes a slot only
    /// then.
    pub fn hedge_after(self, delay: Duration) -> Self {
        Self { hedge: Some(Hedge::After(delay)), ..self }
    }

    /// The same once the peer that was asked last takes longer than it did for 95 of 100 such
    /// queries: the last 64 of it, or of its network where it has answered fewer than 8. Until there
    /// are as many, after `Policy::ask_hedge_delay`.
    pub fn hedge_at_p95(self) -> Self {
        Self { hedge: Some(Hedge::AtP95), ..self }
    }

    /// Asks only peers that differ from each other by this. Where there are no such, fewer are
    /// asked at first, and others once the pool has them.
    pub fn spread(self, by: Spread) -> Self {
        Self { spread: Some(by), ..self }
    }

    /// Waits for so long in all, the waiting for peers included. By default
    /// `Policy::lease_timeout` and `Policy::query_timeout` together.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks no more than so many peers in all; by default three more than at once.
    pub fn at_most(self, peers: usize) -> Self {
        Self { most: Some(peers.max(1)), ..self }
    }

    /// As awaiting it, and tells whose the answer is.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn asked(self) -> Result<Asked<Q::Answer>, AskError> {
        self.query.check().map_err(AskError::Bad)?;
        match self.key() {
            Some(key) => self.pool.clone().flights().join(key, self).await,
            None => self.alone().await,
        }
    }

    fn needed(&self) -> Require {
        let mut services = self.query.services();
        if self.require.wanted_services().has(ServiceFlags::NETWORK_LIMITED) {
            services.remove(ServiceFlags::NETWORK);
        }
        self.require.clone().and_services(services)
    }

    /// What two asks have in common that one answer will do for.
    fn key(&self) -> Option<String> {
        let Self { require, fanout, hedge, spread, timeout, most, .. } = self;
        let options = (self.pool.id(), require, fanout, hedge, spread, timeout, most);
        Some(format!("{} {options:?}", self.query.key()?))
    }

    async fn alone(self) -> Result<Asked<Q::Answer>, AskError> {
        let timeout = self.timeout;
        let deadline = clock::after(timeout);
        let mut legs = Legs::new(self, deadline);
        tokio::select! {
            biased;
            result = legs.run() => result,
            () = sleep_until(deadline) => {
                if legs.is_nobody_asked() {
                    let error = legs.pool().timed_out(timeout).await;
                    return Err(AskError::NoPeer(Box::new(error), Vec::new()));
                }
                let (failed, silent) = legs.left();
                Err(AskError::TimedOut { waited: timeout, failed, silent })
            }
        }
    }
}

impl<Q: Query<Answer: Clone + Sync> + Clone> IntoFuture for Ask<Q> {
    type Output = Result<Q::Answer, AskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.asked().await.map(|asked| asked.answer) })
    }
}
