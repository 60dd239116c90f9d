//! The stream of events a subscriber reads. Not their making: the engine says what happened.

use std::time::SystemTime;

use peerpool_core::event::Event;
use tokio::sync::broadcast::{self, error::RecvError};

/// An event, and when it happened.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// Wall time.
    pub at: SystemTime,
    /// What happened.
    pub event: Event,
}

/// Events of a pool, in order; ends when the pool is closed or dropped.
///
/// Bounded by `Policy::event_queue`: a subscriber that reads too slowly loses the oldest events and
/// is told how many with [`Event::Missed`]. It never holds the pool up, nor keeps it alive.
///
/// ```
/// # use peerpool::{Event, Pool};
/// # use peerpool_sim::actor::{Kind, Mix};
/// # use peerpool_sim::devnet::Devnet;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let devnet = Devnet::builder().nodes(12).kinds(Mix::only(Kind::Honest)).port(0);
/// # let devnet = devnet.start().await?;
/// # let builder = Pool::builder(devnet.chain()).dns_server(devnet.dns_addr());
/// let pool = builder.target(2).start().await?;
/// let mut events = pool.subscribe();
/// while let Some(stamped) = events.next().await {
///     if let Event::Full { took } = stamped.event {
///         println!("full after {took:?}");
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Stamped>>,
}

impl Events {
    pub(crate) fn new(receiver: Option<broadcast::Receiver<Stamped>>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` after the last, once the pool is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Stamped> {
        let stamped = match self.receiver.as_mut()?.recv().await {
            Ok(stamped) => stamped,
            Err(RecvError::Lagged(events)) => {
                Stamped { at: SystemTime::now(), event: Event::Missed { events } }
            }
            Err(RecvError::Closed) => {
                self.receiver = None;
                return None;
            }
        };
        Some(stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
        let (sender, receiver) = broadcast::channel(2);
        let mut events = Events::new(Some(receiver));
        for _ in 0..5 {
            sender.send(Stamped { at: SystemTime::now(), event: Event::Fed }).unwrap();
        }
        drop(sender);
        assert_eq!(events.next().await.unwrap().event, Event::Missed { events: 3 });
        assert_eq!(events.next().await.unwrap().event, Event::Fed);
        assert_eq!(events.next().await.unwrap().event, Event::Fed);
        assert!(events.next().await.is_none());
        assert!(events.next().await.is_none());
    }
}
