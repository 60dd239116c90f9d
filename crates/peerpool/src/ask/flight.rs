//! Asks under way that others may join.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use peerpool_core::query::Query;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{Ask, AskError, Asked};
use crate::lease::LeaseError;

type Outcome<A> = Result<Asked<A>, AskError>;
/// By the type of the query, and what it and its options say.
type Table = HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>;

/// Every ask under way that may be joined, by what it asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights {
    table: Arc<Mutex<Table>>,
}

/// An ask under way. It ends when nobody waits for it any more.
struct Flight<A> {
    outcome: watch::Receiver<Option<Outcome<A>>>,
    task: AbortHandle,
}

impl<A> Drop for Flight<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Flights {
    /// Waits for the outcome of the ask under way with this key, which is begun if there is none.
    pub(super) async fn join<Q>(&self, key: String, ask: Ask<Q>) -> Outcome<Q::Answer>
    where
        Q: Query<Answer: Clone + Sync> + Clone,
    {
        let flight = self.flight(key, ask);
        let mut outcome = flight.outcome.clone();
        let told = outcome.wait_for(Option::is_some).await;
        match told.ok().and_then(|told| told.clone()) {
            Some(outcome) => outcome,
            // Its task is gone with the runtime.
            None => Err(AskError::NoPeer(Box::new(LeaseError::Closed), Vec::new())),
        }
    }

    fn flight<Q>(&self, key: String, ask: Ask<Q>) -> Arc<Flight<Q::Answer>>
    where
        Q: Query<Answer: Clone + Sync> + Clone,
    {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (TypeId::of::<Q>(), key);
        let under_way = table.get(&key).and_then(Weak::upgrade);
        if let Some(flight) = under_way.and_then(|flight| flight.downcast().ok()) {
            return flight;
        }
        let (tell, outcome) = watch::channel(None);
        let flights = self.clone();
        let ended = key.clone();
        let task = tokio::spawn(async move {
            let outcome = ask.alone().await;
            // Whoever asks from now on asks anew.
            flights.table.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended);
            tell.send_replace(Some(outcome));
        });
        let flight = Arc::new(Flight { outcome, task: task.abort_handle() });
        let shared: Arc<dyn Any + Send + Sync> = flight.clone();
        // Those that everybody has given up are forgotten here.
        table.retain(|_, flight| flight.strong_count() > 0);
        table.insert(key, Arc::downgrade(&shared));
        flight
    }
}
