//! The task of a broadcast: whom it tells, and whom it listens to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Transaction, Txid, Wtxid};
use peerpool_core::address::Address;
use peerpool_core::id::PeerId;
use peerpool_core::query::Ping;
use peerpool_core::require::{Require, Spread};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::State;
use crate::clock;
use crate::lease::{Disconnected, Lease, LeaseError};
use crate::pool::Pool;

/// How often further peers are looked for: to tell, where too few were free, and to listen to.
const LOOK: Duration = Duration::from_secs(1);
/// What a peer has to say of the transaction, waiting to be counted.
const WORDS: usize = 64;

/// The task of a broadcast.
pub(super) struct Cast {
    pool: Pool,
    what: Arc<What>,
    require: Require,
    peers: usize,
    timeout: Duration,
    /// Everybody who is told or was.
    told: BTreeSet<PeerId>,
    /// Those of them that are still there, or have it.
    reached: usize,
    /// Everybody who is only listened to.
    listeners: BTreeMap<PeerId, Listener>,
    legs: JoinSet<Left>,
    to_words: mpsc::Sender<Said>,
    words: mpsc::Receiver<Said>,
}

/// Who says what of it.
type Said = (Address, Word);

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

/// A peer that is only listened to.
struct Listener {
    leg: AbortHandle,
    /// Whether it might be told as well.
    fits: bool,
}

/// A peer that is gone.
struct Left {
    peer: PeerId,
    /// Whether it was told, and has not asked.
    in_vain: bool,
}

/// What the task waited for.
enum Turn {
    Word(Address, Word),
    Left(Left),
    Look,
    Leased(Result<Lease, LeaseError>),
    Confided(Confided),
    Again,
}

type Leased = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;

impl Cast {
    pub(super) fn new(
        pool: Pool,
        tx: Transaction,
        require: Require,
        peers: usize,
        timeout: Duration,
    ) -> Self {
        let (txid, wtxid) = (tx.compute_txid(), tx.compute_wtxid());
        let (to_words, words) = mpsc::channel(WORDS);
        Self {
            pool,
            what: Arc::new(What { tx, txid, wtxid }),
            require,
            peers,
            timeout,
            told: BTreeSet::new(),
            reached: 0,
            listeners: BTreeMap::new(),
            legs: JoinSet::new(),
            to_words,
            words,
        }
    }

    // ---- in the open ----

    pub(super) async fn run(mut self, tell: watch::Sender<State>) {
        self.require = self.require.relay();
        let first = match self.gather().await {
            Ok(first) => first,
            Err(error) => {
                tell.send_modify(|state| state.refused = Some(error));
                return;
            }
        };
        // They listen before anybody is told.
        self.listen(&tell).await;
        for lease in first {
            self.tell(lease, &tell);
        }
        let mut look = interval(LOOK);
        loop {
            let turn = tokio::select! {
                Some((address, word)) = self.words.recv() => Turn::Word(address, word),
                Some(Ok(left)) = self.legs.join_next() => Turn::Left(left),
                _ = look.tick() => Turn::Look,
            };
            match turn {
                Turn::Word(address, word) => count(&tell, address, word),
                Turn::Left(left) => self.on_left(&left),
                _ => {
                    if self.tell_more(&tell).await {
                        self.listen(&tell).await;
                    }
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
                    match self.pool.lease_timeout(&self.to_tell(), self.timeout).await {
                        Ok(lease) => lease,
                        // Whoever waits has been told so by now, and may wait again.
                        Err(LeaseError::TimedOut { .. } | LeaseError::TooManyWaiters) => continue,
                        Err(error) => return Err(error),
                    }
                }
                Err(_) => break,
            };
            self.told.insert(lease.peer());
            found.push(lease);
        }
        Ok(found)
    }

    fn to_tell(&self) -> Require {
        self.require.clone().except(self.told.iter().copied())
    }

    /// Where too few have it, or may ask for it, others are told, be it that they were only listened
    /// to. Returns whether that is all there is to do: a listener that has the last slot of its peer
    /// gives it back first.
    async fn tell_more(&mut self, tell: &watch::Sender<State>) -> bool {
        while self.reached < self.peers {
            match self.pool.try_lease(&self.to_tell()).await {
                Ok(lease) => {
                    if let Some(listener) = self.listeners.remove(&lease.peer()) {
                        listener.leg.abort();
                    }
                    self.tell(lease, tell);
                }
                Err(_) => {
                    let fitting = self.listeners.iter().find(|(_, listener)| listener.fits);
                    let Some(peer) = fitting.map(|(peer, _)| *peer) else { return true };
                    if let Some(listener) = self.listeners.remove(&peer) {
                        listener.leg.abort();
                    }
                    return false;
                }
            }
        }
        true
    }

    fn tell(&mut self, lease: Lease, tell: &watch::Sender<State>) {
        self.told.insert(lease.peer());
        self.reached += 1;
        tell.send_modify(|state| {
            state.reach.told.insert(lease.address());
        });
        self.legs.spawn(attend(lease, true, Arc::clone(&self.what), self.to_words.clone()));
    }

    fn on_left(&mut self, left: &Left) {
        self.listeners.remove(&left.peer);
        self.reached -= usize::from(left.in_vain && self.reached > 0);
    }

    /// Listens to everybody else that is free.
    async fn listen(&mut self, tell: &watch::Sender<State>) {
        loop {
            let met = self.told.iter().chain(self.listeners.keys()).copied();
            let others = Require::any().relay().except(met);
            let lease = match self.pool.try_lease(&others).await {
                Ok(lease) => lease,
                Err(error @ LeaseError::Unsatisfiable(_)) => {
                    return tell.send_modify(|state| state.deaf = Some(error));
                }
                Err(_) => return,
            };
            let peer = lease.peer();
            let fits = self.require.need().is_met_at(&lease.address(), lease.version());
            let leg = attend(lease, false, Arc::clone(&self.what), self.to_words.clone());
            self.listeners.insert(peer, Listener { leg: self.legs.spawn(leg), fits });
        }
    }

    // ---- privately ----

    pub(super) async fn run_privately(mut self, tell: watch::Sender<State>) {
        self.require = self.require.private();
        self.listen(&tell).await;
        let mut look = interval(LOOK);
        let mut told = 0;
        let mut attempt: JoinSet<Confided> = JoinSet::new();
        let mut next: Option<Leased> = None;
        let mut again = Instant::now();
        loop {
            // Nobody further is told once others tell of it.
            let heard = !tell.borrow().reach.announced.is_empty();
            let wanted = told < self.peers && attempt.is_empty() && !heard;
            if !wanted {
                next = None;
            }
            let due = wanted && next.is_none();
            let lease = async {
                match next.as_mut() {
                    Some(next) => next.await,
                    None => pending().await,
                }
            };
            let turn = tokio::select! {
                Some((address, word)) = self.words.recv() => Turn::Word(address, word),
                Some(Ok(left)) = self.legs.join_next() => Turn::Left(left),
                Some(ended) = attempt.join_next() => Turn::Confided(ended.unwrap_or_default()),
                leased = lease => Turn::Leased(leased),
                () = sleep_until(again), if due => Turn::Again,
                _ = look.tick() => Turn::Look,
            };
            match turn {
                Turn::Word(address, word) => count(&tell, address, word),
                Turn::Left(left) => self.on_left(&left),
                Turn::Look => self.listen(&tell).await,
                Turn::Again => next = Some(self.lease_privately(&tell)),
                Turn::Confided(confided) => {
                    told += usize::from(confided.given);
                    // Whoever did not take it may be one of many.
                    let pause = if confided.given { self.pool.private_retry() } else { LOOK };
                    again = clock::after(pause);
                    confided.has.into_iter().for_each(|it| count(&tell, it, Word::Asked));
                }
                Turn::Leased(leased) => {
                    next = None;
                    match leased {
                        Ok(lease) => {
                            tell.send_modify(|state| {
                                state.reach.told.insert(lease.address());
                            });
                            attempt.spawn(confide(lease, Arc::clone(&self.what)));
                        }
                        Err(LeaseError::TimedOut { .. } | LeaseError::TooManyWaiters) => {
                            again = clock::after(LOOK);
                        }
                        Err(error) => {
                            return tell.send_modify(|state| state.refused = Some(error));
                        }
                    }
                }
            }
        }
    }

    /// A connection to somebody who was not told yet, nor is a neighbour of one who was.
    fn lease_privately(&self, tell: &watch::Sender<State>) -> Leased {
        let told = tell.borrow().reach.told.clone();
        let require = self.require.clone().apart(Spread::Netgroup, told);
        let (pool, timeout) = (self.pool.clone(), self.timeout);
        Box::pin(async move { pool.lease_timeout(&require, timeout).await })
    }
}

fn count(tell: &watch::Sender<State>, address: Address, word: Word) {
    tell.send_modify(|state| {
        match word {
            Word::Asked => state.reach.asked.insert(address),
            Word::Announced => state.reach.announced.insert(address),
        };
    });
}

/// Tells one peer, if it is to be told, and listens to it until it is gone.
async fn attend(mut lease: Lease, tells: bool, what: Arc<What>, words: mpsc::Sender<Said>) -> Left {
    let (peer, address) = (lease.peer(), lease.address());
    let mut left = Left { peer, in_vain: tells };
    if tells && lease.send(NetworkMessage::Inv(what.inventory())).await.is_err() {
        return left;
    }
    while let Ok(message) = lease.recv().await {
        let word = match message {
            NetworkMessage::GetData(wanted) if left.in_vain && what.is_named(&wanted) => {
                if lease.send(NetworkMessage::Tx(what.tx.clone())).await.is_err() {
                    return left;
                }
                left.in_vain = false;
                Word::Asked
            }
            NetworkMessage::Inv(inventory) if what.is_named(&inventory) => Word::Announced,
            _ => continue,
        };
        // The task that counts is gone: so is this one, soon.
        let _ = words.send((address, word)).await;
    }
    left
}

/// How it went with one peer that was told privately.
#[derive(Default)]
struct Confided {
    /// Whether it asked, and was given it.
    given: bool,
    /// Its address, if it has it for sure: it answered a ping that was sent after the transaction.
    has: Option<Address>,
}

/// Tells one peer and nobody else. It has as long for each step as for any query.
async fn confide(mut lease: Lease, what: Arc<What>) -> Confided {
    let mut confided = Confided::default();
    // The name that needs no agreement.
    let inventory = vec![Inventory::Transaction(what.txid)];
    let patience = lease.query_timeout;
    let asked = async {
        lease.send(NetworkMessage::Inv(inventory)).await.ok()?;
        asked(&mut lease, &what).await.ok()
    };
    let asked = timeout(patience, asked).await;
    if !matches!(asked, Ok(Some(()))) {
        return confided;
    }
    if lease.send(NetworkMessage::Tx(what.tx.clone())).await.is_err() {
        return confided;
    }
    confided.given = true;
    confided.has = lease.query(Ping::new()).await.is_ok().then(|| lease.address());
    confided
}

/// Waits until the peer asks for the transaction.
async fn asked(lease: &mut Lease, what: &What) -> Result<(), Disconnected> {
    loop {
        match lease.recv().await? {
            NetworkMessage::GetData(wanted) if what.is_named(&wanted) => return Ok(()),
            _ => {}
        }
    }
}
