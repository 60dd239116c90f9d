//! The thread that writes, and the driver's handle to it.
//!
//! The driver puts what changed into a batch behind a lock that nobody holds for longer than that
//! takes; the thread takes the batch out, whole, and is with the disk for as long as the disk
//! likes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use peerpool_core::address::{Address, Net};
use peerpool_core::banned::{Ban, Subnet};
use peerpool_core::book::Change;
use peerpool_core::event::Event;
use peerpool_core::policy::Policy;
use peerpool_core::time::UnixTime;
use tokio::sync::{oneshot, watch};

use super::batch::Batch;
use super::history::Limits;
use super::load::{open_for, set_aside};
use super::lock::Lock;
use super::row::SeedNames;
use super::{Loaded, STORE_FILE, Store, StoreError};

/// Whose store it is.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) dir: PathBuf,
    pub(crate) magic: [u8; 4],
}

/// How it stands with the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Why nothing is being saved.
    pub(crate) failure: Option<String>,
    /// What was written is lost, or too much was not: all there is must be handed over.
    pub(crate) wants_all: bool,
    /// Damaged files moved out of the way: how many, the last one, and what was wrong with it.
    pub(crate) set_aside: Option<(usize, String, String)>,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    closing: bool,
    /// All there is when the pool closes, should the file turn out to be gone.
    last: Batch,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    stirred: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's side. Dropped, it lets the thread write what it has and end.
#[derive(Debug)]
pub(crate) struct Saver {
    shared: Arc<Shared>,
    /// What is not handed over yet.
    batch: Batch,
    limits: Limits,
    most: usize,
    state: watch::Receiver<State>,
    done: Option<oneshot::Receiver<()>>,
}

impl Saver {
    /// Starts the thread. What was loaded is taken as written.
    pub(crate) fn start(owner: Owner, loaded: Loaded, policy: &Policy) -> Result<Self, StoreError> {
        let Loaded { key, names, store, failure, set_aside, .. } = loaded;
        let state = State {
            failure: failure.map(|error| error.to_string()),
            wants_all: false,
            set_aside: set_aside
                .map(|(path, error)| (1, path.display().to_string(), error.to_string())),
        };
        let limits = Limits::of(policy);
        let most = 2 * (policy.max_addresses + policy.max_burned) + policy.max_bans;
        let (to_state, mut state_of) = watch::channel(state.clone());
        // What it began with is news.
        state_of.mark_changed();
        let (done, is_done) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let dir = owner.dir.clone();
        let writer = Writer {
            owner,
            key,
            names,
            limits,
            most,
            interval: policy.save_interval,
            retry_max: policy.save_retry_max,
            shared: Arc::clone(&shared),
            needs_all: store.is_none(),
            store,
            damage: None,
            kept: Batch::default(),
            begun: None,
            retry: None,
            state,
            to_state,
        };
        let run = move || {
            writer.run();
            // An error means that nobody waits.
            let _ = done.send(());
        };
        let spawned = thread::Builder::new().name("peerpool-store".to_owned()).spawn(run);
        spawned.map_err(|error: io::Error| StoreError::io(&dir, "saved to", &error))?;
        let batch = Batch::default();
        Ok(Self { shared, batch, limits, most, state: state_of, done: Some(is_done) })
    }

    /// Takes note of an event, to be handed over with what it changed.
    pub(crate) fn note(&mut self, at: UnixTime, event: &Event) {
        self.batch.note(at, event, self.limits);
    }

    /// Takes note of bans that were over before the pool began.
    pub(crate) fn forget_bans(&mut self, over: impl IntoIterator<Item = Subnet>) {
        over.into_iter().for_each(|subnet| self.batch.ban(subnet, None));
    }

    /// Hands over what one input changed. Returns whether so much waits to be written that all
    /// there is would be less.
    pub(crate) fn hand_over(
        &mut self,
        changes: Vec<Change>,
        round_trips: Vec<(Address, Duration)>,
    ) -> bool {
        for (address, took) in round_trips {
            self.batch.note_round_trip(address, took, self.limits);
        }
        self.batch.change(changes);
        if self.batch.is_empty() {
            return false;
        }
        let mut queue = self.shared.lock();
        queue.batch.extend(mem::take(&mut self.batch), self.limits);
        self.shared.stirred.notify_one();
        queue.batch.whole.is_none() && queue.batch.len() > self.most
    }

    /// Hands over all there is on these networks, and every ban.
    pub(crate) fn hand_over_all(&mut self, nets: Vec<Net>, all: Vec<Change>, bans: Vec<Ban>) {
        let mut queue = self.shared.lock();
        queue.batch.replace(nets, all, bans);
        self.shared.stirred.notify_one();
    }

    /// Hands over all there is as the pool closes: it is written only if what is on disk is lost.
    pub(crate) fn hand_over_last(&mut self, nets: Vec<Net>, all: Vec<Change>, bans: Vec<Ban>) {
        self.shared.lock().last.replace(nets, all, bans);
    }

    /// How it stands now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until it stands otherwise than last seen; `None` once the thread is gone. Cancel safe.
    pub(crate) async fn changed(&mut self) -> Option<State> {
        self.state.changed().await.ok()?;
        Some(self.state.borrow_and_update().clone())
    }

    /// Has the rest written, and the file closed. Waits for it for up to `patience`; it goes on
    /// without being waited for. Returns what went wrong.
    pub(crate) async fn close(mut self, patience: Duration) -> Option<String> {
        self.begin_close();
        let done = self.done.take()?;
        if tokio::time::timeout(patience, done).await.is_err() {
            return Some("it took too long, and is not waited for any longer".to_owned());
        }
        self.state().failure
    }

    #[cfg(test)]
    pub(super) fn take_done(&mut self) -> oneshot::Receiver<()> {
        self.done.take().unwrap()
    }

    fn begin_close(&self) {
        self.shared.lock().closing = true;
        self.shared.stirred.notify_one();
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.begin_close();
    }
}

/// The thread's side.
#[derive(Debug)]
struct Writer {
    owner: Owner,
    key: [u8; 16],
    names: SeedNames,
    limits: Limits,
    most: usize,
    interval: Duration,
    retry_max: Duration,
    shared: Arc<Shared>,
    store: Option<Store>,
    /// The next thing to write is all there is.
    needs_all: bool,
    /// What is wrong with the file, found while it was written.
    damage: Option<StoreError>,
    /// What was taken and is not written.
    kept: Batch,
    /// When the last save began.
    begun: Option<Instant>,
    /// The wait before the next try, after one that failed.
    retry: Option<Duration>,
    state: State,
    to_state: watch::Sender<State>,
}

impl Writer {
    fn run(mut self) {
        if let Some(Err(error)) = self.store.as_ref().map(Store::sync_seldom) {
            tracing::warn!(%error, "each save is synced");
        }
        if self.state.failure.is_some() {
            self.retry = Some(self.interval);
            self.begun = Some(Instant::now());
        }
        loop {
            let closing = self.wait();
            self.begun = Some(Instant::now());
            if let Err(error) = self.save() {
                self.on_failed(&error);
            }
            if closing {
                self.save_last();
                break;
            }
        }
        if !self.kept.is_empty() {
            tracing::error!(dir = %self.owner.dir.display(), "the pool ends, and is not saved");
        }
    }

    /// The file is gone, and nobody can be asked for all there is any more: it was left here.
    fn save_last(&mut self) {
        if !self.needs_all {
            return;
        }
        self.kept = mem::take(&mut self.shared.lock().last);
        if let Err(error) = self.save() {
            self.on_failed(&error);
        }
    }

    /// Waits until something is to be written and the time for it has come, and takes it. Returns
    /// whether it is the last.
    fn wait(&mut self) -> bool {
        let wait = self.retry.unwrap_or(self.interval);
        let due = self.begun.map(|begun| begun + wait);
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        let idle = self.kept.is_empty() && self.retry.is_none() && !self.needs_all;
        while !queue.closing {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            let left = left.filter(|left| !left.is_zero());
            queue = if idle && queue.batch.is_empty() {
                shared.stirred.wait(queue).unwrap_or_else(PoisonError::into_inner)
            } else if let Some(left) = left {
                let waited = shared.stirred.wait_timeout(queue, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                break;
            };
        }
        let (batch, closing) = (mem::take(&mut queue.batch), queue.closing);
        drop(queue);
        self.kept.extend(batch, self.limits);
        if self.kept.whole.is_none() && self.kept.len() > self.most {
            // All there is, is less than that.
            self.kept = Batch::default();
            self.needs_all = true;
        }
        closing
    }

    fn save(&mut self) -> Result<(), StoreError> {
        if let Some(store) = self.store.take() {
            if store.is_in_place() {
                self.store = Some(store);
            } else {
                self.needs_all = true;
            }
        }
        if self.store.is_none() {
            self.reopen()?;
        }
        let Self { store: Some(store), kept, .. } = self else { return Ok(()) };
        if self.needs_all && kept.whole.is_none() {
            self.tell(|state| state.wants_all = true);
            return Ok(());
        }
        if !kept.is_empty() {
            store.write(kept, &self.names, self.limits)?;
        }
        self.kept = Batch::default();
        self.needs_all = false;
        self.retry = None;
        self.tell(|state| {
            state.wants_all = false;
            state.failure = None;
        });
        Ok(())
    }

    /// Opens the file again, or a new one. What is in it may be old.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.needs_all = true;
        let dir = self.owner.dir.clone();
        if let Some(error) = self.damage.take() {
            let _lock = Lock::take(&dir)?;
            let path = dir.join(STORE_FILE);
            let aside = set_aside(&path)?;
            self.on_set_aside(&aside, &error);
        }
        let (mut store, aside) = open_for(&dir, self.owner.magic)?;
        if let Some((path, error)) = aside {
            self.on_set_aside(&path, &error);
        }
        store.set_owner(self.owner.magic, self.key)?;
        store.sync_seldom()?;
        self.store = Some(store);
        Ok(())
    }

    fn on_set_aside(&mut self, path: &Path, error: &StoreError) {
        self.tell(|state| {
            let before = state.set_aside.as_ref().map_or(0, |(count, ..)| *count);
            let path = path.display().to_string();
            state.set_aside = Some((before + 1, path, error.to_string()));
        });
    }

    fn on_failed(&mut self, error: &StoreError) {
        if error.is_corrupt() && self.store.take().is_some() {
            self.damage = Some(error.clone());
        }
        let wait = self.retry.map_or(self.interval, |wait| wait.saturating_mul(2));
        self.retry = Some(wait.min(self.retry_max.max(self.interval)));
        self.tell(|state| state.failure = Some(error.to_string()));
    }

    fn tell(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        let state = &self.state;
        self.to_state.send_if_modified(|told| {
            let modified = told != state;
            told.clone_from(state);
            modified
        });
    }
}
