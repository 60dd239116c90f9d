//! Waiting for what happens.

use std::time::Duration;

use peerpool::{Event, Events, Pool};

/// The events of a pool, and those that have passed.
pub(crate) struct Watch {
    events: Events,
    pub(crate) past: Vec<Event>,
}

impl Watch {
    pub(crate) fn of(pool: &Pool) -> Self {
        Self { events: pool.subscribe(), past: Vec::new() }
    }

    pub(crate) async fn next(&mut self) -> Option<Event> {
        let event = self.events.next().await?.event;
        assert!(!matches!(event, Event::Missed { .. }), "the test reads fast enough");
        self.past.push(event.clone());
        Some(event)
    }

    /// Waits for an event of which `found` makes something.
    pub(crate) async fn until<T>(&mut self, found: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next().await.expect("the pool goes on");
            if let Some(found) = found(&event) {
                return found;
            }
        }
    }

    /// Waits for `count` events that are `wanted`.
    pub(crate) async fn count(&mut self, count: usize, wanted: impl Fn(&Event) -> bool) {
        for _ in 0..count {
            self.until(|event| wanted(event).then_some(())).await;
        }
    }

    pub(crate) async fn named(&mut self, name: &str) {
        self.until(|event| (event.as_str() == name).then_some(())).await;
    }

    /// Waits until nothing has happened for this long.
    pub(crate) async fn quiet(&mut self, pause: Duration) {
        while let Ok(event) = tokio::time::timeout(pause, self.next()).await {
            event.expect("the pool goes on");
        }
    }

    /// Reads to the end of a closed pool's events.
    pub(crate) async fn end(&mut self) {
        while self.next().await.is_some() {}
    }

    pub(crate) fn seen(&self, name: &str) -> usize {
        self.past.iter().filter(|event| event.as_str() == name).count()
    }
}
