//! A transaction told to peers: given to those that ask for it, and heard of again from others.
//!
//! Everybody is told by a lease of its own, and one task answers them all. Dropping the handle ends
//! it, and gives every slot back.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Transaction, Txid, Wtxid};
use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::require::Require;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{interval, timeout_at};

use crate::clock;
use crate::lease::{Lease, LeaseError};
use crate::pool::Pool;

/// How often further peers are looked for: to tell, where too few were free, and to listen to.
const LOOK: Duration = Duration::from_secs(1);
/// What a peer has to say of the transaction, waiting to be counted.
const WORDS: usize = 64;

/// A transaction to be broadcast. It is when [`Broadcast::sent`] or [`Broadcast::announced_back`]
/// is first called. See [`Pool::broadcast`].
#[derive(Debug)]
#[must_use = "nothing is told before it is waited for"]
pub struct Broadcast {
    pool: Pool,
    tx: Transaction,
    require: Require,
    peers: usize,
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
    /// No peer could be told of it.
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
    /// ```no_run
    /// # use peerpool::{Pool, Require};
    /// # use peerpool::bitcoin::Transaction;
    /// # async fn doc(pool: Pool, tx: Transaction) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut cast = pool.broadcast(tx).to(Require::any());
    /// cast.sent().await?;
    /// cast.announced_back(2).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// That a peer takes it does not say that it is valid: peers say nothing of those they refuse.
    /// That others tell of it does.
    pub fn broadcast(&self, tx: Transaction) -> Broadcast {
        let (require, timeout) = (Require::any(), self.ask_timeout());
        Broadcast { pool: self.clone(), tx, require, peers: 3, timeout, running: None }
    }
}

impl Broadcast {
    /// What peers that are told must meet, beside that they relay.
    pub fn to(self, require: Require) -> Self {
        Self { require, ..self }
    }

    /// Tells so many peers, at least one; by default 3.
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

    /// Waits until a peer has asked for it, and it is on its way there; gives how many have by then.
    /// Cancel safe: it goes on meanwhile.
    ///
    /// # Errors
    /// Nobody can be told, or nobody asked in time: whoever has it already does not.
    pub async fn sent(&mut self) -> Result<usize, BroadcastError> {
        self.reached(|reach| (!reach.asked.is_empty()).then_some(reach.asked.len())).await
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
        self.reached(enough).await
    }

    async fn reached(
        &mut self,
        enough: impl Fn(&Reach) -> Option<usize>,
    ) -> Result<usize, BroadcastError> {
        let timeout = self.timeout;
        let deadline = clock::after(timeout);
        let Self { pool, tx, require, peers, running, .. } = self;
        let running = running.get_or_insert_with(|| {
            let cast = Cast::new(pool.clone(), tx.clone(), require.clone(), *peers, timeout);
            Running::start(cast)
        });
        let state = &mut running.state;
        let settled = |state: &State| enough(&state.reach).is_some() || state.refused.is_some();
        let waited = timeout_at(deadline, state.wait_for(settled)).await;
        drop(waited);
        let State { reach, refused } = state.borrow().clone();
        match (enough(&reach), refused) {
            (Some(count), _) => Ok(count),
            (None, Some(error)) => Err(BroadcastError::NoPeer(Box::new(error))),
            (None, None) => Err(BroadcastError::TimedOut { waited: timeout, reach }),
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
}

impl Running {
    fn start(cast: Cast) -> Self {
        let (tell, state) = watch::channel(State::default());
        let task = tokio::spawn(cast.run(tell)).abort_handle();
        Self { state, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task of a broadcast.
struct Cast {
    pool: Pool,
    what: Arc<What>,
    require: Require,
    peers: usize,
    timeout: Duration,
    /// Everybody who is told, or listened to.
    met: BTreeSet<PeerId>,
}

/// The transaction and its names.
#[derive(Debug)]
struct What {
    tx: Transaction,
    txid: Txid,
    wtxid: Wtxid,
}

impl What {
    /// By both names: a peer heeds the one that was agreed on with it (BIP339), and passes over the
    /// other.
    fn inventory(&self) -> Vec<Inventory> {
        vec![Inventory::WTx(self.wtxid), Inventory::Transaction(self.txid)]
    }

    fn is_named(&self, inventory: &[Inventory]) -> bool {
        inventory.iter().any(|entry| match entry {
            Inventory::Transaction(id) | Inventory::WitnessTransaction(id) => *id == self.txid,
            Inventory::WTx(id) => *id == self.wtxid,
            _ => false,
        })
    }
}

/// What a peer has to say of it.
#[derive(Clone, Copy, Debug)]
enum Word {
    Asked,
    Announced,
}

impl Cast {
    fn new(pool: Pool, tx: Transaction, require: Require, peers: usize, timeout: Duration) -> Self {
        let (txid, wtxid) = (tx.compute_txid(), tx.compute_wtxid());
        let what = Arc::new(What { tx, txid, wtxid });
        Self { pool, what, require: require.relay(), peers, timeout, met: BTreeSet::new() }
    }

    async fn run(mut self, tell: watch::Sender<State>) {
        let (to_words, mut words) = mpsc::channel(WORDS);
        let mut legs = JoinSet::new();
        let first = match self.gather().await {
            Ok(first) => first,
            Err(error) => {
                tell.send_modify(|state| state.refused = Some(error));
                return;
            }
        };
        // They listen before anybody is told.
        self.listen(&mut legs, &to_words).await;
        for lease in first {
            self.tell(lease, &mut legs, &to_words, &tell);
        }
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                Some((address, word)) = words.recv() => tell.send_modify(|state| {
                    match word {
                        Word::Asked => state.reach.asked.insert(address),
                        Word::Announced => state.reach.announced.insert(address),
                    };
                }),
                _ = look.tick() => {
                    while legs.try_join_next().is_some() {}
                    while tell.borrow().reach.told.len() < self.peers
                        && let Ok(lease) = self.pool.try_lease(&self.to_tell()).await
                    {
                        self.tell(lease, &mut legs, &to_words, &tell);
                    }
                    self.listen(&mut legs, &to_words).await;
                }
            }
        }
    }

    /// Those to be told at first: as many as are wanted and free, and one at least.
    async fn gather(&mut self) -> Result<Vec<Lease>, LeaseError> {
        let mut found = Vec::new();
        while found.len() < self.peers {
            let lease = match self.pool.try_lease(&self.to_tell()).await {
                Ok(lease) => lease,
                Err(_) if found.is_empty() => {
                    self.pool.lease_timeout(&self.to_tell(), self.timeout).await?
                }
                Err(_) => break,
            };
            self.met.insert(lease.peer());
            found.push(lease);
        }
        Ok(found)
    }

    fn to_tell(&self) -> Require {
        self.require.clone().except(self.met.iter().copied())
    }

    fn tell(
        &mut self,
        lease: Lease,
        legs: &mut JoinSet<()>,
        words: &mpsc::Sender<(Address, Word)>,
        tell: &watch::Sender<State>,
    ) {
        self.met.insert(lease.peer());
        tell.send_modify(|state| {
            state.reach.told.insert(lease.address());
        });
        legs.spawn(attend(lease, true, Arc::clone(&self.what), words.clone()));
    }

    /// Listens to everybody else that is free.
    async fn listen(&mut self, legs: &mut JoinSet<()>, words: &mpsc::Sender<(Address, Word)>) {
        loop {
            let others = Require::any().relay().except(self.met.iter().copied());
            let Ok(lease) = self.pool.try_lease(&others).await else { return };
            self.met.insert(lease.peer());
            legs.spawn(attend(lease, false, Arc::clone(&self.what), words.clone()));
        }
    }
}

/// Tells one peer, if it is to be told, and listens to it until it is gone.
async fn attend(
    mut lease: Lease,
    tells: bool,
    what: Arc<What>,
    words: mpsc::Sender<(Address, Word)>,
) {
    let address = lease.address();
    if tells && lease.send(NetworkMessage::Inv(what.inventory())).await.is_err() {
        return;
    }
    let mut given = false;
    while let Ok(message) = lease.recv().await {
        let word = match message {
            NetworkMessage::GetData(wanted) if !given && what.is_named(&wanted) => {
                if lease.send(NetworkMessage::Tx(what.tx.clone())).await.is_err() {
                    return;
                }
                given = true;
                Word::Asked
            }
            NetworkMessage::Inv(inventory) if what.is_named(&inventory) => Word::Announced,
            _ => continue,
        };
        // The task that counts is gone: so is this one, soon.
        let _ = words.send((address, word)).await;
    }
}
