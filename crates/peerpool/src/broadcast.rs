//! A transaction told to peers: given to those that ask for it, and heard of again from others.
//!
//! Everybody is told by a lease of its own, and one task answers them all. Dropping the handle ends
//! it, and gives every slot back.

mod cast;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bitcoin::Transaction;
use peerpool_core::address::Address;
use peerpool_core::require::Require;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use crate::clock;
use crate::lease::LeaseError;
use crate::pool::Pool;
use cast::Cast;

/// A transaction to be broadcast. It is when [`Broadcast::sent`] or [`Broadcast::announced_back`]
/// is first called. See [`Pool::broadcast`].
#[derive(Debug)]
#[must_use = "nothing is told before it is waited for"]
pub struct Broadcast {
    pool: Pool,
    tx: Transaction,
    require: Require,
    peers: usize,
    private: bool,
    timeout: Duration,
    running: Option<Running>,
}

/// How far a broadcast has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Who was told of it.
    pub told: BTreeSet<Address>,
    /// Who asked for it, and was given it.
    pub asked: BTreeSet<Address>,
    /// Who told of it in turn.
    pub announced: BTreeSet<Address>,
}

/// Why a broadcast has not come as far as was waited for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BroadcastError {
    /// No peer could be told of it, be it in time.
    NoPeer(Box<LeaseError>),
    /// It has come so far, in so long.
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// How far it has come.
        reach: Reach,
    },
}

impl fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeer(error) => write!(f, "no peer to tell: {error}"),
            Self::TimedOut { waited, reach: Reach { told, asked, announced } } => write!(
                f,
                "after {waited:.1?}: {} peers told, {} asked for it, {} told of it in turn",
                told.len(),
                asked.len(),
                announced.len(),
            ),
        }
    }
}

impl std::error::Error for BroadcastError {}

impl Pool {
    /// Broadcasts a transaction: tells three peers of it, gives it to those that ask, and listens to
    /// all others for who has heard of it. Peers must be dialled with `Policy::relay` on.
    ///
    /// ```
    /// # use peerpool::{Pool, Require};
    /// # use peerpool_sim::actor::HeaderChain;
    /// # use peerpool_sim::actor::{Kind, Mix};
    /// # use peerpool_sim::devnet::Devnet;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
    /// # let block = HeaderChain::regtest(101).block(101).expect("it is in the chain");
    /// # let tx = block.txdata[1].clone();
    /// # let devnet = devnet.start().await?;
    /// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
    /// let pool = builder.target(5).tune(|policy| policy.relay = true).start().await?;
    /// pool.ready(5).await?;
    /// let mut cast = pool.broadcast(tx).to(Require::any()).peers(2);
    /// cast.sent().await?;
    /// cast.announced_back(2).await?;
    /// println!("{:?}", cast.reach());
    /// # Ok(()) }
    /// ```
    ///
    /// Each of them lends a slot for as long as the broadcast goes on: until it is dropped.
    ///
    /// That a peer takes it does not say that it is valid: peers say nothing of those they refuse.
    /// That others tell of it does.
    pub fn broadcast(&self, tx: Transaction) -> Broadcast {
        let (require, timeout) = (Require::any(), self.ask_timeout());
        let (pool, private) = (self.clone(), false);
        Broadcast { pool, tx, require, peers: 3, private, timeout, running: None }
    }
}

impl Broadcast {
    /// What peers that are told must meet, beside that they relay.
    pub fn to(self, require: Require) -> Self {
        Self { require, ..self }
    }

    /// Tells one peer at a time, over a connection that is opened for it and closed after (see
    /// [`Require::private`]), and no peer of the pool. Another is told, up to the number of
    /// [`Broadcast::peers`], only where it has not been heard of from others within
    /// `Policy::private_retry`. As Bitcoin Core's private broadcast, which also hides its address
    /// behind Tor or I2P; this does not.
    pub fn private(self) -> Self {
        Self { private: true, ..self }
    }

    /// Tells so many peers, at least one; by default 3. One that leaves before it has asked is
    /// replaced.
    pub fn peers(self, peers: usize) -> Self {
        Self { peers: peers.max(1), ..self }
    }

    /// How long each wait may take. By default `Policy::lease_timeout` and `Policy::query_timeout`
    /// together.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How far it has come.
    pub fn reach(&self) -> Reach {
        self.running.as_ref().map_or_else(Reach::default, |it| it.state.borrow().reach.clone())
    }

    /// Waits until a peer has asked for it, and it is on its way there, or, if it is private, until
    /// the peer has it; gives how many have by then. Cancel safe: it goes on meanwhile.
    ///
    /// # Errors
    /// Nobody can be told, or nobody asked in time: whoever has it already does not.
    pub async fn sent(&mut self) -> Result<usize, BroadcastError> {
        let enough = |reach: &Reach| (!reach.asked.is_empty()).then_some(reach.asked.len());
        self.reached(enough, |state| state.refused.clone()).await
    }

    /// Waits until so many peers have told of it in turn. Cancel safe: it goes on meanwhile.
    ///
    /// # Errors
    /// Nobody can be told, or fewer have told of it in time.
    pub async fn announced_back(&mut self, peers: usize) -> Result<usize, BroadcastError> {
        let enough = move |reach: &Reach| {
            let count = reach.announced.len();
            (count >= peers).then_some(count)
        };
        self.reached(enough, |state| state.deaf.clone().or(state.refused.clone())).await
    }

    async fn reached(
        &mut self,
        enough: impl Fn(&Reach) -> Option<usize>,
        hopeless: impl Fn(&State) -> Option<LeaseError>,
    ) -> Result<usize, BroadcastError> {
        let timeout = self.timeout;
        let deadline = clock::after(timeout);
        let Self { pool, tx, require, peers, private, running, .. } = self;
        let running = running.get_or_insert_with(|| {
            let cast = Cast::new(pool.clone(), tx.clone(), require.clone(), *peers, timeout);
            Running::start(cast, *private)
        });
        let state = &mut running.state;
        let settled = |state: &State| enough(&state.reach).is_some() || hopeless(state).is_some();
        let waited = timeout_at(deadline, state.wait_for(settled)).await;
        drop(waited);
        let state = state.borrow().clone();
        match (enough(&state.reach), hopeless(&state)) {
            (Some(count), _) => Ok(count),
            (None, Some(error)) => Err(BroadcastError::NoPeer(Box::new(error))),
            (None, None) if state.reach.told.is_empty() => {
                Err(BroadcastError::NoPeer(Box::new(pool.timed_out(timeout).await)))
            }
            (None, None) => Err(BroadcastError::TimedOut { waited: timeout, reach: state.reach }),
        }
    }
}

/// A broadcast under way. It ends with its handle.
#[derive(Debug)]
struct Running {
    state: watch::Receiver<State>,
    task: AbortHandle,
}

#[derive(Clone, Debug, Default)]
struct State {
    reach: Reach,
    /// Why nobody can be told.
    refused: Option<LeaseError>,
    /// Why nobody can be heard of it from.
    deaf: Option<LeaseError>,
}

impl Running {
    fn start(cast: Cast, private: bool) -> Self {
        let (tell, state) = watch::channel(State::default());
        let task = if private {
            tokio::spawn(cast.run_privately(tell))
        } else {
            tokio::spawn(cast.run(tell))
        };
        Self { state, task: task.abort_handle() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
